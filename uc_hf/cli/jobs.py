"""The two kinds of job that `uc-hf protect` does: a folder of images, or a dataset with splits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa

from uc_hf.data.arrays import refuse_arrays
from uc_hf.data.checks import Look, Skipping
from uc_hf.data.columns import image_column, refuse_clean_twins
from uc_hf.data.folders import BAD, DESCRIBED, Folder, check_folder, pick
from uc_hf.data.metadata import NAMES, Metadata, write_metadata
from uc_hf.data.sources import image_folder, open_dataset
from uc_hf.data.splits import choose_splits
from uc_hf.errors import BadImage, SettingError
from uc_hf.fitting.settings import CommonSettings
from uc_hf.protecting.protector import Protector
from uc_hf.publishing.dataset import Made, Splits, common_features, protect_dataset
from uc_hf.publishing.destination import Destination, Store
from uc_hf.publishing.image_folder import check_copies, protect_folder
from uc_hf.publishing.local import LocalFolder
from uc_hf.publishing.manifest import Manifest
from uc_hf.publishing.marks import JUDGED, Work
from uc_hf.publishing.outcome import Outcome
from uc_hf.publishing.parts import Finished, FinishedRows, Part, gather
from uc_hf.publishing.publish import push_shards
from uc_hf.scoring.imperceptibility import compare


@dataclass(frozen=True)
class FolderJob:
    """A folder of images in: the same folder tree out, or rows at a destination; `chosen` splits are protected."""

    folder: Folder
    chosen: Sequence[str]
    metadata: Metadata | None = None
    picked: bool = False
    """Whether its pictures were named one by one: what else lies in the output is not left over then."""
    skip_bad: bool = False
    """Whether images that cannot be protected are left out."""

    def check(
        self,
        column: str | None,
        settings: CommonSettings,
        out: Path | None,
        manifest: Manifest | None,
        *,
        verify: bool,
    ) -> None:
        """Check every image that has no finished copy, before the work begins.

        Args:
            column: the image column; a folder has none.
            settings: the protector's.
            out: the folder of the copies; None if they are only pushed.
            manifest: the finished files of an earlier run in `out`; None if there was none.
            verify: read all finished files, even if sizes and times are unchanged.

        Raises:
            DatasetError: two images that would have the same copy.
            ImageError: images that cannot be protected, named by their path.
        """
        check_copies(self.folder, self.chosen, settings, out, manifest, verify=verify, skip_bad=self.skip_bad)

    @property
    def images(self) -> int:
        """How many are to be protected."""
        only = self.folder.only
        return len(self._protected if only is None else [name for name in self._protected if name in only])

    @property
    def left_out(self) -> Mapping[str, Sequence[Any]]:
        """Why pictures have no copy -> their paths."""
        return self.folder.left_out

    def without(self, bad: Sequence[BadImage]) -> "FolderJob":
        """The job without some of its images, which have no copy then."""
        return replace(self, folder=self.folder.without(bad))

    def part(self, part: Part) -> "FolderJob":
        """One part of the job.

        Raises:
            SettingError: there are fewer images than parts.
        """
        part.check(len(self._protected))
        share = part.share(len(self._protected))
        return replace(self, folder=replace(self.folder, only=frozenset(self._protected[share.start : share.stop])))

    def check_clean(self, settings: CommonSettings) -> None:
        """Check the images that are copied clean, which no part has done.

        Raises:
            ImageError: images that cannot be copied.
        """
        clean = [name for split in self._clean for name in self.folder.splits[split]]
        check_folder(self.folder.root, clean, settings.stored_as, clean, keep_exif=settings.keep_exif)

    def join(
        self, parts: Sequence[Finished], bad: Sequence[BadImage], out: Path, protector: Protector, manifest: Manifest
    ) -> Outcome:
        """Move the copies of all parts into one folder, and add what is copied clean.

        Args:
            parts: all of them.
            bad: the images that they have left out.
            out: the folder.
            protector: theirs.
            manifest: the finished files of the folder.

        Raises:
            PartError: a part is not finished, or its files or their originals have changed.
        """
        whole = self.without(bad) if bad else self
        copies, protected = whole.folder.copies(protector.settings.stored_as, self._clean), self._protected
        shares = [(finished, finished.part.share(len(protected))) for finished in parts]
        named = [
            (finished, {name: copies[name] for name in protected[share.start : share.stop] if name in copies})
            for finished, share in shares
        ]
        gather(named, self.folder.root, out, manifest)
        return whole.write(out, protector, manifest)

    def sample(self, settings: CommonSettings) -> datasets.Dataset:
        """The images to fit on."""
        rows = self.folder.rows()
        return datasets.concatenate_datasets([rows[split] for split in self.chosen])

    def write(self, out: Path, protector: Protector, manifest: Manifest) -> Outcome:
        """Write the protected copies into a folder."""
        outcome = protect_folder(self.folder, out, protector, manifest, splits=self.chosen)
        orphans = [] if self.picked else list(outcome.orphans)
        if self.metadata is not None:
            copies = self.folder.copies(protector.settings.stored_as, self._clean)
            write_metadata(self.folder.root, self.folder.described, copies, out)
        else:
            orphans += [str(file) for file in self.folder.described if (out / file).is_file()]
        return replace(outcome, noted=self._noted, orphans=orphans)

    def push(self, destination: Destination, protector: Protector) -> Outcome:
        """Protect and push piece by piece: a row for each image, labelled by its folder where there are several."""
        outcome = protect_dataset(self.folder.rows(self.metadata), self.chosen, destination, protector, self._name)
        destination.introduce(protector, None, self.chosen, self._clean)
        return replace(outcome, ignored=self.folder.ignored, left_out=self.folder.left_out, noted=self._noted)

    def upload(self, out: Path, destination: Destination, protector: Protector) -> None:
        """Push the protected copies that `write` has written, as rows like those of `push`."""
        copies = self.folder.copies(protector.settings.stored_as, self._clean)
        rows = self.folder.rows(self.metadata, {name: out / copy for name, copy in copies.items()})
        flip = compare((self.folder.root / name, out / copies[name]) for name in self._protected[:JUDGED]).flip
        protect_dataset(rows, self.chosen, destination, protector, self._name, made=_as_they_are, flip=flip)
        destination.introduce(protector, None, self.chosen, self._clean)

    @property
    def _noted(self) -> dict[str, Sequence[Path]]:
        taken_along = self.metadata is not None
        return {kind: paths for kind, paths in self.folder.noted.items() if not (taken_along and kind == DESCRIBED)}

    @property
    def _clean(self) -> list[str]:
        return [split for split in self.folder.splits if split not in self.chosen]

    @property
    def _protected(self) -> list[Path]:
        return [name for split in self.chosen for name in self.folder.splits[split]]

    @property
    def _name(self) -> str:
        return self.folder.root.resolve().name


@dataclass(frozen=True)
class DatasetJob:
    """A dataset in, parquet shards out; `chosen` splits are protected, the others copied clean.

    `bad` images were left out of the stored splits; with `skip_bad` they are left out of a stream as it is read. A
    split begins with its row of `first`, where the job is a part of one.
    """

    source: str
    splits: Splits
    chosen: Sequence[str]
    keep_clean: Sequence[str]
    skip_bad: bool
    bad: Sequence[BadImage] = ()
    first: Mapping[str, int] = field(default_factory=dict)

    def check(
        self,
        column: str | None,
        settings: CommonSettings,
        out: Path | None,
        manifest: Manifest | None,
        *,
        verify: bool,
    ) -> None:
        """Check every row before the work begins, except in streams from the Hub: they are read only once.

        Raises:
            DatasetError: no rows, no (or more than one) column of images, or files that are not the dataset's own.
            ImageError: images that cannot be protected, named by split and row.
        """
        features = common_features(self.splits)
        column = image_column(features, column)
        refuse_clean_twins(features, column, self.keep_clean)
        if out is not None and manifest is not None and verify:
            for name in manifest.names:
                manifest.holds(name, out / name, verify=True)
        look = Look(settings.stored_as)
        for split, part in self.splits.items():
            first = self.first.get(split, 0)
            if isinstance(part, datasets.IterableDataset) and not Path(self.source).exists():
                continue
            if split in self.chosen:
                look.at_rows(refuse_arrays(part, column, self.keep_clean), column, split, first)
            look.at_carried(part, split, settings.keep_exif, column if split in self.chosen else None, first)
        look.end()

    @property
    def images(self) -> int | None:
        """How many are to be protected; None where rows are read as they come."""
        parts = [self.splits[split] for split in self.chosen]
        sizes = [len(part) for part in parts if isinstance(part, datasets.Dataset)]
        return sum(sizes) - sum(self.first.values()) if len(sizes) == len(parts) else None

    @property
    def left_out(self) -> Mapping[str, Sequence[Any]]:
        """Why rows have no copy -> the rows."""
        return {BAD: [str(image) for image in self.bad]} if self.bad else {}

    def without(self, bad: Sequence[BadImage]) -> "DatasetJob":
        """The job without some of its rows; those of other parts are none of its own."""
        own = {
            (split, image.place): image
            for image in bad
            if (split := image.split or "") in self.splits
            and isinstance(image.place, int)
            and image.place >= self.first.get(split, 0)
        }
        splits = {
            split: part.select([row for row in range(len(part)) if (split, row) not in own])
            if isinstance(part, datasets.Dataset)
            else part
            for split, part in self.splits.items()
        }
        stored = [image for (split, _), image in own.items() if isinstance(self.splits[split], datasets.Dataset)]
        return replace(self, splits=splits, bad=stored)

    def part(self, part: Part) -> "DatasetJob":
        """One part of the job.

        Raises:
            SettingError: there are fewer rows than parts.
        """
        sizes = {split: len(self.splits[split]) for split in self.chosen}
        part.check(max(sizes.values()))
        shares = {split: share for split, size in sizes.items() if (share := part.share(size))}
        splits = {split: self.splits[split].select(range(share.stop)) for split, share in shares.items()}
        first = {split: share.start for split, share in shares.items()}
        return replace(self, splits=splits, chosen=list(splits), first=first)

    def check_clean(self, settings: CommonSettings) -> None:
        """Check the splits that are copied clean, which no part has done.

        Raises:
            ImageError: images that cannot be copied.
        """
        look = Look(settings.stored_as)
        for split in self._clean:
            look.at_carried(self.splits[split], split, settings.keep_exif)
        look.end()

    def join(
        self, parts: Sequence[Finished], bad: Sequence[BadImage], out: Path, protector: Protector, manifest: Manifest
    ) -> Outcome:
        """Write the rows of all parts into one folder, in the shards that one job would have written.

        Raises:
            PartError: as of `FolderJob.join`, or a part was made of other rows.
        """
        counted = [(part, self.part(part.part).without(bad)._counts) for part in parts]
        made = FinishedRows(counted, Work.of(protector, self._name), common_features(self.splits))
        return self.without(bad)._protect(LocalFolder(out, manifest), protector, made)

    @property
    def _counts(self) -> dict[str, int]:
        """The number of rows of each split, from its first on."""
        return {split: len(part) - self.first.get(split, 0) for split, part in self.splits.items()}

    def sample(self, settings: CommonSettings) -> Any:
        """The rows to fit on."""
        splits, _ = self._readable(settings, image_column(common_features(self.splits), settings.image_column))
        parts = [splits[split] for split in self.chosen]
        if isinstance(parts[0], datasets.IterableDataset):
            parts = [part.decode(False) for part in parts]
        return datasets.concatenate_datasets(parts)

    def write(self, out: Path, protector: Protector, manifest: Manifest) -> Outcome:
        """Write the shards into a folder."""
        return self._protect(LocalFolder(out, manifest), protector)

    def push(self, destination: Destination, protector: Protector) -> Outcome:
        """Protect and push shard by shard."""
        outcome = self._protect(destination, protector)
        destination.introduce(protector, self.source, self.chosen, self._clean)
        return outcome

    def _protect(self, store: Store, protector: Protector, made: Made | None = None) -> Outcome:
        splits, guards = self._readable(protector.settings, protector.fitted.column)
        at_hand = Path(self.source).exists()
        first = self.first
        outcome = protect_dataset(
            splits, self.chosen, store, protector, self._name, made=made, first=first, at_hand=at_hand
        )
        bad = [*self.bad, *(image for guard in guards for image in guard.bad.values())]
        return replace(outcome, left_out={BAD: [str(image) for image in bad]} if bad else {})

    def _readable(self, settings: CommonSettings, column: str) -> tuple[Splits, list[Skipping]]:
        """The splits, without arrays in streams that may be pictures, and the guards that collect their bad rows."""
        guards = {
            split: Skipping(
                part.features, split, column if split in self.chosen else None, settings.stored_as, settings.keep_exif
            )
            for split, part in self.splits.items()
            if self.skip_bad and isinstance(part, datasets.IterableDataset)
        }
        splits = dict(self.splits)
        for split, part in splits.items():
            if isinstance(part, datasets.IterableDataset):
                part = refuse_arrays(part, column, self.keep_clean) if split in self.chosen else part
                splits[split] = guards[split].over(part) if split in guards else part
        return splits, list(guards.values())

    def upload(self, out: Path, destination: Destination, protector: Protector) -> None:
        """Push the shards that `write` has written."""
        push_shards(out, self.splits, self.chosen, destination, protector, self._name)
        destination.introduce(protector, self.source, self.chosen, self._clean)

    @property
    def _clean(self) -> list[str]:
        return [split for split in self.splits if split not in self.chosen]

    @property
    def _name(self) -> str:
        """The source's name, without the folder of a local one: it can be moved between two runs."""
        return Path(self.source).resolve().name if Path(self.source).exists() else self.source


