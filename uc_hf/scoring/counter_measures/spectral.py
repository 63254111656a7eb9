"""The attack on textures whose phase differs from image to image: group images by their spectrum, filter each group.

Random phases defeat attacks that average or subtract pixels, but all images of a cluster still share the magnitude of
the noise's spectrum. So images are grouped by it, and a colour Wiener filter for each group removes what the group has
more of than all others. It needs no key and no original.
"""

import torch
from torch import Generator, Tensor

from uc_hf.fitting.clustering import find_clusters
from uc_hf.scoring.counter_measures.known import counter_measure


AT_ONCE = 256
"""Number of images that are filtered together."""

PROJECTED = 256
"""Number of random directions in which spectra are clustered."""

COARSE = 2
"""Number of periods across the image up to which nothing is filtered: images differ most at these frequencies."""

RIDGE = 1e-3
"""Share of its mean power that is added to each covariance, so that it can be inverted."""


@counter_measure("spectral", "pixels", "groups", 10, range(2, 1001), counts_groups=True)
def spectral(pixels: Tensor, n_groups: int) -> Tensor:
    """Filter each group of images that share a texture.

    Args:
        pixels: uint8 [N, 3, S, S], published.
        n_groups: the attacker's guess of the number of clusters.

    Returns:
        uint8 [N, 3, S, S].
    """
    usual = torch.stack([_power(part).mean(dim=0) for part in pixels.split(AT_ONCE)]).mean(dim=0)
    directions = torch.randn(usual.numel(), PROJECTED, generator=Generator().manual_seed(0)) / PROJECTED**0.5
    features = torch.cat([_peaks(part, usual) @ directions for part in pixels.split(AT_ONCE)])
    groups = torch.from_numpy(find_clusters(features.numpy(), min(n_groups, len(pixels)), seed=0).assignment)
    filters = _filters(pixels, groups)
    parts = zip(pixels.split(AT_ONCE), groups.split(AT_ONCE), strict=True)
    return torch.cat([_filtered(part, filters[index]) for part, index in parts])


def _spectrum(pixels: Tensor) -> Tensor:
    """Complex [N, 3, S, S // 2 + 1], of images in [0, 1]."""
    return torch.fft.rfft2(pixels.float() / 255)


def _power(pixels: Tensor) -> Tensor:
    return _spectrum(pixels).abs().square()


def _peaks(pixels: Tensor, usual: Tensor) -> Tensor:
    """Where each image has more power than is usual at that frequency, float [N, 3 * S * (S // 2 + 1)] of length 1."""
    excess = (_power(pixels) / usual.clamp(min=1e-12)).sqrt() * _fine(pixels.shape[-1])
    return torch.nn.functional.normalize((excess - excess.mean(dim=(2, 3), keepdim=True)).flatten(1), dim=1)


def _fine(size: int) -> Tensor:
    """Which frequencies are filtered: bool [S, S // 2 + 1]."""
    down, across = torch.fft.fftfreq(size, 1 / size).abs(), torch.fft.rfftfreq(size, 1 / size)
    return (down[:, None] > COARSE) | (across > COARSE)


def _filters(pixels: Tensor, groups: Tensor) -> Tensor:
    """A colour filter for each group and frequency, complex [G, S, S // 2 + 1, 3, 3]."""
    counts = torch.bincount(groups)
    sums = torch.zeros(len(counts), pixels.shape[-1], pixels.shape[-1] // 2 + 1, 3, 3, dtype=torch.complex64)
    for part, index in zip(pixels.split(AT_ONCE), groups.split(AT_ONCE), strict=True):
        spectrum = _spectrum(part).permute(0, 2, 3, 1)  # [n, S, S // 2 + 1, 3]
        sums.index_add_(0, index, spectrum[..., :, None] * spectrum[..., None, :].conj())
    own = sums / counts[:, None, None, None, None]
    others = (sums.sum(dim=0) - sums) / (counts.sum() - counts).clamp(min=1)[:, None, None, None, None]
    filters = torch.stack([_wiener(mine, rest) for mine, rest in zip(own, others, strict=True)])
    still = torch.eye(3, dtype=filters.dtype)
    return torch.where(_fine(pixels.shape[-1])[None, :, :, None, None], filters, still)


def _wiener(own: Tensor, others: Tensor) -> Tensor:
    """What keeps the others' power and reduces a group's excess to it, in each direction of colour.

    Args:
        own: complex [S, S // 2 + 1, 3, 3], covariances of the group's colours.
        others: the same of all other images.
    """
    power, axes = torch.linalg.eigh(_regular(others))
    root = axes * power.clamp(min=1e-12).sqrt()[..., None, :]  # others = root root^H
    inverse = (axes / power.clamp(min=1e-12).sqrt()[..., None, :]).mH
    excess, directions = torch.linalg.eigh(inverse @ _regular(own) @ inverse.mH)
    gain = (1 / excess.clamp(min=1)).to(directions.dtype)
    return root @ (directions * gain[..., None, :]) @ directions.mH @ inverse


def _regular(covariance: Tensor) -> Tensor:
    trace = covariance.diagonal(dim1=-2, dim2=-1).real.mean(dim=-1)
    return covariance + (RIDGE * trace + 1e-9)[..., None, None] * torch.eye(3, dtype=covariance.dtype)


def _filtered(pixels: Tensor, filters: Tensor) -> Tensor:
    size = pixels.shape[-1]
    spectrum = torch.einsum("nijcd,ndij->ncij", filters, _spectrum(pixels))
    images = torch.fft.irfft2(spectrum, s=(size, size))
    return (images.clamp(0, 1) * 255).round().byte()
