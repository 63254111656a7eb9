"""Figures of a protection job, drawn with matplotlib's object API, without pyplot.

A figure is an ordinary object: it is freed with its last reference, saved with `figure.savefig(path)`, and shown as
the last line of a notebook cell.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, PercentFormatter
from PIL import Image
from scipy.linalg import eigh

from uc_hf.data.images import decode
from uc_hf.errors import EpsilonError, ImageError, SettingError, naming
from uc_hf.reports.page import (
    CLUSTERS,
    CONTROLS,
    FONT,
    HAIRLINE,
    INK,
    MARGIN,
    MUTED,
    PAPER,
    PROTECTED,
    SPECTRUM,
    SPECTRUM_DECADES,
    TIMES,
    WIDTH,
    bar,
    chart,
    new_figure,
    show,
    write,
)


def contact_sheet(
    before: Sequence[Image.Image],
    after: Sequence[Image.Image],
    amplify: int = 8,
    columns: int = 8,
    largest: int | None = None,
) -> Figure:
    """Each image as a column: clean, protected, and their difference amplified around mid-gray.

    Args:
        before: the originals, PIL images.
        after: the protected images, in the same order and of the same sizes.
        amplify: factor for the noise; a difference d in 8-bit levels is drawn as 128 + amplify * d, clipped.
        columns: images side by side; further ones continue below.
        largest: change of a pixel, in 8-bit levels, of images that were scaled since; None to find it in these.

    Raises:
        SettingError: there is no image, or the two lists differ in length.
        ImageError: an image and its protected copy differ in size; the message names it.
    """
    if not before or len(before) != len(after):
        raise SettingError(
            f"contact_sheet has {len(before)} pictures before and {len(after)} after: "
            "pass at least one, and the same number on both sides."
        )
    stacks = [_stack(i, b, a, amplify) for i, (b, a) in enumerate(zip(before, after, strict=True))]
    if largest is None:
        largest = max(int(np.abs(_difference(clean, protected)).max()) for clean, protected, _ in stacks)

    left, gap, band_gap = MARGIN + 1.2, 0.06, 0.3
    bands = [stacks[i : i + columns] for i in range(0, len(stacks), columns)]
    room = WIDTH - MARGIN - left
    # One height for all images and widths by aspect: no image is cropped, and the edges align.
    height = min(1.9, *((room - gap * (len(band) - 1)) / sum(_aspect(s[0]) for s in band) for band in bands))
    band_height = 3 * height + 2 * gap
    figure = new_figure(2 * MARGIN + len(bands) * band_height + (len(bands) - 1) * band_gap)

    remark = f"at most ±{largest}/255"
    captions = (("Clean", "", INK), ("Protected", "", PROTECTED), (f"Noise {TIMES}{amplify}", remark, INK))
    for band_index, band in enumerate(bands):
        top = MARGIN + band_index * (band_height + band_gap)
        for row, (name, remark, colour) in enumerate(captions):
            y = top + row * (height + gap)
            write(figure, MARGIN, y + 0.09, name, weight="bold", colour=colour)
            write(figure, MARGIN, y + 0.29, remark, size=8, colour=MUTED)
            x = left
            for stack in band:
                width = height * _aspect(stack[row])
                show(figure, x, y, width, height, stack[row])
                x += width + gap
    return figure


def cluster_sheet(pictures: Sequence[Sequence[Image.Image]], sizes: Sequence[int]) -> Figure:
    """One row for each cluster: its number of images, and the central squares of some of them.

    Args:
        pictures: a few PIL images of each cluster; a row may be empty.
        sizes: number of images in each cluster.

    Raises:
        SettingError: there is no cluster or no image at all, or the two lists differ in length.
    """
    if len(pictures) != len(sizes) or not any(pictures):
        raise SettingError(
            f"cluster_sheet has pictures of {sum(map(bool, pictures))} clusters in {len(pictures)} rows and "
            f"{len(sizes)} sizes: pass one row of pictures and one size for each cluster."
        )
    left, gap, full = MARGIN + 1.75, 0.05, 1.4
    columns = max(map(len, pictures))
    cell = min(1.15, (WIDTH - MARGIN - left + gap) / columns - gap)
    pitch = max(cell, 0.55) + 0.14
    figure = new_figure(2 * MARGIN + len(sizes) * pitch - 0.14)

    colours = cluster_colours(len(sizes))
    total, largest = sum(sizes), max(*sizes, 1)
    for cluster, (row, size) in enumerate(zip(pictures, sizes, strict=True)):
        top = MARGIN + cluster * pitch
        share = f"{size:,} images · {percent(size / max(total, 1))}"
        write(figure, MARGIN, top + 0.09, f"Cluster {cluster}", weight="bold")
        write(figure, MARGIN, top + 0.29, share, size=8, colour=MUTED)
        bar(figure, MARGIN, top + 0.42, full, HAIRLINE)
        bar(figure, MARGIN, top + 0.42, full * size / largest, colours[cluster])
        for column, picture in enumerate(row):
            pixels = _central_square(_pixels(picture, f"cluster {cluster}, picture {column}"))
            show(figure, left + column * (cell + gap), top, cell, cell, pixels)
    return figure


def noise_gallery(noise: np.ndarray, epsilon: float) -> Figure:
    """The noise of every cluster above its magnitude spectrum; ±epsilon fills the range of the drawing.

    Each spectrum is relative to its largest value, on a logarithmic scale. The centre is the lowest frequency, the
    edge a period of two pixels.

    Args:
        noise: int8 [p, 3, C, C], in 8-bit levels.
        epsilon: the bound that it was learnt with, a fraction of the pixel range (16/255).

    Raises:
        SettingError: noise is not [p, 3, C, C].
        EpsilonError: epsilon is not a fraction, or the noise exceeds it.
    """
    if noise.ndim != 4 or noise.shape[1] != 3 or noise.shape[2] != noise.shape[3] or not noise.size:
        raise SettingError(f"noise has shape {list(noise.shape)}: noise_gallery draws int8 [p, 3, C, C].")
    if not 0 < epsilon <= 1:
        raise EpsilonError(f"epsilon={epsilon:g} is not in (0, 1]. Pixels are in [0, 1] here: write epsilon=16/255.")
    levels = noise.astype(np.float64)
    bound, largest = epsilon * 255, np.abs(levels).max()
    if largest > bound + 0.5:
        raise EpsilonError(
            f"noise reaches ±{largest:g}/255 and epsilon is {bound:.3g}/255: pass the epsilon it was learnt with."
        )
    shown = np.clip(0.5 + levels / (2 * bound), 0, 1).transpose(0, 2, 3, 1)
    spectra = _log_spectra(levels)

    gap, head, pitch_gap, foot = 0.1, 0.24, 0.22, 0.34
    rows = -(-len(noise) // 6)
    columns = -(-len(noise) // rows)
    cell = min(2.2, (WIDTH - 2 * MARGIN + gap) / columns - gap)
    pitch = head + 2 * cell + 0.05 + pitch_gap
    figure = new_figure(2 * MARGIN + rows * pitch - pitch_gap + foot)
    for cluster in range(len(noise)):
        x = MARGIN + cluster % columns * (cell + gap)
        y = MARGIN + cluster // columns * pitch
        write(figure, x, y + 0.07, f"Cluster {cluster}", size=8.5, weight="bold")
        show(figure, x, y + head, cell, cell, shown[cluster])
        axes = show(figure, x, y + head + cell + 0.05, cell, cell, spectra[cluster])
        axes.images[0].set(cmap=SPECTRUM, clim=(-SPECTRUM_DECADES, 0))
    _spectrum_key(figure, MARGIN, MARGIN + rows * pitch - pitch_gap + 0.28, f"±{bound:.3g}/255")
    return figure


def embedding_map(before: np.ndarray, after: np.ndarray, clusters: np.ndarray, centroids: np.ndarray) -> Figure:
    """The embeddings before and after protection on the two main directions of the clean ones.

    Args:
        before: float [n, d], embeddings of the clean images; only these determine the principal components.
        after: float [n, d], embeddings of the same images after protection.
        clusters: int [n], the cluster of each clean image: the colour of its point in both panels.
        centroids: float [p, d], drawn as stars.

    Raises:
        SettingError: the shapes do not fit each other, or a cluster number has no centroid.
    """
    n, d = before.shape
    if after.shape != (n, d) or clusters.shape != (n,) or centroids.shape[1:] != (d,) or min(n, d) < 2:
        raise SettingError(
            f"embedding_map has before {list(before.shape)}, after {list(after.shape)}, clusters "
            f"{list(clusters.shape)} and centroids {list(centroids.shape)}: pass [n, d], [n, d], [n] and [p, d]."
        )
    if clusters.min() < 0 or clusters.max() >= len(centroids):
        raise SettingError(f"clusters go from {clusters.min()} to {clusters.max()}: {len(centroids)} centroids given.")
    mean, directions, explained = _principal_plane(before)
    points = [(x - mean) @ directions for x in (before, after)]
    stars = (centroids - mean) @ directions
    everything = np.concatenate([*points, stars])
    low, high = everything.min(axis=0), everything.max(axis=0)
    pad = 0.05 * (high - low) + 1e-9

    side, gap, top = (WIDTH - 2 * MARGIN - 0.45) / 2, 0.25, MARGIN + 0.3
    figure = new_figure(top + side + 0.95)
    across, upwards = (f"component {i + 1} · {percent(share)}" for i, share in enumerate(explained))
    palette = cluster_colours(len(centroids))
    order = np.random.default_rng(0).permutation(n)  # so that no cluster hides the others
    colours = [palette[clusters[i]] for i in order]
    for panel, (name, colour) in enumerate((("Clean", INK), ("Protected", PROTECTED))):
        x = MARGIN + 0.2 + panel * (side + gap)
        write(figure, x, MARGIN + 0.07, name, size=10, weight="bold", colour=colour)
        axes = chart(figure, x, top, side, side)
        dots = points[panel][order]
        axes.scatter(dots[:, 0], dots[:, 1], s=np.clip(12000 / n, 3, 16), c=colours, alpha=0.65, linewidths=0)
        for size, edge, width in ((190, PAPER, 1.6), (110, INK, 0.7)):
            style: dict[str, Any] = {"s": size, "edgecolors": edge, "linewidths": width}
            axes.scatter(stars[:, 0], stars[:, 1], marker="*", c=palette, **style)
        axes.set(xlim=(low[0] - pad[0], high[0] + pad[0]), ylim=(low[1] - pad[1], high[1] + pad[1]))
        axes.set(xticks=[], yticks=[])
        write(figure, x + side / 2, top + side + 0.16, across, 8.5, MUTED, ha="center")
    write(figure, MARGIN, top + side / 2, upwards, 8.5, MUTED, ha="center", rotation=90)
    _cluster_key(figure, MARGIN + 0.2, top + side + 0.5, palette)
    return figure


def accuracy_curves(curves: Mapping[str, np.ndarray], chance: float, title: str) -> Figure:
    """Test accuracy over training: a line for the mean of the seeds, a band from the lowest to the highest.

    Args:
        curves: name -> float [seeds, epochs], fractions. Names that begin with "clean" and "protected" take the
            colours of these two; every other curve is a control and drawn muted.
        chance: accuracy of guessing, a fraction.
        title: drawn above the plot.

    Raises:
        SettingError: there is no curve, a curve is not [seeds, epochs], or accuracies are not fractions.
    """
    if not curves:
        raise SettingError("accuracy_curves has no curve to draw: pass {name: array [seeds, epochs]}.")
    for name, accuracy in curves.items():
        if accuracy.ndim != 2 or not accuracy.size:
            raise SettingError(f"curve {name!r} has shape {list(accuracy.shape)}: pass [seeds, epochs].")
        if not (accuracy.min() >= 0 and accuracy.max() <= 1):
            raise SettingError(f"curve {name!r} has values outside [0, 1]: accuracies are fractions here.")
    epochs = max(accuracy.shape[1] for accuracy in curves.values())
    top = min(1.0, np.ceil(10 * max(chance, *(a.max() for a in curves.values())) + 0.2) / 10)

    names = 1.0 + 0.082 * max(map(len, curves))
    width, height, head = max(WIDTH - 0.85 - names - MARGIN, 4), 3.6, MARGIN + 0.42
    figure = new_figure(head + height + 0.78)
    write(figure, MARGIN, MARGIN + 0.08, title, size=11, weight="bold")
    axes = chart(figure, 0.85, head, width, height)
    axes.spines[["left", "top", "right"]].set_visible(False)
    axes.set(xlim=(1, epochs) if epochs > 1 else (0.5, 1.5), ylim=(0, top), facecolor="none")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True) if epochs > 1 else FixedLocator([1]))
    axes.yaxis.set_major_locator(FixedLocator(_ticks(top)))
    axes.grid(axis="y", color=HAIRLINE, linewidth=0.7)
    axes.axhline(chance, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    ends = [("chance", chance, MUTED)]
    for name, accuracy, colour in zip(curves, curves.values(), curve_colours(list(curves)), strict=True):
        x, mean = np.arange(1, accuracy.shape[1] + 1), accuracy.mean(axis=0)
        if len(accuracy) > 1:
            axes.fill_between(x, accuracy.min(axis=0), accuracy.max(axis=0), color=colour, alpha=0.18, linewidth=0)
        weight, layer = (1.6, 2) if colour in CONTROLS else (2.4, 3)
        marker = "o" if epochs == 1 else None
        axes.plot(x, mean, color=colour, linewidth=weight, zorder=layer, marker=marker, clip_on=False)
        ends.append((name, float(mean[-1]), colour))
    _end_labels(axes, ends, width, spacing=0.21 * top / height)
    write(figure, 0.85, head + height + 0.42, "epoch", size=8, colour=MUTED)
    seeds = max(len(accuracy) for accuracy in curves.values())
    remark = f"line: mean of {seeds} seeds · band: lowest to highest" if seeds > 1 else "one seed"
    write(figure, 0.85 + width, head + height + 0.42, remark, size=8, colour=MUTED, ha="right")
    return figure


def percent(fraction: float) -> str:
    """A fraction as figures and reports show it: 0.2134 -> "21.3 %"."""
    return f"{100 * fraction:.1f}\N{NO-BREAK SPACE}%"


def cluster_colours(clusters: int) -> list[str]:
    """One hex colour for each cluster: those of the palette, or hues of a rainbow if there are more than ten."""
    if clusters <= len(CLUSTERS):
        return list(CLUSTERS[:clusters])
    return [to_hex(colour) for colour in colormaps["turbo"](np.linspace(0.04, 0.96, clusters))]


def curve_colours(names: Sequence[str]) -> list[str]:
    """One hex colour for each curve: strong for protected, dark for clean, muted for controls."""
    fixed = {"clean": INK, "protected": PROTECTED}
    controls = [name for name in names if not name.lower().startswith(tuple(fixed))]
    muted = {name: CONTROLS[i % len(CONTROLS)] for i, name in enumerate(controls)}
    return [muted.get(name) or next(c for kind, c in fixed.items() if name.lower().startswith(kind)) for name in names]


def _pixels(picture: Image.Image, name: str) -> np.ndarray:
    with naming(name):
        return decode(picture).pixels


def _stack(index: int, before: Image.Image, after: Image.Image, amplify: int) -> tuple[np.ndarray, ...]:
    """Clean, protected and amplified noise of one image, each uint8 [H, W, 3]."""
    clean, protected = (_pixels(picture, f"picture {index}") for picture in (before, after))
    if clean.shape != protected.shape:
        sizes = [f"{pixels.shape[1]} x {pixels.shape[0]}" for pixels in (clean, protected)]
        raise ImageError(
            f"picture {index} is {sizes[0]} pixels before and {sizes[1]} after: "
            "pass the same pictures in the same order on both sides."
        )
    noise = 128 + amplify * _difference(clean, protected)
    return clean, protected, np.clip(noise, 0, 255).astype(np.uint8)


def _difference(clean: np.ndarray, protected: np.ndarray) -> np.ndarray:
    return protected.astype(np.int32) - clean.astype(np.int32)


def _aspect(pixels: np.ndarray) -> float:
    return pixels.shape[1] / pixels.shape[0]


def _central_square(pixels: np.ndarray) -> np.ndarray:
    height, width = pixels.shape[:2]
    side = min(height, width)
    y, x = (height - side) // 2, (width - side) // 2
    return pixels[y : y + side, x : x + side]


def _log_spectra(noise: np.ndarray) -> np.ndarray:
    """log10 of the magnitude spectra of [p, 3, C, C], root mean square over channels, relative to each maximum."""
    magnitude = np.sqrt((np.abs(np.fft.fft2(noise)) ** 2).mean(axis=1))
    largest = np.maximum(magnitude.max(axis=(1, 2), keepdims=True), 1e-12)
    return np.log10(np.fft.fftshift(magnitude, axes=(1, 2)) / largest + 1e-12)


def _principal_plane(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean [d], first two principal directions [d, 2] and the shares of variance that they explain [2]."""
    mean = x.mean(axis=0)
    covariance = np.cov(x, rowvar=False)
    values, vectors = eigh(covariance, subset_by_index=[len(mean) - 2, len(mean) - 1])
    directions = vectors[:, ::-1]
    # An eigenvector's sign is arbitrary; making its largest entry positive makes figures comparable.
    directions = directions * np.sign(directions[np.abs(directions).argmax(axis=0), [0, 1]])
    return mean, directions, values[::-1] / max(np.trace(covariance), 1e-12)


