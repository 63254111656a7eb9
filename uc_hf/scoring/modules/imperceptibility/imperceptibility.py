"""How visible is the noise of protected images: an `evaluate` measurement on `uc_hf.scoring.imperceptibility`."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import datasets
import evaluate
import numpy as np
import PIL.Image

from uc_hf.data import images
from uc_hf.data.checks import undecoded
from uc_hf.data.columns import image_column
from uc_hf.data.container import Container
from uc_hf.scoring.imperceptibility import compare
from uc_hf.scoring.lpips import Lpips


_DESCRIPTION = """
Compares protected images with their originals, pixel by pixel, both decoded from what is stored: PSNR, SSIM, FLIP, the
largest and the mean change, how much larger the files have become, and LPIPS where its weights are given.
"""

_KWARGS_DESCRIPTION = """
Args:
    originals (`datasets.Dataset` or `list`): the images before: a dataset with one column of images, such a column,
        or a list of paths, encoded bytes, {"bytes", "path"}, PIL images or uint8 arrays.
    protected (`datasets.Dataset` or `list`): the same images after, in the same order.
    lpips (`str`, optional): a safetensors file with the weights of LPIPS.

Returns:
    images (`int`): how many pairs were compared.
    psnr, worst_psnr (`float`): peak signal-to-noise ratio in dB, mean and least; infinite where no pixel changed.
    ssim, worst_ssim (`float`): structural similarity, at most 1, mean and least.
    flip, worst_flip (`float`): FLIP, what is seen of the change on a screen, from 0 to 1, mean and largest.
    worst_psnr_row, worst_ssim_row, worst_flip_row (`int`): the rows of the least and the largest, counted from 0.
    max_difference (`int`): the largest change of any pixel, in 1/255.
    mean_difference (`float`): the mean |change| of a pixel, in 1/255.
    size_ratio (`float`): bytes of the protected files by bytes of the originals; None where images come decoded.
    lpips, worst_lpips (`float`): LPIPS (AlexNet, 0.1), at least 0, mean and largest; None without its weights.
    worst_lpips_row (`int`): the row of the largest, counted from 0; None without the weights.

Example:
    >>> imperceptibility = evaluate.load(uc_hf.module_path("imperceptibility"))  # doctest: +SKIP
    >>> imperceptibility.compute(originals=ds, protected=protected)  # doctest: +SKIP
"""

_CITATION = """
@article{wang2004image,
  title={Image Quality Assessment: From Error Visibility to Structural Similarity},
  author={Wang, Zhou and Bovik, Alan C. and Sheikh, Hamid R. and Simoncelli, Eero P.},
  journal={IEEE Transactions on Image Processing},
  volume={13},
  number={4},
  pages={600--612},
  year={2004}
}
"""

# In the place of a path: the bytes are ours, and their number says nothing of the file.
_DECODED = "decoded"
_AT_ONCE = 64


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class Imperceptibility(evaluate.Measurement):
    """Distance of protected images from their originals."""

    def _info(self) -> evaluate.MeasurementInfo:
        return evaluate.MeasurementInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features(
                {"originals": datasets.Image(decode=False), "protected": datasets.Image(decode=False)}
            ),
            reference_urls=[
                "https://arxiv.org/abs/2301.01217",
                "https://doi.org/10.1109/TIP.2003.819861",
                "https://doi.org/10.1145/3406183",
                "https://arxiv.org/abs/1801.03924",
            ],
        )

    def add(self, *, originals: Any, protected: Any) -> None:
        """Add one pair of images; see the description of the module."""
        self.add_batch(originals=[originals], protected=[protected])

    def add_batch(self, *, originals: Any, protected: Any) -> None:
        """Add pairs of images; see the description of the module."""
        before, after = _stored(originals), _stored(protected)
        if len(before) != len(after):
            raise ValueError(
                f"originals has {len(before)} images and protected {len(after)}: pass the same rows in the same order."
            )
        for start in range(0, len(before), _AT_ONCE):
            rows = slice(start, start + _AT_ONCE)
            super().add_batch(originals=_exact(before[rows]), protected=_exact(after[rows]))

    def _compute(
        self, originals: list[dict[str, Any]], protected: list[dict[str, Any]], lpips: str | None = None
    ) -> dict[str, Any]:
        pairs = zip(map(_as_given, originals), map(_as_given, protected), strict=True)
        return asdict(compare(pairs, Lpips(lpips) if lpips else None))


def _stored(values: Any) -> Sequence[Any]:
    """A dataset's or column's images as they are stored; `datasets` would decode them, and their sizes be gone."""
    if isinstance(values, datasets.Dataset):
        column = image_column(values.features)
        return undecoded(values, column)[column]
    if isinstance(values, datasets.arrow_dataset.Column) and isinstance(values.source, datasets.Dataset):
        return undecoded(values.source, values.column_name)[values.column_name]
    return values


def _exact(values: Sequence[Any]) -> list[Any]:
    """Decoded images as PNG, since `datasets` would compress one that was read from a JPEG once more."""
    return [
        {"bytes": images.encode(images.decode(value), Container("png")), "path": _DECODED}
        if isinstance(value, PIL.Image.Image | np.ndarray)
        else value
        for value in values
    ]


def _as_given(value: dict[str, Any]) -> Any:
    return images.open_image(value["bytes"]) if value["path"] == _DECODED else value
