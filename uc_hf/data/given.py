"""The argument of `fit`, a dataset or not -> a dataset."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from PIL.Image import Image

from uc_hf.data import images, unopened
from uc_hf.data.columns import refuse_transform
from uc_hf.data.container import Container
from uc_hf.data.folders import list_folder
from uc_hf.data.splits import choose_splits
from uc_hf.errors import DatasetError, naming


ONE_PICTURE = (Image, np.ndarray, bytes)


def as_dataset(given: Any) -> datasets.Dataset | datasets.IterableDataset:
    """The images to fit on, as rows.

    Args:
        given: a `Dataset` or `IterableDataset`, which is returned unchanged; a folder of images, without its test
            splits; an image, or a list of images: PIL images, files, bytes, uint8 arrays.

    Raises:
        DatasetError: it is something else, or has a transform; the message has the line to write.
        ImageError: an element of a list is not an image.
    """
    if isinstance(given, datasets.Dataset | datasets.IterableDataset):
        refuse_transform(given)
        return given
    if isinstance(given, dict):
        raise DatasetError(
            f"this is a DatasetDict with the splits {', '.join(map(repr, given))}. Fit on one of them: "
            f"protector.fit(ds[{next(iter(given), 'train')!r}])."
        )
    if isinstance(given, str | Path):
        return _at(Path(given))
    if isinstance(given, ONE_PICTURE):
        return _rows([given])
    if isinstance(given, Sequence) and given:
        return _rows(given)
    raise DatasetError(
        f"{type(given).__name__} is not a dataset. Give a Dataset (load_dataset(..., split='train')), a folder of "
        "pictures, or a list of pictures."
    )


def _at(path: Path) -> datasets.Dataset:
    if path.is_dir():
        folder = list_folder(path)
        if not folder.pictures:
            raise DatasetError(unopened.of_folder(path, folder.others))
        folder.warn()
        rows = folder.rows()
        return datasets.concatenate_datasets([rows[split] for split in choose_splits(rows, [])])
    if path.is_file():
        if path.suffix.lower() in unopened.FILMS | unopened.ARCHIVES:
            raise DatasetError(unopened.of_file(path))
        return _rows([path])
    raise DatasetError(
        f"there is no file or folder {str(path)!r}. Of a dataset on the Hub write "
        f"protector.fit(load_dataset({str(path)!r}, split='train'))."
    )


def _rows(values: Sequence[Any]) -> datasets.Dataset:
    rows = []
    for index, value in enumerate(values):
        with naming(f"picture {index} of the list"):
            rows.append(_stored(value))
    return datasets.Dataset.from_dict({"image": rows}, features=datasets.Features({"image": datasets.Image()}))


def _stored(value: Any) -> dict[str, Any]:
    """An image as a row stores it: a file by its path, any other losslessly; `datasets` would choose JPEG."""
    if isinstance(value, str | Path):
        return {"bytes": None, "path": str(value)}
    if isinstance(value, bytes):
        return {"bytes": value, "path": None}
    return {"bytes": images.encode(images.decode(value), Container("png")), "path": None}
