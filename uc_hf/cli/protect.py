"""`uc-hf protect`: check, fit, save, apply, publish; after an interruption the same command continues."""

import hashlib
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from uc_hf.cli.jobs import DatasetJob, FolderJob, open_job
from uc_hf.cli.parts import Asked, part_of
from uc_hf.cli.places import Places, check_links, decide, only_run_of, open_manifest, save_protector, unpack_key
from uc_hf.cli.results import Rehearsal, Result
from uc_hf.cli.sheet import draw_sheet, sheet_of
from uc_hf.data.folders import BAD
from uc_hf.data.made import KEY_SUFFIX
from uc_hf.data.progress import Bar, warnings_heard
from uc_hf.errors import SHOWN, BadImage, BadImages, OutputError, SettingError, shown
from uc_hf.files import write_whole
from uc_hf.fitting.checkpoint import check_place
from uc_hf.fitting.settings import CommonSettings
from uc_hf.methods import METHODS
from uc_hf.methods.registry import open_protector
from uc_hf.protecting.protector import FITS, Protector
from uc_hf.protecting.workers import working_in
from uc_hf.publishing.destination import Destination
from uc_hf.publishing.destinations import open_destination
from uc_hf.publishing.manifest import Manifest
from uc_hf.publishing.marks import Work
from uc_hf.publishing.outcome import Outcome
from uc_hf.scoring.imperceptibility import differences
from uc_hf.scoring.imperceptibility import summary as summary_of


NOTHING: Mapping[str, Any] = MappingProxyType({})


def protect(
    source: str | Sequence[Path],
    out: Path | None,
    *,
    method: str | None = None,
    given: Mapping[str, Any] = NOTHING,
    splits: Sequence[str] = (),
    keep_clean: Sequence[str] = (),
    key: Path | None = None,
    shard: str | None = None,
    push_to: str | None = None,
    verify: bool = False,
    skip_bad: bool = False,
    metadata: bool = False,
    dry_run: bool = False,
    device: str | None = None,
    batch_size: int = 64,
    num_proc: int = 1,
    started: float | None = None,
) -> Result | Rehearsal:
    """Protect a folder or a dataset, into a folder, or to a destination piece by piece, or both, one after the other.

    Args:
        source: what `uc_hf.data.sources.open_dataset` takes, a folder of images, or files of pictures.
        out: a new or empty folder, or one that an earlier run has begun; None for one beside the pictures, or, of
            what is pushed, to keep nothing on this machine.
        method: as `protector_for`'s; None for the saved protector's, or "uc".
        given: the settings that the user wrote; the others are the saved protector's, or the defaults.
        splits: the splits to protect; empty for all without the name of a test split.
        keep_clean: further columns of images that may be published as they are.
        key: the protector's folder, or a key's file; None for the output's name with ".protector" appended.
        shard: "2/4" for the second of four parts, each of which is a run of its own; `merge` joins them.
        push_to: a dataset repository on the Hub, or another destination as `open_destination` takes it.
        verify: read every finished copy and its original, even if sizes and times are unchanged.
        skip_bad: leave out images that cannot be protected, and name them.
        metadata: also publish what metadata.csv (or .jsonl, .parquet) says about the images of a folder.
        dry_run: look at everything, and write nothing.
        device: as `Protector.to`; None for the one that is found.
        batch_size: images per forward pass of the surrogate while fitting.
        num_proc: processes that decode while fitting, and that add noise and encode.
        started: when the command was, by `time.monotonic`; None for now.

    Raises:
        UCError: of any kind, with the remedy.
    """
    start = time.monotonic() if started is None else started
    places = decide(source, out, key, push_to)
    if shard is not None:
        places = part_of(places, shard, source, key, push_to, metadata)
    with nullcontext() if dry_run else only_run_of(places):
        saved = _saved(places, dry_run=dry_run)
        if saved is None:
            check_place(FITS)
        chosen = METHODS.find(method or ("uc" if saved is None else saved.method))
        settings = chosen.read_settings(given)
        destination = None if push_to is None else open_destination(push_to)
        if destination is not None:
            destination.check()
            _refuse_filled(destination, saved, places.key)
        if saved is not None:
            _refuse_another(saved, method, settings, given, places.key)
        job = open_job(source, splits, keep_clean, streaming=places.out is None, skip_bad=skip_bad, metadata=metadata)
        if isinstance(job, FolderJob):
            check_links(job.folder.linked, places.out, places.key)
        if places.part is not None:
            job = job.part(places.part)
        protector = saved or chosen(**given)
        if device is not None:
            protector.to(device)
        column = settings.image_column if saved is None else saved.fitted.column
        manifest = None
        if saved is not None and places.out is not None:
            manifest = open_manifest(saved, places.source, places.out, places.key)
        bad: Sequence[BadImage] = ()
        try:
            job.check(column, protector.settings, None if dry_run else places.out, manifest, verify=verify)
        except BadImages as error:
            if not skip_bad:
                listed = None if dry_run else _list([str(image) for image in error.found], places)
                raise BadImages(error.found, error.looked_at, _ways_out(listed)) from error
            bad, job = error.found, job.without(error.found)
        if dry_run:
            return Rehearsal(places, job.images, job.left_out, protector, fitted=saved is not None, push_to=push_to)
        if saved is not None and places.part is not None and places.out is not None:
            asked = Asked(
                source=str(Path(places.source).resolve()) if Path(places.source).exists() else places.source,
                splits=splits,
                keep_clean=keep_clean,
                skip_bad=skip_bad,
                protector=Work.of(saved, "").protector,
                bad=bad,
            )
            asked.write(places.out, places.key)
        return _work(job, places, protector, saved, manifest, destination, batch_size, num_proc, start)


