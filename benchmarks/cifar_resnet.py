"""A user's own torch encoder: the CIFAR ResNet of He et al. 2016, section 4.2, which transformers cannot express.

Its shortcuts drop every second pixel and pad channels with zeros (option A), so it is a short torch module whose
weights are read from a safetensors file.
"""

from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from uc_hf.surrogates.surrogate import Surrogate


WIDTHS = (16, 32, 64)
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut without parameters."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.stride = stride
        self.padding = (width - before) // 2

    def forward(self, x: Tensor) -> Tensor:
        """Features float [N, before, H, W] -> [N, width, H / stride, W / stride]."""
        shortcut = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.padding, self.padding))
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)) + shortcut)


class CifarResNet(nn.Module):
    """3n blocks of widths 16, 32 and 64 on 32 x 32 pixels; gives the 64 pooled features."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.layer1, self.layer2, self.layer3 = (
            nn.Sequential(*[Block(before if i == 0 else width, width, stride if i == 0 else 1) for i in range(blocks)])
            for before, width, stride in zip((16, *WIDTHS), WIDTHS, (1, 2, 2), strict=False)
        )

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Normalised pixels float [N, 3, 32, 32] -> features [N, 64]."""
        x = F.relu(self.bn1(self.conv1(pixel_values)))
        return self.layer3(self.layer2(self.layer1(x))).mean(dim=(2, 3))


def cifar_resnet(folder: str | Path) -> Surrogate:
    """The surrogate made of the `model.safetensors` of a CIFAR ResNet in `folder`, whatever its depth."""
    weights = load_file(Path(folder) / "model.safetensors")
    body = {name: tensor for name, tensor in weights.items() if not name.startswith("linear.")}
    blocks = 1 + max(int(name.split(".")[1]) for name in body if name.startswith("layer1."))
    encoder = CifarResNet(blocks)
    encoder.load_state_dict(body)
    return Surrogate(encoder, size=32, mean=MEAN, std=STD)
