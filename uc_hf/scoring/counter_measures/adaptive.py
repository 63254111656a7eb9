"""Adaptive attacks: a scraper who knows how cluster-wise noise is made removes it.

None of them sees the protector. Each takes the published images (`leaked` also a few originals) and returns the
recovered pixels. The noise covers the whole image whatever its size, so at one training size all images of a cluster
carry the same pattern, at one phase or each at its own.
"""

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from uc_hf.fitting.clustering import find_clusters
from uc_hf.scoring.counter_measures.known import counter_measure
from uc_hf.scoring.counter_measures.stored import blur
from uc_hf.surrogates.surrogate import Surrogate
from uc_hf.training.labelled import LabelledImages


SIGMA = 2.0
"""Standard deviation in pixels of the smoothing that is subtracted for a high-pass residual."""

AVERAGED_SIGMA = 4.0
"""The same for residuals that are averaged. A larger sigma recovers more of smooth noise and less of fine noise. On
1,000 flowers with ten patterns at 16/255, sigma 2, 4 and 8 recovered random signs per pixel with correlations of 0.98,
0.97 and 0.90, and signs per 8 x 8 block with 0.66, 0.80 and 0.82."""

PROJECTED = 512
"""Number of random directions in which residuals are clustered; they preserve distances to a few per cent."""

ALIKE = (0.7, 0.3)
"""Cosine above which two differences count as one pattern. The second value is used where the first leaves at most
`FEWEST` images per pattern on average. Measured cosines: at least 0.98 within a cluster, 0.75 where black or white
clips the noise, 0.33 behind JPEG of quality 95, and at most 0.57 between clusters of one protector."""

ALIKE_SPECTRA = 0.9
"""The same for the magnitudes of their spectra, whatever the phases. Measured on waves: at least 0.93 in 99 of 100
images of a cluster, at most 0.54 between clusters; noise without a texture has 0.79."""

TINTED = 0.1
"""Noise of whose energy less than this share is in its residual is a tint."""

MOST_PATTERNS, FEWEST = 200, 4
"""With more patterns every image is taken to have its own noise: a leak reveals nothing about other images."""

AT_ONCE = 256
EPOCHS, BATCH, LEARNING_RATE = 10, 128, 1e-3


def residuals(pixels: Tensor, sigma: float = SIGMA) -> Tensor:
    """What smoothing removes from images: noise, edges and texture.

    Args:
        pixels: uint8 [N, 3, S, S], or float in 8-bit levels.
        sigma: standard deviation of the smoothing, in pixels.

    Returns:
        float [N, 3, S, S] in 8-bit levels.
    """
    return pixels.float() - blur(pixels.float(), sigma)


@counter_measure("averaging", "pixels", "clusters", 10, range(1, 1001), counts_groups=True)
def averaging(pixels: Tensor, n_clusters: int, surrogate: Surrogate | None = None) -> Tensor:
    """Subtract each cluster's mean residual: the images of a cluster differ, its noise does not.

    Args:
        pixels: uint8 [N, 3, S, S], published.
        n_clusters: the attacker's guess of p.
        surrogate: clusters are found in its embeddings. None finds them in the residuals, scaled to length 1 so that
            images rich in texture do not dominate; this raised the share of correctly grouped flowers from 0.83 to 1.

    Returns:
        uint8 [N, 3, S, S].
    """
    if surrogate is None:
        directions = _random_directions(pixels[0].numel())
        features = torch.cat([_unit_residuals(part) @ directions for part in pixels.split(AT_ONCE)])
    else:
        features = F.normalize(embed(pixels, surrogate), dim=1)
    clusters = torch.from_numpy(find_clusters(features.numpy(), n_clusters, seed=0).assignment)
    noise = torch.zeros(n_clusters, *pixels.shape[1:])
    for part, index in zip(pixels.split(AT_ONCE), clusters.split(AT_ONCE), strict=True):
        noise.index_add_(0, index, residuals(part, AVERAGED_SIGMA))
    return subtract(pixels, noise / torch.bincount(clusters)[:, None, None, None], clusters)


@counter_measure("leaked", "stored", "pairs of each cluster", 1, range(1, 101), needs_originals=True)
def leaked(published: LabelledImages, clean: LabelledImages, pairs: int) -> Tensor:
    """Subtract noise that a few leaked originals of each cluster reveal.

    The whole clean set only determines which rows leak: the first `pairs` of each pattern. The attacker sees only
    those rows, and subtracts from any other image the leaked noise, or the mean of a cluster's, that is most like its
    residual.

    Args:
        published: the set as published.
        clean: its originals, row by row.
        pairs: originals of each cluster that leak.

    Returns:
        uint8 [N, 3, S, S]; unchanged where the sets are equal.
    """
    patterns = noise_patterns(clean.pixels, published.pixels)
    known = [(patterns == pattern).nonzero().squeeze(1)[:pairs] for pattern in range(int(patterns.max()) + 1)]
    if not known:
        return published.pixels
    leaks = [published.pixels[rows].float() - clean.pixels[rows].float() for rows in known]
    noise = torch.cat([*leaks, torch.stack([leak.mean(dim=0) for leak in leaks])])
    return subtract(published.pixels, noise, match(published.pixels, noise))


