"""A labelled dataset -> files for other trainers: class folders, Azure AutoML, Baidu EasyDL.

The stored bytes of every image are copied (a row that only points to a file is refused), and its file keeps its stem.
A stem that an earlier row has used gets the row's number in front, and an image without a name only the number.
"""

import json
import zipfile
from collections.abc import Iterator, Mapping
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


FOLDER_FORMATS = {"PNG": "png", "JPEG": "jpg", "MPO": "jpg", "BMP": "bmp", "TIFF": "tif", "WEBP": "webp"}
AZURE_FORMATS = {"PNG": "png", "JPEG": "jpg", "MPO": "jpg", "BMP": "bmp", "TIFF": "tif"}
EASYDL_FORMATS = {"PNG": "png", "JPEG": "jpg", "MPO": "jpg", "BMP": "bmp"}
"""Formats that a trainer takes: Pillow's name and the suffix of the files."""

MLTABLE = """\
paths:
  - file: ./annotations.jsonl
transformations:
  - read_json_lines:
      encoding: utf8
      invalid_lines: error
      include_path_column: false
  - convert_column_types:
      - columns: image_url
        column_type: stream_info
"""

EASYDL_ARCHIVE, EASYDL_IMAGE = 5 * 2**30, 4 * 2**20
"""Largest size in bytes of an archive and of an image."""

EASYDL_SHORTEST, EASYDL_LONGEST, EASYDL_ASPECT = 30, 4096, 3
"""Limits of the sides in pixels, both excluded, and the largest ratio of the sides."""


LONGEST = 200
"""Largest length in bytes of a name from data; a file name may have 255, with prefix and suffix."""


@dataclass(frozen=True)
class _File:
    stem: str
    suffix: str
    label: str
    data: bytes
    width: int
    height: int

    @property
    def name(self) -> str:
        return f"{self.stem}.{self.suffix}"


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
    files = _files(dataset, image_column, label_column, FOLDER_FORMATS)
    _refuse_existing(out)
    with whole(out) as partial:
        partial.mkdir()
        for file in files:
            if not _is_name(file.label):
                raise DatasetError(f"the class {file.label!r} cannot be the name of a folder. Rename it.")
            (partial / file.label).mkdir(exist_ok=True)
            (partial / file.label / file.name).write_bytes(file.data)


def export_azure(
    dataset: datasets.Dataset,
    out: Path,
    location: str,
    *,
    image_column: str | None = None,
    label_column: str | None = None,
) -> None:
    """Write files for Azure's automated ML for images: OUT/images, OUT/annotations.jsonl and OUT/MLTable.

    Upload OUT/images below `location`, and pass OUT as an `mltable` input of an image classification job. The schema
    is Azure's: https://learn.microsoft.com/azure/machine-learning/reference-automl-images-schema.

    Args:
        dataset: labelled images.
        out: a new folder.
        location: "azureml://subscriptions/.../datastores/NAME/paths/FOLDER".
        image_column: None for the only image column.
        label_column: None for the only ClassLabel, or a usual name.

    Raises:
        DatasetError: there are no images or labels, or the location is not in Azure.
        ImageError: an image cannot be read or has another format; the message names its row.
        OutputError: OUT exists.
    """
    if not location.startswith("azureml://"):
        raise DatasetError(f"{location!r} is not a place in Azure: write azureml://.../datastores/NAME/paths/FOLDER.")
    files = _files(dataset, image_column, label_column, AZURE_FORMATS)
    _refuse_existing(out)
    with whole(out) as partial:
        (partial / "images").mkdir(parents=True)
        with (partial / "annotations.jsonl").open("w", encoding="utf-8") as lines:
            for file in files:
                (partial / "images" / file.name).write_bytes(file.data)
                line = {
                    "image_url": f"{location.rstrip('/')}/images/{file.name}",
                    "image_details": {"format": file.suffix, "width": file.width, "height": file.height},
                    "label": file.label,
                }
                lines.write(json.dumps(line, ensure_ascii=False) + "\n")
        (partial / "MLTable").write_text(MLTABLE, encoding="utf-8")


def export_easydl(
    dataset: datasets.Dataset, out: Path, *, image_column: str | None = None, label_column: str | None = None
) -> None:
    """Write an archive for Baidu's EasyDL and BML: image classification with one label per image.

    Each image has an annotation with the same stem: {"labels": [{"name": CLASS}]}. Choose an import with annotations,
    format "json".

    Args:
        dataset: labelled images, each of at most 4 MB, with sides above 30 and below 4096 px, one at most three times
            the other.
        out: a new .zip of at most 5 GB.
        image_column: None for the only image column.
        label_column: None for the only ClassLabel, or a usual name.

    Raises:
        DatasetError: there are no images or labels, or more than an archive may hold.
        ImageError: an image cannot be read or is not accepted; the message names its row.
        OutputError: OUT exists.
    """
    files = _files(dataset, image_column, label_column, EASYDL_FORMATS)
    _refuse_existing(out)
    with whole(out) as partial, zipfile.ZipFile(partial, "w") as archive:
        for row, file in enumerate(files):
            _check_easydl(row, file)
            annotation = json.dumps({"labels": [{"name": file.label}]}, ensure_ascii=False)
            archive.writestr(file.name, file.data)
            archive.writestr(f"{file.stem}.json", annotation)
            if partial.stat().st_size > EASYDL_ARCHIVE:
                raise DatasetError(
                    f"{row} rows fill the {EASYDL_ARCHIVE // 2**30} GB that an archive may have. Export the "
                    "dataset in parts: dataset.select(range(...))."
                )


def _check_easydl(row: int, file: _File) -> None:
    short, long = sorted((file.width, file.height))
    if short <= EASYDL_SHORTEST or long >= EASYDL_LONGEST or long > EASYDL_ASPECT * short:
        raise ImageError(
            f"row {row}: {file.width} x {file.height} pixels. EasyDL takes sides above {EASYDL_SHORTEST} and below "
            f"{EASYDL_LONGEST}, one at most {EASYDL_ASPECT} times the other. Resize it before you protect it."
        )
    if len(file.data) > EASYDL_IMAGE:
        raise ImageError(
            f"row {row}: {len(file.data):,} bytes. EasyDL takes {EASYDL_IMAGE:,} at most. Resize it before you "
            "protect it."
        )


def _files(
    dataset: datasets.Dataset, image_column: str | None, label_column: str | None, formats: Mapping[str, str]
) -> Iterator[_File]:
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
            suffix = formats.get(image.format or "")
            if suffix is None:
                raise ImageError(
                    f"{cell(row, column)}: {image.format} is not taken there. Protect the originals with "
                    "container='png'."
                )
            stem = images.stem(example[column])
            stem = stem if stem is not None and _is_name(stem) else f"{row:06}"
            while stem.casefold() in taken:
                stem = f"{row}-{stem}"
            taken.add(stem.casefold())
            yield _File(stem, suffix, names[row], data, *image.size)

    return read()


def _is_name(text: str) -> bool:
    """Whether a text from data can safely name a file or folder."""
    plain = text.isprintable() and not set(text) & set("/\\") and text not in ("", ".", "..")
    return plain and len(text.encode()) <= LONGEST


def _refuse_existing(out: Path) -> None:
    if out.exists():
        raise OutputError(f"{out} exists. Remove it, or name another.")
