"""The two kinds of job that `uc-hf protect` does: a folder of images, or a dataset with splits."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets

from uc_hf.checks import check_dataset
from uc_hf.columns import image_column
from uc_hf.errors import DatasetError, SettingError
from uc_hf.folders import check_folder, folder_images
from uc_hf.images import Container
from uc_hf.outputs import Outcome, protect_dataset, protect_folder
from uc_hf.protector import UCProtector
from uc_hf.sources import is_image_folder, open_dataset


TEST_SPLITS = ("test", "validation", "val", "valid")
"""Carried over clean unless named: nobody trains on them, and scoring needs clean ones."""


@dataclass(frozen=True)
class FolderJob:
    """A folder of images in, the same folder tree out."""

    source: Path

    def sample(self, column: str | None, container: Container) -> datasets.Dataset:
        """The images to fit on, after a look at every one of them.

        Raises:
            DatasetError: no images, or two that would have the same copy.
            ImageError: images that cannot be protected, named by their path.
        """
        names = list(folder_images(self.source, container))
        check_folder(self.source, names, container)
        paths = datasets.Dataset.from_dict({"image": [str(self.source / name) for name in names]})
        return paths.cast_column("image", datasets.Image())

    def run(self, out: Path, protector: UCProtector) -> Outcome:
        """Write the protected copies."""
        return protect_folder(self.source, out, protector)


@dataclass(frozen=True)
class DatasetJob:
    """A dataset in, parquet shards out; `chosen` splits are protected, the others carried over clean."""

    splits: datasets.DatasetDict
    chosen: Sequence[str]

    def sample(self, column: str | None, container: Container) -> datasets.Dataset:
        """The rows to fit on, after a look at every one of them.

        Raises:
            DatasetError: no rows, or no (or more than one) column of images.
            ImageError: images that cannot be protected, named by split and row.
        """
        for split in self.chosen:
            dataset = self.splits[split]
            check_dataset(dataset, image_column(dataset.features, column), container, split)
        return datasets.concatenate_datasets([self.splits[split] for split in self.chosen])

    def run(self, out: Path, protector: UCProtector) -> Outcome:
        """Write the shards."""
        return protect_dataset(self.splits, self.chosen, out, protector)


def open_job(source: str, splits: Sequence[str]) -> FolderJob | DatasetJob:
    """The job that a source asks for.

    Raises:
        DatasetError: the source cannot be opened, or lacks a split.
        SettingError: splits of a folder of images.
    """
    if is_image_folder(Path(source)):
        if splits:
            raise SettingError(f"--split {splits[0]}: a folder of images has no splits. Name the folder within it.")
        return FolderJob(Path(source))
    opened = open_dataset(source)
    return DatasetJob(opened, _choose(opened, splits))


def _choose(opened: datasets.DatasetDict, asked: Sequence[str]) -> list[str]:
    for split in asked:
        if split not in opened:
            raise DatasetError(f"there is no split {split!r}; the splits are {', '.join(map(repr, opened))}.")
    chosen = [split for split in opened if split in asked] if asked else []
    chosen = chosen or [split for split in opened if split not in TEST_SPLITS]
    if not chosen:
        raise DatasetError(
            f"all splits are test splits by their name ({', '.join(opened)}), which are carried over clean. "
            f"Write --split {next(iter(opened))} to protect one all the same."
        )
    return chosen
