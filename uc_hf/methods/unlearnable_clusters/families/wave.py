"""The default family: each cluster has a coloured wave, and each picture has it at a phase of its own.

Noise that is tied to its place dies under random crops; a regular texture does not, and a small network reads it
before it reads pictures. It reads the texture and not its phase, so the phase of each picture is a pure function of
its pixels and a secret key: without the key, the noise of one picture says nothing about where another's begins.

A texture is a handful of numbers: the direction and period of a wave, and what its crest adds to red, green and blue.
So a protector keeps a small table, and the noise is rendered at each picture's own size.
"""

import hashlib
import hmac
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Self

import numpy as np

from uc_hf.data.images import GRAY, LUMA, Picture
from uc_hf.errors import SettingError
from uc_hf.fitting.noise import KeyedNoise
from uc_hf.fitting.schema import Array
from uc_hf.fitting.secrets import secret_of, secret_stream
from uc_hf.fitting.settings import at_least, one_of
from uc_hf.methods.unlearnable_clusters.families import FAMILIES
from uc_hf.methods.unlearnable_clusters.family import ClusterLesson, Family
from uc_hf.methods.unlearnable_clusters.looks import LOOKS, Look
from uc_hf.methods.unlearnable_clusters.settings import Settings


logger = logging.getLogger(__name__)

TURN = 1 << 16
"""Steps of a turn: phases are whole numbers that wrap around as 16-bit integers do, the same on every machine."""

PHASES = 1 << 8
"""Phases that a picture may have, evenly spread over a turn."""

MARGIN = 32
"""Levels from black and from white within which pixels do not count for the phase; noise of up to so many levels."""

PRESENT = 0.3
"""A wave that is there is found at about its full strength; less than this share is another's, or the picture's."""

ENTRIES = 1 << 12
"""Entries in the table of a wave."""

ROWS = 64
"""Rows that are rendered together, so that a large picture takes no more memory than its noise."""

PERIODS = 4.0, 8.0
"""Shortest and longest, in pixels of a picture of at most `SMALL` pixels a side."""

SMALL = 64
"""Up to this side in pixels a picture is trained on at its own size; the waves of larger ones grow with them. Their
periods are 8 to 16 px at 128 px: finer ones do as much to a small ResNet, and a ResNet-18 hardly reads them
(docs/log/coarser.md)."""

SMALL_BEFORE = 128
"""`SMALL` of protectors that do not say theirs: those of algorithms before 16."""

TRIES = 100
"""Orders that are tried for one that is another; of two tints every second one is."""

LARGEST_CHANGE = 127
"""Of a colour, in 8-bit levels: the largest epsilon."""

EDGE = 1.0
"""Width in pixels of a square wave's edges: sharp, and without staircases."""

FLAT = "flat"

WAVES = ("square", "sine", FLAT)


@dataclass(frozen=True, kw_only=True)
class WaveSettings(Settings):
    """The attributes of `Settings`, too.

    Attributes:
        look: a name in `LOOKS`: how visible the noise is, and how much it protects.
        steps: changes nothing, as `canvas_size` does not: waves are drawn, and rendered at each picture's own size.
            Both are taken with a warning, for commands that were written for families that learn their noise.
    """

    look: str = "balanced"
    steps: int | None = None

    def __post_init__(self) -> None:
        """As `Settings`: refuse what is out of range."""
        super().__post_init__()
        one_of("look", self.look, tuple(LOOKS))
        if self.steps is not None:
            at_least("steps", self.steps, 1)
        for name in ("steps", "canvas_size"):
            if getattr(self, name) is not None:
                logger.warning(
                    "%s=%d changes nothing: waves are drawn, not learnt on a canvas.", name, getattr(self, name)
                )


