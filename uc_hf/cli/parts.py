"""What the parts of a job are asked for, `uc-hf protect --shard I/N`, as `uc-hf merge` reads it afterwards."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

from uc_hf.cli.places import Places, words_path
from uc_hf.errors import BadImage, SettingError
from uc_hf.files import write_whole
from uc_hf.publishing.parts import Part


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a part was asked for; kept in the folder of the protector, which is private.

    Attributes:
        source: as `uc-hf protect` takes it.
        splits: the splits to protect, as the user named them.
        keep_clean: further columns of images that may be published.
        skip_bad: whether bad images are left out.
        protector: digest of the protector, as in `Work`.
        bad: the images that were left out.
    """

    source: str
    splits: Sequence[str]
    keep_clean: Sequence[str]
    skip_bad: bool
    protector: str
    bad: Sequence[BadImage] = ()

    @classmethod
    def of(cls, folder: Path, key: Path) -> Self | None:
        """What the part in a folder was asked for; None if no part has begun there with this protector."""
        try:
            written = json.loads(words_path(folder, key).read_text())
            bad = [BadImage(**{**image, "place": _place(image)}) for image in written.pop("bad")]
            return cls(**written, bad=bad)
        except (FileNotFoundError, NotADirectoryError, TypeError, ValueError, LookupError):
            return None  # damaged: the part has to begin again, which writes it anew

    def write(self, folder: Path, key: Path) -> None:
        """Keep it for `of`."""
        write_whole(words_path(folder, key), json.dumps(asdict(self), default=str).encode())

    def line(self, part: Part, key: Path, out: Path) -> str:
        """The command that a part is made with."""
        options = [word for split in self.splits for word in ("--split", split)]
        options += [word for column in self.keep_clean for word in ("--keep-clean", column)]
        options += ["--skip-bad"] if self.skip_bad else []
        words = ["protect", self.source, "--protector", key, "--out", out, "--shard", part, *options]
        return shlex.join(["uc-hf", *map(str, words)])


def _place(image: dict) -> Path | int:
    return Path(image["place"]) if image["split"] is None else int(image["place"])


def part_of(
    places: Places, shard: str, source: str | Sequence[Path], key: Path | None, push_to: str | None, metadata: bool
) -> Places:
    """The places of one part of a run.

    Args:
        places: those of the whole run.
        shard: the part as the user has written it.
        source: as the user wrote it.
        key: as the user named it.
        push_to: where the run would be published.
        metadata: whether it would publish the metadata of a folder.

    Raises:
        SettingError: it is no part, or the run cannot be divided.
    """
    part = Part.read(shard)
    for option, given in (("--push-to", push_to is not None), ("--metadata", metadata)):
        if given:
            raise SettingError(
                f"--shard {part} goes without {option}: after `uc-hf merge` the same command without --shard and with "
                f"{option} does the rest."
            )
    if not isinstance(source, str):
        raise SettingError(f"--shard {part} divides a folder or a dataset. Name the folder of these files.")
    if key is None or not (key.is_file() or (key / "config.json").is_file()):
        raise SettingError(
            f"--shard {part} needs a protector, the same for all shards: write --protector KEY. Fit it once, in "
            f"Python: uc_hf.UCProtector().fit({source!r}).save_key('{key or 'photos.uckey'}')."
        )
    out = places.out or Path()  # always a folder, since nothing is pushed
    return replace(places, out=part.folder(out), part=part)
