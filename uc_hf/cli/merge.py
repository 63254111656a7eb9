"""`uc-hf merge`: the shards of a job become one finished output, once all of them are known to be whole."""

import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from uc_hf.cli.jobs import DatasetJob, FolderJob, open_job
from uc_hf.cli.parts import Asked
from uc_hf.cli.places import Places, beside_output, manifest_path, only_run, only_run_in, open_manifest, words_path
from uc_hf.cli.protect import report
from uc_hf.cli.results import Result
from uc_hf.errors import BadImage, BadImages, BoundError, OutputError, PartError, counted
from uc_hf.files import partial_path
from uc_hf.methods.registry import open_protector
from uc_hf.protecting.protector import Protector
from uc_hf.publishing.marks import Work
from uc_hf.publishing.parts import FOLDER, Finished, Part


def merge(out: Path, key: Path | None = None) -> Result:
    """Join the shards in an output; an interrupted merge is continued by the same call.

    Args:
        out: the output that all shards were made for.
        key: the protector that made them; None for the output's name with ".protector" appended.

    Raises:
        UCError: of any kind, with the remedy.
    """
    start = time.monotonic()
    key = beside_output(out, None) if key is None or key.is_file() else key
    parts = _all_parts(out)
    if not (key / "config.json").is_file():
        raise OutputError(f"there is no protector in {key}. Name the one of the shards with --protector.")
    protector = open_protector(str(key))
    asked = _asked(parts, out, key, Work.of(protector, "").protector)
    said = asked[parts[0]]
    _refuse_missing(parts, said, out, key)
    job = open_job(said.source, said.splits, said.keep_clean, streaming=False, skip_bad=said.skip_bad, metadata=False)
    with ExitStack() as alone_in_parts:
        for part in parts:
            alone_in_parts.enter_context(only_run_in(part.folder(out)))
        with only_run(said.source, out, key):
            manifest = open_manifest(protector, said.source, out, key)
            manifest.begin()
            finished = [
                Finished(part, part.folder(out), open_manifest(protector, said.source, part.folder(out), key))
                for part in parts
            ]
            bad = [*_bad_clean(job, protector, said), *(image for part in parts for image in asked[part].bad)]
            bad = list(dict.fromkeys(bad))  # all parts name those whose copy would be that of another image
            try:
                outcome = job.join(finished, bad, out, protector, manifest)
            except PartError as error:
                [part] = [part for part in parts if str(part) == error.part]
                raise OutputError(f"{error}. Make it again: {asked[part].line(part, key, out)}") from error
            result = report(Places(said.source, out, key, None), protector, outcome, start)
            _check_bound(result)
            alone_in_parts.close()
            _remove(parts, said.source, out, key)
    return result


def _all_parts(out: Path) -> list[Part]:
    """The parts that lie in an output; there may be others that have not begun.

    Raises:
        OutputError: there are none, or they do not belong together.
    """
    parts = Part.all_in(out)
    if not parts:
        raise OutputError(
            f"{out} holds no shards. `uc-hf protect SOURCE --protector KEY --out {out} --shard 1/N` makes one."
        )
    if odd := [part for part in parts if part.of != parts[0].of]:
        raise OutputError(
            f"{out} holds shard {parts[0]} and shard {odd[0]}: two jobs. Remove those of one, such as "
            f"{odd[0].folder(out)}."
        )
    return parts


def _asked(parts: list[Part], out: Path, key: Path, protector: str) -> dict[Part, Asked]:
    """What each part was asked for: the same, with the same protector.

    Raises:
        OutputError: a part was asked for something else.
    """
    asked: dict[Part, Asked] = {}
    for part in parts:
        said, again = Asked.of(part.folder(out), key), f"remove {part.folder(out)} and make it again."
        if said is None or said.protector != protector:
            raise OutputError(
                f"shard {part} was made with another protector than {key}, or has not begun. Name its protector with "
                f"--protector, or {again}"
            )
        asked[part], first = said, asked.get(parts[0], said)
        for name in ("source", "splits", "keep_clean"):
            now, before = getattr(said, name), getattr(first, name)
            if now != before:
                raise OutputError(
                    f"shard {part} was made with {name} {now!r}, and shard {parts[0]} with {before!r}: R{again[1:]}"
                )
    return asked


def _refuse_missing(parts: list[Part], said: Asked, out: Path, key: Path) -> None:
    of = parts[0].of
    missing = [part for number in range(1, of + 1) if (part := Part(number, of)) not in parts]
    if missing:
        raise OutputError(
            f"{out} lacks {counted(len(missing), 'shard')} of {of}: {', '.join(map(str, missing))}. Make "
            f"{'it' if len(missing) == 1 else 'each'}: {said.line(missing[0], key, out)}"
        )


def _bad_clean(job: FolderJob | DatasetJob, protector: Protector, said: Asked) -> Sequence[BadImage]:
    """The images to leave out of what is copied clean."""
    try:
        job.check_clean(protector.settings)
    except BadImages as error:
        if not said.skip_bad:
            raise
        return error.found
    return ()


def _check_bound(result: Result) -> None:
    """Refuse what was measured beyond epsilon; every image was measured as it was stored, and its digest is the same.

    Raises:
        BoundError: an image changes a pixel by more than epsilon.
    """
    protector, measured = result.protector, result.measured
    exact = protector.settings.stored_as.lossless and protector.bounded
    if exact and measured is not None and measured.max_difference > protector.settings.levels:
        raise BoundError(f"an image in {result.out} differs by {measured.max_difference}/255 from its original.")


def _remove(parts: list[Part], source: str, out: Path, key: Path) -> None:
    """Remove the parts and what was kept about them: at once, so that no half of them is found later."""
    aside = partial_path(out / FOLDER)
    folders = [part.folder(out) for part in parts]
    files = [path for at in folders for path in (words_path(at, key), manifest_path(source, at, key))]
    (out / FOLDER).replace(aside)
    shutil.rmtree(aside)
    for file in files:
        file.unlink(missing_ok=True)
