"""Methods by name: `protector_for("emin", ...)`. A method is one file in this folder whose class is registered."""

import json
import pkgutil
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import hf_hub_download, resolve_revision
from huggingface_hub.errors import (
    HFValidationError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionResolutionError,
)

import uc_hf.methods
from uc_hf.errors import SettingError
from uc_hf.methods.unlearnable_clusters.protector import UCProtector
from uc_hf.protecting.protector import Protector


METHODS: dict[str, type[Protector]] = {UCProtector.method: UCProtector}

_Method = TypeVar("_Method", bound=type[Protector])


def register(method: _Method) -> _Method:
    """Make a class known by its `method`; a decorator."""
    METHODS[method.method] = method
    return method


def methods() -> dict[str, type[Protector]]:
    """Every method by its name, once the files of this folder are imported."""
    for module in pkgutil.iter_modules(uc_hf.methods.__path__, "uc_hf.methods."):
        import_module(module.name)
    return METHODS


def find_method(name: str) -> type[Protector]:
    """The class of a method.

    Args:
        name: "uc" for Unlearnable Clusters, or a baseline's `method`.

    Raises:
        SettingError: there is no such method.
    """
    known = METHODS if name in METHODS else methods()
    if name not in known:
        raise SettingError(f"method {name!r} is not known. Write one of {', '.join(map(repr, known))}.")
    return known[name]


def protector_for(method: str, **settings: Any) -> Protector:
    """A protector by the name of its method, not fitted.

    Examples:
        >>> protector_for("synper", epsilon=8 / 255).settings.levels
        8

    Args:
        method: as `find_method`.
        **settings: of that method.

    Raises:
        SettingError: no such method or setting, or a value out of its range.
    """
    return find_method(method)(**settings)


def open_protector(source: str) -> Protector:
    """Load a saved protector of any method from a folder or the Hub.

    Raises:
        SettingError: there is none, or it cannot be read.
    """
    path = Path(source)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise SettingError(f"{source} holds no protector: it has no config.json. {_PROTECTOR_REMEDY}")
        return _load_protector(source, path / "config.json")
    try:
        resolve_revision(source)
        return _load_protector(source, Path(hf_hub_download(source, "config.json")))
    except RevisionResolutionError as error:
        raise SettingError(f"there is no folder {source}, and no Hub is in reach. {_PROTECTOR_REMEDY}") from error
    except (HFValidationError, RemoteEntryNotFoundError, RepositoryNotFoundError) as error:
        raise SettingError(
            f"there is no folder {source}, and no protector of that name on the Hub that you may read. "
            f"{_PROTECTOR_REMEDY} For a private one run `hf auth login`."
        ) from error


def _load_protector(source: str, config: Path) -> Protector:
    try:
        method = json.loads(config.read_text()).get("method", "uc")
    except ValueError as error:
        raise SettingError(f"{source} cannot be read: its config.json is damaged ({error}). Copy it again.") from error
    return find_method(method).from_pretrained(source)


_PROTECTOR_REMEDY = "Name the folder that `uc-hf protect` saved (OUT.protector), or a protector on the Hub."
