"""Protectors that version 0.1 has saved are still loaded, and protect as they did."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from datasets import Dataset

from uc_hf import open_protector
from uc_hf.data.generated import generated_dataset
from uc_hf.data.images import decode
from uc_hf.errors import SettingError


SAVED = Path(__file__).parent / "saved"
PIXELS = {
    "uc": "63a321037b3898b14d80f406bafff5634e270bac356a9ce947ba5d3f833e3397",
    "synper": "9d750308609fd1858ba122dfdfc63c5c0ff093f36ad8f39794da387a96c1ec07",
}
"""SHA-256 of what version 0.1 made of the pictures below."""


@pytest.fixture(scope="module")
def pictures() -> Dataset:
    return generated_dataset(n_train=80, n_test=10)["train"].select(range(20))


@pytest.mark.parametrize("name", PIXELS)
def test_a_protector_of_the_version_before_changes_the_same_pixels(name: str, pictures: Dataset):
    protected = pictures.map(open_protector(str(SAVED / name)), batched=True)
    pixels = b"".join(decode(value).pixels.tobytes() for value in protected["image"])
    assert hashlib.sha256(pixels).hexdigest() == PIXELS[name]


@pytest.mark.parametrize("setting", [{"parametrisation": "tile"}, {"distance": "cosine"}, {"shaped": True}], ids=str)
def test_a_protector_that_this_version_cannot_apply_says_which_one_can(setting: dict[str, object], tmp_path: Path):
    shutil.copytree(SAVED / "uc", tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    config["settings"] |= setting
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        SettingError, match=r"was saved by uc_hf 0\.1\.0: it has .* no longer there\. Load it with that version"
    ):
        open_protector(str(tmp_path))
