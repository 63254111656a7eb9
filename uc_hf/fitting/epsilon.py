"""The bound on every pixel's change."""

import math
from numbers import Real

from uc_hf.errors import EpsilonError


LARGEST = 127
"""In 8-bit levels: noise is stored as int8."""


def read_epsilon(value: float) -> float:
    """The bound as a number.

    Examples:
        >>> read_epsilon(16 / 255) == 16 / 255
        True

    Raises:
        EpsilonError: no number, or one that no stored noise can keep to.
    """
    meant = "for example 16/255 (0.0627)"
    if isinstance(value, str):
        raise EpsilonError(
            f"epsilon={value!r} is not a number. Write {meant}; words are for look (--look), which chooses how "
            "visible the noise is."
        )
    if not isinstance(value, Real) or isinstance(value, bool) or math.isnan(value):
        wrong = f"epsilon={value!r} is not a number"
    elif value > 1:
        wrong = f"epsilon={value:g} is above 1"
        if 2 <= value <= LARGEST:
            meant = f"{value:g}/255 ({value / 255:.4f})"
    elif not 1 <= value * 255 < LARGEST + 1:
        wrong = f"epsilon={value:g} is not between 1/255, the smallest change that an 8-bit image can hold, and "
        wrong += f"{LARGEST}/255"
    else:
        return float(value)
    raise EpsilonError(f"{wrong}. Pixels are in [0, 1] here: write {meant}.")
