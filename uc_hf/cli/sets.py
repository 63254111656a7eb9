"""The sets that a measurement reads: none stands in for another, and no report lies within one that is published."""

from collections.abc import Mapping
from pathlib import Path

from uc_hf.cli.places import output_around
from uc_hf.data.made import is_output
from uc_hf.errors import DatasetError, OutputError, shown


def check_report(out: Path | None, sets: Mapping[str, str | None]) -> None:
    """Refuse a report's folder within one of the sets, or within what `uc-hf protect` has written.

    Args:
        out: the folder; None for no report.
        sets: as the user wrote them, by what messages call them; None for one that is not given.

    Raises:
        OutputError: it lies there.
    """
    if out is None:
        return
    around = output_around(out / "report")
    for source in filter(None, sets.values()):
        if Path(source).is_dir() and out.resolve().is_relative_to(Path(source).resolve()):
            around = Path(source)
    if around is not None:
        raise OutputError(
            f"the report {out} would lie within {shown(around)}. It tells of the originals and the key, and would be "
            "published with what lies there. Choose another --out."
        )


def check_apart(sets: Mapping[str, str | None]) -> None:
    """Refuse one set under two names, as `check_report` takes them.

    Raises:
        DatasetError: two are the same.
    """
    seen: dict[str | Path, str] = {}
    for name, source in sets.items():
        if source is not None and (other := seen.setdefault(place_of(source), name)) != name:
            raise DatasetError(f"{other} and {name} are the same, {shown(source)}. Name two sets.")


def check_clean(option: str, source: str | None, key: str | None, split: str | None = None) -> None:
    """Refuse protected copies where clean images are wanted.

    Args:
        option: with which they are named.
        source: as the user wrote it.
        key: the protector that may have made them, besides the one beside them.
        split: of the source, if only that one is read.

    Raises:
        DatasetError: they are copies.
    """
    if source is not None and is_output(Path(source), None if key is None else Path(key), split):
        where = "" if split is None else f" in its split {split!r}"
        raise DatasetError(f"{option} {shown(source)} holds protected copies{where}. Name clean images with {option}.")


def place_of(source: str) -> str | Path:
    """What two names of one set have in common."""
    return Path(source).resolve() if Path(source).exists() else source
