"""The sets that a measurement reads: no report lies within one that is published."""

from collections.abc import Mapping
from pathlib import Path

from uc_hf.cli.places import output_around
from uc_hf.errors import OutputError, shown


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
