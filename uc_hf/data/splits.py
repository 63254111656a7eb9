"""The splits of a dataset that are protected, and those that are copied without protection."""

from collections.abc import Iterable, Sequence

from uc_hf.errors import DatasetError, SettingError


TEST_SPLITS = ("test", "validation", "val", "valid")
"""Splits that are copied without protection unless they are named: nobody trains on them, and scoring needs them."""


def refuse_text(setting: str, names: Sequence[str]) -> None:
    """Refuse one text where a list of names is wanted: each of its letters would be one.

    Raises:
        SettingError: it is one.
    """
    if isinstance(names, str):
        raise SettingError(f"{setting}={names!r} is a text, not a list of names. Write {setting}=[{names!r}].")


def choose_splits(splits: Iterable[str], asked: Sequence[str]) -> list[str]:
    """The splits to protect: those that were asked for, or all without the name of a test split.

    Raises:
        DatasetError: a split is unknown, or there are only test splits.
    """
    names = list(splits)
    for split in asked:
        if split not in names:
            raise DatasetError(f"there is no split {split!r}; the splits are {', '.join(map(repr, names))}.")
    chosen = [split for split in names if split in asked] or [split for split in names if split not in TEST_SPLITS]
    if not chosen:
        raise DatasetError(
            f"all splits are test splits by their name ({', '.join(names)}), which are carried over clean. "
            f"Write --split {names[0]} to protect one all the same (in Python, splits=[{names[0]!r}])."
        )
    return chosen
