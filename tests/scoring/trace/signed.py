"""A protector whose pictures each have a phase of their own, and suspects that have or have not seen its work."""

import hashlib
import hmac
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from uc_hf import UCProtector
from uc_hf.data.images import Picture


class Signed(UCProtector):
    """Each picture gets its cluster's noise or its negative, by the key: a phase of two values."""

    key = b"0"

    def _turned(self, pictures: Sequence[Picture], groups: np.ndarray, turn: int) -> Iterator[Picture]:
        for picture, group in zip(pictures, groups, strict=True):
            toss = hmac.digest(self.key, picture.pixels.tobytes(), hashlib.sha256)[0]
            yield self.add(picture, self.fitted.noise[group] * (-1) ** (toss + turn))

    def perturbed(self, pictures: Sequence[Picture], groups: np.ndarray) -> Iterator[Picture]:
        return self._turned(pictures, groups, 0)

    def opposite(self, pictures: Sequence[Picture], groups: np.ndarray) -> Iterator[Picture]:
        return self._turned(pictures, groups, 1)


def with_key(fitted: UCProtector, key: bytes) -> Signed:
    """A fitted protector with another key."""
    protector = Signed()
    protector.__dict__ |= fitted.__dict__
    protector.key = key
    return protector


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
