"""The page on which figures are drawn: its width, colours and type, and the elements that are placed on it.

Positions are in inches from the top left corner, so that what is aligned in the code is aligned on the page.
"""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle


WIDTH = 9.6  # inches; 100 CSS pixels each on the report's page
DPI = 200
MARGIN = 0.3
TIMES = "\N{MULTIPLICATION SIGN}"
FONT = "DejaVu Sans"  # ships with matplotlib: the same figure on every machine

PAPER = "#f8f7f4"
INK = "#24292f"
MUTED = "#6b7280"
HAIRLINE = "#d9d7d1"
PROTECTED = "#d4500c"
CONTROLS = ("#557fa3", "#8f7536", "#65856b", "#86698f")
# Petroff, "Accessible color sequences for data visualization" (2021): distinct with the common colour deficiencies.
CLUSTERS = (
    *("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6"),
    *("#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd"),
)
SPECTRUM = LinearSegmentedColormap.from_list("spectrum", ["#f1efe9", "#b9cbd6", "#5b8fb0", "#1f4e79", "#0b1f3a"])
SPECTRUM_DECADES = 2


def new_figure(height: float) -> Figure:
    """An empty page, WIDTH inches wide and `height` inches high."""
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor=PAPER)
    figure.set_layout_engine("none")
    return figure


def place(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes at a position in inches from the top left corner."""
    page = figure.get_figheight()
    return figure.add_axes((left / WIDTH, 1 - (top + height) / page, width / WIDTH, height / page))


def write(
    figure: Figure,
    left: float,
    top: float,
    text: str,
    size: float = 9.5,
    colour: str = INK,
    weight: str = "normal",
    ha: str = "left",
    rotation: float = 0,
) -> None:
    """One line of text, its middle `top` inches below the upper edge."""
    style: dict[str, Any] = {"fontfamily": FONT, "fontsize": size, "fontweight": weight, "color": colour}
    y = 1 - top / figure.get_figheight()
    figure.text(left / WIDTH, y, text, ha=ha, va="center", rotation=rotation, parse_math=False, **style)


def show(figure: Figure, left: float, top: float, width: float, height: float, pixels: np.ndarray) -> Axes:
    """Pixels [H, W] or [H, W, 3]: small images as hard-edged squares, large ones antialiased."""
    axes = place(figure, left, top, width, height)
    axes.set_axis_off()
    axes.imshow(pixels, aspect="auto", interpolation="nearest" if min(pixels.shape[:2]) <= 64 else "auto")
    return axes


def chart(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes of a plot with a hairline frame and small muted ticks, whatever the user's matplotlib style."""
    axes = place(figure, left, top, width, height)
    axes.set(facecolor="#fffefc", axisbelow=True)
    axes.grid(False)
    axes.tick_params(length=0, pad=6, labelsize=8.5, labelcolor=MUTED, labelfontfamily=FONT)
    axes.spines[:].set(color=HAIRLINE, linewidth=0.8)
    return axes


def bar(figure: Figure, left: float, top: float, width: float, colour: str) -> None:
    """A coloured line under a heading."""
    page, height = figure.get_figheight(), 0.06
    corner = (left / WIDTH, 1 - (top + height) / page)
    figure.add_artist(Rectangle(corner, width / WIDTH, height / page, facecolor=colour, linewidth=0))
