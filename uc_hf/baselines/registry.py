"""Methods by name: `protector_for("emin", ...)`. A method is one file in this folder whose class is registered."""

import pkgutil
from importlib import import_module
from typing import Any, TypeVar

import uc_hf.baselines
from uc_hf.applying import Protector
from uc_hf.errors import SettingError
from uc_hf.protector import UCProtector


METHODS: dict[str, type[Protector]] = {UCProtector.method: UCProtector}

_Method = TypeVar("_Method", bound=type[Protector])


def register(method: _Method) -> _Method:
    """Make a class known by its `method`; a decorator."""
    METHODS[method.method] = method
    return method


def methods() -> dict[str, type[Protector]]:
    """Every method by its name, once the files of this folder are imported."""
    for module in pkgutil.iter_modules(uc_hf.baselines.__path__, "uc_hf.baselines."):
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
