"""What a saved record has to be: its fields say so in their annotations, and `check` holds their values against these.

It is for what comes from elsewhere: a file can hold any array and any JSON, and what is wrong with one would show
hours later, or never.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import numpy as np

from uc_hf.errors import SettingError


LONGEST = 2**16
"""No side of an array that has a letter is longer: no canvas, no embedding, and not as many groups."""


@dataclass(frozen=True)
class Array:
    """What an array has to be, besides finite.

    Attributes:
        dtype: as numpy calls it.
        sides: a number, or a letter for a length that is the same wherever the letter stands in a record.
    """

    dtype: str
    sides: tuple[int | str, ...]

    def __str__(self) -> str:
        return f"{self.dtype} [{', '.join(map(str, self.sides))}]"


@dataclass(frozen=True)
class Items:
    """What a list has to be: as long as the side of an array that has this letter."""

    side: str


def check(record: Any, sides: dict[str, int] | None = None, within: str = "") -> None:
    """Hold the fields of a dataclass, and of those within it, against their annotations.

    Args:
        record: its fields are plain values, lists `Annotated[list[...], Items(...)]`, or arrays
            `Annotated[np.ndarray, Array(...)]`.
        sides: the letters so far, and their lengths.
        within: what messages put before a field's name.

    Raises:
        SettingError: a field is something else; the message names it.
    """
    sides = {} if sides is None else sides
    hints = get_type_hints(type(record), include_extras=True)
    for field in fields(record):
        value, name = getattr(record, field.name), f"{within}{field.name}"
        if is_dataclass(value):
            check(value, sides, f"{name}.")
        else:
            check_value(name, value, hints[field.name], sides)


def check_value(name: str, value: Any, hint: Any, sides: dict[str, int] | None = None) -> None:
    """Hold one value against its annotation.

    Raises:
        SettingError: it is something else.
    """
    sides = {} if sides is None else sides
    kind, *rules = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    if not _is(value, kind):
        raise SettingError(f"{name} is {_described(value)}, not {_called(kind)}.")
    for rule in rules:
        if isinstance(rule, Array):
            _check_array(name, value, rule, sides)
        elif len(value) != sides.get(rule.side, len(value)):
            raise SettingError(f"{name} has {len(value)} items, not {sides[rule.side]}.")


def check_arrays(
    name: str, arrays: Mapping[str, np.ndarray], wanted: Mapping[str, Array], sides: dict[str, int]
) -> None:
    """Hold named arrays against what each has to be.

    Raises:
        SettingError: one is missing, is more, or is something else.
    """
    if odd := sorted(arrays.keys() ^ wanted.keys()):
        raise SettingError(f"{name} {'has' if odd[0] in arrays else 'lacks'} {odd[0]!r}.")
    for key, rule in wanted.items():
        _check_array(f"{name}.{key}", arrays[key], rule, sides)


def _check_array(name: str, array: np.ndarray, rule: Array, sides: dict[str, int]) -> None:
    shape = array.shape
    fitting = array.dtype == rule.dtype and len(shape) == len(rule.sides)
    for length, side in zip(shape, rule.sides, strict=False):
        expected = sides.setdefault(side, length) if isinstance(side, str) else side
        fitting = fitting and length == expected and (0 < length <= LONGEST or length == side)
    if not fitting:
        known = {side: length for side, length in sides.items() if side in rule.sides}
        told = f", where {', '.join(f'{side} is {length}' for side, length in known.items())}" if known else ""
        raise SettingError(f"{name} is {_described(array)}, not {rule}{told}.")


def _is(value: Any, kind: Any) -> bool:
    """Whether a value is of a type, as JSON holds it: a list does for a tuple, a whole number for a float."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return any(_is(value, part) for part in parts)
    if origin is dict:
        keys, items = parts
        return isinstance(value, dict) and all(_is(key, keys) and _is(value[key], items) for key in value)
    if origin is not None:  # a list, a tuple, or any sequence
        wanted = parts if len(parts) > 1 and parts[-1] is not Ellipsis else parts[:1] * _length(value)
        return isinstance(value, list | tuple) and len(value) == len(wanted) and all(map(_is, value, wanted))
    if kind is float:
        return type(value) in (int, float) and bool(np.isfinite(value))
    if kind is np.ndarray:
        return isinstance(value, np.ndarray) and (value.dtype.kind in "iub" or bool(np.isfinite(value).all()))
    if kind in (None, Any):
        return kind is Any or value is None
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _length(value: Any) -> int:
    return len(value) if isinstance(value, list | tuple) else 0


def _described(value: Any) -> str:
    if isinstance(value, np.ndarray):
        finite = value.dtype.kind in "iub" or bool(np.isfinite(value).all())
        return f"{value.dtype} {list(value.shape)}{'' if finite else ' with values that are not finite'}"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _called(kind: Any) -> str:
    return {int: "a whole number", float: "a finite number", str: "a text", bool: "true or false"}.get(kind, str(kind))
