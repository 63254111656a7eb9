"""What a user names on the command line -> a DatasetDict or a protector: a folder, a file, or a name on the Hub."""

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

from uc_hf.data.folders import is_image_file, visible
from uc_hf.errors import NO_SPACE, DatasetError, OutputError, first_line


def open_dataset(source: str, *, streaming: bool = False) -> datasets.DatasetDict | datasets.IterableDatasetDict:
    """Open a dataset by what it is.

    Args:
        source: a folder written by `save_to_disk`, a parquet file, a folder of parquet files, a folder of images in
            class folders, or the name of a dataset on the Hub.
        streaming: rows are read as they are asked for, where they would otherwise be copied into the cache: from
            parquet files and the Hub. (Saved datasets are read in place, and of images in a folder only the paths are
            noted down.)

    Returns:
        its splits; a lone `Dataset` becomes {"train": ...}.

    Raises:
        DatasetError: it is none of these, cannot be read, or the Hub does not give it.
    """
    path = Path(source)
    if path.is_dir():
        return _open_folder(path, streaming)
    if path.is_file():
        if path.suffix != ".parquet":
            raise DatasetError(
                f"{source} is not a .parquet file. Name a folder of images, a folder written by save_to_disk, "
                "parquet files, or a dataset on the Hub."
            )
        return _load(source, lambda: datasets.load_dataset("parquet", data_files=source, streaming=streaming))
    return _open_from_hub(source, streaming)


def train_and_test(
    splits: datasets.DatasetDict, source: str, *, train_images: int, test_images: int
) -> tuple[datasets.Dataset, datasets.Dataset]:
    """Seeded samples of the splits "train" and "test", of at most so many rows.

    Raises:
        DatasetError: one of the two is missing; `source` names the dataset in the message.
    """
    if missing := {"train", "test"} - set(splits):
        raise DatasetError(f"{source} has no split {' or '.join(sorted(missing))}; it has {', '.join(splits)}.")

    def sample(split: datasets.Dataset, limit: int) -> datasets.Dataset:
        return split.shuffle(seed=0).select(range(min(limit, len(split))))

    return sample(splits["train"], train_images), sample(splits["test"], test_images)


def is_image_folder(path: Path) -> bool:
    """Whether a path is a folder that holds pictures, at any depth, and not a dataset."""
    if not path.is_dir() or _is_saved(path):
        return False
    files = visible(path)
    return not any(map(_is_table, files)) and any(map(is_image_file, files))


def _is_saved(path: Path) -> bool:
    return (path / "dataset_dict.json").is_file() or (path / "state.json").is_file()


def _is_table(file: Path) -> bool:
    """Whether a file holds rows of a dataset; `imagefolder` reads metadata.parquet beside its images."""
    return file.suffix == ".parquet" and file.name != "metadata.parquet"


def _open_folder(path: Path, streaming: bool) -> datasets.DatasetDict | datasets.IterableDatasetDict:
    if _is_saved(path):
        saved = _load(str(path), lambda: datasets.load_from_disk(str(path)))
        return saved if isinstance(saved, datasets.DatasetDict) else datasets.DatasetDict(train=saved)
    if any(map(_is_table, visible(path))):
        return _load(str(path), lambda: datasets.load_dataset(str(path), streaming=streaming))
    if is_image_folder(path):
        return _load(str(path), lambda: datasets.load_dataset("imagefolder", data_dir=str(path)))
    raise DatasetError(
        f"the folder {path} holds neither images, parquet files, nor a dataset written by save_to_disk. "
        "Name the folder that does."
    )


def _open_from_hub(source: str, streaming: bool) -> datasets.DatasetDict | datasets.IterableDatasetDict:
    nowhere = f"{source!r} is neither a local file or folder nor a dataset on the Hub"
    try:
        # Fails at once, where load_dataset would try again for half a minute.
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
        raise DatasetError(f"the Hub does not give {source!r}: {first_line(error)} {_LOGIN}") from error
    return _load(source, lambda: datasets.load_dataset(source, streaming=streaming))


_LOGIN = "If it is private or gated, ask for access on its page and run `hf auth login`."
_MORE_THAN_A_NAME = (
    "If load_dataset needs more than the name, write load_dataset(...).save_to_disk(FOLDER) in Python and name FOLDER."
)


def _load(source: str, load: Callable[[], Any]) -> Any:
    """What `load` gives; the errors of `datasets` in our words."""
    try:
        return load()
    except DatasetNotFoundError as error:
        raise DatasetError(f"the Hub does not give {source!r}: {first_line(error)} {_LOGIN}") from error
    except ConnectionError as error:
        raise DatasetError(f"{source!r} cannot be fetched: {first_line(error)}. Connect, and try again.") from error
    except DatasetGenerationError as error:
        reason = first_line(error.__cause__ or error)
        if getattr(error.__cause__, "errno", None) in NO_SPACE:
            raise OutputError(
                f"{source!r} does not fit into the cache: {reason}. Make room in {datasets.config.HF_DATASETS_CACHE}, "
                "or set HF_HOME to a folder that has some."
            ) from error
        raise DatasetError(f"{source!r} cannot be read: {reason}. Mend or remove the file it names.") from error
    except (FileNotFoundError, RuntimeError, ValueError) as error:
        remedy = _MORE_THAN_A_NAME
        if Path(source).exists():
            remedy = "Mend it, or write it anew with save_to_disk or to_parquet."
        raise DatasetError(f"{source!r} cannot be read: {first_line(error)} {remedy}") from error