def _as_they_are(rows: pa.Table, *_: object) -> pa.Table:
    return rows


def open_job(
    source: str | Sequence[Path],
    splits: Sequence[str],
    keep_clean: Sequence[str],
    *,
    streaming: bool,
    skip_bad: bool,
    metadata: bool,
) -> FolderJob | DatasetJob:
    """The job that a source asks for.

    Args:
        source: as the user wrote it, or files of pictures.
        splits: the splits that the user named.
        keep_clean: further columns of images that may be published unchanged.
        streaming: read a dataset while it is protected, instead of downloading it first.
        skip_bad: leave out the rows of a stream that cannot be protected.
        metadata: also publish what metadata.csv (or .jsonl, .parquet) says about the images of a folder.

    Raises:
        DatasetError: the source cannot be opened, lacks a split, or has splits that cannot be one dataset.
        SettingError: splits or columns of a folder of images, which has none.
    """
    picked = not isinstance(source, str)
    folder = image_folder(Path(source)) if isinstance(source, str) else pick(source)
    if folder is not None:
        parts = folder.splits
        if keep_clean:
            raise SettingError(f"--keep-clean {keep_clean[0]}: a folder of images has no such column.")
        if splits and len(parts) == 1:
            raise SettingError(
                f"--split {splits[0]}: a folder of images has no splits, unless it holds train/ and test/ or "
                "validation/ and nothing else. Name the folder within it."
            )
        described = folder.metadata() if metadata else None
        if metadata and described is None:
            raise SettingError(f"--metadata: the folder {source} holds none of {', '.join(sorted(NAMES))}.")
        return FolderJob(folder, choose_splits(parts, splits), described, picked, skip_bad)
    if metadata:
        raise SettingError("--metadata is for folders of images; all columns of a dataset go along.")
    opened = open_dataset(str(source), streaming=streaming)
    common_features(opened)
    return DatasetJob(str(source), opened, choose_splits(opened, splits), keep_clean, skip_bad)
