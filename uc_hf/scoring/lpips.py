"""LPIPS: a perceptual distance of two images, learnt from people's judgements (Zhang et al. 2018; AlexNet, 0.1).

The packages that have it load pickles and need torchvision; this reads the same weights from a safetensors file.
"""

import re
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from uc_hf.errors import ImageError, SettingError, first_line


MIN_SIDE = 31
"""Side in pixels below which an image leaves no input for the third layer."""

SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""Mean and standard deviation of the images that the network was trained on, in [-1, 1]."""

HOW = (
    "Write them where the package lpips is installed: "
    "safetensors.torch.save_model(lpips.LPIPS(net='alex'), 'lpips.safetensors')."
)


class Lpips(nn.Module):
    """The distance of images in the features of an AlexNet, weighted by people's judgements.

    Args:
        weights: a safetensors file with the state of `lpips.LPIPS(net="alex")`.

    Raises:
        SettingError: the file cannot be read or holds other weights.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, weights: str | Path) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [
                nn.Sequential(nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU()),
                nn.Sequential(nn.MaxPool2d(3, stride=2), nn.Conv2d(64, 192, 5, padding=2), nn.ReLU()),
                nn.Sequential(nn.MaxPool2d(3, stride=2), nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
                nn.Sequential(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
                nn.Sequential(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()),
            ]
        )
        self.seen = nn.ModuleList(nn.Conv2d(n, 1, 1, bias=False) for n in (64, 192, 384, 256, 256))
        self.register_buffer("shift", torch.tensor(SHIFT).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE).view(1, 3, 1, 1), persistent=False)
        try:
            self.load_state_dict(_renamed(load_file(weights)))
        except (OSError, SafetensorError) as error:
            raise SettingError(f"{weights} holds no weights of LPIPS: {first_line(error)}. {HOW}") from error
        except RuntimeError as error:
            raise SettingError(f"{weights} holds no weights of LPIPS, or of another network. {HOW}") from error
        self.eval().requires_grad_(False)

    def forward(self, before: Tensor, after: Tensor) -> Tensor:
        """The distance between the two versions of each image; 0 where they are equal.

        Args:
            before: float [N, 3, H, W] in [0, 1].
            after: float [N, 3, H, W] in [0, 1].

        Returns:
            float [N].

        Raises:
            ImageError: H or W is less than 31 pixels.
        """
        if min(before.shape[2:]) < MIN_SIDE:
            raise ImageError(f"LPIPS needs {MIN_SIDE} pixels on each side, not {min(before.shape[2:])}.")
        features = (2 * torch.cat([before, after]) - 1 - self.shift) / self.scale
        total = torch.zeros(len(before), device=before.device)
        for layer, seen in zip(self.layers, self.seen, strict=True):
            features = layer(features)
            one, other = F.normalize(features, dim=1, eps=1e-10).chunk(2)
            total = total + seen((one - other).square()).mean(dim=(1, 2, 3))
        return total


def _renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights by our names; the package's are net.slice2.3.weight and lin0.model.1.weight or lins.0.model.1.weight."""
    ours = {}
    for name, tensor in state.items():
        if part := re.fullmatch(r"net\.slice(\d)\.(\d+)\.(weight|bias)", name):
            pooled = part[1] in "23"
            ours[f"layers.{int(part[1]) - 1}.{int(pooled)}.{part[3]}"] = tensor
        elif part := re.fullmatch(r"lin(?:s\.)?(\d)\.model\.1\.weight", name):
            ours[f"seen.{part[1]}.weight"] = tensor
    return ours
