"""Labelled sets as class folders, which other people's trainers read."""

from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image
from PIL import Image as PILImage

from tests.commands import invoke, succeed
from uc_hf.data.checks import undecoded
from uc_hf.data.images import file_bytes
from uc_hf.data.sources import open_dataset
from uc_hf.errors import DatasetError, ImageError, OutputError
from uc_hf.publishing.export import export_folders


CLASSES = ["cat", "Tibetan mastiff"]


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


def test_what_cannot_be_a_class_folder_is_refused_and_nothing_is_left(pets: Dataset, tmp_path: Path) -> None:
    gif = labelled(tmp_path, [("a.png", "PNG", (40, 40)), ("b.gif", "GIF", (40, 40))])
    with pytest.raises(ImageError, match=r"row 1, column 'image': trainers do not read GIF"):
        export_folders(gif, tmp_path / "gif")
    odd = pets.cast_column("label", ClassLabel(names=["cat", "n/a"]))
    with pytest.raises(DatasetError, match="'n/a' cannot be the name of a folder"):
        export_folders(odd, tmp_path / "odd")
    assert not (tmp_path / "gif").exists() and not (tmp_path / "odd").exists()
    export_folders(pets, tmp_path / "folders")
    with pytest.raises(OutputError, match="exists"):
        export_folders(pets, tmp_path / "folders")


def test_the_program_exports_all_splits_or_one(pets: Dataset, tmp_path: Path) -> None:
    DatasetDict(train=pets, test=pets.select([0, 1])).save_to_disk(tmp_path / "pets")
    said = succeed("export", tmp_path / "pets", "--out", tmp_path / "all")
    assert "Exported 6 images (train, test)" in said
    again = open_dataset(str(tmp_path / "all"))
    assert {split: len(again[split]) for split in again} == {"train": 4, "test": 2}
    assert again["test"].features["label"].names == sorted(CLASSES)
    succeed("export", tmp_path / "pets", "--out", tmp_path / "one", "--split", "test")
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == sorted(CLASSES)
    for words, error in ((["--split", "dev"], "there is no split 'dev'"), ([], "exists")):
        result = invoke("export", tmp_path / "pets", "--out", tmp_path / "all", *words)
        assert result.exit_code == 1 and error in result.stderr