def _spectrum_key(figure: Figure, left: float, top: float, bound: str) -> None:
    scale = show(figure, left, top - 0.05, 1.2, 0.1, np.linspace(-SPECTRUM_DECADES, 0, 256)[None])
    scale.images[0].set(cmap=SPECTRUM, interpolation="bilinear")
    legend = f"spectrum: 1/{10**SPECTRUM_DECADES} to 1 of its largest, log scale; centre = low frequency"
    write(figure, left + 1.3, top, f"{legend}   ·   noise: mid-grey = 0, full range = {bound}", size=8, colour=MUTED)


def _cluster_key(figure: Figure, left: float, top: float, palette: Sequence[str]) -> None:
    """The colour of each cluster; of more than twenty only the first and the last are named."""
    room = WIDTH - MARGIN - left - 2.6
    step = min(0.42, room / len(palette))
    show(figure, left, top, step * len(palette), 0.06, np.array([[to_rgb(colour) for colour in palette]]))
    for cluster in range(len(palette)):
        if len(palette) <= 20 or cluster in (0, len(palette) - 1):
            write(figure, left + (cluster + 0.5) * step, top + 0.17, str(cluster), 8.5, MUTED, ha="center")
    remark = "cluster of the clean image · stars: centroids"
    write(figure, WIDTH - MARGIN, top + 0.17, remark, 8, MUTED, ha="right")


