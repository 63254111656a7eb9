"""What may be given to fit: a dataset, a folder, a file, pictures; else the error says the line to write."""

from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset, DatasetDict

from uc_hf.data import images
from uc_hf.data.given import as_dataset
from uc_hf.errors import DatasetError, ImageError


@pytest.fixture
def folder(tiles: Dataset, tmp_path: Path) -> Path:
    (tmp_path / "photos" / "rome").mkdir(parents=True)
    for row in range(3):
        tiles[row]["image"].save(tmp_path / "photos" / "rome" / f"{row}.png")
    return tmp_path / "photos"


def pixels(dataset: Dataset) -> list[np.ndarray]:
    return [images.decode(row["image"]).pixels for row in dataset]


def test_a_folder_a_file_and_pictures_become_rows(tiles: Dataset, folder: Path) -> None:
    expected = [images.decode(tiles[row]["image"]).pixels for row in range(3)]
    for given in (folder, str(folder), sorted(folder.rglob("*.png")), [tiles[row]["image"] for row in range(3)]):
        np.testing.assert_array_equal(pixels(as_dataset(given)), expected)
    for one in (folder / "rome/0.png", tiles[0]["image"], expected[0], (folder / "rome/0.png").read_bytes()):
        np.testing.assert_array_equal(pixels(as_dataset(one)), expected[:1])
    assert as_dataset(tiles) is tiles


def test_what_is_no_picture_is_answered_with_what_to_write(tiles: Dataset, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"protector\.fit\(ds\['train'\]\)"):
        as_dataset(DatasetDict(train=tiles))
    with pytest.raises(DatasetError, match=r"load_dataset\('timm/pets', split='train'\)"):
        as_dataset("timm/pets")
    with pytest.raises(DatasetError, match="holds neither images"):
        as_dataset(tmp_path)
    (tmp_path / "film.mp4").write_bytes(b"x")
    with pytest.raises(DatasetError, match=r"film\.mp4 is a film"):
        as_dataset(tmp_path / "film.mp4")
    with pytest.raises(DatasetError, match="list of pictures"):
        as_dataset([])
    with pytest.raises(ImageError, match="picture 1 of the list: int is not an image"):
        as_dataset([tiles[0]["image"], 7])
