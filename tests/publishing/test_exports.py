"""Labelled sets as other people's trainers take them, checked against what those document."""

import json
import zipfile
from pathlib import Path

import jsonschema
import pytest
import yaml
from datasets import ClassLabel, Dataset, Features, Image
from PIL import Image as PILImage

from uc_hf.data.checks import undecoded
from uc_hf.data.images import file_bytes
from uc_hf.data.sources import open_dataset
from uc_hf.errors import DatasetError, ImageError, OutputError
from uc_hf.publishing.exports import export_azure, export_easydl, export_folders


LOCATION = "azureml://subscriptions/s/resourcegroups/g/workspaces/w/datastores/d/paths/pets"
CLASSES = ["cat", "Tibetan mastiff"]

# https://learn.microsoft.com/azure/machine-learning/reference-automl-images-schema, multi-class classification.
AZURE_LINE = {
    "type": "object",
    "required": ["image_url", "label"],
    "additionalProperties": False,
    "properties": {
        "image_url": {
            "type": "string",
            "pattern": r"^azureml://subscriptions/[^/]+/resourcegroups/[^/]+/workspaces/[^/]+/datastores/[^/]+/paths/.",
        },
        "image_details": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "format": {"enum": ["jpg", "jpeg", "png", "jpe", "jfif", "bmp", "tif", "tiff"]},
                "width": {"type": "integer", "minimum": 1},
                "height": {"type": "integer", "minimum": 1},
            },
        },
        "label": {"type": "string", "minLength": 1},
    },
}

# Baidu's json annotation of a picture with one label.
EASYDL_ANNOTATION = {
    "type": "object",
    "required": ["labels"],
    "additionalProperties": False,
    "properties": {
        "labels": {
            "type": "array",
            "minItems": 1,
            "maxItems": 1,
            "items": {
                "type": "object",
                "required": ["name"],
                "additionalProperties": False,
                "properties": {"name": {"type": "string", "minLength": 1}},
            },
        }
    },
}


def labelled(folder: Path, files: list[tuple[str | None, str, tuple[int, int]]]) -> Dataset:
    """A dataset of files: name, Pillow's format, size; labels in turn."""
    values = []
    for index, (name, kind, size) in enumerate(files):
        file = folder / str(index)
        PILImage.new("RGB", size, (40 * index, 90, 200)).save(file, format=kind)
        values.append({"bytes": file.read_bytes(), "path": name})
    features = Features({"image": Image(), "label": ClassLabel(names=CLASSES)})
    labels = [index % 2 for index in range(len(files))]
    return Dataset.from_dict({"image": values, "label": labels}, features=features)


def pictures_of(dataset: Dataset) -> list[bytes]:
    """The files of a dataset, row by row."""
    return [file_bytes(value) for value in undecoded(dataset, "image")["image"]]


@pytest.fixture
def pets(tmp_path: Path) -> Dataset:
    """A PNG, a JPEG by another suffix, a name that comes twice, and a picture without one."""
    files = [("tom.png", "PNG"), ("rex.JPEG", "JPEG"), ("Tom.jpg", "JPEG"), (None, "PNG")]
    return labelled(tmp_path, [(name, kind, (40, 32 + index)) for index, (name, kind) in enumerate(files)])


def test_class_folders_hold_the_same_bytes_and_are_read_back(pets: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_folders(pets, out)
    written = {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*.*")}
    names = ["cat/tom.png", "Tibetan mastiff/rex.jpg", "cat/2-Tom.jpg", "Tibetan mastiff/000003.png"]
    assert written == dict(zip(names, pictures_of(pets), strict=True))
    again = open_dataset(str(out))["train"]

    def labels(dataset: Dataset) -> dict[bytes, str]:
        names = map(dataset.features["label"].int2str, dataset["label"])
        return dict(zip(pictures_of(dataset), names, strict=True))

    assert labels(again) == labels(pets)


def test_azure_gets_lines_of_its_schema_and_a_table_over_them(pets: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_azure(pets, out, LOCATION + "/")
    lines = [json.loads(line) for line in (out / "annotations.jsonl").read_text().splitlines()]
    for line in lines:
        jsonschema.validate(line, AZURE_LINE)
    assert [line["label"] for line in lines] == CLASSES * 2
    assert lines[1]["image_details"] == {"format": "jpg", "width": 40, "height": 33}
    files = [out / line["image_url"].removeprefix(LOCATION + "/") for line in lines]
    assert [file.read_bytes() for file in files] == pictures_of(pets)
    table = yaml.safe_load((out / "MLTable").read_text())
    assert table["paths"] == [{"file": "./annotations.jsonl"}]
    read, convert = table["transformations"]
    assert read["read_json_lines"] == {"encoding": "utf8", "invalid_lines": "error", "include_path_column": False}
    assert convert["convert_column_types"] == [{"columns": "image_url", "column_type": "stream_info"}]


def test_easydl_gets_an_archive_of_pictures_with_annotations_by_the_same_stem(pets: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "pets.zip"
    export_easydl(pets, out)
    with zipfile.ZipFile(out) as archive:
        assert archive.testzip() is None
        files = {name: archive.read(name) for name in archive.namelist()}
    pictures = {name: data for name, data in files.items() if not name.endswith(".json")}
    assert list(pictures) == ["tom.png", "rex.jpg", "2-Tom.jpg", "000003.png"]
    assert list(pictures.values()) == pictures_of(pets)
    annotations = [json.loads(files[f"{Path(name).stem}.json"]) for name in pictures]
    for annotation in annotations:
        jsonschema.validate(annotation, EASYDL_ANNOTATION)
    assert [annotation["labels"][0]["name"] for annotation in annotations] == CLASSES * 2
    assert len(files) == 2 * len(pets)


@pytest.mark.parametrize(("size", "message"), [((40, 30), "40 x 30 pixels"), ((40, 121), "3 times the other")])
def test_easydl_s_limits_are_told_with_the_row_and_nothing_is_left(
    size: tuple[int, int], message: str, tmp_path: Path
) -> None:
    pets = labelled(tmp_path, [("a.png", "PNG", (40, 40)), ("b.png", "PNG", size)])
    with pytest.raises(ImageError, match=f"row 1: .*{message}"):
        export_easydl(pets, tmp_path / "pets.zip")
    assert not list(tmp_path.glob("pets*"))


def test_what_a_trainer_does_not_take_is_refused(pets: Dataset, tmp_path: Path) -> None:
    webp = labelled(tmp_path, [("a.png", "PNG", (40, 40)), ("b.webp", "WEBP", (40, 40))])
    for job in (lambda: export_azure(webp, tmp_path / "azure", LOCATION), lambda: export_easydl(webp, tmp_path / "z")):
        with pytest.raises(ImageError, match=r"row 1, column 'image': WEBP is not taken there"):
            job()
    export_folders(webp, tmp_path / "folders")
    with pytest.raises(OutputError, match="exists"):
        export_folders(pets, tmp_path / "folders")
    with pytest.raises(DatasetError, match="is not a place in Azure"):
        export_azure(pets, tmp_path / "elsewhere", "https://example.com")
    odd = pets.cast_column("label", ClassLabel(names=["cat", "n/a"]))
    with pytest.raises(DatasetError, match="'n/a' cannot be the name of a folder"):
        export_folders(odd, tmp_path / "odd")
