"""Make an image dataset unlearnable before you publish it (Unlearnable Clusters, arXiv 2301.01217)."""

from importlib.metadata import version
from pathlib import Path

from uc_hf.protector import UCProtector
from uc_hf.surrogates import Surrogate


__version__ = version("uc_hf")
__all__ = ["Surrogate", "UCProtector", "module_path"]


def module_path(name: str) -> str:
    """The folder of an `evaluate` module of uc_hf, for `evaluate.load(uc_hf.module_path("unlearnability"))`.

    Raises:
        FileNotFoundError: there is no such module.
    """
    folder = Path(__file__).parent / "modules" / name
    if not folder.is_dir():
        known = sorted(path.name for path in folder.parent.iterdir() if path.is_dir())
        raise FileNotFoundError(f"uc_hf has no evaluate module {name!r}; it has {', '.join(known)}.")
    return str(folder)
