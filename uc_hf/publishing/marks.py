"""The mark that tells an interrupted job where to continue, and which files are not its own."""

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

import pyarrow.parquet as pq

from uc_hf.fitting.record import ALGORITHM
from uc_hf.protecting.protector import Protector


MARK = b"uc_hf"
"""The key of the mark in a shard's parquet metadata."""

ROW_DIGEST = 16
"""Characters of a row's digest: 64 bits that only a holder of the noise can compute."""


JUDGED = 8
"""Largest number of images in a shard whose noise is compared with the originals."""


@dataclass(frozen=True, kw_only=True)
class Mark:
    """Description of a shard, stored in it; it reveals neither the noise nor the originals or their place.

    Attributes:
        protector: digest of everything that determines the pixels.
        source: digest of the originals' name.
        protected: whether this split carries the noise; otherwise it was copied clean.
        rows_before: rows of the split in earlier shards.
        bytes_before: size of the original images up to the end of this shard, in bytes.
        originals: digests of the originals of this shard's rows, `ROW_DIGEST` characters each.
        final: whether the split ends with this shard.
        flip: mean FLIP of the first images of the shard, at most `JUDGED`; None where they carry no noise.
    """

    protector: str
    source: str
    protected: bool
    rows_before: int
    bytes_before: int
    originals: str
    final: bool
    flip: float | None

    @classmethod
    def of(cls, footer: pq.FileMetaData) -> Self | None:
        """The mark in a parquet file's metadata; None if there is none that this version knows."""
        try:
            written = json.loads((footer.metadata or {}).get(MARK, "{}"))
        except ValueError:
            return None
        return cls(**written) if set(written) == {attribute.name for attribute in fields(cls)} else None

    @property
    def rows(self) -> list[str]:
        """The digest of each row's original."""
        return [self.originals[at : at + ROW_DIGEST] for at in range(0, len(self.originals), ROW_DIGEST)]

    def to_json(self) -> str:
        """The mark as it is written into parquet metadata."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class Work:
    """The work of one protector on one source.

    Its digests are keyed by the noise: without the protector nobody can check a guess of the source's name, or match
    published originals to rows.

    Attributes:
        protector: digest, as in `Mark`.
        source: digest, as in `Mark`.
        key: secret; never written.
    """

    protector: str
    source: str
    key: bytes = field(repr=False)

    @classmethod
    def of(cls, protector: Protector, source: str) -> Self:
        """The work of a fitted protector on the originals of a name."""
        fit, settings = protector.fitted, protector.settings
        chosen = settings.plain() | {"surrogate": fit.surrogate_digest, "surrogate_revision": None}
        decisive = [ALGORITHM, protector.method, fit.column, fit.coloured, chosen]
        learnt = b"".join(array.tobytes() for _, array in sorted(fit.arrays().items()))
        key = hashlib.sha256(json.dumps(decisive).encode() + learnt).digest()
        return cls(protector=_digest(key, b"protector"), source=_digest(key, b"source" + source.encode()), key=key)

    def original(self, data: bytes) -> str:
        """Digest of an original image's bytes."""
        return _digest(self.key, b"original" + data)

    def row(self, row: Mapping[str, Any]) -> str:
        """Digest of all columns of an original row as stored."""
        return _digest(self.key, b"row" + json.dumps(row, default=_plain).encode())[:ROW_DIGEST]


def _plain(value: Any) -> str:
    return hashlib.sha256(value).hexdigest() if isinstance(value, bytes) else str(value)


def _digest(key: bytes, message: bytes) -> str:
    return hmac.new(key, message, hashlib.sha256).hexdigest()[:32]
