"""Where `uc-hf protect` writes: nothing is overwritten, mixed up, or published together with its removal key."""

import json
import os
from pathlib import Path

from uc_hf.errors import OutputError
from uc_hf.files import remove_partials_of, whole, write_whole
from uc_hf.protecting.protector import Protector


LEDGER = "outputs.json"
"""Beside the protector's files: the outputs that it has written, and from what."""


def check_key(source: str, key: Path) -> None:
    """Refuse a protector's folder that holds something else, or would be protected and published itself.

    Args:
        source: as the user wrote it.
        key: the protector's folder.

    Raises:
        OutputError: it lies within the source, is a file, or is filled with what is no protector.
    """
    if Path(source).is_dir() and Path(source).resolve() in key.resolve().parents:
        raise OutputError(
            f"the protector {key} would lie within the source {source}, and the picture of its noise would become one "
            "of the images. Choose another --protector."
        )
    if key.exists() and not key.is_dir():
        raise OutputError(f"{key} is a file. Choose another name.")
    if _is_filled(key) and not (key / "config.json").is_file():
        raise OutputError(f"{key} is not empty and holds no protector. Empty it, or choose another --protector.")


def check_places(source: str, out: Path, key: Path) -> None:
    """Refuse an output that would do harm.

    Args:
        source: as the user wrote it.
        out: where the protected images go.
        key: the protector's folder.

    Raises:
        OutputError: one lies within another, is a file, or holds what this job has not written.
    """
    inside, place = out.resolve(), key.resolve()
    if Path(source).exists():
        origin = Path(source).resolve()
        if inside == origin or origin in inside.parents or inside in origin.parents:
            raise OutputError(f"the output {out} and the source {source} lie within each other. Choose another --out.")
    if place == inside or inside in place.parents:
        raise OutputError(
            f"the protector {key} would lie within {out} and be published with it: it is the key that removes the "
            "noise. Choose another --protector."
        )
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file. Choose another name.")
    if not _is_filled(out):
        return
    entry = _read(key).get(_entry(key, out))
    if entry is None:
        raise OutputError(
            f"the output {out} is not empty, and not the work of the protector {key}. "
            "Empty it, or choose another --out."
        )
    if entry != origin_of(source):
        raise OutputError(f"the output {out} holds the protected copy of {entry}. Choose another --out.")


def save_protector(protector: Protector, key: Path) -> None:
    """Save a protector so that its folder is whole or not there.

    Raises:
        OutputError: it cannot be written.
    """
    remove_partials_of(key)
    with whole(key) as partial:
        protector.save_pretrained(partial)
        if key.is_dir():
            for file in key.iterdir():  # hidden ones, as `check_key` knows
                file.replace(partial / file.name)
            key.rmdir()


def enter(key: Path, out: Path, source: str) -> None:
    """Note down that an output is this protector's work."""
    entries = _read(key) | {_entry(key, out): origin_of(source)}
    write_whole(key / LEDGER, (json.dumps(entries, indent=2) + "\n").encode())


def origin_of(source: str) -> str:
    """A source under a name that holds in any working directory."""
    return str(Path(source).resolve()) if Path(source).exists() else source


def _is_filled(folder: Path) -> bool:
    return folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir())


def _entry(key: Path, out: Path) -> str:
    """Relative, so that the two can be moved together."""
    return os.path.relpath(out.resolve(), key.resolve())


def _read(key: Path) -> dict[str, str]:
    ledger = key / LEDGER
    return json.loads(ledger.read_text(encoding="utf-8")) if ledger.is_file() else {}
