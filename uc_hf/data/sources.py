"""A source that a user names (a folder, a file, or a dataset on the Hub) -> a DatasetDict."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError
from huggingface_hub import resolve_revision
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionResolutionError,
)

from uc_hf.data import unopened
from uc_hf.data.folders import Folder, list_folder, summary
from uc_hf.data.pointers import Home, confined
from uc_hf.data.tables import is_table, open_remote_tables, open_tables
from uc_hf.errors import NO_SPACE, DatasetError, OutputError, first_line, shown
from uc_hf.files import read_file


logger = logging.getLogger(__name__)


def open_dataset(source: str, *, streaming: bool = False) -> datasets.DatasetDict | datasets.IterableDatasetDict:
    """Open a dataset of any kind. Rows that point to files outside the dataset are refused.

    Args:
        source: a folder written by `save_to_disk`, a parquet file, a folder of parquet files, a folder of images in
            class folders (with what metadata.csv and its kin say of them), parquet files at an address that fsspec
            opens (s3://, gs://, hf://), or the name of a dataset on the Hub.
        streaming: rows are read as they are asked for, where they would otherwise be copied into the cache: from
            parquet files and the Hub. (Saved datasets are read in place, and of images in a folder only the paths are
            noted down.)

    Returns:
        its splits; a single `Dataset` becomes {"train": ...}.

    Raises:
        DatasetError: the source is none of these, cannot be read or fetched, or points to files that are not its own
            (rows of a stream when their turn comes).
    """
    path = Path(source)
    if path.is_dir():
        return _open_folder(path, streaming)
    if path.is_file():
        if not is_table(path):
            raise DatasetError(unopened.of_file(path))
        return _confined(_load(source, lambda: open_tables(path, streaming=streaming)), Home())
    if source.startswith(("http://", "https://")):
        raise DatasetError(unopened.of_address(source))
    if "://" in source:
        return _confined(_load(source, lambda: open_remote_tables(source, streaming=streaming)), Home())
    return open_from_hub(source, streaming=streaming)


def train_and_test(
    splits: datasets.DatasetDict, source: str, *, train_images: int, test_images: int
) -> tuple[datasets.Dataset, datasets.Dataset]:
    """Seeded samples of the splits "train" and "test" with at most so many rows.

    Raises:
        DatasetError: one of the two is missing; `source` names the dataset in the message.
    """
    if missing := {"train", "test"} - set(splits):
        raise DatasetError(f"{source} has no split {' or '.join(sorted(missing))}; it has {', '.join(splits)}.")

    def sample(split: datasets.Dataset, limit: int) -> datasets.Dataset:
        return split.shuffle(seed=0).select(range(min(limit, len(split))))

    return sample(splits["train"], train_images), sample(splits["test"], test_images)


def image_folder(path: Path) -> Folder | None:
    """The images of a folder; None if it holds no images or is a dataset."""
    if not path.is_dir() or _is_saved(path):
        return None
    folder = list_folder(path)
    return folder if folder.pictures and not any(map(is_table, folder.others)) else None


def _is_saved(path: Path) -> bool:
    return (path / "dataset_dict.json").is_file() or (path / "state.json").is_file()


def _open_folder(path: Path, streaming: bool) -> datasets.DatasetDict | datasets.IterableDatasetDict:
    if _is_saved(path):
        saved = _load(str(path), lambda: _load_saved(path))
        splits = saved if isinstance(saved, datasets.DatasetDict) else datasets.DatasetDict(train=saved)
        return _confined(splits, Home(path))
    folder = list_folder(path)
    if any(map(is_table, folder.others)):
        if folder.pictures:
            logger.warning(
                "%s holds parquet files and is read as their rows. Pictures beside them are left out, unless a row "
                "points to one: %s.",
                path,
                summary(folder.pictures),
            )
        return _confined(_load(str(path), lambda: open_tables(path, streaming=streaming)), Home(path))
    if folder.pictures:
        folder.warn()
        return folder.rows(folder.metadata())
    left_out = "".join(f" {kind}: {summary(paths)}." for kind, paths in folder.left_out.items())
    raise DatasetError(f"{unopened.of_folder(path, folder.others)}{left_out}")


def _load_saved(path: Path) -> datasets.DatasetDict | datasets.Dataset:
    """A dataset written by `save_to_disk`; its JSON files must not name files outside the folder."""
    whole = path / "dataset_dict.json"
    parts = [path]
    if whole.is_file():
        parts = [path / _own_name(path, name) for name in json.loads(read_file(whole))["splits"]]
    for part in parts:
        for file in json.loads(read_file(part / "state.json"))["_data_files"]:
            if not (part / _own_name(path, file["filename"])).is_file():
                raise DatasetError(f"the saved dataset {path} lacks {shown(file['filename'])!r}. Copy it again.")
    return datasets.load_from_disk(str(path))


def _own_name(path: Path, name: str) -> str:
    if name in ("", ".", "..") or Path(name).name != name:
        raise DatasetError(f"the saved dataset {path} points to {shown(name)!r}, which is not one of its own files.")
    return name


def _confined(splits: Any, home: Home) -> Any:
    return type(splits)({split: confined(part, home, split) for split, part in splits.items()})


def open_from_hub(source: str, *, streaming: bool) -> datasets.DatasetDict | datasets.IterableDatasetDict:
    """Open a dataset on the Hub, as `open_dataset` does.

    Raises:
        DatasetError: as `open_dataset`.
    """
    nowhere = f"{source!r} is neither a local file or folder nor a dataset on the Hub"
    try:
        # Fails at once, while load_dataset would retry for half a minute.
        resolve_revision(source, repo_type="dataset")
    except HFValidationError as error:
        raise DatasetError(f"{nowhere}. Check the path; a name on the Hub is written owner/name.") from error
    except RepositoryNotFoundError as error:
        raise DatasetError(f"{nowhere} that you may read. Check the spelling. {_LOGIN}") from error
    except RevisionResolutionError as error:
        raise DatasetError(
            f"there is no local file or folder {source!r}, it is not in the cache, and the Hub is not in reach. "
            "Check the path, or connect."
        ) from error
    except HfHubHTTPError as error:
        raise DatasetError(f"the Hub does not give {source!r}: {first_line(error)}. {_LOGIN}") from error
    return _confined(_load(source, lambda: _load_from_hub(source, streaming)), Home.on_hub(source))


def _load_from_hub(source: str, streaming: bool) -> datasets.DatasetDict | datasets.IterableDatasetDict:
    builder = datasets.load_dataset_builder(source)
    own = Home.on_hub(source)
    for file in (file for files in (builder.config.data_files or {}).values() for file in files):
        if reason := own.refusal(str(file)):
            raise DatasetError(
                f"the dataset {source!r} consists of files that are not its own: {shown(file)!r}: {reason}. "
                "If you trust it, write load_dataset(...).save_to_disk(FOLDER) in Python and name FOLDER."
            )
    if streaming:
        return builder.as_streaming_dataset()
    builder.download_and_prepare()
    return builder.as_dataset()


_LOGIN = "If it is private or gated, ask for access on its page and run `hf auth login`."
_MORE_THAN_A_NAME = (
    "If load_dataset needs more than the name, write load_dataset(...).save_to_disk(FOLDER) in Python and name FOLDER."
)


def _load(source: str, load: Callable[[], Any]) -> Any:
    """The result of `load`; errors of `datasets` are raised in our words."""
    try:
        return load()
    except DatasetError:
        raise
    except DatasetNotFoundError as error:
        raise DatasetError(f"the Hub does not give {source!r}: {first_line(error)}. {_LOGIN}") from error
    except (ConnectionError, HfHubHTTPError) as error:
        raise DatasetError(f"{source!r} cannot be fetched: {first_line(error)}. Connect, and try again.") from error
    except DatasetGenerationError as error:
        reason = first_line(error.__cause__ or error)
        if getattr(error.__cause__, "errno", None) in NO_SPACE:
            raise OutputError(
                f"{source!r} does not fit into the cache: {reason}. Make room in {datasets.config.HF_DATASETS_CACHE}, "
                "or set HF_HOME to a folder that has some."
            ) from error
        raise DatasetError(f"{source!r} cannot be read: {reason}. Mend or remove the file it names.") from error
    except (FileNotFoundError, RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
        remedy = _MORE_THAN_A_NAME
        if Path(source).exists():
            remedy = "Mend it, or write it anew with save_to_disk or to_parquet."
        raise DatasetError(f"{source!r} cannot be read: {first_line(error)}. {remedy}") from error
