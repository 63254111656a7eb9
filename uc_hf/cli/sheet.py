"""A picture of what protecting has done to the images that it changed most, kept with the key."""

from collections.abc import Sequence
from pathlib import Path

from PIL.Image import Image, Resampling

from uc_hf.data import images
from uc_hf.data.images import ImageValue
from uc_hf.files import whole
from uc_hf.scoring.imperceptibility import Difference


NAME = "before-after.png"
"""In the protector's folder: an original beside its copy gives the noise away."""

SHOWN = 8
LONGEST = 480
"""Side in pixels of each, about as it is drawn."""


def draw_sheet(pairs: Sequence[tuple[ImageValue, ImageValue]], measured: Sequence[Difference], file: Path) -> Path:
    """Draw the most changed images, before and after.

    Args:
        pairs: originals and protected copies, as they are stored.
        measured: of each pair.
        file: a PNG, which is replaced.

    Returns:
        the file.
    """
    # Here, since matplotlib takes a second to import.
    from uc_hf.reports.figures import contact_sheet

    worst = sorted(range(len(pairs)), key=lambda row: -measured[row].flip)[:SHOWN]
    before, after = ([_small(pairs[row][side]) for row in worst] for side in (0, 1))
    with whole(file) as partial:
        contact_sheet(before, after, columns=4).savefig(partial, format="png", metadata={"Software": None})
    return file


def _small(value: ImageValue) -> Image:
    picture = images.open_image(images.in_colour(images.decode(value)).pixels)
    picture.thumbnail((LONGEST, LONGEST), Resampling.LANCZOS)
    return picture
