"""Models that can be asked: a classifier on the Hub or in a folder, a pipeline, a function, an HTTP endpoint.

A suspect takes pictures and answers with labels and probabilities: all of them, the best five, or the best one alone.
Nothing else about it is used.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError
from PIL import Image
from transformers import Pipeline, pipeline

from uc_hf.errors import SuspectError, first_line
from uc_hf.scoring.trace.answers import Answer, Suspect, read_answer
from uc_hf.scoring.trace.endpoint import Endpoint
from uc_hf.surrogates.weights import digest_of_weights


AT_ONCE = 64
"""Number of pictures that a model on this machine is given at once."""


class Function:
    """A function of the user's own as a suspect.

    Args:
        ask: a list of PIL pictures -> for each picture its probabilities (an array [N, C], in the order of the
            classes), a mapping label -> probability, a list of {"label", "score"}, or a label alone.
        classes: the names of the labels, where answers are arrays or numbers.
        name: what reports call it.
        version: as `Suspect.version`.
    """

    def __init__(
        self, ask: Callable[[list[Image.Image]], Any], classes: Sequence[str], name: str, version: str = ""
    ) -> None:
        self.name, self.version, self.at_once = name, version, AT_ONCE
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
    """Open what the user names as a suspect.

    Args:
        model: the name of an image classifier on the Hub, a folder that `save_pretrained` wrote (of a model with its
            image processor, or of a pipeline), an address that begins with http:// or https://, a pipeline, or a
            function (see `Function`).
        classes: the owner's class names in label order, for answers that are numbers.
        token: sent to an endpoint that requires one.

    Raises:
        SuspectError: it cannot be loaded.
    """
    if isinstance(model, Pipeline):
        return _of_pipeline(model, classes, getattr(model.model, "name_or_path", "") or "the pipeline")
    if callable(model):
        return Function(model, classes, getattr(model, "__name__", type(model).__name__))
    if str(model).startswith(("http://", "https://")):
        return Endpoint(str(model), token)
    return _of_pipeline(_load(str(model)), classes, str(model))


def _of_pipeline(loaded: Pipeline, classes: Sequence[str], name: str) -> Function:
    version = digest_of_weights(loaded.model, sorted(loaded.model.config.id2label.items()))
    return Function(_all_labels(loaded, classes), classes, name, version)


def _load(name: str) -> Pipeline:
    if name.startswith((".", "/", "~")) and not Path(name).is_dir():
        raise SuspectError(f"there is no folder {name}. Check the path.")
    try:
        return pipeline(
            "image-classification", model=name, trust_remote_code=False, model_kwargs={"use_safetensors": True}
        )
    except (HFValidationError, RepositoryNotFoundError, OSError, ValueError, KeyError, ImportError) as error:
        raise SuspectError(
            f"{name!r} cannot be loaded as an image classifier: {first_line(error)}. Name one on the Hub, a folder "
            "with its model.safetensors, config.json and preprocessor_config.json, or an endpoint's address."
        ) from error


def _all_labels(loaded: Pipeline, classes: Sequence[str]) -> Callable[[list[Image.Image]], list[Answer]]:
    """Ask a pipeline for all labels; numbers without names are the owner's classes, where there are as many."""
    config = loaded.model.config
    apply = "sigmoid" if config.problem_type == "multi_label_classification" else "softmax"
    unnamed = {f"LABEL_{number}": name for number, name in enumerate(classes)}
    named = unnamed if set(config.id2label.values()) == unnamed.keys() else {}

    def ask(pictures: list[Image.Image]) -> list[Answer]:
        answers = loaded(pictures, top_k=config.num_labels, function_to_apply=apply, batch_size=len(pictures))
        return [{named.get(part["label"], part["label"]): part["score"] for part in answer} for answer in answers]

    return ask
