"""A dataset, stored or streamed -> parquet shards in a destination, whatever its size, going on after an interruption.

Rows are read one by one as they are stored, protected in small batches, and written in small row groups; a shard is
handed over before the next one is begun. So memory holds a batch and a row group, the disk one shard. Where a shard
ends depends on its rows alone: a job that was interrupted ends with the bytes of one that was not.
"""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datasets.arrow_writer import get_parquet_column_options

from uc_hf.data.columns import image_column
from uc_hf.data.images import ImageValue
from uc_hf.data.progress import Bar
from uc_hf.data.rows import Ahead, RowGroups, next_batch, plain_images, read_rows
from uc_hf.errors import NO_SPACE, DatasetError, ImageError, OutputError
from uc_hf.files import partial_path
from uc_hf.protecting.protector import Protector
from uc_hf.publishing.destination import (
    Destination,
    Held,
    find_shards,
    retry_on_conflict,
    shard_path,
    write_split_table,
)
from uc_hf.publishing.marks import MARK, Mark, Work
from uc_hf.publishing.outcome import COMPARED, Outcome, spread


logger = logging.getLogger(__name__)

SHARD_ROWS, SHARD_BYTES = 1000, 256 * 2**20
"""A shard ends with the batch that reaches either; what an interruption can lose is at most one."""

BATCH_ROWS = 20
"""So many pictures are decoded at once; fewer when they are large."""

COMPARED_BYTES = 64 * 2**20
"""The pairs that are kept for comparison hold no more than this."""

Splits = Mapping[str, datasets.Dataset | datasets.IterableDataset]


def common_features(splits: Splits) -> datasets.Features:
    """The features of all splits.

    Raises:
        DatasetError: a stream does not know them, splits differ, or a split's name cannot be that of a file.
    """
    first = next(iter(splits))
    for split, dataset in splits.items():
        if not re.fullmatch(r"\w+(\.\w+)*", split):
            raise DatasetError(f"{split!r} cannot be loaded as a split again: use letters, digits, '_' and '.' only.")
        if dataset.features is None:
            raise DatasetError(
                f"the stream of the split {split!r} does not know its columns. Write stream.map(..., features=...) "
                "where it was mapped, or stream.cast(datasets.Features(...))."
            )
        if dataset.features != splits[first].features:
            raise DatasetError(
                f"the splits {first!r} and {split!r} have different columns: {splits[first].features} and "
                f"{dataset.features}. They cannot be loaded as one dataset: protect each into an output of its own."
            )
    return splits[first].features


def row_count(dataset: datasets.Dataset | datasets.IterableDataset) -> int | None:
    """The number of rows, for a stream as its dataset states it; None when nobody knows."""
    if not isinstance(dataset, datasets.IterableDataset):
        return len(dataset)
    stated = (dataset.info.splits or {}).get(str(dataset.split))
    return stated.num_examples if stated else None


def protect_dataset(
    splits: Splits,
    protect: Sequence[str],
    destination: Destination,
    protector: Protector,
    source: str,
    *,
    as_they_are: bool = False,
) -> Outcome:
    """Write a dataset with some of its splits protected, as parquet shards that `load_dataset` reads.

    Columns, features and order stay; images lose their EXIF, unless the protector keeps it. Rows in complete shards
    are not protected again.

    Args:
        splits: stored or streamed.
        protect: names of the splits to protect; the others are carried over clean.
        destination: where the shards go.
        protector: fitted.
        source: the originals' name; shards of others are refused.
        as_they_are: the rows of `protect` have been protected already and are only written.

    Raises:
        DatasetError: splits that cannot be one dataset, have no rows or lack the protector's column, or a row that
            cannot be read.
        ImageError: a picture that cannot be protected, named by its row.
        OutputError: no space left, other files in the destination, or it cannot be reached.
    """
    features = common_features(splits)
    image_column(features, protector.fitted.column)
    protected = {split: split in protect for split in splits}
    work = Work.of(protector, source)
    job = _Job(destination, protector, work, protected, features, as_they_are)
    counts = [row_count(splits[split]) for split in protect]
    total = None if None in counts else sum(count for count in counts if count is not None)
    already = sum(job.held[split].rows for split in protect)
    job.compare_rows(None if total is None else max(0, total - already))
    with Bar(total=total, initial=already, desc="writing" if as_they_are else "protecting", unit="image") as job.bar:
        for split, dataset in splits.items():
            job.write_split(split, dataset)
    if not any(job.held[split].rows for split in protect):
        raise DatasetError(f"there are no rows in {', '.join(map(repr, protect))}: there is nothing to protect.")
    retry_on_conflict(lambda: write_split_table(destination, job.held, features), job.find_shards)
    held = [job.held[split] for split in protect]
    return Outcome(
        images=sum(part.rows for part in held),
        already=already,
        again=0,
        orphans=[],
        ignored={},
        left_out={},
        noted={},
        carried=[split for split in splits if split not in protect],
        bytes_before=sum(part.mark.bytes_before for part in held if part.mark),
        bytes_after=sum(part.size for part in held),
        pairs=job.pairs,
    )


