"""Whom to ask: a classifier on the Hub or in a folder, a pipeline, a function of your own, or an HTTP endpoint.

A suspect takes pictures and answers with labels and probabilities, as far as it tells them: all, the best five, or the
best one alone. Nothing else of it is looked at.
"""

import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError
from PIL import Image
from transformers import Pipeline, pipeline

from uc_hf.errors import SuspectError, first_line


AT_ONCE = 64
"""Pictures that a model on this machine is given at once."""

Answer = Mapping[str, float]
"""Label to probability; labels that are not told are missing."""


class Suspect(Protocol):
    """A model that can be asked.

    Attributes:
        name: what reports call it.
        at_once: pictures in one question.
    """

    name: str
    at_once: int

    def __call__(self, pictures: Sequence[Image.Image]) -> list[Answer]:
        """An answer for each picture.

        Raises:
            SuspectError: it cannot be asked, or answers what is not understood.
        """


class Function:
    """A function of the user's own as a suspect.

    Args:
        ask: a list of PIL pictures -> for each picture its probabilities (an array [N, C], in the order of the
            classes), a mapping label -> probability, a list of {"label", "score"}, or a label alone.
        classes: the names of the labels, where answers are arrays or numbers.
        name: what reports call it.
    """

    def __init__(self, ask: Callable[[list[Image.Image]], Any], classes: Sequence[str], name: str) -> None:
        self.name, self.at_once = name, AT_ONCE
        self._ask, self._classes = ask, list(classes)

    def __call__(self, pictures: Sequence[Image.Image]) -> list[Answer]:
        """An answer for each picture."""
        answers = self._ask(list(pictures))
        if hasattr(answers, "detach"):
            answers = answers.detach().float().cpu().numpy()
        if len(answers) != len(pictures):
            raise SuspectError(f"{self.name} was given {len(pictures)} pictures and returned {len(answers)} answers.")
        return [read_answer(answer, self._classes) for answer in answers]


def open_suspect(model: Any, classes: Sequence[str], token: str | None = None) -> Suspect:
    """A suspect by what the user has.

    Args:
        model: the name of an image classifier on the Hub, a folder that `save_pretrained` wrote (of a model with its
            image processor, or of a pipeline), an address that begins with http:// or https://, a pipeline, or a
            function (see `Function`).
        classes: the owner's class names in label order, for answers that are numbers.
        token: that an endpoint asks for.

    Raises:
        SuspectError: it cannot be loaded.
    """
    if isinstance(model, Pipeline):
        return Function(_all_labels(model), classes, getattr(model.model, "name_or_path", "") or "the pipeline")
    if callable(model):
        return Function(model, classes, getattr(model, "__name__", type(model).__name__))
    if str(model).startswith(("http://", "https://")):
        from uc_hf.scoring.trace.endpoint import Endpoint

        return Endpoint(str(model), token)
    return Function(_all_labels(_load(str(model))), classes, str(model))


def read_answer(answer: Any, classes: Sequence[str]) -> Answer:
    """What a suspect said of one picture, as label -> probability.

    Raises:
        SuspectError: it is none of the forms that `Function` lists.
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
    return {_named(index, classes): _probability(score) for index, score in enumerate(numbers_)}


def _probability(score: Any) -> float:
    if not isinstance(score, numbers.Real) or not -1e-6 <= float(score) <= 1 + 1e-3:
        raise SuspectError(
            f"a score of {score!r} is not a probability: answers have to be in [0, 1], so write softmax(logits)."
        )
    return float(score)


def _named(index: int, classes: Sequence[str]) -> str:
    return classes[index] if index < len(classes) else f"LABEL_{index}"


def _load(name: str) -> Pipeline:
    try:
        return pipeline(
            "image-classification", model=name, trust_remote_code=False, model_kwargs={"use_safetensors": True}
        )
    except (HFValidationError, RepositoryNotFoundError, OSError, ValueError, KeyError, ImportError) as error:
        raise SuspectError(
            f"{name!r} cannot be loaded as an image classifier: {first_line(error)} Name one on the Hub, a folder "
            "with its model.safetensors, config.json and preprocessor_config.json, or an endpoint's address."
        ) from error


def _all_labels(loaded: Pipeline) -> Callable[[list[Image.Image]], list[Any]]:
    labels = loaded.model.config.num_labels
    apply = "sigmoid" if loaded.model.config.problem_type == "multi_label_classification" else "softmax"
    return lambda pictures: loaded(pictures, top_k=labels, function_to_apply=apply, batch_size=len(pictures))
