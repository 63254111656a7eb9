"""How visible a change is, as a person sees it on a screen: ColorVideoVDP (JOD) beside FLIP, PSNR and SSIM.

    uc-hf protect ../shared/data/kodak --out kodak-quiet --look quiet --n-clusters 10 --surrogate uc_hf/tiny
    python -m benchmarks.visibility --originals ../shared/data/kodak --out visibility.json quiet=kodak-quiet ...

JOD is 10 for identical images; at 9 three of four viewers pick the original. An image that is higher than the screen
is shrunk to it first. Needs `pip install --no-deps cvvdp ffmpeg-python einops PyEXR` (cvvdp asks for torchvision, for
one Gaussian blur and to read films; stand-ins below do without).
"""

import argparse
import json
import sys
import types
from pathlib import Path
from typing import Any

import datasets  # noqa: F401  (before the stand-ins: it looks for torchvision)
import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from benchmarks.machine import device_name
from uc_hf.data import images
from uc_hf.scoring.imperceptibility import compare


SCREEN = 1080
"""Height in pixels of the screen."""

DISPLAY = "standard_fhd"

STAND_INS = (
    *("torchvision", "torchvision.transforms", "torchvision.transforms.functional", "torchvision.models"),
    *("torchvision.ops", "OpenEXR", "Imath", "pyexr", "ffmpeg"),
)


class _Blur(nn.Module):
    """What torchvision.transforms.GaussianBlur does to float [..., H, W]."""

    def __init__(self, size: int, sigma: float) -> None:
        super().__init__()
        self.size, self.sigma = size | 1, sigma

    def forward(self, x: Tensor) -> Tensor:
        at = torch.arange(self.size, dtype=x.dtype) - self.size // 2
        kernel = torch.exp(-(at**2) / (2 * self.sigma**2))
        kernel /= kernel.sum()
        padded = F.pad(x.reshape(-1, 1, *x.shape[-2:]), (self.size // 2,) * 4, "reflect")
        rows = F.conv2d(padded, kernel[None, None, :, None])
        return F.conv2d(rows, kernel[None, None, None, :]).reshape(x.shape)


def load_metric() -> Any:
    """ColorVideoVDP for a full-HD screen."""
    for name in STAND_INS:
        sys.modules.setdefault(name, types.ModuleType(name))
    sys.modules["torchvision.transforms"].GaussianBlur = _Blur  # type: ignore[attr-defined]
    sys.modules["torchvision"].transforms = sys.modules["torchvision.transforms"]  # type: ignore[attr-defined]
    sys.modules["torchvision.transforms"].functional = sys.modules[  # type: ignore[attr-defined]
        "torchvision.transforms.functional"
    ]
    sys.modules["torchvision.ops"].MLP = object  # type: ignore[attr-defined]
    import pycvvdp

    return pycvvdp.cvvdp(display_name=DISPLAY, heatmap=None)


def seen(pixels: np.ndarray) -> np.ndarray:
    """An image uint8 [H, W, 3], no higher than the screen."""
    height, width = pixels.shape[:2]
    if height <= SCREEN:
        return pixels
    size = (round(width * SCREEN / height), SCREEN)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))


def measure(originals: Path, protected: Path, metric: Any) -> dict[str, float]:
    """Means over the images of two folders, which have the same names but for the suffix."""
    jods, pairs = [], []
    for path in tqdm(sorted(path for path in originals.iterdir() if path.suffix == ".png"), desc=protected.name):
        before, after = (images.decode(str(each)).pixels for each in (path, protected / path.name))
        jod, _ = metric.predict(seen(after), seen(before), dim_order="HWC")
        jods.append(float(jod))
        pairs.append((str(path), str(protected / path.name)))
    whole = compare(pairs)
    facts = {name: value for name, value in vars(whole).items() if isinstance(value, float)}
    return facts | {"jod": round(float(np.mean(jods)), 3), "worst_jod": round(min(jods), 3), "images": len(jods)}


def main() -> None:
    """Measure every folder and write one JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--originals", type=Path, required=True, help="folder of PNG files")
    parser.add_argument("--out", type=Path, required=True, help="JSON to write")
    parser.add_argument("protected", nargs="+", metavar="NAME=FOLDER")
    args = parser.parse_args()
    metric = load_metric()
    found = {}
    for word in args.protected:
        name, _, folder = word.partition("=")
        found[name] = measure(args.originals, Path(folder), metric)
    args.out.write_text(json.dumps({"machine": device_name(), "kodak": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