def match(pixels: Tensor, noise: Tensor) -> Tensor:
    """The pattern of each image: the one whose residual correlates most with the image's.

    Smoothing takes nothing from a tint: there it is the one to which the image's mean colour leans most.

    Args:
        pixels: uint8 [N, 3, S, S].
        noise: float [p, 3, S, S] in 8-bit levels.

    Returns:
        int64 [N], values in [0, p).
    """
    if residuals(noise).square().sum() < TINTED * noise.square().sum():
        colours = pixels.float().mean(dim=(2, 3))
        return ((colours - colours.mean(dim=0)) @ F.normalize(noise.mean(dim=(2, 3)), dim=1).T).argmax(dim=1)
    patterns = _unit_residuals(noise)
    return torch.cat([(residuals(part).flatten(1) @ patterns.T).argmax(dim=1) for part in pixels.split(AT_ONCE)])


def subtract(pixels: Tensor, noise: Tensor, which: Tensor) -> Tensor:
    """Images minus their pattern.

    Args:
        pixels: uint8 [N, 3, S, S].
        noise: float [p, 3, S, S] in 8-bit levels.
        which: int64 [N], the pattern of each image.

    Returns:
        uint8 [N, 3, S, S].
    """
    parts = zip(pixels.split(AT_ONCE), which.split(AT_ONCE), strict=True)
    return torch.cat([(part.float() - noise[index]).round().clamp(0, 255).byte() for part, index in parts])


def projection(pixels: Tensor, labels: Tensor) -> Tensor:
    """Remove from images the directions that best predict their labels linearly (Sandoval-Segura et al. 2023).

    Noise that a linear model can read lies in these directions; most of a photograph does not.

    Args:
        pixels: uint8 [N, 3, S, S].
        labels: int64 [N], the scraper's.

    Returns:
        uint8 [N, 3, S, S].
    """
    directions = torch.linalg.qr(_linear_probe(pixels, labels).T).Q  # [3 * S * S, C]
    recovered = []
    for part in pixels.split(AT_ONCE):
        flat = part.float().flatten(1)
        recovered.append((flat - flat @ directions @ directions.T).round().clamp(0, 255).byte().view(part.shape))
    return torch.cat(recovered)


@counter_measure("projection", "stored")
def _project(published: LabelledImages, originals: LabelledImages) -> Tensor:
    return projection(published.pixels, published.labels)


def noise_patterns(clean: Tensor, published: Tensor) -> Tensor:
    """Which images carry the same noise, at any phase: the evaluator knows both sets.

    Noises are the same where their pixels, or the magnitudes of their spectra, have a cosine near one.

    Args:
        clean: uint8 [N, 3, S, S].
        published: uint8 [N, 3, S, S], row by row.

    Returns:
        int64 [N], numbered in order of appearance; -1 where nothing was changed.
    """
    for alike in ALIKE:
        found = _gathered(clean, published, alike)
        if int(found.max()) + 1 < min(MOST_PATTERNS, len(clean) / FEWEST):
            break
    return found


@torch.inference_mode()
def embed(pixels: Tensor, surrogate: Surrogate) -> Tensor:
    """Embeddings float [N, d] of images uint8 [N, 3, S, S], not normalised."""
    return torch.cat([surrogate(part.float() / 255) for part in pixels.split(AT_ONCE)])


def _gathered(clean: Tensor, published: Tensor, alike: float) -> Tensor:
    found = torch.full((len(clean),), -1)
    patterns: list[tuple[Tensor, Tensor]] = []
    for start in range(0, len(clean), AT_ONCE):
        rows = slice(start, start + AT_ONCE)
        change = published[rows].float() - clean[rows].float()
        views = _views(change)
        new = change.flatten(1).abs().amax(dim=1) > 0
        while new.any():
            if patterns:
                pixels, spectra = (
                    own @ torch.stack(of).T for own, of in zip(views, zip(*patterns, strict=True), strict=True)
                )
                most, nearest = torch.maximum(pixels - alike, spectra - ALIKE_SPECTRA).max(dim=1)
                known = new & ((most > 0) | (len(patterns) == MOST_PATTERNS))
                found[rows] = torch.where(known, nearest, found[rows])
                new &= ~known
            if new.any():
                first = int(new.nonzero()[0])
                patterns.append((views[0][first], views[1][first]))
    return found


def _views(change: Tensor) -> tuple[Tensor, Tensor]:
    """What tells noises apart at one phase, and at any: pixels and magnitudes of the spectrum, as rows of length 1.

    The mean has no phase and keeps its sign: a red tint is not a blue one.
    """
    spectrum = torch.fft.rfft2(change)
    sizes = spectrum.abs()
    sizes[..., 0, 0] = spectrum[..., 0, 0].real
    return F.normalize(change.flatten(1), dim=1), F.normalize(sizes.flatten(1), dim=1)


def _unit_residuals(pixels: Tensor) -> Tensor:
    """Residuals as rows of length 1, float [N, 3 * S * S]."""
    return F.normalize(residuals(pixels).flatten(1), dim=1)


def _random_directions(dim: int) -> Tensor:
    return torch.randn(dim, min(dim, PROJECTED), generator=Generator().manual_seed(0)) / PROJECTED**0.5


def _linear_probe(pixels: Tensor, labels: Tensor) -> Tensor:
    """Weights float [C, 3 * S * S] of a logistic regression on pixels, one direction for each label."""
    generator = Generator().manual_seed(0)
    weights = torch.zeros(int(labels.max()) + 1, pixels[0].numel(), requires_grad=True)
    bias = torch.zeros(len(weights), requires_grad=True)
    optimizer = torch.optim.Adam([weights, bias], lr=LEARNING_RATE)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(labels), generator=generator).split(BATCH):
            inputs = pixels[rows].float().flatten(1) / 255 - 0.5
            loss = F.cross_entropy(inputs @ weights.T + bias, labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return weights.detach()
