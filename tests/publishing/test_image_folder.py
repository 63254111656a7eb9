"""Protected folders on disk: the same tree, the same names, and a job that goes on where it stopped."""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from PIL import Image as PILImage

from tests.stored import DAMAGE, contents, flip_a_bit, snapshot
from uc_hf import UCProtector
from uc_hf.data.folders import Folder, list_folder, pick
from uc_hf.data.images import Container
from uc_hf.data.made import State
from uc_hf.data.splits import choose_splits
from uc_hf.errors import DatasetError, ImageError
from uc_hf.publishing import image_folder
from uc_hf.publishing.image_folder import unfinished
from uc_hf.publishing.manifest import Manifest, digest_of
from uc_hf.publishing.marks import Work
from uc_hf.publishing.outcome import Outcome
from uc_hf.scoring.imperceptibility import compare


EPSILON = 16


def manifest_of(out: Path, protector: UCProtector) -> Manifest:
    return Manifest(out.with_name(f"{out.name}.jsonl"), Work.of(protector, "album"))


def protect_folder(source: Path | Folder, out: Path, protector: UCProtector, splits: Sequence[str] = ()) -> Outcome:
    """As a run of its own does it: all that it knows of earlier ones is on the disk."""
    manifest = manifest_of(out, protector)
    manifest.begin()
    folder = list_folder(source) if isinstance(source, Path) else source
    chosen = choose_splits(folder.splits, splits)
    image_folder.check_copies(folder, chosen, protector.settings, out, manifest)
    return image_folder.protect_folder(folder, out, protector, manifest, splits=splits)


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


def crop(path: Path) -> None:
    with PILImage.open(path) as picture:
        picture.crop((0, 0, 20, 20)).save(path)


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_copy_is_made_again_and_no_other(
    album: Path, tmp_path: Path, fitted: UCProtector, damage: str
) -> None:
    out = tmp_path / "out"
    protect_folder(album, out, fitted)
    first = snapshot(out)
    DAMAGE[damage](out / "trips" / "logo.png")
    outcome = protect_folder(album, out, fitted)
    second = snapshot(out)
    assert {name for name in first if first[name] != second[name]} == {"trips/logo.png"}
    assert second["trips/logo.png"][0] == first["trips/logo.png"][0]
    assert (outcome.images, outcome.already, outcome.again) == (6, 5, 1)


@pytest.mark.parametrize("set_back", [False, True])
def test_an_edited_or_cropped_original_gets_a_new_copy(
    album: Path, tmp_path: Path, fitted: UCProtector, set_back: bool
) -> None:
    out = tmp_path / "out"
    protect_folder(album, out, fitted)
    before, times = snapshot(out), (album / "web.webp").stat()
    PILImage.new("RGB", (56, 40), "navy").save(album / "web.webp")
    if set_back:
        os.utime(album / "web.webp", ns=(times.st_atime_ns, times.st_mtime_ns))
    crop(album / "trips" / "rome" / "drawing.png")
    outcome = protect_folder(album, out, fitted)
    after = snapshot(out)
    assert {name for name in before if before[name] != after[name]} == {"web.png", "trips/rome/drawing.png"}
    assert (outcome.already, outcome.again) == (4, 2)
    assert compare(outcome.pairs).max_difference <= EPSILON
    with PILImage.open(out / "trips" / "rome" / "drawing.png") as picture:
        assert picture.size == (20, 20)


def test_files_that_were_only_touched_or_moved_are_read_once_and_kept(
    album: Path, tmp_path: Path, fitted: UCProtector, monkeypatch: pytest.MonkeyPatch
) -> None:
    protect_folder(album, tmp_path / "out", fitted)
    shutil.copytree(tmp_path / "out", tmp_path / "moved")
    shutil.copy(tmp_path / "out.jsonl", tmp_path / "moved.jsonl")
    os.utime(album / "first.jpg")
    before = snapshot(tmp_path / "moved")
    assert protect_folder(album, tmp_path / "moved", fitted).already == 6
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", None)  # nothing is read any more
        assert protect_folder(album, tmp_path / "moved", fitted).already == 6
    assert snapshot(tmp_path / "moved") == before


def test_to_verify_reads_what_looks_finished(album: Path, tmp_path: Path, fitted: UCProtector) -> None:
    out = tmp_path / "out"
    protect_folder(album, out, fitted)
    manifest, folder = manifest_of(out, fitted), list_folder(album)
    copies = folder.copies(Container("png"))
    # As a failing disk leaves it: other bytes, and nothing else that is not as it was noted.
    flip_a_bit(out / "web.png")
    webp = album / "web.webp"
    original = manifest.seen(webp, webp.read_bytes(), State.of(webp))
    manifest.add("web.png", out / "web.png", digest_of(b"what was written"), original)
    assert unfinished(folder, [], copies, out, manifest) == []
    assert unfinished(folder, [], copies, out, manifest, verify=True) == [Path("web.webp")]


def test_a_copy_whose_original_is_gone_is_told_and_kept(album: Path, tmp_path: Path, fitted: UCProtector) -> None:
    out = tmp_path / "out"
    assert protect_folder(album, out, fitted).orphans == []
    (album / "first.jpg").unlink()
    for _ in range(2):
        outcome = protect_folder(album, out, fitted)
        assert (outcome.images, outcome.orphans) == (5, ["first.png"]) and (out / "first.png").exists()
    (out / "first.png").unlink()
    assert protect_folder(album, out, fitted).orphans == []


