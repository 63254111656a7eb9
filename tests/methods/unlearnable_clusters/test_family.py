"""A family of noise is one file: this one, registered from outside, keeps no canvas but a table and a secret key."""

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import pytest
from datasets import Dataset

from uc_hf import UCProtector
from uc_hf.cli.inspect import inspect
from uc_hf.data.images import Picture, decode
from uc_hf.errors import SettingError
from uc_hf.fitting.noise import Noise
from uc_hf.methods.unlearnable_clusters.family import FAMILIES, ClusterLesson, Family
from uc_hf.methods.unlearnable_clusters.settings import Settings
from uc_hf.scoring.controls import with_controls


@dataclass(frozen=True)
class Waves(Noise):
    """One blue wave for each group, whose phase is each picture's own.

    Attributes:
        waves: float [p, 3]: angle, period in pixels, strength in levels.
        key: uint8 [16], secret.
    """

    waves: np.ndarray
    key: np.ndarray

    @property
    def size(self) -> int:
        return 32

    def for_picture(self, picture: Picture, group: int) -> np.ndarray:
        digest = hashlib.sha256(self.key.tobytes() + picture.pixels.tobytes()).digest()
        height, width, _ = picture.pixels.shape
        return self._wave(group, height, width, digest[0] / 256)

    def canvases(self, size: int | None = None) -> np.ndarray:
        size = size or self.size
        return np.stack([self._wave(group, size, size, 0) for group in range(len(self.waves))])

    def weakened(self, group: int, times: int) -> Self:
        waves = self.waves.copy()
        waves[group, 2] = max(waves[group, 2] // times, 1)
        return replace(self, waves=waves)

    def scaled(self, share: float) -> Self:
        return replace(self, waves=self.waves * np.array([1, 1, share]))

    def arrays(self) -> dict[str, np.ndarray]:
        return {"waves": self.waves, "key": self.key}

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        return cls(arrays["waves"], arrays["key"])

    def _wave(self, group: int, height: int, width: int, phase: float) -> np.ndarray:
        angle, period, strength = self.waves[group]
        y, x = np.mgrid[:height, :width]
        across = x * math.cos(angle) + y * math.sin(angle)
        noise = np.zeros((3, height, width), dtype=np.int8)
        noise[2] = np.rint(strength * np.sin(2 * math.pi * (across / period + phase)))
        return noise


@dataclass(frozen=True, kw_only=True)
class WaveSettings(Settings):
    period: float = 6.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.period < 2:
            raise SettingError(f"period={self.period} is below 2 pixels.")


class WaveFamily(Family[WaveSettings]):
    """A wave of blue for each cluster."""

    settings_type = WaveSettings
    noise_type = Waves

    def learn(self, lesson: ClusterLesson[WaveSettings]) -> Waves:
        settings, p = lesson.settings, lesson.settings.p
        angles = np.linspace(0, math.pi, p, endpoint=False)
        waves = np.stack([angles, np.full(p, settings.period), np.full(p, settings.levels)], axis=1)
        return Waves(waves, np.frombuffer(hashlib.sha256(b"secret").digest()[:16], dtype=np.uint8))


@pytest.fixture(autouse=True, scope="module")
def family() -> Iterator[None]:
    FAMILIES["ripple"] = WaveFamily()
    yield
    del FAMILIES["ripple"]


@pytest.fixture(scope="module")
def protector(family: None, tiles: Dataset, surrogate_folder: str) -> UCProtector:
    return UCProtector(surrogate=surrogate_folder, n_clusters=3, parametrisation="ripple", period=5.0).fit(tiles)


def stored(dataset: Dataset) -> list[bytes]:
    return [row["bytes"] for row in dataset.with_format("arrow")["image"].to_pylist()]


def test_it_protects_within_epsilon_and_every_picture_has_noise_of_its_own(protector: UCProtector, tiles: Dataset):
    originals = [decode(value) for value in tiles["image"]]
    protected = [decode(data).pixels for data in protector.protect(originals)]
    noises = [after.astype(int) - before.pixels for before, after in zip(originals, protected, strict=True)]
    assert all(np.abs(noise[..., 2]).max() <= 16 and not noise[..., :2].any() for noise in noises)
    groups = protector.assign(originals)
    first, second = np.flatnonzero(groups == groups[0])[:2]
    assert not np.array_equal(noises[first], noises[second])


def test_it_is_saved_without_a_canvas_and_loaded_to_the_same_bytes_in_any_process(
    protector: UCProtector, tiles: Dataset, tmp_path: Path
):
    protector.save_pretrained(tmp_path)
    loaded = UCProtector.from_pretrained(tmp_path)
    assert (tmp_path / "noise.png").is_file() and (tmp_path / "model.safetensors").stat().st_size < 2000
    made = [
        tiles.map(one, batched=True, batch_size=50, num_proc=processes, load_from_cache_file=False)
        for one, processes in ((protector, None), (loaded, 2))
    ]
    assert stored(made[0]) == stored(made[1])


def test_it_is_inspected_and_compared_with_controls_as_any_other(protector: UCProtector, tiles: Dataset):
    facts = inspect(protector)
    assert facts["canvas_size"] == 32 and facts["noise"]["max_change"] == 16
    assert sorted(round(group["mean_change"]) for group in facts["groups"])[0] < 2  # the quiet cluster
    assert all("goal" not in group for group in facts["groups"])
    assert set(with_controls(protector, tiles)) >= {"clean", "protected", "control-grating"}
    nothing = protector.with_noise(np.zeros_like(protector.canvases()))
    assert np.array_equal(decode(nothing.transform(tiles[0]["image"])).pixels, decode(tiles[0]["image"]).pixels)


def test_its_settings_are_its_own_and_checked_by_it():
    with pytest.raises(SettingError, match=r"period=1 is below 2 pixels"):
        UCProtector(surrogate="uc_hf/tiny", parametrisation="ripple", period=1)
    with pytest.raises(SettingError, match="'period' is a setting of parametrisation='ripple', not of 'wave'"):
        UCProtector(surrogate="uc_hf/tiny", period=5)
    with pytest.raises(SettingError, match=r"parametrisation 'waves' is not known\. Write one of .*'wave'.*'ripple'"):
        UCProtector(surrogate="uc_hf/tiny", parametrisation="waves")
