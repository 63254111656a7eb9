"""A commitment to a key: published beside the dataset, it shows later on that the key was made before.

It is a digest of all arrays that the protector has learnt or drawn, and tells nothing of them: they hold far more than
128 bits that nobody can guess. The salt is made from them as well, so it needs no keeping and cannot be lost.
"""

import hashlib
import hmac
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from uc_hf.files import write_whole
from uc_hf.protecting.protector import Protector


FILE = "commitment.json"
"""Beside the protector's files; it may be published, shown to a notary or sent to a time-stamping service."""

SALT = b"uc_hf commitment 1"


def digest(protector: Protector) -> str:
    """The commitment to a protector, 64 hex digits: the SHA-256 of a salt and its arrays.

    Raises:
        NotFittedError: the protector is not fitted.
    """
    arrays = protector.fitted.arrays()
    content = b"".join(
        f"{name} {arrays[name].dtype.str} {arrays[name].shape} ".encode() + arrays[name].tobytes()
        for name in sorted(arrays)
    )
    salt = hmac.digest(content, SALT, "sha256")
    return hashlib.sha256(salt + content).hexdigest()


def commitment(protector: Protector, earlier: Any = None) -> dict[str, str]:
    """The digest and a date: today's, or that of an earlier commitment to the same protector.

    Args:
        protector: fitted.
        earlier: what a card or a file holds already, of whatever form.
    """
    now = {"digest": digest(protector), "date": datetime.now(UTC).date().isoformat()}
    same = isinstance(earlier, dict) and earlier.get("digest") == now["digest"] and earlier.get("date")
    return earlier if same else now


def write_commitment(protector: Protector, folder: Path) -> None:
    """Note down the commitment beside a saved protector; one that is there already keeps its date.

    Raises:
        OutputError: it cannot be written.
    """
    found = commitment(protector, read_commitment(folder))
    write_whole(folder / FILE, (json.dumps(found, indent=2) + "\n").encode())


def read_commitment(folder: Path) -> dict[str, str] | None:
    """The commitment beside a saved protector; None where there is none that can be read."""
    path = folder / FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
