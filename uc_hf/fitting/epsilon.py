"""The bound on every pixel's change: as a number, or as a word for those who do not think in 8-bit levels."""

import math
from numbers import Real

from uc_hf.errors import EpsilonError


EPSILONS = {"subtle": 8 / 255, "balanced": 12 / 255, "strong": 16 / 255}
"""`strong` is the paper's. What each costs in PSNR and SSIM: `python -m benchmarks.imperceptibility`."""

LARGEST = 127
"""In 8-bit levels: noise is stored as int8."""


def read_epsilon(value: float | str) -> float:
    """The bound as a number.

    Examples:
        >>> read_epsilon("subtle") == 8 / 255
        True

    Raises:
        EpsilonError: another word, no number, or a number that no stored noise can keep to.
    """
    if isinstance(value, str) and value in EPSILONS:
        return EPSILONS[value]
    meant = f"for example epsilon=16/255 (0.0627), or {describe_presets()}"
    if not isinstance(value, Real) or isinstance(value, bool) or math.isnan(value):
        wrong = f"epsilon={value!r} is not a number"
    elif value > 1:
        wrong = f"epsilon={value:g} is above 1"
        if 2 <= value <= LARGEST:
            meant = f"epsilon={value:g}/255 ({value / 255:.4f})"
    elif not 1 <= value * 255 < LARGEST + 1:
        wrong = f"epsilon={value:g} is not between 1/255, the smallest change that an 8-bit image can hold, and "
        wrong += f"{LARGEST}/255"
    else:
        return float(value)
    raise EpsilonError(f"{wrong}. Pixels are in [0, 1] here: write {meant}.")


def describe_presets() -> str:
    """The words and what they stand for, as a message lists them."""
    *others, last = (f"{word!r} ({epsilon * 255:g}/255)" for word, epsilon in EPSILONS.items())
    return f"{', '.join(others)} or {last}"
