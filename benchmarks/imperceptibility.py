"""How visible each epsilon is: PSNR, SSIM, FLIP, and a sheet to look at.

    python -m benchmarks.imperceptibility --data ../shared/data/kodak --data ../shared/data/flowers17 \
        --surrogate ../shared/models/mobilenet_v2_1.0_224-imagenet --out docs/images/epsilon

For each set of photos and each epsilon a protector is fitted with the default settings. OUT.json holds all measures,
OUT.md the table, OUT.jpg the sheet: one whole photo of each set and, below it, its middle pixel by pixel. (As JPEG
with full colour resolution: noise makes PNG files of a megabyte.)
"""

import argparse
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from matplotlib.figure import Figure

from uc_hf import UCProtector
from uc_hf.data import images
from uc_hf.data.checks import undecoded
from uc_hf.data.columns import image_column
from uc_hf.data.images import ImageValue
from uc_hf.data.sources import open_dataset
from uc_hf.reports import markdown
from uc_hf.reports.page import INK, MARGIN, MUTED, PROTECTED, WIDTH, new_figure, show, write
from uc_hf.scoring.imperceptibility import Imperceptibility, compare, psnr
from uc_hf.scoring.lpips import Lpips


logger = logging.getLogger(__name__)

EPSILONS = {f"{levels}/255": levels / 255 for levels in (8, 12, 16)}

DPI = 100
"""Resolution of the sheet: where a photo is shown pixel by pixel, a pixel of it is a pixel of the file."""

QUALITY = 90
HEADING, GAP = 0.4, 0.08

Versions = dict[str, list[ImageValue]]
"""The same images as stored, under "original" and under each epsilon."""


def protect(dataset: datasets.Dataset, surrogate: str, size: int | None) -> Versions:
    """The originals, and what each epsilon makes of them."""
    column = image_column(dataset.features)
    versions: Versions = {"original": list(undecoded(dataset, column)[column])}
    pictures = [images.decode(value) for value in versions["original"]]
    for name, epsilon in EPSILONS.items():
        protector = UCProtector(surrogate, surrogate_size=size, epsilon=epsilon).fit(dataset)
        versions[name] = [data for picture in pictures for data in protector.protect([picture])]
    return versions


def prices(versions: Versions, lpips: Lpips | None) -> dict[str, Imperceptibility]:
    """What each epsilon changes."""
    return {name: compare(zip(versions["original"], versions[name], strict=True), lpips) for name in EPSILONS}


def rows(name: str, measured: Mapping[str, Imperceptibility]) -> list[dict[str, str]]:
    """Lines of the table."""
    return [
        {
            "epsilon": epsilon,
            "pictures": f"{price.images} of {name}",
            "PSNR": f"{price.psnr:.1f} dB",
            "worst PSNR": f"{price.worst_psnr:.1f} dB",
            "SSIM": f"{price.ssim:.3f}",
            "worst SSIM": f"{price.worst_ssim:.3f}",
            "FLIP": f"{price.flip:.3f}",
            "worst FLIP": f"{price.worst_flip:.3f}",
        }
        | ({} if price.lpips is None else {"LPIPS": f"{price.lpips:.3f}", "worst LPIPS": f"{price.worst_lpips:.3f}"})
        for epsilon, price in measured.items()
    ]


def sheet(bands: Sequence[Mapping[str, np.ndarray]]) -> Figure:
    """Of each band a picture's versions side by side, whole, and their middle pixel by pixel.

    Args:
        bands: name of the version -> pixels uint8 [H, W, 3]; the first version is the original.
    """
    across = len(bands[0])
    width = (WIDTH - 2 * MARGIN - (across - 1) * GAP) / across
    part = width * 2 / 3
    heights = [width * shape[0] / shape[1] for shape in (next(iter(band.values())).shape for band in bands)]
    figure = new_figure(MARGIN + sum(heights) + len(bands) * (HEADING + part + GAP + MARGIN))
    top = MARGIN
    for band, height in zip(bands, heights, strict=True):
        original = next(iter(band.values()))
        for column, (name, pixels) in enumerate(band.items()):
            left = MARGIN + column * (width + GAP)
            noisy = name in EPSILONS
            write(figure, left, top + 0.09, name, weight="bold", colour=PROTECTED if noisy else INK)
            price = f"PSNR {psnr(pixels.astype(np.int16) - original):.1f} dB" if noisy else "below: pixel by pixel"
            write(figure, left, top + 0.27, price, size=8, colour=MUTED)
            show(figure, left, top + HEADING, width, height, pixels)
            show(figure, left, top + HEADING + height + GAP, width, part, _middle(pixels, width, part))
        top += HEADING + height + GAP + part + MARGIN
    return figure


def _middle(pixels: np.ndarray, width: float, height: float) -> np.ndarray:
    """As much of the middle as `width` by `height` inches hold, a pixel for each of the sheet's."""
    rows, columns = min(round(height * DPI), pixels.shape[0]), min(round(width * DPI), pixels.shape[1])
    y, x = (pixels.shape[0] - rows) // 2, (pixels.shape[1] - columns) // 2
    return pixels[y : y + rows, x : x + columns]


def measure(
    data: Sequence[str],
    surrogate: str,
    size: int | None,
    n_images: int,
    shown: int,
    lpips: Lpips | None = None,
) -> tuple[dict[str, Any], str, Figure]:
    """All measures, the table as Markdown, and the sheet."""
    results: dict[str, Any] = {}
    table: list[dict[str, str]] = []
    bands = []
    for source in data:
        splits = open_dataset(source)
        dataset = splits.get("train", next(iter(splits.values()))).shuffle(seed=0)
        versions = protect(dataset.select(range(min(n_images, len(dataset)))), surrogate, size)
        measured, name = prices(versions, lpips), Path(source).name
        results[name] = {epsilon: asdict(price) for epsilon, price in measured.items()}
        table += rows(name, measured)
        bands.append({version: images.decode(values[shown]).pixels for version, values in versions.items()})
    return results, markdown.table(table) + "\n", sheet(bands)


def main() -> None:
    """Measure, write the three files and log the table."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", required=True, help="a folder of photos or a dataset; repeat")
    parser.add_argument("--surrogate", default="uc_hf/tiny")
    parser.add_argument("--surrogate-size", type=int)
    parser.add_argument("--images", type=int, default=100, help="of each set, at most")
    parser.add_argument("--shown", type=int, default=0, help="which of them is drawn, counted from 0")
    parser.add_argument("--lpips", type=Path, help="weights of LPIPS, a safetensors file: measure it, too")
    parser.add_argument("--out", type=Path, required=True, help="name of the files, without suffix")
    args = parser.parse_args()
    lpips = Lpips(args.lpips) if args.lpips else None
    results, table, figure = measure(args.data, args.surrogate, args.surrogate_size, args.images, args.shown, lpips)
    args.out.with_suffix(".json").write_text(json.dumps(results, indent=2) + "\n")
    args.out.with_suffix(".md").write_text(table)
    encoding = {"quality": QUALITY, "subsampling": 0}
    figure.savefig(args.out.with_suffix(".jpg"), dpi=DPI, pil_kwargs=encoding)
    logger.info("\n%s", table)


if __name__ == "__main__":
    main()
