"""A sheet of photographs before and after at each look: pieces at their own size, one pixel to one pixel.

    python -m benchmarks.looks --data ../shared/data/kodak --out docs/images/looks.jpg

Two photographs in a row, each as it was and at each look. Kodak has no page of text, no night, no food and no gray
photograph: the first is drawn here, the second is the lighthouse with a tenth of its light, the third is a cup of
coffee from scikit-image (in the public domain), the last is stored in gray first.
"""

import argparse
import inspect
import textwrap
from pathlib import Path

import datasets
import skimage.data
from PIL import Image, ImageDraw, ImageFont

from uc_hf import UCProtector
from uc_hf.methods.unlearnable_clusters.looks import LOOKS


SHOWN = {
    4: (0.45, 0.45),
    15: (0.6, 0.45),
    18: (0.5, 0.3),
    12: (0.4, 0.4),
    16: (0.6, 0.35),
    20: (0.35, 0.45),
    10: (0.4, 0.3),
    8: (0.8, 0.75),
    27: (0.45, 0.45),
    23: (0.3, 0.55),
    22: (0.35, 0.4),
    25: (0.3, 0.3),
    26: (0.55, 0.45),
    17: (0.5, 0.3),
}
"""Which photographs of Kodak's 24, the page (25), the night (26) and the coffee (27), and where a piece lies: its
middle, as shares of width and height."""

GRAY, NIGHT = 17, 19
"""The photographs that are stored in gray, and seen by night."""

LIGHT, GAMMA = 0.1, 2.2
"""Share of the day's light, and the exponent from pixels to light."""

PIECE, GAP, TITLE = 224, 6, 22
"""Sides in pixels."""

QUALITY = 88
"""Of the JPEG, with full colour resolution."""


def piece(picture: Image.Image, middle: tuple[float, float]) -> Image.Image:
    """A square of a picture, as it is."""
    left, top = (
        min(max(round(share * side) - PIECE // 2, 0), side - PIECE)
        for share, side in zip(middle, picture.size, strict=True)
    )
    return picture.convert("RGB").crop((left, top, left + PIECE, top + PIECE))


def page(size: tuple[int, int]) -> Image.Image:
    """A page of text."""
    paper = Image.new("RGB", size, "#fbfaf6")
    pen, font = ImageDraw.Draw(paper), ImageFont.load_default(size=18)
    lines = textwrap.wrap(" ".join([inspect.getdoc(UCProtector) or ""] * 3), width=size[0] // 10)
    pen.multiline_text((24, 20), "\n".join(lines), fill="#222222", font=font, spacing=8)
    return paper


def by_night(picture: Image.Image) -> Image.Image:
    """A photograph with a share of its light."""
    return picture.point(lambda level: round(level * LIGHT ** (1 / GAMMA)))


def draw(photos: list[Image.Image], surrogate: str) -> Image.Image:
    """The sheet; the last of the photographs is protected as tomorrow's are, by a protector that never saw it."""
    features = datasets.Features({"image": datasets.Image()})
    dataset = datasets.Dataset.from_dict({"image": photos[:-1]}, features=features)
    protector = UCProtector(surrogate=surrogate, n_clusters=10).fit(dataset)
    looks = {look: protector.with_look(look) for look in LOOKS}
    titles = ["original", *looks]
    step, rows = PIECE + GAP, (len(SHOWN) + 1) // 2
    sheet = Image.new("RGB", (2 * len(titles) * step + GAP, rows * step + TITLE), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=14)
    for column, title in enumerate(titles * 2):
        pen.text((GAP + column * step, 3), title, fill="black", font=font)
    for number, (name, middle) in enumerate(SHOWN.items()):
        photo = photos[name - 1]
        versions = [photo, *(look.transform(photo) for look in looks.values())]
        for column, version in enumerate(versions):
            left = GAP + (number % 2 * len(titles) + column) * step
            sheet.paste(piece(version, middle), (left, TITLE + number // 2 * step))
    return sheet


def main() -> None:
    """Draw the sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of Kodak's 24 photographs")
    parser.add_argument("--surrogate", default="uc_hf/tiny")
    parser.add_argument("--out", type=Path, required=True, help="a JPEG")
    args = parser.parse_args()
    photos: list[Image.Image] = [Image.open(path) for path in sorted(args.data.glob("kodim*.png"))]
    photos += [page(photos[0].size), by_night(photos[NIGHT - 1]), Image.fromarray(skimage.data.coffee())]
    photos[GRAY - 1] = photos[GRAY - 1].convert("L")
    draw(photos, args.surrogate).save(args.out, quality=QUALITY, subsampling=0)


if __name__ == "__main__":
    main()