@dataclass(frozen=True)
class WaveNoise(KeyedNoise):
    """A wave for each of p clusters, and the key of the phases.

    Attributes:
        angles: float64 [p], direction of the wave in half turns, [0, 1).
        periods: float64 [p], in pixels of a picture whose short side is at most `small`. They grow with larger
            pictures, and with the longer side of pictures that are not square: all pictures that are squeezed to one
            square for training show one texture.
        small: int64, 0-d, in pixels.
        colours: float64 [p, 3], what the crest adds to red, green and blue, in 8-bit levels; below one, one is added.
        wave: int64, 0-d: the place in `WAVES`. A flat one is its crest's colour everywhere: a tint. Phases, angles and
            periods change nothing of it.
        key: uint8 [32], the secret from which phases are computed.
    """

    angles: Annotated[np.ndarray, Array("float64", ("p",))]
    periods: Annotated[np.ndarray, Array("float64", ("p",))]
    small: Annotated[np.ndarray, Array("int64", ())]
    colours: Annotated[np.ndarray, Array("float64", ("p", 3))]
    wave: Annotated[np.ndarray, Array("int64", ())]
    key: Annotated[np.ndarray, Array("uint8", (32,))]

    def check(self) -> None:
        """As `Noise.check`."""
        if not 0 <= self.wave < len(WAVES):
            raise SettingError(f"noise.wave={self.wave} is none of the {len(WAVES)} waves.")
        if self.small < 1:
            raise SettingError(f"noise.small={self.small} is no side of a picture.")
        if not (self.periods >= 1).all():
            raise SettingError(f"noise.periods has {self.periods.min()}, which is less than a pixel.")
        if not ((abs(self.colours).max(axis=1) > 0) & (abs(self.colours).max(axis=1) <= LARGEST_CHANGE)).all():
            raise SettingError(f"noise.colours has a row without a change, or one beyond {LARGEST_CHANGE}/255.")

    @property
    def testifies(self) -> bool:
        """As `Noise.testifies`: a tint has no phase."""
        return not self.flat

    @property
    def flat(self) -> bool:
        """Whether the noise is a tint of each group."""
        return WAVES[int(self.wave)] == FLAT

    @property
    def size(self) -> int:
        """The side in pixels at which periods are what the table says."""
        return int(self.small)

    def for_picture(self, picture: Picture, group: int) -> np.ndarray:
        """The wave at the picture's own phase, as brightness in a picture that is stored in gray: int8 [3, H, W]."""
        return self._shown(picture, group, self.phase(picture))

    def opposite(self, picture: Picture, group: int) -> np.ndarray:
        """The wave half a turn further: what would be published as likely, and is not: int8 [3, H, W]."""
        return self._shown(picture, group, (self.phase(picture) + TURN // 2) % TURN)

    def _shown(self, picture: Picture, group: int, phase: int) -> np.ndarray:
        noise = self if picture.mode not in GRAY else replace(self, colours=self._as_brightness())
        return noise.at_phase(picture.pixels.shape[:2], group, phase)

    def phase(self, picture: Picture) -> int:
        """Where the wave starts on a picture: a pure function of its pixels and the key, one of `PHASES` in a turn.

        Pixels count as far as noise cannot lead them beyond black or white: so the owner finds the phase again.
        """
        code = hmac.new(self.key.tobytes(), np.array(picture.pixels.shape, dtype="<u8").tobytes(), hashlib.sha256)
        code.update(np.ascontiguousarray(picture.pixels.clip(MARGIN, 255 - MARGIN)).data)
        return code.digest()[0] * (TURN // PHASES)

    def carried(self, picture: Picture, group: int) -> np.ndarray:
        """The wave that a protected picture carries: at the phase which the picture without it has by the key."""
        if self.flat:
            return self._shown(picture, group, 0)
        guess, share = self._estimate(picture, group)
        noise = self._shown(picture, group, guess)
        if share < PRESENT:
            return noise
        for phase in sorted(range(0, TURN, TURN // PHASES), key=lambda phase: _apart(phase, guess)):
            tried = self._shown(picture, group, phase)
            original = np.subtract(picture.pixels, tried.transpose(1, 2, 0), dtype=np.int16).clip(0, 255)
            if self.phase(replace(picture, pixels=original.astype(np.uint8))) == phase:
                return tried
        return noise  # the picture was changed since it was protected

    def _estimate(self, picture: Picture, group: int) -> tuple[int, float]:
        """The likeliest phase of a group's wave in a picture, and how much of the wave is there: 1 for all of it."""
        height, width, _ = picture.pixels.shape
        colours = self._as_brightness() if picture.mode in GRAY else self.colours
        strength = float(np.linalg.norm(colours[group]))
        across, down = self._phases((height, width), group)
        turns = 2 * np.pi / TURN
        seen = picture.pixels @ (colours[group] / strength).astype(np.float32)  # [H, W]
        seen -= seen.mean()
        wave = np.exp(-1j * turns * down) @ seen @ np.exp(-1j * turns * across)
        share = abs(wave) / (height * width * strength * 2 / np.pi)
        return int(np.angle(1j * wave) / turns) % TURN, float(share)

    def _as_brightness(self) -> np.ndarray:
        """The largest change of each wave, in all three channels: colours of equal brightness are nothing in gray.

        A tint becomes brighter or darker, as it is in colour.
        """
        largest = np.repeat(np.abs(self.colours).max(axis=1, keepdims=True), 3, axis=1)
        return largest * np.sign(self.colours @ np.array(LUMA))[:, None] if self.flat else largest

    def at_phase(self, size: tuple[int, int], group: int, phase: int) -> np.ndarray:
        """A group's wave.

        Args:
            size: (H, W) in pixels.
            group: whose.
            phase: where it starts, in [0, `TURN`).

        Returns:
            int8 [3, H, W].
        """
        height, width = size
        shape = _one_turn(WAVES[int(self.wave)], self._period(size, group))
        colours = np.rint(shape[:, None] * _at_least_one(self.colours[group])).astype(np.int8)  # [ENTRIES, 3]
        across, down = self._phases(size, group)
        down = down + np.uint16(phase)
        noise = np.empty((height, width, 3), dtype=np.int8)
        for top in range(0, height, ROWS):
            rows = slice(top, top + ROWS)
            np.take(colours, (down[rows, None] + across) // (TURN // ENTRIES), axis=0, out=noise[rows], mode="clip")
        return noise.transpose(2, 0, 1)

    def _period(self, size: tuple[int, int], group: int) -> float:
        return float(self.periods[group] * max(1.0, min(size) / self.small))

    def _phases(self, size: tuple[int, int], group: int) -> tuple[np.ndarray, np.ndarray]:
        """What each column and each row adds to the phase, uint16 [W] and [H]."""
        (height, width), period, angle = size, self._period(size, group), np.pi * self.angles[group]
        short = min(size)
        across = _steps(width, np.cos(angle) / period * (short / width))
        return across, _steps(height, np.sin(angle) / period * (short / height))

    def canvases(self, size: int | None = None) -> np.ndarray:
        """Each group's wave at phase 0 on a square: int8 [p, 3, size, size]."""
        side = size or self.size
        return np.stack([self.at_phase((side, side), group, 0) for group in range(len(self.angles))])

    def weakened(self, group: int, times: int) -> Self:
        """As `Noise.weakened`."""
        colours = self.colours.copy()
        colours[group] /= times
        return replace(self, colours=colours)

    def evened(self) -> Self:
        """As `KeyedNoise.evened`."""
        return replace(self, colours=self.colours / self._strengths * self._strengths.max())

    @property
    def _strengths(self) -> np.ndarray:
        return abs(self.colours).max(axis=1, keepdims=True)

    def scaled(self, share: float) -> Self:
        """As `Noise.scaled`."""
        return replace(self, colours=self.colours * share)

    def drawn_at_random(self, seed: int) -> Self | None:
        """The same colours, strengths and quiet cluster, with waves and phases that nobody designed.

        Tints are drawn at random as they are: for them it is the same colours in another order; None if there is none.
        """
        rng = np.random.default_rng(seed)
        p = len(self.angles)
        if self.flat:
            tints = self.colours / self._strengths
            orders = (rng.permutation(p) for _ in range(TRIES))
            others = (order for order in orders if not np.array_equal(tints[order], tints))
            order = next(others, None)
            return None if order is None else replace(self, colours=self._strengths * tints[order])
        shortest, longest = float(self.periods.min()), float(self.periods.max())
        periods = shortest * (longest / shortest) ** rng.random(p)
        key = rng.integers(256, size=len(self.key), dtype=np.uint8)
        return replace(self, angles=rng.random(p), periods=periods, key=key)

    def arrays(self) -> dict[str, np.ndarray]:
        """The table and the key, by the names of the attributes, each behind "wave."."""
        return {f"wave.{name}": np.asarray(value) for name, value in vars(self).items()}

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """The noise from its `arrays`."""
        named = {name.removeprefix("wave."): np.asarray(array) for name, array in arrays.items()}
        return cls(**{"small": np.array(SMALL_BEFORE), **named})


class Wave(Family[WaveSettings]):
    """A coloured wave for each cluster, rendered at each picture's own size and phase."""

    settings_type = WaveSettings
    noise_type = WaveNoise
    two_sizes = True

    def learn(self, lesson: ClusterLesson[WaveSettings]) -> WaveNoise:
        """Waves that stay apart, which nobody can foretell without the originals."""
        return drawn(lesson.settings, lesson.centroids.numpy())


def drawn(settings: WaveSettings, centroids: np.ndarray) -> WaveNoise:
    """The waves of a fit: a function of its settings and its clusters' centroids, float32 [p, d], alone."""
    look = LOOKS[settings.look]
    stream = secret_stream(secret_of("waves", settings.seed, centroids))
    angles, periods, axes = draw_waves(look, len(centroids), stream)
    return WaveNoise(
        angles=angles,
        periods=periods,
        small=np.array(SMALL),
        colours=settings.levels * axes,
        wave=np.array(WAVES.index(look.wave)),
        key=np.frombuffer(secret_of("phases", settings.seed, centroids), dtype=np.uint8),
    )


def drawn_anew(noise: WaveNoise, before: WaveSettings, after: WaveSettings, centroids: np.ndarray) -> WaveNoise:
    """The waves of another look, as a fit with it would have drawn them; who was weakened is as weak again.

    They grow with pictures as the fit's own do, which an earlier algorithm may have made.

    Args:
        noise: of the fit.
        before: its settings.
        after: the settings with the other look.
        centroids: float32 [p, d].
    """
    strengths = (np.linalg.norm(waves.colours, axis=1) for waves in (noise, drawn(before, centroids)))
    shares = np.divide(*strengths)
    waves = drawn(after, centroids)
    return replace(waves, colours=waves.colours * shares[:, None], small=noise.small)


FAMILIES["wave"] = Wave()


def draw_waves(look: Look, p: int, stream: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Waves that a network can tell apart, one for each cluster.

    Flips fold the plane of frequencies to a quarter, and crops stretch periods by up to two thirds. So colours go by
    turns; for each of them folded angles lie on a jittered grid, and neighbours on it have periods of the shorter and
    the longer half of the range by turns. Jitter, quadrants and order come from the stream.

    Args:
        look: its colours.
        p: number of clusters.
        stream: of the secret.

    Returns:
        angles float64 [p] in half turns, periods float64 [p] in pixels, axes float64 [p, 3] as shares of epsilon.
    """
    every_axis = np.array(look.axes)
    axis, slot = np.arange(p) % len(every_axis), np.arange(p) // len(every_axis)
    slots = np.bincount(axis)[axis]
    folded = (slot + 0.5 + (stream.random(p) - 0.5) * 0.5) / slots / 2
    angles = np.where(stream.integers(2, size=p), 1 - folded, folded) % 1
    half = (slot + axis + stream.integers(2)) % 2
    along = (half + stream.random(p)) / 2
    shortest, longest = PERIODS
    order = stream.permutation(p)
    return angles[order], (shortest * (longest / shortest) ** along)[order], every_axis[axis[order]]


def _at_least_one(colours: np.ndarray) -> np.ndarray:
    """Colours in levels, of which none that is there is less than one."""
    return np.sign(colours) * np.where(colours == 0, 0, np.maximum(np.abs(colours), 1.0))


def _apart(phase: int, other: int) -> int:
    """Steps between two phases, the shorter way round."""
    return min((phase - other) % TURN, (other - phase) % TURN)


def _steps(n: int, frequency: float) -> np.ndarray:
    """The phase at each of n pixels in steps of a turn, uint16 [n]."""
    return (np.rint(np.arange(n) * frequency % 1 * TURN).astype(np.int64) % TURN).astype(np.uint16)


def _one_turn(wave: str, period: float) -> np.ndarray:
    """One turn of a wave that rises through 0 at 0, or of a flat one, float64 [ENTRIES] in [-1, 1]."""
    if wave == FLAT:
        return np.ones(ENTRIES)
    turns = (np.arange(ENTRIES) + 0.5) / ENTRIES
    if wave == "sine":
        return np.sin(2 * np.pi * turns)
    triangle = 1 - 4 * np.abs((turns + 0.25) % 1 - 0.5)
    return np.clip(triangle * period / (2 * EDGE), -1, 1)
