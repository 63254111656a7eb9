"""What stands in a saved protector's config.json, and whether it can be believed."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from uc_hf.errors import SettingError, SurrogateError, first_line
from uc_hf.fitting.record import ALGORITHM
from uc_hf.fitting.schema import check_value


FORMAT = 1
"""Of the saved files. A protector of a newer format is refused."""

CONFIG = {
    "format": int,
    "algorithm": int | None,
    "method": str | None,
    "uc_hf_version": str | None,
    "settings": dict[str, Any],
    "fit": dict[str, Any],
    "digest": str | None,
}
"""What stands in a config.json; what may be missing was not written by earlier versions."""


def check_config(saved: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> None:
    """Refuse a config.json that is not one, or is not the one that its tensors were saved with.

    Raises:
        SettingError: it is; the message names the field.
    """
    for name, kind in CONFIG.items():
        check_value(name, saved.get(name), kind)
    digest = digest_of(saved, tensors)
    if saved.get("digest") not in (None, digest):
        raise SettingError(
            "its files are not those that were saved together: one is damaged or changed. Copy it again."
        )


def check_version(saved: Mapping[str, Any]) -> None:
    """Refuse what a newer version saved.

    Raises:
        SettingError: it did.
    """
    for name, newest in (("format", FORMAT), ("algorithm", ALGORITHM)):
        value = saved.get(name)
        if isinstance(value, int) and value > newest:
            raise SettingError(f"{name}={value} is newer than this version's {newest}. Write pip install -U uc_hf.")


def digest_of(config: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    """The digest of a saved protector, config and arrays: a bit that a disk has lost shows by it.

    Raises:
        SettingError: the config holds a number that JSON does not know.
    """
    plain = {name: value for name, value in config.items() if name != "digest"}
    for name, value in _numbers(plain):
        if not math.isfinite(value):
            raise SettingError(f"{name} is {value}, not a finite number.")
    digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {list(array.shape)}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _numbers(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _numbers(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, float):
        yield name, value


@contextmanager
def naming_source(source: str, saved: Mapping[str, Any]) -> Iterator[None]:
    """Say which saved protector an error is about, and which version has saved it.

    Raises:
        SettingError: whatever was wrong with it.
    """
    try:
        yield
    except SurrogateError:
        raise
    except (SettingError, TypeError, LookupError, ValueError, AttributeError, OverflowError) as error:
        reason = f"it lacks {first_line(error)}" if isinstance(error, LookupError) else first_line(error)
        raise SettingError(
            f"{source!r} cannot be used. It was saved by uc_hf {saved.get('uc_hf_version')}: {reason}."
        ) from error
