"""An image set built in code: ten ornaments printed faintly over scenes of colour.

The class is the ornament: bricks, cracks, dots, ... Everything else is nuisance and drawn independently of it: the
colours and shapes of the scene below (which carry most of the contrast), the ornament's tilt, size, phase, warp,
strength and polarity, and grain. A person names the ornament at a glance; a small network from scratch needs a few
hundred steps, which is what makes the set a fair ground for the demo: noise of 16/255 is about as strong as the print.
"""

import io
from collections.abc import Callable

import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image as PILImage


Array = NDArray[np.floating]

SIZE = 32
SUPERSAMPLING = 2
TILT = 0.4
PERIOD = (6.0, 9.0)
WARP = 0.15
STRENGTH = (0.04, 0.085)


def generated_dataset(n_train: int = 2000, n_test: int = 600, seed: int = 0) -> DatasetDict:
    """Ten balanced classes of 32 x 32 RGB images in random order; the same arguments give the same bytes.

    Examples:
        >>> generated_dataset(n_train=20, n_test=10)["train"].features["label"].names[:3]
        ['bricks', 'cracks', 'dots']

    Args:
        n_train: rows of the split "train".
        n_test: rows of the split "test", independent of the training rows.
        seed: of everything that is drawn.

    Returns:
        Splits "train" and "test" with the columns image (PNG) and label (`ORNAMENTS`).
    """
    features = Features({"image": Image(), "label": ClassLabel(names=list(ORNAMENTS))})
    splits = {}
    for number, (split, n_images) in enumerate({"train": n_train, "test": n_test}.items()):
        pixels, labels = generate(n_images, np.random.default_rng([seed, number]))
        rows = {"image": [{"bytes": _png(image), "path": None} for image in pixels], "label": labels}
        splits[split] = Dataset.from_dict(rows, features=features)
    return DatasetDict(splits)


def generate(n_images: int, rng: Generator) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The pictures as arrays.

    Args:
        n_images: how many; classes differ in size by one at most.
        rng: where all randomness comes from.

    Returns:
        uint8 [n, 32, 32, 3] and int64 [n], the index of the ornament.
    """
    labels = rng.permutation(np.arange(n_images) % len(ORNAMENTS))
    strength = _column(rng, n_images, *STRENGTH) * rng.choice([-1, 1], (n_images, 1, 1))
    tint = rng.uniform(0.7, 1.3, (n_images, 1, 1, 3))
    grain = _column(rng, n_images, 0, 0.02)[..., None] * rng.normal(size=(n_images, SIZE, SIZE, 3))
    pictures = _scenes(n_images, rng) + (strength * _prints(labels, rng))[..., None] * tint + grain
    return np.rint(pictures.clip(0, 1) * 255).astype(np.uint8), labels


def _prints(labels: NDArray[np.int64], rng: Generator) -> Array:
    """Each image's ornament at a random tilt, size, phase and warp: [n, 32, 32], mean 0, at most 1 in size."""
    side = SIZE * SUPERSAMPLING
    axis = (np.arange(side) + 0.5) / SUPERSAMPLING - SIZE / 2
    tilt, period = _column(rng, len(labels), -TILT, TILT), _column(rng, len(labels), *PERIOD)
    warp = [WARP * _smooth(rng, len(labels), side, 2, (0.4, 1.2)) for _ in range(2)]
    u = (np.cos(tilt) * axis + np.sin(tilt) * axis[:, None]) / period + warp[0]  # [n, side, side], in periods
    v = (np.cos(tilt) * axis[:, None] - np.sin(tilt) * axis) / period + warp[1]
    prints = np.empty((len(labels), SIZE, SIZE), np.float32)
    for label, ornament in enumerate(ORNAMENTS.values()):
        rows = labels == label
        inked = ornament(u[rows].astype(np.float32), v[rows].astype(np.float32), rng)
        prints[rows] = inked.reshape(-1, SIZE, SUPERSAMPLING, SIZE, SUPERSAMPLING).mean(axis=(2, 4))
    prints -= prints.mean(axis=(1, 2), keepdims=True)
    return prints / np.abs(prints).max(axis=(1, 2), keepdims=True)


def _scenes(n_images: int, rng: Generator) -> Array:
    """What the ornament is printed over: two blended colours, three discs or half-planes, shade; [n, 32, 32, 3]."""
    axis = (np.arange(SIZE) + 0.5) / SIZE * 2 - 1
    blend = 1 / (1 + np.exp(-2 * _smooth(rng, n_images, SIZE, 2, (0.3, 1.0))))[..., None]
    scenes = _colours(n_images, rng) * blend + _colours(n_images, rng) * (1 - blend)
    for _ in range(3):
        centre_x, centre_y = _column(rng, n_images, -1, 1), _column(rng, n_images, -1, 1)
        angle, radius = _column(rng, n_images, 0, np.pi), _column(rng, n_images, 0.2, 0.7)
        x, y = axis - centre_x, axis[:, None] - centre_y
        is_plane = rng.random((n_images, 1, 1)) < 0.5
        distance = np.where(is_plane, np.cos(angle) * x + np.sin(angle) * y, radius - np.hypot(x, y))
        cover = (distance * SIZE / 2 + 0.5).clip(0, 1) * _column(rng, n_images, 0.4, 1)
        scenes += (_colours(n_images, rng) - scenes) * cover[..., None]
    return scenes * (1 + 0.16 * _smooth(rng, n_images, SIZE, 3, (0.3, 1.5))[..., None])


