"""The owner's undo: with the key, and only with it, a protected picture becomes its original again."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from PIL import Image

from uc_hf import UCProtector, open_protector, protector_for
from uc_hf.data import images
from uc_hf.data.container import Container
from uc_hf.errors import ImageError, SettingError
from uc_hf.methods import METHODS
from uc_hf.scoring.controls import grating_noise


def inside(array: np.ndarray) -> Image.Image:
    """A picture that no noise brings out of the range of pixels."""
    return Image.fromarray(np.clip(array, 16, 239))


def test_the_original_comes_back_exactly_where_no_pixel_was_clipped(tiles: Dataset, fitted: UCProtector) -> None:
    for row in range(12):
        original = inside(np.array(tiles[row]["image"]))
        np.testing.assert_array_equal(np.array(fitted.remove(fitted.transform(original))), np.array(original))


def test_pixels_that_were_clipped_come_back_within_epsilon(fitted: UCProtector, photos: Dataset) -> None:
    photo = photos[0]["image"].convert("RGB").resize((120, 90))
    original = np.clip(np.array(photo).astype(int) * 2 - 60, 0, 255).astype(np.uint8)  # much of it is at either end
    protected = fitted.transform(Image.fromarray(original))
    restored = np.array(fitted.remove(protected)).astype(int)
    clipped = np.isin(np.array(protected), (0, 255))
    assert clipped.mean() > 0.05
    assert (restored == original)[~clipped].all()
    assert np.abs(restored - original).max() <= fitted.settings.levels


def test_tints_are_taken_off_by_the_key_alone_and_not_from_what_was_changed_since(
    tiles: Dataset, fitted: UCProtector, tmp_path: Path
) -> None:
    fitted.with_look("tint").save_key(tmp_path / "mine.uckey")
    key = open_protector(str(tmp_path / "mine.uckey"))
    restored = 0
    for row in range(12):
        original = np.array(tiles[row]["image"])
        original[0, :2] = [[0, 0, 0], [255, 255, 255]]  # most pictures have something black, and something white
        protected = key.transform(Image.fromarray(original))
        try:
            again = np.array(key.remove(protected))
        except ImageError as error:
            assert "of this key's tints" in str(error)
            continue
        unclipped = ~np.isin(np.array(protected), (0, 255))
        assert (again == original)[unclipped].all()
        restored += 1
    assert restored > 8
    changed = Image.fromarray(np.where(np.arange(64).reshape(8, 8, 1).repeat(3, 2) % 2, 0, 255).astype(np.uint8))
    with pytest.raises(ImageError, match="none of this key's tints"):
        key.remove(changed)


def test_a_tint_that_all_groups_share_is_taken_off_whatever_group_a_clipped_picture_is_in(
    tiles: Dataset, fitted: UCProtector
) -> None:
    tint = np.array([16, -16, 16], dtype=np.int8).reshape(3, 1, 1)
    shared = fitted.with_noise(np.broadcast_to(tint, (4, 3, 32, 32)).copy())
    for row in range(12):
        blend = np.array(tiles[row]["image"]).astype(int) + np.array(tiles[(row + 1) % 12]["image"])
        original = np.clip(4 * (blend - 250), 0, 255).astype(np.uint8)
        protected = shared.transform(Image.fromarray(original))
        clipped = np.isin(np.array(protected), (0, 255))
        assert clipped.any()
        assert (np.array(shared.remove(protected)) == original)[~clipped].all()


def test_gray_pictures_come_back_too(tiles: Dataset, surrogate_folder: str) -> None:
    gray = tiles.map(lambda row: {"image": row["image"].convert("L")}).select(range(24))
    protector = UCProtector(surrogate=surrogate_folder, n_clusters=2, batch_size=16).fit(gray)
    original = Image.fromarray(np.clip(np.array(gray[0]["image"]), 16, 239))
    restored = protector.remove(protector.transform(original))
    assert restored.mode == "L"
    np.testing.assert_array_equal(np.array(restored), np.array(original))


def test_a_key_from_a_file_removes_and_another_key_is_refused(
    tiles: Dataset, fitted: UCProtector, surrogate_folder: str, tmp_path: Path
) -> None:
    original = inside(np.array(tiles[3]["image"]))
    protected = fitted.transform(original)
    fitted.save_key(tmp_path / "mine.uckey")
    key = open_protector(str(tmp_path / "mine.uckey"))
    np.testing.assert_array_equal(np.array(key.remove(protected)), np.array(original))
    fitted.save_pretrained(tmp_path / "card")
    assert "original = protector.remove(" in (tmp_path / "card" / "README.md").read_text()
    other = UCProtector(surrogate=surrogate_folder, n_clusters=4, seed=5).fit(tiles)
    for picture in (original, other.transform(original)):
        with pytest.raises(ImageError, match="none of this key's noises"):
            key.remove(picture)


def test_most_of_a_coarse_noise_goes_from_a_copy_that_was_stored_as_jpeg(tiles: Dataset, fitted: UCProtector) -> None:
    fitted = fitted.with_noise(grating_noise((4, 3, 32, 32), 16, 0))
    original = np.array(inside(np.array(tiles[4]["image"]))).astype(int)
    protected = fitted.transform(Image.fromarray(original.astype(np.uint8)))
    compressed = images.encode(images.decode(protected), Container("jpeg", 90))
    restored = np.array(fitted.remove(compressed)).astype(int)
    assert np.abs(restored - original).mean() < np.abs(np.array(protected) - original).mean() / 2


def test_a_key_in_one_file_is_the_same_protector(tiles: Dataset, fitted: UCProtector, tmp_path: Path) -> None:
    file = tmp_path / "mine.uckey"
    fitted.save_key(file)
    loaded = open_protector(str(file))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.uckey"]
    assert loaded.settings == fitted.settings
    picture = images.decode(tiles[0]["image"])
    assert loaded.protect([picture]) == fitted.protect([picture])


def test_a_damaged_or_foreign_key_file_is_named(fitted: UCProtector, tmp_path: Path) -> None:
    file = tmp_path / "mine.uckey"
    fitted.save_key(file)
    for data in (file.read_bytes()[:100], b"", b"no key"):
        (tmp_path / "cut.uckey").write_bytes(data)
        with pytest.raises(SettingError, match=r"cut\.uckey"):
            open_protector(str(tmp_path / "cut.uckey"))


def test_noise_that_a_label_shares_is_taken_off_exactly(tiles: Dataset) -> None:
    options = {"canvas_size": 16, "batch_size": 16}
    shared = [
        protector_for("grating", **options).fit(tiles),
        protector_for("emin", kind="class", epochs=1, **options).fit(tiles),
    ]
    for protector in shared:
        for row in range(6):
            original = inside(np.array(tiles[row]["image"].resize((24, 40))))
            protected = protector({"image": original, "label": row % 4})["image"]["bytes"]
            np.testing.assert_array_equal(np.array(protector.remove(protected)), np.array(original))


@pytest.mark.parametrize("method", ["synper", "ar", "cuda", "ops", "pil", "emin", "emaxn", "advpoison", "deepconfuse"])
def test_noise_that_depends_on_each_original_is_refused_and_not_promised(
    tiles: Dataset, method: str, tmp_path: Path
) -> None:
    settings = {"epochs": 1, "trials": 1, "pgd_steps": 1, "batch_size": 32, "canvas_size": 16}
    known = {field.name for field in fields(METHODS[method].settings_type)}
    protector = protector_for(method, **{name: value for name, value in settings.items() if name in known}).fit(tiles)
    for picture in (tiles[0]["image"], protector({"image": tiles[0]["image"], "label": 0})["image"]["bytes"]):
        with pytest.raises(SettingError, match=f"'{method}' cannot be taken off again.* Keep the originals"):
            protector.remove(picture)
    protector.save_pretrained(tmp_path)
    assert "protector.remove" not in (tmp_path / "README.md").read_text()


def test_another_strength_needs_no_new_fit(tiles: Dataset, fitted: UCProtector, tmp_path: Path) -> None:
    gentle = fitted.with_epsilon(8 / 255)
    assert gentle.limit == "8/255" and fitted.limit == "16/255"
    assert np.abs(gentle.canvases()).max() == 8
    assert np.abs(2 * gentle.canvases().astype(int) - fitted.canvases()).max() <= 2
    pictures = [images.decode(tiles[row]["image"]) for row in range(8)]
    np.testing.assert_array_equal(gentle.assign(pictures), fitted.assign(pictures))
    gentle.save_pretrained(tmp_path / "gentle")
    assert open_protector(str(tmp_path / "gentle")).protect(pictures) == gentle.protect(pictures)
    np.testing.assert_array_equal(gentle.with_epsilon(16 / 255).canvases(), fitted.canvases())


def test_a_method_whose_noise_is_learnt_for_one_strength_says_so(tiles: Dataset, surrogate_folder: str) -> None:
    protector = protector_for("synper", surrogate=surrogate_folder).fit(tiles)
    with pytest.raises(SettingError, match="fit again with epsilon=0"):
        protector.with_epsilon(8 / 255)
