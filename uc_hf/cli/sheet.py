"""A picture of what protecting has done to the images that it changed most, kept with the key."""

from collections.abc import Sequence
from pathlib import Path

from PIL.Image import Image, Resampling

from uc_hf.data import images
from uc_hf.data.images import ImageValue
from uc_hf.files import whole
from uc_hf.scoring.imperceptibility import Difference


BEGINS = "before-after"
"""Name of the picture, up to that of the output: it lies in the protector's folder, since it gives the noise away."""

SHOWN = 8
LONGEST = 480
"""Side in pixels of each, about as it is drawn."""


def sheet_of(key: Path, out: Path | None) -> Path:
    """The file for the sheet of an output: in the protector's folder, which may have made several outputs."""
    return key / (f"{BEGINS}.png" if out is None else f"{BEGINS}-{out.resolve().name}.png")


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
    largest = max(measured[row].max_difference for row in worst)
    before, after = ([_small(pairs[row][side]) for row in worst] for side in (0, 1))
    with whole(file) as partial:
        contact_sheet(before, after, columns=4, largest=largest).savefig(
            partial, format="png", metadata={"Software": None}
        )
    return file


def _small(value: ImageValue) -> Image:
    picture = images.open_image(images.in_colour(images.decode(value)).pixels)
    picture.thumbnail((LONGEST, LONGEST), Resampling.LANCZOS)
    return picture