def _colours(n_images: int, rng: Generator) -> Array:
    """Random hue and saturation at a middling luminance, [n, 1, 1, 3]."""
    hue, saturation = _column(rng, n_images, 0, 1), _column(rng, n_images, 0.2, 0.8)
    sector = (np.array([5, 3, 1]) + 6 * hue) % 6
    colours = (1 - saturation * np.minimum(sector, 4 - sector).clip(0, 1))[:, None]  # HSV at full value
    luminance = (colours @ np.array([0.3, 0.59, 0.11]))[..., None]
    return (colours / luminance * _column(rng, n_images, 0.35, 0.65)[..., None]).clip(0, 1)


def _smooth(rng: Generator, n_images: int, side: int, n_waves: int, frequency: tuple[float, float]) -> Array:
    """Sums of random plane waves of so many periods across, about unit variance: [n, side, side]."""
    axis = (np.arange(side) + 0.5) / side
    field = np.zeros((n_images, side, side), np.float32)
    for _ in range(n_waves):
        angle, phase = _column(rng, n_images, 0, 2 * np.pi), _column(rng, n_images, 0, 2 * np.pi)
        along = np.cos(angle) * axis + np.sin(angle) * axis[:, None]
        field += np.sin(2 * np.pi * _column(rng, n_images, *frequency) * along + phase)
    return field / np.sqrt(n_waves / 2)


def _column(rng: Generator, n_images: int, low: float, high: float) -> Array:
    """One number per image, shaped to broadcast over pixels."""
    return rng.uniform(low, high, (n_images, 1, 1))


def _png(image: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    PILImage.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


# The ornaments. Each takes float [n, m, m] coordinates in periods and gives ink in [0, 1].


def _line(distance: Array, half_width: float) -> Array:
    """Ink where |distance| is below half_width, with a soft edge."""
    return ((half_width - np.abs(distance)) / 0.12 + 0.5).clip(0, 1)


def _near(x: Array) -> Array:
    """Signed distance to the nearest whole number."""
    return x - np.round(x)


def _staggered(u: Array, row: Array) -> Array:
    """Signed distance to the nearest whole number, every second row shifted by a half."""
    return _near(u + 0.5 * (row % 2))


def _bricks(u: Array, v: Array, rng: Generator) -> Array:
    v = 1.3 * v
    row = np.floor(v)
    return np.maximum(_line(_near(v), 0.1), _line(_staggered(0.65 * u, row), 0.08))


def _cracks(u: Array, v: Array, rng: Generator) -> Array:
    """Borders of Voronoi cells, one random site in each unit square."""
    sites = rng.random((2, len(u), 32, 32), dtype=np.float32)
    image = np.arange(len(u))[:, None, None]
    column, row = np.floor(u).astype(int), np.floor(v).astype(int)
    first, second = np.full_like(u, np.inf), np.full_like(u, np.inf)
    for x in (column - 1, column, column + 1):
        for y in (row - 1, row, row + 1):
            distance = np.hypot(x + sites[0, image, x % 32, y % 32] - u, y + sites[1, image, x % 32, y % 32] - v)
            second = np.minimum(second, np.maximum(first, distance))
            first = np.minimum(first, distance)
    return _line(second - first, 0.13)


def _dots(u: Array, v: Array, rng: Generator) -> Array:
    row = np.round(v)
    return _line(np.hypot(_staggered(u, row), v - row), 0.3)


def _grid(u: Array, v: Array, rng: Generator) -> Array:
    return np.maximum(_line(_near(u), 0.14), _line(_near(v), 0.14))


def _plusses(u: Array, v: Array, rng: Generator) -> Array:
    row = np.round(v)
    x, y = np.abs(_staggered(u, row)), np.abs(v - row)
    return _line(np.minimum(np.maximum(x - 0.25, y), np.maximum(x, y - 0.25)).clip(0), 0.11)


def _rays(u: Array, v: Array, rng: Generator) -> Array:
    x, y = u - _column(rng, len(u), -1.2, 1.2), v - _column(rng, len(u), -1.2, 1.2)
    spokes = rng.integers(9, 13, (len(u), 1, 1))
    return _line(_near(spokes * np.arctan2(y, x) / (2 * np.pi)), 0.25)


def _rings(u: Array, v: Array, rng: Generator) -> Array:
    x, y = u - _column(rng, len(u), -1.2, 1.2), v - _column(rng, len(u), -1.2, 1.2)
    return _line(_near(np.hypot(x, y)), 0.25)


def _scales(u: Array, v: Array, rng: Generator) -> Array:
    """Rims of overlapping discs, half a period from row to row, the lower row above the upper."""
    ink, covered = np.zeros_like(u), np.zeros(u.shape, bool)
    for below in (1, 0, -1):
        row = np.floor(2 * v) + below
        radius = np.hypot(_staggered(u, row), v - row / 2)
        inside = (radius < 0.6) & ~covered
        ink[inside] = _line(radius - 0.52, 0.09)[inside]
        covered |= inside
    return ink


def _stripes(u: Array, v: Array, rng: Generator) -> Array:
    return _line(_near(u), 0.25)


def _zigzag(u: Array, v: Array, rng: Generator) -> Array:
    return _line(_near(0.9 * (v - 2 * np.abs(_near(0.5 * u)))), 0.22)


ORNAMENTS: dict[str, Callable[[Array, Array, Generator], Array]] = {
    "bricks": _bricks,
    "cracks": _cracks,
    "dots": _dots,
    "grid": _grid,
    "plusses": _plusses,
    "rays": _rays,
    "rings": _rings,
    "scales": _scales,
    "stripes": _stripes,
    "zigzag": _zigzag,
}
"""The classes, in the order of their labels."""