@pytest.mark.parametrize("damage", ["empty", "half", "zeros", "gone"])
def test_copies_that_no_manifest_vouches_for_are_made_again(
    album: Path, tmp_path: Path, fitted: UCProtector, damage: str
) -> None:
    out = tmp_path / "out"
    protect_folder(album, out, fitted)
    before = contents(out)
    DAMAGE[damage](tmp_path / "out.jsonl")
    (out / "web.png").write_bytes((album / "first.jpg").read_bytes())  # a clean picture in the place of a copy
    outcome = protect_folder(album, out, fitted)
    assert contents(out) == before and outcome.already < 6
    assert protect_folder(album, out, fitted).already == 6


def test_a_picture_that_was_carried_over_clean_is_not_taken_for_a_protected_one(
    album: Path, tmp_path: Path, fitted: UCProtector
) -> None:
    (tmp_path / "set").mkdir()
    for split in ("train", "test"):
        shutil.copytree(album / "trips", tmp_path / "set" / split)
    for splits, clean in ((["train"], "test"), (["test"], "train"), (["train"], "test")):
        outcome = protect_folder(tmp_path / "set", tmp_path / "out", fitted, splits=splits)
        assert (outcome.images, outcome.carried) == (4, [clean])
        name = "rome/drawing.png"
        assert same_pixels(tmp_path / "out" / clean / name, tmp_path / "set" / clean / name)
        assert not same_pixels(tmp_path / "out" / splits[0] / name, tmp_path / "set" / splits[0] / name)
    assert protect_folder(tmp_path / "set", tmp_path / "out", fitted, splits=["train"]).already == 4


def same_pixels(one: Path, other: Path) -> bool:
    with PILImage.open(one) as first, PILImage.open(other) as second:
        return np.array_equal(np.asarray(first), np.asarray(second))


def test_another_noise_has_finished_nothing(album: Path, tmp_path: Path, fitted: UCProtector) -> None:
    protect_folder(album, tmp_path / "out", fitted)
    assert protect_folder(album, tmp_path / "out", fitted.with_noise(-fitted.canvases())).already == 0


def test_the_manifest_tells_nothing_of_an_original_without_the_noise(
    album: Path, tmp_path: Path, fitted: UCProtector
) -> None:
    protect_folder(album, tmp_path / "out", fitted)
    told = (tmp_path / "out.jsonl").read_text()
    originals = [path.read_bytes() for path in album.rglob("*") if path.is_file()]
    assert not any(hashlib.sha256(data).hexdigest()[:16] in told for data in originals)
    assert "album" not in told and ".jpg" not in told


def test_two_files_that_would_become_one_are_refused(album: Path, tmp_path: Path, fitted: UCProtector) -> None:
    PILImage.new("RGB", (30, 30)).save(album / "first.png")
    with pytest.raises(DatasetError, match=r"first\.jpg and first\.png would both become first\.png"):
        protect_folder(album, tmp_path / "out", fitted)
    assert not (tmp_path / "out").exists()


def test_the_copy_of_one_original_is_not_replaced_by_that_of_another(
    album: Path, tmp_path: Path, fitted: UCProtector
) -> None:
    out = tmp_path / "out"
    protect_folder(pick([album / "first.jpg"]), out, fitted)
    before = contents(out)
    PILImage.new("RGB", (30, 30), "navy").save(album / "first.png")
    with pytest.raises(DatasetError, match=r"first\.png is the copy of .*first\.jpg, and .*first\.png would take its"):
        protect_folder(pick([album / "first.png"]), out, fitted)
    assert contents(out) == before and protect_folder(pick([album / "first.jpg"]), out, fitted).already == 1
    (album / "first.jpg").unlink()  # the photo was edited, and stored as another kind of file
    assert protect_folder(pick([album / "first.png"]), out, fitted).again == 1


def test_manifests_of_earlier_versions_are_read_and_learn_the_names_of_originals(
    album: Path, tmp_path: Path, fitted: UCProtector
) -> None:
    out, manifest = tmp_path / "out", tmp_path / "out.jsonl"
    protect_folder(pick([album / "first.jpg"]), out, fitted)
    mark, name, copy, original, protected = json.loads(manifest.read_text())
    manifest.write_text(json.dumps([mark, name, copy, original[:4], protected]) + "\n")
    assert protect_folder(pick([album / "first.jpg"]), out, fitted).already == 1
    PILImage.new("RGB", (30, 30), "navy").save(album / "first.png")
    with pytest.raises(DatasetError, match="is the copy of"):
        protect_folder(pick([album / "first.png"]), out, fitted)


def test_bad_files_are_named_before_anything_is_written(album: Path, tmp_path: Path, fitted: UCProtector) -> None:
    whole = (album / "first.jpg").read_bytes()
    (album / "trips" / "zz half.jpg").write_bytes(whole[: len(whole) // 2])
    (album / "not really.png").write_text("hello")
    with pytest.raises(ImageError, match=r"(?s)2 of 8 images .*not really\.png: .*trips/zz half\.jpg: truncated"):
        protect_folder(album, tmp_path / "out", fitted)
    assert not list((tmp_path / "out").iterdir())


def test_transparency_in_a_jpeg_container_is_refused_by_name(
    album: Path, tmp_path: Path, tiles: Dataset, surrogate_folder: str
) -> None:
    protector = UCProtector(surrogate=surrogate_folder, n_clusters=2, batch_size=4, container="jpeg:90")
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
