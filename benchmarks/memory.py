"""Peak memory of `uc-hf protect FOLDER --out` on large photos, beside what the program takes for a tiny picture.

    OMP_NUM_THREADS=1 python -m benchmarks.memory --photos 100 --work /tmp/memory --out memory.json

The photos have 8660 x 5774 pixels (50 megapixels): a few drawn scenes with the grain of a camera, as JPEG, each under
many names. The program takes most of its memory for torch, datasets and the surrogate; what a photo costs comes on
top. Peaks are read from the operating system, on Linux or macOS.
"""

import argparse
import json
import logging
import os
import platform
import shutil
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image


logger = logging.getLogger(__name__)

WIDTH, HEIGHT = 8660, 5774
SCENES = 4


@dataclass(frozen=True)
class Run:
    """The cost of a run.

    Attributes:
        images: that it protected.
        seconds: that it took, with the start of Python.
        peak_mb: largest resident memory.
    """

    images: int
    seconds: float
    peak_mb: float


def make_photos(folder: Path, count: int) -> None:
    """Write photos: as many files, of a few scenes."""
    folder.mkdir(parents=True)
    for number in range(count):
        file = folder / f"{number:03}.jpg"
        if number < SCENES:
            scene(number).save(file, quality=90)
        else:
            shutil.copyfile(folder / f"{number % SCENES:03}.jpg", file)


def scene(seed: int) -> Image.Image:
    """Soft colours and edges, with grain."""
    rng = np.random.default_rng(seed)
    colours = Image.fromarray(rng.integers(20, 235, (9, 13, 3), dtype=np.uint8))
    pixels = np.asarray(colours.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)).copy()
    grain = rng.integers(-6, 7, (512, 512, 1), dtype=np.int16)
    for top in range(0, HEIGHT, 512):
        for left in range(0, WIDTH, 512):
            tile = pixels[top : top + 512, left : left + 512]
            tile[:] = (tile + grain[: tile.shape[0], : tile.shape[1]]).clip(0, 255)
    return Image.fromarray(pixels)


def measure(photos: Path, out: Path, surrogate: str) -> Run:
    """Run the program, and ask the system what it took."""
    words = ["protect", str(photos), "--out", str(out), "--surrogate", surrogate, "--n-clusters", "2"]
    program, start = [sys.executable, "-c", "from uc_hf.cli.app import main; main()", *words], time.monotonic()
    process = os.spawnv(os.P_NOWAIT, sys.executable, program)
    _, status, used = os.wait4(process, 0)
    if status:
        raise SystemExit(f"the program ended with {os.waitstatus_to_exitcode(status)}")
    unit = 2**20 if platform.system() == "Darwin" else 2**10
    return Run(
        images=len(list(photos.iterdir())),
        seconds=round(time.monotonic() - start, 1),
        peak_mb=round(used.ru_maxrss / unit, 1),
    )


def main() -> None:
    """Measure tiny pictures, then photos, and report as JSON."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=100)
    parser.add_argument("--surrogate", default="uc_hf/tiny")
    parser.add_argument("--work", type=Path, required=True, help="a folder for photos and copies; it is emptied")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    shutil.rmtree(args.work, ignore_errors=True)
    make_photos(args.work / "photos", args.photos)
    (args.work / "tiny").mkdir()
    for number in range(4):
        scene(number).resize((64, 48)).save(args.work / "tiny" / f"{number}.png")
    tiny, large = (measure(args.work / name, args.work / f"{name}-out", args.surrogate) for name in ("tiny", "photos"))
    report = {"tiny": asdict(tiny), "photos": asdict(large), "beside_mb": round(large.peak_mb - tiny.peak_mb, 1)}
    logger.info("%s", report)
    args.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
