"""Make an image dataset unlearnable before you publish it (Unlearnable Clusters, arXiv 2301.01217)."""

from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from uc_hf.data.generated import generated_dataset
    from uc_hf.methods.registry import open_protector, protector_for
    from uc_hf.methods.unlearnable_clusters.protector import UCProtector
    from uc_hf.publishing.cards import push_dataset_card
    from uc_hf.publishing.publish import publish
    from uc_hf.scoring.controls import with_controls
    from uc_hf.scoring.imperceptibility import compare
    from uc_hf.scoring.recipes import Recipe
    from uc_hf.scoring.scorecard import score
    from uc_hf.scoring.trace.trace import trace
    from uc_hf.surrogates.surrogate import Surrogate

__version__ = version("uc_hf")
__all__ = [
    "Recipe",
    "Surrogate",
    "UCProtector",
    "compare",
    "generated_dataset",
    "module_path",
    "open_protector",
    "protector_for",
    "publish",
    "push_dataset_card",
    "score",
    "trace",
    "with_controls",
]

_HOMES = {
    "Recipe": "uc_hf.scoring.recipes",
    "Surrogate": "uc_hf.surrogates.surrogate",
    "UCProtector": "uc_hf.methods.unlearnable_clusters.protector",
    "compare": "uc_hf.scoring.imperceptibility",
    "generated_dataset": "uc_hf.data.generated",
    "open_protector": "uc_hf.methods.registry",
    "protector_for": "uc_hf.methods.registry",
    "publish": "uc_hf.publishing.publish",
    "push_dataset_card": "uc_hf.publishing.cards",
    "score": "uc_hf.scoring.scorecard",
    "trace": "uc_hf.scoring.trace.trace",
    "with_controls": "uc_hf.scoring.controls",
}


def __getattr__(name: str) -> Any:
    """Imports a public name, and torch with it, when it is asked for: `uc-hf --help` answers at once."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def module_path(name: str) -> str:
    """The folder of an `evaluate` module of uc_hf, for `evaluate.load(uc_hf.module_path("unlearnability"))`.

    Raises:
        FileNotFoundError: there is no such module.
    """
    folder = Path(__file__).parent / "scoring" / "modules" / name
    if not folder.is_dir():
        known = sorted(path.name for path in folder.parent.iterdir() if path.is_dir())
        raise FileNotFoundError(f"uc_hf has no evaluate module {name!r}; it has {', '.join(known)}.")
    return str(folder)
