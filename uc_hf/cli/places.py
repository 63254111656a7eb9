"""Where `uc-hf protect` writes: nothing is overwritten or mixed up, and no key is published with its images."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from uc_hf.data.folders import is_image_file, pick
from uc_hf.data.made import KEY_SUFFIX, OUTPUTS, is_key, is_output
from uc_hf.data.sources import image_folder, open_dataset
from uc_hf.errors import OutputError, shown
from uc_hf.files import alone, beside, check_writable, remove_partials, remove_partials_of, whole
from uc_hf.protecting.commitment import write_commitment
from uc_hf.protecting.protector import Protector
from uc_hf.publishing.manifest import Manifest
from uc_hf.publishing.marks import Work
from uc_hf.publishing.parts import FOLDER, Part


UNPACKING = 60
"""Seconds that a part waits for another one which unpacks their key."""


@dataclass(frozen=True)
class Places:
    """What a run reads, and where it writes.

    Attributes:
        source: as the user wrote it; of pictures that are named one by one, what all of them lie in.
        out: where the protected images go; None when they are only pushed.
        key: the protector's folder.
        key_file: a key in one file that becomes that folder.
        part: the part of the job that this run is; `out` is its folder then.
    """

    source: str
    out: Path | None
    key: Path
    key_file: Path | None
    part: Part | None = None


def decide(source: str | Sequence[Path], out: Path | None, key: Path | None, push_to: str | None) -> Places:
    """The places of a run; those that the user has not named lie beside what they belong to.

    Raises:
        OutputError: there is nothing beside which the output could lie, or one place would do harm.
    """
    if out is None and push_to is None:
        out = _beside_pictures(source)
    key_file = key if key is not None and key.is_file() else None
    folder = beside_output(out, push_to) if key is None or key_file is not None else key
    if not isinstance(source, str):
        root = pick(source).root
        if out is not None and out.resolve() == root.resolve():
            raise OutputError(f"the output {out} holds the originals. Choose another --out.")
        _check_new_key(source, folder)
        source = f"pictures in {root}"
    if out is not None:
        check_places(source, out, folder)
    check_key(source, folder)
    return Places(source, out, folder, key_file)


def _beside_pictures(source: str | Sequence[Path]) -> Path:
    """A folder beside a folder of pictures, or beside pictures, for the copies."""
    if not isinstance(source, str):
        first = source[0].parent.resolve() / source[0].name
        return first.with_name(f"{first.stem if len(source) == 1 else first.parent.name}-protected")
    place = Path(source).resolve()
    if image_folder(place) is None or not place.name:
        if place.exists() or "/" not in source or source.startswith((".", "/", "~")):
            open_dataset(source, streaming=True)  # says what is wrong with it, if anything
        raise OutputError("say where the protected copy goes: --out FOLDER, --push-to USER/NAME, or both.")
    return place.with_name(f"{place.name}-protected")


def beside_output(out: Path | None, push_to: str | None) -> Path:
    """The default folder of the protector: beside the output, or in the working directory."""
    if out is None:
        return Path(f"{(push_to or '').split('/')[-1]}{KEY_SUFFIX}")
    named = out if out.name not in ("", "..") else out.resolve()
    if not named.name:
        raise OutputError(f"the output {out} is a whole disk. Name a folder on it.")
    return named.with_name(f"{named.name}{KEY_SUFFIX}")


def _check_new_key(pictures: Sequence[Path], key: Path) -> None:
    """Refuse to put a protector among pictures where its name does not tell it from a folder of theirs.

    Raises:
        OutputError: it would lie there.
    """
    among = [file.parent for file in pictures if file.parent.resolve() in key.resolve().parents]
    if among and not key.name.endswith(KEY_SUFFIX) and not is_key(key):
        raise OutputError(
            f"the protector {key} would lie among the pictures in {among[0]}, and the picture of its noise could be "
            f"taken for one of them. Choose another --protector, or a name that ends in {KEY_SUFFIX}."
        )


def check_key(source: str, key: Path) -> None:
    """Refuse a protector's folder that holds something else, or lies within the source and would be published.

    Args:
        source: as the user wrote it.
        key: the protector's folder.

    Raises:
        OutputError: it lies within the source or an earlier output, is a file, or is filled with what is no protector.
    """
    if Path(source).is_dir() and Path(source).resolve() in key.resolve().parents:
        raise OutputError(
            f"the protector {key} would lie within the source {source}, and the picture of its noise would become one "
            "of the images. Choose another --protector."
        )
    if (around := output_around(key)) is not None:
        raise OutputError(
            f"the protector {key} would lie within {shown(around)}, copies of an earlier run, and be published with "
            "them: it is the key that removes the noise. Choose another --protector."
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
        OutputError: one lies within another or an earlier output, is a file, or holds what this job has not written.
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
    if (out.exists() and not out.is_dir()) or is_image_file(out):
        raise OutputError(f"copies go into a folder, and {out} is a file. Choose another --out.")
    if (around := output_around(out)) is not None:
        raise OutputError(
            f"the output {out} would lie within {shown(around)}, copies of an earlier run that another key may have "
            "made. Choose another --out."
        )
    if Path(source).is_dir() and is_output(Path(source)):
        raise OutputError(f"{source} holds protected copies, made by the protector beside it. Name the originals.")


def output_around(place: Path) -> Path | None:
    """The output of an earlier run in which a place lies."""
    return next((folder for folder in place.resolve().parents if is_output(folder)), None)


def check_links(linked: Sequence[Path], out: Path | None, key: Path) -> None:
    """Refuse a source whose links lead to what it becomes: copies would be protected anew, the noise be published.

    Args:
        linked: what links in the source lead to, absolute.
        out: where the protected images go, if it is a folder.
        key: the protector's folder.

    Raises:
        OutputError: one leads there.
    """
    for place in filter(None, (out, key)):
        for target in linked:
            if target.is_relative_to(place.resolve()) or place.resolve().is_relative_to(target):
                raise OutputError(f"a link in the source leads to {shown(target)}, and {place} lies there. Remove it.")


def manifest_path(source: str, out: Path, key: Path) -> Path:
    """The path of the manifest that marks an output as a protector's work on a source."""
    origin = str(Path(source).resolve()) if Path(source).exists() else source
    place = os.path.relpath(out.resolve(), key.resolve())  # so that output and protector can be moved together
    named = hashlib.sha256(os.fsencode(place) + b"\0" + os.fsencode(origin)).hexdigest()[:32]
    return key / OUTPUTS / f"{named}.jsonl"


