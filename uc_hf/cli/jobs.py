"""The two kinds of job that `uc-hf protect` does: a folder of images, or a dataset with splits."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets

from uc_hf.data.checks import check_dataset
from uc_hf.data.columns import image_column
from uc_hf.data.folders import check_folder, folder_images, without_copy
from uc_hf.data.images import Container
from uc_hf.data.rows import read_rows
from uc_hf.data.sources import is_image_folder, open_dataset
from uc_hf.errors import SettingError
from uc_hf.protecting.protector import Protector
from uc_hf.publishing.dataset import Splits, choose_splits, common_features, protect_dataset
from uc_hf.publishing.hub import HubRepository
from uc_hf.publishing.image_folder import protect_folder
from uc_hf.publishing.local import LocalFolder
from uc_hf.publishing.outcome import Outcome
from uc_hf.publishing.publish import push_shards


@dataclass(frozen=True)
class FolderJob:
    """A folder of images in: the same folder tree out, or rows on the Hub; all of them are protected."""

    source: Path

    def check(self, column: str | None, container: Container, out: Path | None) -> None:
        """Look at every image that has no copy yet, before time is spent on any.

        Raises:
            DatasetError: no images, or two that would have the same copy.
            ImageError: images that cannot be protected, named by their path.
        """
        copies = folder_images(self.source, container)
        check_folder(self.source, list(copies) if out is None else without_copy(copies, out), container)

    def sample(self, container: Container) -> datasets.Dataset:
        """The images to fit on."""
        names = folder_images(self.source, container)
        paths = datasets.Dataset.from_dict({"image": [str(self.source / name) for name in names]})
        return paths.cast_column("image", datasets.Image())

    def write(self, out: Path, protector: Protector) -> Outcome:
        """Write the protected copies into a folder."""
        return protect_folder(self.source, out, protector, check=False)

    def push(self, repository: HubRepository, protector: Protector) -> Outcome:
        """Protect and push piece by piece: a row for each image, labelled by its folder where there are several."""
        rows = open_dataset(str(self.source))
        outcome = protect_dataset(rows, list(rows), repository, protector, self.source.resolve().name)
        repository.introduce(protector, None, list(rows), [])
        return outcome

    def upload(self, out: Path, repository: HubRepository, protector: Protector) -> None:
        """Push the protected copies that `write` has written, as rows like those of `push`."""
        rows = open_dataset(str(out))
        protect_dataset(rows, list(rows), repository, protector, self.source.resolve().name, as_they_are=True)
        repository.introduce(protector, None, list(rows), [])


@dataclass(frozen=True)
class DatasetJob:
    """A dataset in, parquet shards out; `chosen` splits are protected, the others carried over clean."""

    source: str
    splits: Splits
    chosen: Sequence[str]

    def check(self, column: str | None, container: Container, out: Path | None) -> None:
        """Look at every row where they are at hand, before time is spent on any; a Hub's stream is not read through.

        Raises:
            DatasetError: no rows, no (or more than one) column of images, or files that are not the dataset's own.
            ImageError: images that cannot be protected, named by split and row.
        """
        for split, part in self.splits.items():
            streamed = isinstance(part, datasets.IterableDataset)
            if streamed and not Path(self.source).exists():
                continue
            if split in self.chosen:
                check_dataset(part, image_column(part.features, column), container, split)
            elif streamed:
                deque(read_rows(part, f"the split {split!r}"), maxlen=0)

    def sample(self, container: Container) -> Any:
        """The rows to fit on."""
        parts = [self.splits[split] for split in self.chosen]
        if isinstance(parts[0], datasets.IterableDataset):
            parts = [part.decode(False) for part in parts]
        return datasets.concatenate_datasets(parts)

    def write(self, out: Path, protector: Protector) -> Outcome:
        """Write the shards into a folder."""
        return protect_dataset(self.splits, self.chosen, LocalFolder(out), protector, self._name)

    def push(self, repository: HubRepository, protector: Protector) -> Outcome:
        """Protect and push shard by shard."""
        outcome = protect_dataset(self.splits, self.chosen, repository, protector, self._name)
        repository.introduce(protector, self.source, self.chosen, outcome.carried)
        return outcome

    def upload(self, out: Path, repository: HubRepository, protector: Protector) -> None:
        """Push the shards that `write` has written."""
        push_shards(out, self.splits, self.chosen, repository, protector, self._name)
        repository.introduce(
            protector, self.source, self.chosen, [split for split in self.splits if split not in self.chosen]
        )

    @property
    def _name(self) -> str:
        """The source's name: where a local one lies does not matter, it can be moved between two runs."""
        return Path(self.source).resolve().name if Path(self.source).exists() else self.source


def open_job(source: str, splits: Sequence[str], *, streaming: bool) -> FolderJob | DatasetJob:
    """The job that a source asks for.

    Args:
        source: as the user wrote it.
        splits: those that the user named.
        streaming: read a dataset as it is protected, rather than copying it to this machine first.

    Raises:
        DatasetError: the source cannot be opened, lacks a split, or has splits that cannot be one dataset.
        SettingError: splits of a folder of images.
    """
    if is_image_folder(Path(source)):
        if splits:
            raise SettingError(f"--split {splits[0]}: a folder of images has no splits. Name the folder within it.")
        return FolderJob(Path(source))
    opened = open_dataset(source, streaming=streaming)
    common_features(opened)
    return DatasetJob(source, opened, choose_splits(opened, splits))
