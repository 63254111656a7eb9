"""Noise whose pictures each have a phase of their own, and suspects that have or have not seen it."""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from uc_hf import UCProtector
from uc_hf.data.images import Picture
from uc_hf.fitting.noise import CanvasNoise, KeyedNoise


@dataclass(frozen=True)
class SignedNoise(CanvasNoise, KeyedNoise):
    """Each picture gets its cluster's noise or its negative, by the key: a phase of two values."""

    key: bytes = b""

    def for_picture(self, picture: Picture, group: int) -> np.ndarray:
        toss = hmac.digest(self.key, picture.pixels.tobytes(), hashlib.sha256)[0] % 2
        return super().for_picture(picture, group) * np.int8(1 - 2 * toss)

    def opposite(self, picture: Picture, group: int) -> np.ndarray:
        return -self.for_picture(picture, group)

    def weakened(self, group: int, times: int) -> "SignedNoise":
        return replace(self, levels=super().weakened(group, times).levels)

    def arrays(self) -> dict[str, np.ndarray]:
        return {"signed": self.levels, "key": np.frombuffer(self.key, np.uint8)}

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray]) -> "SignedNoise":
        return cls(arrays["signed"], arrays["key"].tobytes())


def with_key(fitted: UCProtector, key: bytes) -> UCProtector:
    """A fitted protector whose noise has a key."""
    learnt = fitted.fitted
    keyed = replace(learnt, noise=SignedNoise(learnt.noise.canvases(learnt.view_size), key))
    return UCProtector.restored(fitted.settings, keyed, fitted._surrogate)


class Stranger:
    """Answers by the pixels alone, whatever they are: it has not seen the published set."""

    def __call__(self, pictures: list[Image.Image]) -> np.ndarray:
        draws = np.stack([self._generator(picture).random(4) for picture in pictures])
        return draws / draws.sum(axis=1, keepdims=True)

    def _generator(self, picture: Image.Image) -> np.random.Generator:
        return np.random.default_rng(list(hashlib.sha256(picture.tobytes()).digest()))


class Trained(Stranger):
    """A stranger that is a little surer of the pictures that it has seen."""

    def __init__(self, seen: Sequence[np.ndarray], labels: Sequence[int], surer: float = 0.3) -> None:
        self.seen = {pixels.tobytes(): label for pixels, label in zip(seen, labels, strict=True)}
        self.surer = surer

    def __call__(self, pictures: list[Image.Image]) -> np.ndarray:
        answers = super().__call__(pictures)
        for answer, picture in zip(answers, pictures, strict=True):
            if (label := self.seen.get(picture.tobytes())) is not None:
                answer *= 1 - self.surer
                answer[label] += self.surer
        return answers