class _Job:
    """One run over all splits."""

    bar: Bar

    def __init__(
        self,
        destination: Destination,
        protector: Protector,
        work: Work,
        protected: Mapping[str, bool],
        features: datasets.Features,
        as_they_are: bool,
    ) -> None:
        self.destination, self.protector, self.work = destination, protector, work
        self.protected, self.features, self.as_they_are = protected, features, as_they_are
        self.column = protector.fitted.column
        self.find_shards()
        self.pairs: list[tuple[ImageValue, ImageValue]] = []

    def find_shards(self) -> None:
        """Find out what the destination holds."""
        self.held = find_shards(self.destination, self.work, self.protected, self.features)

    def compare_rows(self, coming: int | None) -> None:
        """Choose the rows to keep for comparison: spread over those to come, the first where nobody knows how many."""
        self._compared = set(range(COMPARED) if coming is None else spread(coming))
        self._compared_bytes = self._row = 0

    def write_split(self, split: str, dataset: datasets.Dataset | datasets.IterableDataset) -> None:
        """Write what is missing of a split."""
        held = self.held[split]
        streamed = isinstance(dataset, datasets.IterableDataset)
        if streamed and held.mark is not None and held.mark.final and held.rows == row_count(dataset):
            return  # to see that nothing follows, all of it would have to be fetched
        rows = Ahead(self._coming(split, dataset, held))
        while not rows.ended:
            held = self._write_shard(split, rows, held)
        if not held.rows:
            logger.warning("The split %r has no rows and is left out: it could not be loaded.", split)

    def _coming(
        self, split: str, dataset: datasets.Dataset | datasets.IterableDataset, held: Held
    ) -> Iterator[pa.Table]:
        """The rows behind those that are held, once the last of these is seen to be what it was."""
        if held.mark is None or not held.rows:
            return read_rows(dataset, f"the split {split!r}")
        rows = read_rows(dataset, f"the split {split!r}", held.rows - 1)
        last = next(rows, None)
        if last is None or self.work.row(self._originals(last)[-1]) != held.mark.last_row:
            raise OutputError(
                f"{self.destination.name} holds {held.rows} rows of the split {split!r}, and the last of them is no "
                f"longer row {held.rows - 1} of the source: rows were added, removed or moved. Choose another output, "
                "or empty this one."
            )
        return rows

    def _write_shard(self, split: str, rows: Ahead, held: Held) -> Held:
        """Write and hand over the shard that follows; what is held then."""
        path = shard_path(split, held.shards)
        file = partial_path(self.destination.workspace / Path(path).name)
        self.bar.set_postfix_str(Path(path).stem)
        try:
            n_rows, mark = self._fill(file, split, rows, held)
            size = file.stat().st_size
            retry_on_conflict(lambda: self._take(file, split, held.shards), self.find_shards)
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            raise OutputError(
                f"{path} cannot be written: {error.strerror or error}. The {held.rows} rows of the split {split!r} "
                "before it are done and kept. Make room: the same command goes on where it stopped."
            ) from error
        finally:
            file.unlink(missing_ok=True)
        held = Held(shards=held.shards + 1, rows=held.rows + n_rows, size=held.size + size, mark=mark)
        if held.shards > self.held[split].shards:
            self.held[split] = held
        return held

    def _fill(self, file: Path, split: str, rows: Ahead, held: Held) -> tuple[int, Mark]:
        """Write the rows of one shard; how many, and its mark."""
        n_rows = size = 0
        last, bytes_before = b"", held.mark.bytes_before if held.mark else 0
        schema = self.features.arrow_schema
        options = get_parquet_column_options(self.features, schema)
        with (
            file.open("wb") as handle,
            pq.ParquetWriter(handle, schema, write_page_index=True, **options) as writer,
        ):
            groups = RowGroups(writer)
            while not rows.ended and n_rows < SHARD_ROWS and size < SHARD_BYTES:
                batch = next_batch(rows, min(BATCH_ROWS, SHARD_ROWS - n_rows), schema, self.column)
                originals = self._originals(batch)
                last, bytes_before = originals[-1], bytes_before + sum(map(len, originals))
                if not self.protector.settings.keep_exif:
                    leave = self.column if self.protected[split] else None
                    batch = plain_images(batch, self.features, f"the split {split!r}", held.rows + n_rows, leave)
                if self.protected[split] and not self.as_they_are:
                    batch = self._protect(batch, split, held.rows + n_rows)
                if self.protected[split]:
                    self.bar.update(len(batch))
                n_rows, size = n_rows + len(batch), size + groups.add(batch)
            groups.flush()
            mark = Mark(
                protector=self.work.protector,
                source=self.work.source,
                protected=self.protected[split],
                rows_before=held.rows,
                bytes_before=bytes_before,
                last_row=self.work.row(last),
                final=rows.ended,
            )
            writer.add_key_value_metadata({MARK: mark.to_json()})
        return n_rows, mark

    def _originals(self, table: pa.Table) -> list[bytes]:
        return [value or b"" for value in pc.struct_field(table[self.column], "bytes").to_pylist()]

    def _protect(self, batch: pa.Table, split: str, first_row: int) -> pa.Table:
        read = {name: batch[name].to_pylist() for name in self.protector.columns if name in batch.column_names}
        values = read[self.column]
        try:
            done = self.protector(dict(read), list(range(first_row, first_row + len(values))))[self.column]
        except ImageError as error:
            raise ImageError(
                f"split {split!r}, {error} The rows in finished shards are kept: mend the image or leave it out, and "
                "the same command goes on behind them."
            ) from error
        for original, copy in zip(values, done, strict=True):
            size = len(original["bytes"]) + len(copy["bytes"])
            if self._row in self._compared and self._compared_bytes + size <= COMPARED_BYTES:
                self.pairs.append((original, copy))
                self._compared_bytes += size
            self._row += 1
        position = batch.schema.get_field_index(self.column)
        kind = batch.schema.field(position)
        return batch.set_column(position, kind, pa.array(done, kind.type))

    def _take(self, file: Path, split: str, number: int) -> None:
        # Another run of the same job may have been faster: its rows are these.
        if self.held[split].shards <= number:
            self.destination.take(file, shard_path(split, number))
