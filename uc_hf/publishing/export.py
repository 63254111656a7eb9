"""A labelled dataset -> class folders, which every trainer of image classifiers reads.

The stored bytes of every image are copied (a row that only points to a file is refused), and its file keeps its stem.
A stem that an earlier row has used gets the row's number in front, and an image without a name only the number.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import datasets

from uc_hf.data import images
from uc_hf.data.checks import undecoded
from uc_hf.data.columns import class_name, labels_of
from uc_hf.data.columns import image_column as find_image_column
from uc_hf.data.columns import label_column as find_label_column
from uc_hf.data.pointers import Home, confined
from uc_hf.data.progress import Bar
from uc_hf.errors import DatasetError, ImageError, OutputError, cell, naming
from uc_hf.files import whole


FORMATS = {"PNG": "png", "JPEG": "jpg", "MPO": "jpg", "BMP": "bmp", "TIFF": "tif", "WEBP": "webp"}
"""Formats that trainers take: Pillow's name and the suffix of the files."""

LONGEST = 200
"""Largest length in bytes of a name from data; a file name may have 255, with prefix and suffix."""


@dataclass(frozen=True)
class _File:
    name: str
    label: str
    data: bytes


def export_folders(
    dataset: datasets.Dataset, out: Path, *, image_column: str | None = None, label_column: str | None = None
) -> None:
    """Write OUT/CLASS/IMAGE, which `datasets`' imagefolder, torchvision and PaddlePaddle read.

    Args:
        dataset: labelled images.
        out: a new folder.
        image_column: None for the only image column.
        label_column: None for the only ClassLabel, or a usual name.

    Raises:
        DatasetError: there are no images or labels, or a class name cannot name a folder.
        ImageError: an image cannot be read or has another format; the message names its row.
        OutputError: OUT exists.
    """
    files = _files(dataset, image_column, label_column)
    if out.exists():
        raise OutputError(f"{out} exists. Remove it, or name another.")
    with whole(out) as partial:
        partial.mkdir()
        for file in files:
            if not _is_name(file.label):
                raise DatasetError(f"the class {file.label!r} cannot be the name of a folder. Rename it.")
            (partial / file.label).mkdir(exist_ok=True)
            (partial / file.label / file.name).write_bytes(file.data)


def _files(dataset: datasets.Dataset, image_column: str | None, label_column: str | None) -> Iterator[_File]:
    """The rows as files; columns and labels are found now, images are read one by one."""
    column = find_image_column(dataset.features, image_column)
    labels = find_label_column(dataset.features, label_column)
    names = [class_name(dataset.features[labels], label) for label in labels_of(dataset, labels)]
    stored = confined(undecoded(dataset, column), Home(), str(dataset.split or "train"))

    def read() -> Iterator[_File]:
        taken: set[str] = set()
        for row, example in enumerate(Bar(stored, desc="exporting", unit="image", leave=False)):
            with naming(cell(row, column)):
                data = images.file_bytes(example[column])
                image = images.open_image(data)
            suffix = FORMATS.get(image.format or "")
            if suffix is None:
                raise ImageError(
                    f"{cell(row, column)}: trainers do not read {image.format}. Protect the originals with "
                    "container='png'."
                )
            stem = images.stem(example[column])
            stem = stem if stem is not None and _is_name(stem) else f"{row:06}"
            while stem.casefold() in taken:
                stem = f"{row}-{stem}"
            taken.add(stem.casefold())
            yield _File(f"{stem}.{suffix}", names[row], data)

    return read()


def _is_name(text: str) -> bool:
    """Whether a text from data can safely name a file or folder."""
    plain = text.isprintable() and not set(text) & set("/\\") and text not in ("", ".", "..")
    return plain and len(text.encode()) <= LONGEST