def _work(
    job: FolderJob | DatasetJob,
    places: Places,
    protector: Protector,
    saved: Protector | None,
    manifest: Manifest | None,
    destination: Destination | None,
    batch_size: int,
    num_proc: int,
    start: float,
) -> Result:
    """Fit where nothing is saved, protect, publish, measure."""
    if destination is not None:
        destination.create()
    with warnings_heard() as warnings:
        if saved is None:
            _fit(protector, job.sample(protector.settings), places.key, batch_size, num_proc)
        with working_in(protector, num_proc):
            outcome = _run(job, places, protector, manifest, destination)
        result = report(places, protector, outcome, start)
    pushed_to = None if destination is None else destination.url
    return replace(result, fitted=saved is None, pushed_to=pushed_to, warnings=warnings)


def report(places: Places, protector: Protector, outcome: Outcome, start: float) -> Result:
    """Compare some images with their originals, and draw the sheet, unless the run is a part of a job.

    Args:
        places: of the run.
        protector: fitted.
        outcome: of the run.
        start: when it began, by `time.monotonic`.
    """
    pairs = list(outcome.pairs)
    measured = list(differences(Bar(pairs, desc="comparing", unit="image")))
    shown = measured and places.part is None
    return Result(
        out=places.out,
        key=places.key,
        fitted=False,
        protector=protector,
        outcome=outcome,
        measured=summary_of(measured) if measured else None,
        sheet=draw_sheet(pairs, measured, sheet_of(places.key, places.out)) if shown else None,
        seconds=time.monotonic() - start,
        pushed_to=None,
        listed=_list([str(image) for image in outcome.left_out.get(BAD, ())], places),
    )


def _ways_out(listed: Path | None) -> str:
    named = "" if listed is None else f"All are listed in {listed}. "
    return f"{named}Mend them, or write --skip-bad: the others are protected then, and these are left out."


def _list(bad: Sequence[str], places: Places) -> Path | None:
    """Write the names of images that are too many for a screen into a file beside the protector."""
    if len(bad) <= SHOWN:
        return None
    name, part = places.key.name.removesuffix(KEY_SUFFIX), places.part
    shard = "" if part is None else f".{part.number}-of-{part.of}"
    path = places.key.with_name(f"{name}{shard}.bad-images.txt")
    write_whole(path, "".join(f"{shown(image)}\n" for image in bad).encode())
    return path


def _fit(protector: Protector, sample: Any, key: Path, batch_size: int, num_proc: int) -> None:
    """Fit and save; the checkpoint stays until the protector is on the disk."""
    unfinished = FITS / hashlib.sha256(os.fsencode(key.resolve())).hexdigest()[:32]
    protector.fit(
        sample,
        check=False,
        checkpoint_dir=unfinished,
        keep_checkpoint=True,
        embed_batch_size=batch_size,
        num_workers=num_proc if num_proc > 1 else 0,
    )
    save_protector(protector, key)
    shutil.rmtree(unfinished)


def _saved(places: Places, *, dry_run: bool) -> Protector | None:
    """The protector that there is already: beside the output, or as a key's file, which becomes that."""
    there = open_protector(str(places.key)) if (places.key / "config.json").is_file() else None
    if places.key_file is None:
        return there
    protector = open_protector(str(places.key_file))
    if there is None and not dry_run:
        unpack_key(protector, places)
    if there is not None and Work.of(there, "").protector != Work.of(protector, "").protector:
        raise OutputError(
            f"the protector {places.key} is another one than the key {places.key_file}. Choose another --out."
        )
    return protector


def _refuse_another(
    saved: Protector, method: str | None, asked: CommonSettings, given: Mapping[str, Any], key: Path
) -> None:
    different: dict[str, tuple[Any, Any]]
    if method not in (None, saved.method):
        different = {"method": (method, saved.method)}
    else:
        has, wants = saved.settings.plain() | {"image_column": saved.fitted.column}, asked.plain()
        different = {name: (wants[name], has.get(name)) for name in given if has.get(name) != wants[name]}
    if different:
        named = ", ".join(
            f"{name} {_written(name, wanted)} (saved: {_written(name, had)})"
            for name, (wanted, had) in different.items()
        )
        raise SettingError(
            f"the protector {key} was fitted with other settings: {named}. Write --out ANOTHER for these "
            "settings, or leave them out to go on with the saved ones."
        )


def _written(setting: str, value: Any) -> str:
    """A setting's value as a user writes it."""
    return f"{value * 255:g}/255" if setting == "epsilon" else repr(value)


def _refuse_filled(destination: Destination, saved: Protector | None, key: Path) -> None:
    """Refuse a destination with data that no protector of ours can have made."""
    if saved is None and destination.is_filled():
        raise OutputError(
            f"{destination.name} holds data already, and there is no protector in {key} that could have made it. Name "
            "the one that has with --protector, or push to another repository."
        )


def _run(
    job: FolderJob | DatasetJob,
    places: Places,
    protector: Protector,
    manifest: Manifest | None,
    destination: Destination | None,
) -> Outcome:
    if places.out is None:
        assert destination is not None  # else `decide` has named an output
        return job.push(destination, protector)
    manifest = manifest or open_manifest(protector, places.source, places.out, places.key)
    manifest.begin()
    outcome = job.write(places.out, protector, manifest)
    if destination is not None:
        job.upload(places.out, destination, protector)
    return outcome
