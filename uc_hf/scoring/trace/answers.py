"""What a suspect takes and returns: pictures, and labels with probabilities."""

import numbers
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from PIL import Image

from uc_hf.errors import SuspectError


Answer = Mapping[str, float]
"""Label to probability; labels that the suspect does not return are missing."""


class Suspect(Protocol):
    """A model that can be asked.

    Attributes:
        name: what reports call it.
        version: digest of what tells it from another model of that name: its weights, or its whole address. Empty for
            a function, of which nothing is known.
        at_once: largest number of pictures in one call.
    """

    name: str
    version: str
    at_once: int

    def __call__(self, pictures: Sequence[Image.Image]) -> list[Answer]:
        """An answer for each picture.

        Raises:
            SuspectError: it cannot be asked, or its answer is not understood.
        """


def read_answer(answer: Any, classes: Sequence[str]) -> Answer:
    """A suspect's answer about one picture, as label -> probability.

    Raises:
        SuspectError: it is none of the forms that `uc_hf.scoring.trace.suspects.Function` lists.
    """
    if isinstance(answer, str):
        return {answer: 1.0}
    if isinstance(answer, numbers.Integral):
        return {_named(int(answer), classes): 1.0}
    if isinstance(answer, Mapping):
        if "label" not in answer:
            return {str(label): _probability(score) for label, score in answer.items()}
        answer = [answer]
    if isinstance(answer, np.ndarray) and answer.ndim == 0:
        return {_named(int(answer), classes): 1.0}
    if isinstance(answer, list) and answer and isinstance(answer[0], Mapping) and "label" in answer[0]:
        return {str(part["label"]): _probability(part.get("score", 1.0)) for part in answer}
    try:
        numbers_ = np.asarray(answer, dtype=np.float64)
    except (TypeError, ValueError):
        numbers_ = np.zeros(0)
    if numbers_.ndim != 1 or not len(numbers_):
        raise SuspectError(
            f"an answer {str(answer)[:80]!r} is not understood: give probabilities [C], label -> probability, a list "
            "of {'label', 'score'}, or a label."
        )
    own = classes if len(numbers_) == len(classes) else ()
    return {_named(index, own): _probability(score) for index, score in enumerate(numbers_)}


def _probability(score: Any) -> float:
    if not isinstance(score, numbers.Real) or not -1e-6 <= float(score) <= 1 + 1e-3:
        raise SuspectError(
            f"a score of {score!r} is not a probability: answers have to be in [0, 1], so write softmax(logits)."
        )
    return float(score)


def _named(index: int, classes: Sequence[str]) -> str:
    return classes[index] if index < len(classes) else f"LABEL_{index}"
