"""Protectors of any method: made by the method's name, or opened from where one was saved."""

import json
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download, resolve_revision
from huggingface_hub.errors import (
    HFValidationError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionResolutionError,
)

from uc_hf.errors import SettingError, UCError
from uc_hf.methods import METHODS
from uc_hf.protecting.key_file import unpacked_key
from uc_hf.protecting.protector import Protector


def protector_for(method: str, **settings: Any) -> Protector:
    """A protector by the name of its method, not fitted.

    Examples:
        >>> protector_for("synper", epsilon=8 / 255).settings.levels
        8

    Args:
        method: "uc" for Unlearnable Clusters, or a baseline's name.
        **settings: of that method.

    Raises:
        SettingError: no such method or setting, or a value out of its range.
    """
    return METHODS.find(method)(**settings)


def open_protector(source: str) -> Protector:
    """Load a saved protector of any method from a folder, a key's file or the Hub.

    Raises:
        SettingError: there is none, or it cannot be read.
    """
    path = Path(source)
    if path.is_file():
        with unpacked_key(path) as folder:
            return _load_protector(str(folder), folder / "config.json")
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
        method = json.loads(config.read_text(encoding="utf-8")).get("method", "uc")
        kind = METHODS.find(str(method))
    except (ValueError, AttributeError, RecursionError) as error:
        if isinstance(error, UCError):
            raise
        raise SettingError(f"{source} cannot be read: its config.json is damaged ({error}). Copy it again.") from error
    return kind.from_pretrained(source)


_PROTECTOR_REMEDY = "Name the folder that `uc-hf protect` saved (OUT.protector), or a protector on the Hub."
