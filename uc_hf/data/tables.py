"""Local parquet files -> rows. A README.md or the names of the files determine the splits.

`datasets` would trust the README.md of a folder, which can name files anywhere, and would drop files whose names
contain no split as soon as one name contains one.
"""

import glob
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import fsspec
import yaml
from datasets.data_files import sanitize_patterns
from datasets.info import DatasetInfosDict
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCard

from uc_hf.data.folders import list_folder
from uc_hf.data.metadata import NAMES
from uc_hf.errors import DatasetError, first_line, shown


logger = logging.getLogger(__name__)

CARD = "README.md"

_SHARD = re.compile(r"(?P<split>\w+(?:\.\w+)*)-\d{5,}(?:-of-\d{5,})?\.parquet", re.IGNORECASE)
_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}


def is_table(file: Path) -> bool:
    """Whether a file holds rows of a dataset; metadata.parquet describes the pictures beside it."""
    return file.suffix.lower() == ".parquet" and file.name not in NAMES


def open_tables(path: Path, *, streaming: bool) -> datasets.DatasetDict | datasets.IterableDatasetDict:
    """The rows of a parquet file, or of a folder of them.

    Raises:
        DatasetError: the folder's README.md cannot be read, or does not describe these files.
    """
    features = None
    splits = {"train": [path]}
    if path.is_dir():
        config, features = _described(path / CARD)
        splits = _splits(path, config)
    escaped = {split: [glob.escape(str(file.absolute())) for file in files] for split, files in splits.items()}
    return datasets.load_dataset("parquet", data_files=escaped, features=features, streaming=streaming)


def open_remote_tables(address: str, *, streaming: bool) -> datasets.DatasetDict | datasets.IterableDatasetDict:
    """The rows of a parquet file, or of all below a folder, at an address that fsspec opens, such as s3://.

    Raises:
        DatasetError: there are none, or nothing here opens such an address.
    """
    try:
        system, place = fsspec.core.url_to_fs(address)
    except (ImportError, ValueError) as error:
        raise DatasetError(f"{shown(address)!r} cannot be opened: {first_line(error)}.") from error
    names = [name for name in system.find(place) if is_table(Path(name)) and "/." not in name.removeprefix(place)]
    if not names:
        raise DatasetError(f"{shown(address)!r} holds no parquet files; pictures there have to be downloaded first.")
    files = [Path(name) for name in sorted(names)]
    splits = {"train": files} if system.isfile(place) else named_splits(Path(place), files)
    written = {
        split: [system.unstrip_protocol(glob.escape(file.as_posix())) for file in part]
        for split, part in splits.items()
    }
    return datasets.load_dataset("parquet", data_files=written, streaming=streaming)


def _described(card: Path) -> tuple[dict[str, Any], datasets.Features | None]:
    """The configuration and the features that a README.md gives for the dataset beside it."""
    if not card.is_file():
        return {}, None
    try:
        data = DatasetCard.load(card).data
        configs = MetadataConfigs.from_dataset_card_data(data)
        infos = DatasetInfosDict.from_dataset_card_data(data)
    except (ValueError, TypeError, LookupError, AttributeError, yaml.YAMLError) as error:
        raise DatasetError(f"{card} cannot be read: {first_line(error)}. Mend its YAML, or remove it.") from error
    name = configs.get_default_config_name() or next(iter(configs or infos), "default")
    if name not in configs and len(configs) > 1:
        raise DatasetError(
            f"{card} describes several datasets: {', '.join(map(shown, configs))}. Name the files of one."
        )
    return configs.get(name, {}), infos[name].features if name in infos else None


def _splits(folder: Path, config: dict[str, Any]) -> dict[str, list[Path]]:
    files = [folder / file for file in list_folder(folder).others if is_table(file)]
    if linked := [file for file in files if not Path(os.path.realpath(file)).is_relative_to(os.path.realpath(folder))]:
        logger.warning("%s is read, to which a link leads from %s.", shown(os.path.realpath(linked[0])), folder)
    if "data_files" in config:
        return _claimed(folder, files, config["data_files"])
    if "data_dir" in config:
        files = [file for file in files if file.is_relative_to(folder / str(config["data_dir"]))]
    return named_splits(folder, files)


def _claimed(folder: Path, files: Sequence[Path], patterns: Any) -> dict[str, list[Path]]:
    """The files of each split by the README.md; files outside the folder are refused."""
    splits: dict[str, list[Path]] = {}
    for split, written in sanitize_patterns(patterns).items():
        if odd := [pattern for pattern in written if Path(pattern).is_absolute() or ".." in Path(pattern).parts]:
            raise DatasetError(f"{folder / CARD} names files outside its folder: {shown(odd[0])!r}. Correct it.")
        # Unlike Path.glob it knows the "**.parquet" of the Hub.
        names = [name for pattern in written for name in glob.glob(pattern, root_dir=folder, recursive=True)]  # noqa: PTH207
        found = {folder / name for name in names}
        splits[split] = [file for file in files if file in found]
        if not splits[split]:
            raise DatasetError(
                f"{folder / CARD} names {shown(', '.join(written))!r} as the split {shown(split)!r}, and the folder "
                "holds no such parquet file. Mend it, or remove it."
            )
    return splits


def named_splits(folder: Path, files: Sequence[Path]) -> dict[str, list[Path]]:
    """The files of each split by their names or folders; all are "train" if some of them name no split."""
    shards = [_SHARD.fullmatch(file.name) for file in files]
    named = [
        shard["split"] if shard else _split_word(file.relative_to(folder))
        for shard, file in zip(shards, files, strict=True)
    ]
    if None in named:
        if odd := [file for file, name in zip(files, named, strict=True) if name not in (None, "train")]:
            logger.warning(
                "%s has the name of a split, other files in %s have none: all are read as the split 'train'.",
                shown(odd[0].name),
                folder,
            )
        return {"train": list(files)}
    found = sorted({name for name in named if name}, key=lambda name: ([*_WORDS, name].index(name), name))
    return {split: [file for file, name in zip(files, named, strict=True) if name == split] for split in found}


def _split_word(file: Path) -> str | None:
    """The split in a file's name, or else in the name of the innermost folder that has one."""
    for part in (file.stem, *reversed(file.parent.parts)):
        words = set(re.split(r"[^a-z]+", part.lower()))
        if split := next((split for split, names in _WORDS.items() if words & set(names)), None):
            return split
    return None
