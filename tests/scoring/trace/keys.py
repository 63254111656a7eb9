"""Protectors whose keys differ, and suspects that have or have not seen what a protector has published."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from uc_hf import UCProtector


def with_key(fitted: UCProtector, key: bytes) -> UCProtector:
    """A fitted protector with another key."""
    learnt = fitted.fitted
    secret = np.frombuffer(hashlib.sha256(key).digest(), np.uint8)
    return UCProtector.restored(
        fitted.settings, replace(learnt, noise=replace(learnt.noise, key=secret)), fitted._surrogate
    )


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
