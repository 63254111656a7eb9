"""How visible a change is: as it is seen on a screen, at a cost that does not grow with the photo."""

import flip_evaluator
import numpy as np
import pytest

from uc_hf.publishing.outcome import ALL_COMPARED, COMPARED, spread
from uc_hf.scoring.imperceptibility import SCREEN, WINDOW, as_seen, compare


def photo(height: int, width: int) -> np.ndarray:
    """Smooth, within [60, 195]."""
    y, x = np.mgrid[:height, :width] / height
    return (127 + 60 * np.sin(5 * np.stack([x, y, x + y], axis=2)) + 8).astype(np.uint8)


def stripes(height: int, width: int, period: int) -> np.ndarray:
    """+16 and -16 levels, int16 [H, W, 1]."""
    up = np.arange(width) // (period // 2) % 2 == 0
    return np.broadcast_to(np.where(up, 16, -16).astype(np.int16)[None, :, None], (height, width, 1))


def test_flip_is_that_of_its_authors_where_all_is_seen() -> None:
    before = photo(200, 240)
    after = (before + stripes(200, 240, 10)).astype(np.uint8)
    units = [pixels.astype(np.float32) / 255 for pixels in (before, after)]
    measured = compare([(before, before), (before, after)])
    assert measured.worst_flip == pytest.approx(flip_evaluator.evaluate(*units, "LDR")[1])
    assert (measured.flip, measured.worst_flip_row) == (measured.worst_flip / 2, 1)


def test_changes_of_brightness_are_seen_more_than_equal_changes_of_blue() -> None:
    before = photo(200, 240)
    noise = stripes(200, 240, 8)
    gray = compare([(before, (before + noise).astype(np.uint8))])
    blue = compare([(before, (before + noise * np.array([0, 0, 1])).astype(np.uint8))])
    assert blue.flip < gray.flip / 2


def test_a_photo_higher_than_a_screen_is_judged_as_it_is_seen_there() -> None:
    small, large = photo(SCREEN, SCREEN), photo(3 * SCREEN, 3 * SCREEN)
    coarse = compare([(large, (large + stripes(*large.shape[:2], 30)).astype(np.uint8))])
    same = compare([(small, (small + stripes(*small.shape[:2], 10)).astype(np.uint8))])
    fine = compare([(large, (large + stripes(*large.shape[:2], 2)).astype(np.uint8))])
    assert coarse.flip == pytest.approx(same.flip, rel=0.15)
    assert fine.flip < same.flip / 4
    assert fine.psnr == pytest.approx(same.psnr, abs=0.01), "every pixel counts there"


@pytest.mark.parametrize("size", [(8, 300), (256, 256), (300, 9), (1080, 1920), (4000, 6000), (6000, 200)])
def test_what_is_judged_is_bounded(size: tuple[int, int]) -> None:
    seen = as_seen(np.zeros((*size, 3), np.uint8))
    scale = max(1, size[0] / SCREEN)
    assert seen.shape == (*(min(WINDOW, round(side / scale)) for side in size), 3)


def test_a_change_outside_of_what_is_judged_is_counted() -> None:
    before = photo(600, 600)
    after = before.copy()
    after[0, 0, 0] += 9
    measured = compare([(before, after)])
    assert (measured.max_difference, measured.flip, measured.ssim) == (9, 0, 1)
    assert measured.psnr == pytest.approx(10 * np.log10(255**2 * before.size / 81))


@pytest.mark.parametrize(
    ("total", "compared"), [(1, 1), (24, 24), (200, 24), (500, 50), (1000, COMPARED), (10**6, COMPARED)]
)
def test_of_many_images_a_tenth_is_compared(total: int, compared: int) -> None:
    chosen = spread(total)
    assert len(set(chosen)) == compared >= min(total, ALL_COMPARED)
    assert chosen[0] == 0 and chosen[-1] == total - 1