def open_manifest(protector: Protector, source: str, out: Path, key: Path) -> Manifest:
    """The finished files of an output, as `manifest_path` finds them."""
    return Manifest(manifest_path(source, out, key), Work.of(protector, source))


def words_path(folder: Path, key: Path) -> Path:
    """The path of what a part was asked for, by the part's folder and the protector's."""
    place = os.path.relpath(folder.resolve(), key.resolve())
    return key / OUTPUTS / f"{hashlib.sha256(os.fsencode(place)).hexdigest()[:32]}.json"


@contextmanager
def only_run(source: str, out: Path | None, key: Path) -> Iterator[None]:
    """Be the only run that writes to an output and a protector's folder, and check that both can be written to.

    Args:
        source: as the user wrote it.
        out: where the protected images go, if it is a folder.
        key: the protector's folder.

    Raises:
        OutputError: another run is at work, one cannot be written to, or the output holds what is not this job's.
    """
    with ExitStack() as stack:
        if out is not None:
            stack.enter_context(only_run_in(out))
            _refuse_filled(source, out, key)
            remove_partials(out)
        stack.enter_context(alone(beside(key, ".lock"), str(key)))
        check_writable(key.parent, key.name)
        remove_partials_of(key)
        remove_partials(key)
        yield


@contextmanager
def only_run_of(places: Places) -> Iterator[None]:
    """Be the only run that writes to the places of one; a part lets the other parts be at work.

    Raises:
        OutputError: as `only_run`; or the output holds parts, or something else.
    """
    if places.part is None or places.out is None:
        if places.out is not None and (places.out / FOLDER).is_dir():
            raise OutputError(
                f"{places.out} holds shards: join them, uc-hf merge {places.out}, or remove {FOLDER} there."
            )
        with only_run(places.source, places.out, places.key):
            yield
        return
    shards = places.out.parent
    if _is_filled(shards.parent) and not shards.is_dir():
        raise OutputError(
            f"{shards.parent} is not empty, and holds no shards. Leave --shard out, or choose another --out."
        )
    with only_run_in(places.out):
        _refuse_filled(places.source, places.out, places.key)
        remove_partials(places.out)
        yield


@contextmanager
def only_run_in(folder: Path, *files: str) -> Iterator[None]:
    """Be the only run that writes to a folder, check that it can be written to, and tidy up after killed runs.

    Args:
        folder: the folder.
        *files: names of files that are written into it, whose unfinished parts are removed.

    Raises:
        OutputError: another run is at work there, or it cannot be written to.
    """
    with alone(folder / ".uc_hf.lock", str(folder)):
        check_writable(folder)
        for name in files:
            remove_partials_of(folder / name)
        yield


def unpack_key(protector: Protector, places: Places) -> None:
    """Save a protector that came in one file as the folder of a run; of several parts one does it.

    Raises:
        OutputError: it cannot be written.
    """
    if places.part is None:
        save_protector(protector, places.key)
        return
    with alone(beside(places.key, ".lock"), str(places.key), wait=UNPACKING):
        if not (places.key / "config.json").is_file():
            save_protector(protector, places.key)


def save_protector(protector: Protector, key: Path) -> None:
    """Save a protector so that its folder is whole or not there.

    Raises:
        OutputError: it cannot be written.
    """
    with whole(key) as partial:
        protector.save_pretrained(partial)
        write_commitment(protector, partial)
        if key.is_dir():
            for file in key.iterdir():  # hidden ones, as `check_key` knows
                file.replace(partial / file.name)
            key.rmdir()


def _refuse_filled(source: str, out: Path, key: Path) -> None:
    if _is_filled(out) and not manifest_path(source, out, key).is_file():
        raise OutputError(
            f"the output {out} is not empty, and not the work of the protector {key} on {source}. "
            "Empty it, or choose another --out."
        )


def _is_filled(folder: Path) -> bool:
    return folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir())
