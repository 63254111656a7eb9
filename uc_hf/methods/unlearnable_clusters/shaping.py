"""Perceptual shaping: less noise where a picture is flat and noise is seen, all of it where the picture is busy."""

import numpy as np
from scipy.ndimage import uniform_filter


FLAT = 0.25
"""Share of the noise that flat parts get."""

BUSY = 24.0
"""Standard deviation, in 8-bit levels, from which surroundings hide all of the noise."""

WINDOW = 5
"""Side of the surroundings, in pixels of the canvas: about a period of the noise."""


def shares(pixels: np.ndarray, canvas_size: int) -> np.ndarray:
    """How much of the noise each pixel of a picture takes, by the deviation of the brightness around it.

    Args:
        pixels: uint8 [H, W, 3].
        canvas_size: side S of the square from which the noise is stretched over the picture.

    Returns:
        float32 [H, W], from `FLAT` to 1.
    """
    brightness = pixels.mean(axis=2, dtype=np.float32)
    window = [max(3, round(WINDOW * side / canvas_size)) for side in brightness.shape]
    mean, mean_square = (uniform_filter(values, window) for values in (brightness, brightness**2))
    deviation = np.sqrt(np.maximum(mean_square - mean**2, 0))
    return np.clip(deviation / BUSY, FLAT, 1)
