"""Protected folders on disk: the same tree, the same names, and a job that goes on where it stopped."""

from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from PIL import Image as PILImage

from tests.stored import snapshot
from uc_hf import UCProtector
from uc_hf.errors import DatasetError, ImageError
from uc_hf.publishing.image_folder import protect_folder
from uc_hf.scoring.imperceptibility import compare


EPSILON = 16


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """A nested tree of pictures of every common kind, beside files that are none."""
    rng = np.random.default_rng(0)

    def picture(name: str, channels: int = 3, size: tuple[int, int] = (40, 56)) -> None:
        path = tmp_path / "album" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        colour = rng.integers(60, 200, (1, 1, channels))
        pixels = np.clip(colour + rng.normal(0, 10, (*size, channels)), 0, 255).astype(np.uint8)
        PILImage.fromarray(pixels.squeeze()).save(path)

    picture("first.jpg")
    picture("trips/rome/photo.of.me.JPG", size=(33, 90))
    picture("trips/rome/drawing.png")
    picture("trips/logo.png", channels=4)
    picture("trips/deep/er/gray.png", channels=1)
    picture("web.webp")
    picture(".thumbnails/first.png")
    (tmp_path / "album" / "readme.txt").write_text("not a picture")
    return tmp_path / "album"


def test_a_folder_keeps_its_tree_its_names_and_every_pictures_size_and_mode_but_gray(
    album: Path, tmp_path: Path, fitted: UCProtector
) -> None:
    out = tmp_path / "out"
    outcome = protect_folder(album, out, fitted)
    pictures = {
        "first.jpg": "first.png",
        "trips/rome/photo.of.me.JPG": "trips/rome/photo.of.me.png",
        "trips/rome/drawing.png": "trips/rome/drawing.png",
        "trips/logo.png": "trips/logo.png",
        "trips/deep/er/gray.png": "trips/deep/er/gray.png",
        "web.webp": "web.png",
    }
    assert set(snapshot(out)) == set(pictures.values())
    assert (outcome.images, outcome.already, outcome.ignored) == (6, 0, {".txt": 1})
    for name, copy in pictures.items():
        with PILImage.open(album / name) as before, PILImage.open(out / copy) as after:
            assert after.size == before.size and after.mode == ("RGB" if before.mode == "L" else before.mode)
            assert 0 < np.abs(np.asarray(after).astype(int) - np.asarray(before.convert(after.mode))).max() <= EPSILON
    assert outcome.bytes_after == sum((out / copy).stat().st_size for copy in pictures.values())
    assert compare(outcome.pairs).max_difference <= EPSILON


def test_a_second_run_protects_what_was_added_and_leaves_the_rest_alone(
    album: Path, tmp_path: Path, fitted: UCProtector
) -> None:
    out = tmp_path / "out"
    protect_folder(album, out, fitted)
    first = snapshot(out)
    PILImage.new("RGB", (30, 30), "teal").save(album / "new.png")
    outcome = protect_folder(album, out, fitted)
    second = snapshot(out)
    assert set(second) - set(first) == {"new.png"} and first.items() <= second.items()
    assert (outcome.images, outcome.already) == (7, 6)


def test_two_files_that_would_become_one_are_refused(album: Path, tmp_path: Path, fitted: UCProtector) -> None:
    PILImage.new("RGB", (30, 30)).save(album / "first.png")
    with pytest.raises(DatasetError, match=r"first\.jpg and first\.png would both become first\.png"):
        protect_folder(album, tmp_path / "out", fitted)
    assert not (tmp_path / "out").exists()


def test_bad_files_are_named_before_anything_is_written(album: Path, tmp_path: Path, fitted: UCProtector) -> None:
    whole = (album / "first.jpg").read_bytes()
    (album / "trips" / "zz half.jpg").write_bytes(whole[: len(whole) // 2])
    (album / "not really.png").write_text("hello")
    with pytest.raises(ImageError, match=r"(?s)2 of 8 images .*not really\.png: .*trips/zz half\.jpg: truncated"):
        protect_folder(album, tmp_path / "out", fitted)
    assert not (tmp_path / "out").exists()


def test_transparency_in_a_jpeg_container_is_refused_by_name(
    album: Path, tmp_path: Path, tiles: Dataset, surrogate_folder: str
) -> None:
    protector = UCProtector(surrogate=surrogate_folder, n_clusters=2, steps=4, batch_size=4, container="jpeg:90")
    with pytest.raises(ImageError, match=r"trips/logo\.png: jpeg:90 cannot hold its transparency.*'png' or 'webp'"):
        protect_folder(album, tmp_path / "out", protector.fit(tiles.select(range(8))))


def test_a_folder_without_pictures_is_refused(tmp_path: Path, fitted: UCProtector) -> None:
    (tmp_path / "notes.txt").write_text("nothing to see")
    with pytest.raises(DatasetError, match="holds no images"):
        protect_folder(tmp_path, tmp_path / "out", fitted)


def test_imperceptibility_of_known_changes() -> None:
    gray = np.full((20, 24, 3), 100, dtype=np.uint8)
    textured = np.random.default_rng(0).integers(0, 200, (20, 24, 3), dtype=np.uint8)
    same, shifted = compare([(textured, textured)]), compare([(gray, gray + 16), (textured, textured + 4)])
    assert (same.psnr, same.ssim, same.max_difference) == (float("inf"), 1.0, 0)
    assert shifted.worst_psnr == pytest.approx(20 * np.log10(255 / 16))
    assert shifted.psnr == pytest.approx((20 * np.log10(255 / 16) + 20 * np.log10(255 / 4)) / 2)
    assert shifted.worst_ssim < shifted.ssim < 1 and shifted.max_difference == 16


def test_pictures_of_different_sizes_are_not_compared() -> None:
    small, large = np.zeros((20, 24, 3), dtype=np.uint8), np.zeros((20, 30, 3), dtype=np.uint8)
    with pytest.raises(ImageError, match="pair 0 is 24 x 20 pixels before and 30 x 20 after"):
        compare([(small, large)])
