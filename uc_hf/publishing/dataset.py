"""A dataset of any size, stored or streamed -> parquet shards in a destination; an interrupted job can be continued.

Stored rows are read one by one, protected in small batches, and written in small row groups; a shard is handed over
before the next one begins. So memory holds a batch and a row group, and the disk one shard. The end of a shard depends
only on its rows, so an interrupted job gives the same bytes as one that was not.
"""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datasets.arrow_writer import get_parquet_column_options

from uc_hf.data.columns import image_column, refuse_mode
from uc_hf.data.images import ImageValue
from uc_hf.data.progress import Bar
from uc_hf.data.rows import Ahead, RowGroups, next_batch, plain_images, read_rows
from uc_hf.errors import NO_SPACE, DatasetError, ImageError, OutputError
from uc_hf.files import partial_path
from uc_hf.protecting.protector import Protector
from uc_hf.publishing.destination import (
    Held,
    Shard,
    Store,
    find_shards,
    list_own_shards,
    open_shard,
    retry_on_conflict,
    shard_path,
    write_split_table,
)
from uc_hf.publishing.marks import JUDGED, MARK, Mark, Work
from uc_hf.publishing.outcome import COMPARED, Outcome, spread
from uc_hf.scoring.imperceptibility import compare


logger = logging.getLogger(__name__)

SHARD_ROWS, SHARD_BYTES = 1000, 256 * 2**20
"""Limits of a shard, which ends with the batch that reaches one; an interruption loses at most one shard."""

BATCH_ROWS = 20
"""Number of images that are decoded together; fewer if they are large."""

COMPARED_BYTES = 64 * 2**20
"""Size limit of the pairs that are kept for comparison."""

Splits = Mapping[str, datasets.Dataset | datasets.IterableDataset]

Made = Callable[[pa.Table, str, int, Sequence[str]], pa.Table]
"""Gives the protected rows of original ones: of these, of their split, the number of the first, and their digests."""


