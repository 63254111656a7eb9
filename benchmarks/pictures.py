"""The picture that leads the README: photographs, their protected copies, and the noise eight times amplified.

    python -m benchmarks.pictures --data ../shared/data/kodak \
        --surrogate ../shared/models/mobilenet_v2_1.0_224-imagenet --shown 3 --shown 14 --shown 22 \
        --out docs/images/photos.jpg

The protector is fitted on all photos with the default settings and ten clusters, none of
them quiet, so that what is shown has all of the noise. As JPEG with full colour resolution: noise makes PNG
files of a megabyte.
"""

import argparse
import logging
from fractions import Fraction
from pathlib import Path

import datasets
from matplotlib.figure import Figure
from PIL import Image

from uc_hf import UCProtector
from uc_hf.data.columns import image_column
from uc_hf.data.sources import open_dataset
from uc_hf.reports import figures


HEIGHT = 256
"""Of the photos, in pixels: they are shrunk before they are protected, so that the noise shows in a small picture."""

ENCODING = {"quality": 90, "subsampling": 0}


def shrunk(photos: datasets.Dataset) -> list[Image.Image]:
    """The photos at HEIGHT, in RGB."""
    pictures = (row.convert("RGB") for row in photos[image_column(photos.features)])
    return [picture.resize((round(picture.width * HEIGHT / picture.height), HEIGHT)) for picture in pictures]


def draw(photos: list[Image.Image], shown: list[int], surrogate: str, epsilon: float) -> Figure:
    """Protect all photos and draw some of them."""
    dataset = datasets.Dataset.from_dict({"image": photos}, features=datasets.Features({"image": datasets.Image()}))
    protector = UCProtector(surrogate=surrogate, epsilon=epsilon, n_clusters=10, quiet_cluster=False).fit(dataset)
    before = [photos[row] for row in shown]
    return figures.contact_sheet(before, [protector.transform(photo) for photo in before], columns=len(shown))


def main() -> None:
    """Draw the picture."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="a folder of photos or a dataset")
    parser.add_argument("--surrogate", default="openai/clip-vit-base-patch32")
    parser.add_argument("--epsilon", type=Fraction, default=Fraction(16, 255), help="for example 8/255")
    parser.add_argument("--shown", type=int, action="append", required=True, help="a photo, counted from 0; repeat")
    parser.add_argument("--out", type=Path, required=True, help="a JPEG")
    args = parser.parse_args()
    photos = shrunk(next(iter(open_dataset(args.data).values())))
    draw(photos, args.shown, args.surrogate, float(args.epsilon)).savefig(args.out, dpi=100, pil_kwargs=ENCODING)


if __name__ == "__main__":
    main()
