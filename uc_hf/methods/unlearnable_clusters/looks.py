"""How the noise looks: which colours and shape waves are drawn from."""

from dataclasses import dataclass
from itertools import product


@dataclass(frozen=True)
class Look:
    """What textures are drawn from: how visible the noise is, and what it protects.

    Attributes:
        axes: what crests add to red, green and blue, as shares of epsilon in [-1, 1]; clusters take them by turns.
        wave: "square", "sine", or "flat": the crest's colour everywhere, without a period or a phase.
        summary: in a few words, for the command line and the pages.
    """

    axes: tuple[tuple[float, float, float], ...]
    wave: str
    summary: str


LOOKS = {
    "tint": Look(
        tuple((red, green, blue) for red, green, blue in product((-1.0, 1.0), repeat=3) if not red == green == blue),
        "flat",
        "a colour cast, no stripes: protects from a ResNet-18 better than the default on photographs; cannot testify",
    ),
    "quiet": Look(
        ((-8 / 16, 2 / 16, 1.0),),
        "sine",
        "soft waves of blue and a little red: the least visible stripes; protects photographs little from a ResNet-18",
    ),
    "balanced": Look(((-12 / 16, 3 / 16, 1.0),), "square", "blue against red at equal brightness: the default"),
    "strong": Look(
        ((0.0, 1.0, -1.0), (-1.0, 1.0, 0.0)),
        "square",
        "coarse green against blue and against red: the most visible stripes",
    ),
}
"""At the same epsilon. The eye sees fine blue least, and sees blue against red as colour, not as light. Waves without
edges are less visible, and protect less (docs/log/waves.md). A tint is a corner of the colour cube that is not gray:
a ResNet-18 reads it sooner than fine waves (docs/log/tints.md)."""