def common_features(splits: Splits) -> datasets.Features:
    """The features of all splits.

    Raises:
        DatasetError: a stream does not know its features, the splits differ, or a split's name cannot name a file.
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
    """The number of rows; for a stream the number that its dataset states, or None."""
    if not isinstance(dataset, datasets.IterableDataset):
        return len(dataset)
    stated = (dataset.info.splits or {}).get(str(dataset.split))
    return stated.num_examples if stated else None


def protect_dataset(
    splits: Splits,
    protect: Sequence[str],
    destination: Store,
    protector: Protector,
    source: str,
    *,
    made: Made | None = None,
    flip: float | None = None,
    first: Mapping[str, int] | None = None,
    at_hand: bool = False,
) -> Outcome:
    """Write a dataset with some of its splits protected, as parquet shards that `load_dataset` reads.

    Columns, features and order stay; images lose their EXIF unless the protector keeps it. A shard is made again only
    if it or its original rows have changed.

    Args:
        splits: stored or streamed.
        protect: names of the splits to protect; the others are copied clean.
        destination: destination of the shards.
        protector: a fitted protector.
        source: name of the originals; shards of other originals are refused.
        made: where the protected rows of `protect` come from, if they are there already; None for the protector.
        flip: of these rows, where the originals are not at hand; None to measure it.
        first: the row with which a split begins, where earlier ones are another job's.
        at_hand: whether streams can be read again at no cost, like files on this machine. Finished rows of other
            streams are not fetched again, so later edits of them are not noticed.

    Raises:
        DatasetError: the splits cannot form one dataset, have no rows or lack the protector's column, or a row cannot
            be read.
        ImageError: an image cannot be protected; the message names its row.
        OutputError: no space is left, the destination holds other files, or it cannot be reached.
    """
    features = common_features(splits)
    refuse_mode(features, image_column(features, protector.fitted.column))
    protected = {split: split in protect for split in splits}
    work = Work.of(protector, source)
    job = _Job(destination, protector, work, protected, features, made, flip, first or {}, at_hand)
    counts = [row_count(splits[split]) for split in protect]
    total = None if None in counts else sum(count for count in counts if count is not None) - sum(job.first.values())
    job.compare_rows(None if total is None else total - sum(job.known_rows(split) for split in protect))
    with Bar(total=total, desc="protecting" if made is None else "writing", unit="image") as job.bar:
        for split, dataset in splits.items():
            job.write_split(split, dataset)
    if not any(job.held[split].rows for split in protect):
        raise DatasetError(f"there are no rows in {', '.join(map(repr, protect))}: there is nothing to protect.")
    retry_on_conflict(lambda: write_split_table(destination, job.held, features), job.look)
    held = [job.held[split] for split in protect]
    return Outcome(
        images=sum(part.rows for part in held),
        already=job.already,
        again=job.again,
        orphans=[],
        ignored={},
        left_out={},
        noted={},
        carried=[split for split in splits if split not in protect],
        bytes_before=sum(part.bytes_before for part in held),
        bytes_after=sum(part.size for part in held),
        pairs=job.pairs,
    )


class _Job:
    """One run over all splits.

    Attributes:
        held: shards of each split in the destination that were written or checked so far.
        already: number of protected rows that an earlier run had written.
        again: number of protected rows in shards that were made again.
    """

    bar: Bar

    def __init__(
        self,
        destination: Store,
        protector: Protector,
        work: Work,
        protected: Mapping[str, bool],
        features: datasets.Features,
        made: Made | None,
        flip: float | None,
        first: Mapping[str, int],
        at_hand: bool,
    ) -> None:
        self.destination, self.protector, self.work = destination, protector, work
        self.protected, self.features = protected, features
        self.made, self.flip, self.first, self.at_hand = made or self._protect, flip, first, at_hand
        self.column = protector.fitted.column
        self.look()
        for split, sizes in self.sizes.items():
            self._open(split, max(sizes))  # refuses files of other work before anything is written
        self.held = {split: Held() for split in protected}
        self.pairs: list[tuple[ImageValue, ImageValue]] = []
        self.already = self.again = 0

    def look(self) -> None:
        """List the shards of the destination."""
        self.sizes = list_own_shards(self.destination, self.protected)

    def known_rows(self, split: str) -> int:
        """The number of rows of a split, by its last shard."""
        last = self._open(split, max(self.sizes.get(split, {0: 0})))
        return 0 if last is None else last.mark.rows_before + last.rows

    def compare_rows(self, coming: int | None) -> None:
        """Choose the rows to keep for comparison: evenly spread, or the first if the number of rows is unknown."""
        self._compared = set(spread(coming) if coming is not None and coming > 0 else range(COMPARED))
        self._compared_bytes = self._row = 0

    def write_split(self, split: str, dataset: datasets.Dataset | datasets.IterableDataset) -> None:
        """Write the missing and the changed shards of a split."""
        where, held, rows, first = f"the split {split!r}", Held(), None, self.first.get(split, 0)
        if isinstance(dataset, datasets.IterableDataset) and not self.at_hand:
            held, rows = self._go_on(split, dataset)
        rows = rows or Ahead(read_rows(dataset, where, first))
        seen_before = held.rows > 0
        while not rows.ended:
            shard = self._open(split, held.shards)
            if shard is not None and shard.mark.rows_before == held.rows:
                kept = self._compare(split, held.shards, rows, shard, seen_before)
                if kept is not None:
                    held, seen_before = held.plus(shard, kept), True
                    self.held[split] = held
                    continue
                rows = Ahead(read_rows(dataset, where, first + held.rows))
            held = self._write_shard(split, rows, held)
        if surplus := [number for number in self.sizes.get(split, {}) if number >= held.shards]:
            raise self._surplus(split, min(surplus), held.rows)
        if not held.rows:
            logger.warning("The split %r has no rows and is left out: it could not be loaded.", split)

    def _open(self, split: str, number: int) -> Shard | None:
        """A complete shard of this work; None if there is none."""
        size = self.sizes.get(split, {}).get(number)
        if size is None:
            return None
        path = shard_path(split, number)
        return open_shard(self.destination, path, size, self.work, self.protected[split], self.features)

    def _go_on(self, split: str, stream: datasets.IterableDataset) -> tuple[Held, Ahead | None]:
        """The shards of a stream that is not read again, and the rows after them; no rows if all are there.

        Raises:
            OutputError: the last stored row differs from the source's.
        """
        held, last = find_shards(self.destination, self.work, self.protected, self.features)[split]
        self.held[split] = held
        if last is None:
            return held, None
        if self.protected[split]:
            self.already += held.rows
            self.bar.update(held.rows)
        if last.mark.final and held.rows == row_count(stream):
            return held, Ahead(iter(()))  # checking that nothing follows would fetch the whole stream
        rows = read_rows(stream, f"the split {split!r}", held.rows - 1)
        row = next(rows, None)
        if (
            row is None
            or self._digests(next_batch(iter([row]), 1, self.features.arrow_schema, self.column))
            != last.mark.rows[-1:]
        ):
            raise self._other_rows(split, held.rows - 1)
        return held, Ahead(rows)

    def _compare(self, split: str, number: int, rows: Ahead, shard: Shard, seen_before: bool) -> int | None:
        """Read the rows of a shard again; return the size of their images, or None if a row has changed.

        Raises:
            OutputError: all rows differ, as did all before: these are other originals. Or the last rows are gone.
        """
        digests: list[str] = []
        size = 0
        while len(digests) < shard.rows and not rows.ended:
            limit = min(BATCH_ROWS, shard.rows - len(digests))
            batch = next_batch(rows, limit, self.features.arrow_schema, self.column)
            digests, size = digests + self._digests(batch), size + sum(map(len, self._originals(batch)))
        if digests == shard.mark.rows:
            if self.protected[split]:
                self.already += shard.rows
                self.bar.update(shard.rows)
            return size
        if digests == shard.mark.rows[: len(digests)]:
            raise self._surplus(split, number, shard.mark.rows_before + len(digests))
        if not seen_before and not set(digests) & set(shard.mark.rows):
            raise self._other_rows(split, shard.mark.rows_before)
        return None

    def _other_rows(self, split: str, row: int) -> OutputError:
        return OutputError(
            f"{self.destination.name} holds rows of the split {split!r}, and those of the source are others now, as "
            f"row {row} shows. Choose another output, or empty this one."
        )

    def _surplus(self, split: str, number: int, row: int) -> OutputError:
        return OutputError(
            f"{self.destination.name} holds {shard_path(split, number)}, whose rows the source no longer has: it ends "
            f"before row {row} of the split {split!r}. Remove that file, and run the same command again."
        )

    def _digests(self, batch: pa.Table) -> list[str]:
        return [self.work.row(row) for row in batch.to_pylist()]

    def _write_shard(self, split: str, rows: Ahead, held: Held) -> Held:
        """Write and hand over the next shard; return the shards that are held then."""
        path, known = shard_path(split, held.shards), held.shards in self.sizes.get(split, {})
        file = partial_path(self.destination.workspace / Path(path).name)
        self.bar.set_postfix_str(Path(path).stem)
        try:
            mark = self._fill(file, split, rows, held)
            shard = Shard(rows=len(mark.rows), size=file.stat().st_size, mark=mark)
            retry_on_conflict(lambda: self._take(file, split, held.shards, known), self.look)
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            raise OutputError(
                f"{path} cannot be written: {error.strerror or error}. The {held.rows} rows of the split {split!r} "
                "before it are done and kept. Make room: the same command goes on where it stopped."
            ) from error
        finally:
            file.unlink(missing_ok=True)
        if known and self.protected[split]:
            self.again += shard.rows
        self.held[split] = held.plus(shard, mark.bytes_before - held.bytes_before)
        return self.held[split]

    def _fill(self, file: Path, split: str, rows: Ahead, held: Held) -> Mark:
        """Write the rows of one shard, and its mark."""
        digests: list[str] = []
        size, bytes_before, flip = 0, held.bytes_before, self.flip if self.protected[split] else None
        schema = self.features.arrow_schema
        options = get_parquet_column_options(self.features, schema)
        with (
            file.open("wb") as handle,
            pq.ParquetWriter(handle, schema, write_page_index=True, **options) as writer,
        ):
            groups = RowGroups(writer)
            while not rows.ended and len(digests) < SHARD_ROWS and size < SHARD_BYTES:
                batch = next_batch(rows, min(BATCH_ROWS, SHARD_ROWS - len(digests)), schema, self.column)
                bytes_before += sum(map(len, self._originals(batch)))
                coming = self._digests(batch)
                row = self.first.get(split, 0) + held.rows + len(digests)
                published = self._published(batch, split, row, coming)
                size += groups.add(published)
                digests += coming
                if flip is None and self.protected[split]:
                    flip = self._flip(batch, published)
            groups.flush()
            mark = Mark(
                protector=self.work.protector,
                source=self.work.source,
                protected=self.protected[split],
                rows_before=held.rows,
                bytes_before=bytes_before,
                originals="".join(digests),
                final=rows.ended,
                flip=flip,
            )
            writer.add_key_value_metadata({MARK: mark.to_json()})
        return mark

    def _published(self, batch: pa.Table, split: str, row: int, digests: Sequence[str]) -> pa.Table:
        """Rows as they are published: without EXIF, and with noise where the split gets it."""
        if not self.protector.settings.keep_exif:
            leave = self.column if self.protected[split] else None
            batch = plain_images(batch, self.features, f"the split {split!r}", row, leave)
        if not self.protected[split]:
            return batch
        made = self.made(batch, split, row, digests)
        for original, copy in zip(batch[self.column].to_pylist(), made[self.column].to_pylist(), strict=True):
            self._keep(original, copy)
        self.bar.update(len(batch))
        return made

    def _keep(self, original: dict[str, Any], copy: dict[str, Any]) -> None:
        """Keep a pair for comparison, if it is one of those that were chosen and there is room."""
        size = len(original["bytes"]) + len(copy["bytes"])
        if self._row in self._compared and self._compared_bytes + size <= COMPARED_BYTES:
            self.pairs.append((original, copy))
            self._compared_bytes += size
        self._row += 1

    def _flip(self, originals: pa.Table, published: pa.Table) -> float:
        first = [table[self.column][:JUDGED].to_pylist() for table in (originals, published)]
        return round(compare(zip(*first, strict=True)).flip, 3)

    def _originals(self, table: pa.Table) -> list[bytes]:
        return [value or b"" for value in pc.struct_field(table[self.column], "bytes").to_pylist()]

    def _protect(self, batch: pa.Table, split: str, first_row: int, _: Sequence[str]) -> pa.Table:
        read = {name: batch[name].to_pylist() for name in self.protector.columns if name in batch.column_names}
        try:
            done = self.protector(dict(read), list(range(first_row, first_row + len(batch))))[self.column]
        except ImageError as error:
            raise ImageError(
                f"split {split!r}, {error} The rows in finished shards are kept: mend the image or leave it out, and "
                "the same command goes on behind them."
            ) from error
        position = batch.schema.get_field_index(self.column)
        kind = batch.schema.field(position)
        return batch.set_column(position, kind, pa.array(done, kind.type))

    def _take(self, file: Path, split: str, number: int, known: bool) -> None:
        # Another run of the same job may have been faster, with the same rows; one of another job is refused.
        if known or self._open(split, number) is None:
            self.destination.take(file, shard_path(split, number))