def _ticks(top: float) -> list[float]:
    """Tick positions from 0 to `top`, which is a multiple of 10 %."""
    steps = round(10 * top) * (1 if top > 0.35 else 2 if top > 0.15 else 5)
    return [top * i / steps for i in range(steps + 1)]


def _end_labels(axes: Axes, ends: Sequence[tuple[str, float, str]], width: float, spacing: float) -> None:
    """Name and last value beside the end of each line, moved apart where they would overlap."""
    ends = sorted(ends, key=lambda end: end[1])
    heights = _spread([value for _, value, _ in ends], spacing, axes.get_ylim()[1])
    across = axes.get_yaxis_transform()  # x in widths of the axes, y in data
    for (name, value, colour), height in zip(ends, heights, strict=True):
        leader = [1 + 0.05 / width, 1 + 0.2 / width]
        axes.plot(leader, [value, height], color=colour, linewidth=0.8, transform=across, clip_on=False)
        style: dict[str, Any] = {"fontfamily": FONT, "fontsize": 9, "color": colour, "va": "center"}
        style["transform"] = across
        axes.text(1 + 0.8 / width, height, percent(value), ha="right", fontweight="bold", **style)
        axes.text(1 + 0.9 / width, height, name, parse_math=False, **style)


def _spread(values: Sequence[float], spacing: float, top: float) -> list[float]:
    """Ascending values moved apart to at least `spacing`: upwards from below, then down again from `top`."""
    heights = list(values)
    for i in range(1, len(heights)):
        heights[i] = max(heights[i], heights[i - 1] + spacing)
    limit = top
    for i in reversed(range(len(heights))):
        heights[i] = limit = min(heights[i], limit)
        limit -= spacing
    return heights
