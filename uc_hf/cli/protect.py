"""`uc-hf protect`: check, fit, save the protector, apply, publish; the second run of the same command goes on."""

import hashlib
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from uc_hf.cli.console import duration, say_lines, say_text, size
from uc_hf.cli.jobs import DatasetJob, FolderJob, open_job
from uc_hf.cli.places import check_key, check_links, check_places, manifest_path, only_run, save_protector
from uc_hf.data.folders import BAD, summary
from uc_hf.data.progress import Bar
from uc_hf.errors import BadImages, OutputError, SettingError, shown
from uc_hf.files import write_whole
from uc_hf.fitting.checkpoint import check_place
from uc_hf.fitting.settings import CommonSettings
from uc_hf.methods import METHODS
from uc_hf.methods.registry import open_protector
from uc_hf.protecting.protector import FITS, Protector
from uc_hf.publishing.destination import Destination
from uc_hf.publishing.destinations import open_destination
from uc_hf.publishing.manifest import Manifest
from uc_hf.publishing.marks import Work
from uc_hf.publishing.outcome import Outcome
from uc_hf.scoring.imperceptibility import Imperceptibility, compare


NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Result:
    """What `protect` reports.

    Attributes:
        out: the folder where the protected images lie; None when they were only pushed.
        key: the protector's folder.
        fitted: whether this run has fitted the protector; else it was loaded.
        protector: it.
        outcome: what was written.
        measured: on stored images of this run; None when it found all of them done.
        seconds: that this run took.
        pushed_to: the address of the published dataset.
        listed: a file with all images that were skipped, where they are many.
    """

    out: Path | None
    key: Path
    fitted: bool
    protector: Protector
    outcome: Outcome
    measured: Imperceptibility | None
    seconds: float
    pushed_to: str | None
    listed: Path | None

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON values."""
        outcome = self.outcome
        return {
            "out": None if self.out is None else str(self.out),
            "images": outcome.images,
            "already_done": outcome.already,
            "made_again": outcome.again,
            "copies_without_original": [shown(name) for name in outcome.orphans],
            "carried_over_clean": outcome.carried,
            "ignored_files": outcome.ignored,
            "left_out": {reason: [shown(name) for name in names] for reason, names in outcome.left_out.items()},
            "noted": {fact: [shown(name) for name in names] for fact, names in outcome.noted.items()},
            "epsilon": self.protector.settings.epsilon if self.protector.bounded else None,
            "container": self.protector.settings.container,
            "imperceptibility": None if self.measured is None else asdict(self.measured),
            "bytes_before": outcome.bytes_before,
            "bytes_after": outcome.bytes_after,
            "seconds": round(self.seconds, 3),
            "protector": str(self.key),
            "protector_fitted_now": self.fitted,
            "pushed_to": self.pushed_to,
        }


def protect(
    source: str,
    out: Path | None,
    *,
    method: str | None = None,
    given: Mapping[str, Any] = NOTHING,
    splits: Sequence[str] = (),
    keep_clean: Sequence[str] = (),
    key: Path | None = None,
    push_to: str | None = None,
    verify: bool = False,
    skip_bad: bool = False,
    metadata: bool = False,
) -> Result:
    """Protect a folder or a dataset, into a folder, or to a destination piece by piece, or both, one after the other.

    Args:
        source: what `uc_hf.data.sources.open_dataset` takes, or a folder of images.
        out: a new or empty folder, or one that an earlier run has begun; None to keep nothing on this machine.
        method: as `protector_for`'s; None for the saved protector's, or "uc".
        given: the settings that the user wrote; others are the saved protector's, or the defaults.
        splits: of a dataset; none for all but those with a test split's name.
        keep_clean: further columns of images that may be published as they are.
        key: the protector's folder, or a key's file; None for the output's name with ".protector" appended.
        push_to: a dataset repository on the Hub, or another destination as `open_destination` takes it.
        verify: read every finished copy and its original, however sure their sizes and times are.
        skip_bad: leave out images that cannot be protected, and say which.
        metadata: take along what metadata.csv and its kin say of the pictures of a folder.

    Raises:
        UCError: of any kind, with the remedy.
    """
    start, file = time.monotonic(), key if key is not None and key.is_file() else None
    key = _beside(out, push_to) if key is None or file is not None else key
    if out is not None:
        check_places(source, out, key)
    check_key(source, key)
    with only_run(source, out, key):
        if file is not None:
            _unpack(file, key)
        saved = open_protector(str(key)) if (key / "config.json").is_file() else None
        if saved is None:
            check_place(FITS)
        chosen = METHODS.find(method or ("uc" if saved is None else saved.method))
        settings = chosen.read_settings(given)
        destination = None if push_to is None else open_destination(push_to)
        if destination is not None:
            destination.check()
            _refuse_filled(destination, saved, key)
        if saved is not None:
            _refuse_another(saved, method, settings, given, key)
        job = open_job(source, splits, keep_clean, streaming=out is None, skip_bad=skip_bad, metadata=metadata)
        if isinstance(job, FolderJob):
            check_links(job.folder.linked, out, key)
        protector = saved or chosen(**given)
        column = settings.image_column if saved is None else saved.fitted.column
        manifest = None if saved is None or out is None else _manifest(saved, source, out, key)
        try:
            job.check(column, protector.settings, out, manifest, verify=verify)
        except BadImages as error:
            if not skip_bad:
                raise BadImages(error.found, error.looked_at, _ways_out(error, key)) from error
            job = job.without(error.found)
        if destination is not None:
            destination.create()
        if saved is None:
            _fit(protector, job.sample(protector.settings), key)
        if out is not None:
            manifest = manifest or _manifest(protector, source, out, key)
        outcome = _run(job, protector, out, manifest, destination)
        pairs = list(outcome.pairs)
        measured = compare(Bar(pairs, desc="comparing", unit="image")) if pairs else None
        return Result(
            out=out,
            key=key,
            fitted=saved is None,
            protector=protector,
            outcome=outcome,
            measured=measured,
            seconds=time.monotonic() - start,
            pushed_to=None if destination is None else destination.url,
            listed=_list([str(image) for image in outcome.left_out.get(BAD, ())], key),
        )


def say(result: Result) -> None:
    """Print a result for a person."""
    outcome, measured, protector = result.outcome, result.measured, result.protector
    container = protector.settings.stored_as
    say_text(f"Protected {outcome.images:,} images, each at its own size: {result.out or result.pushed_to}")
    facts = {}
    if outcome.already:
        facts["already done"] = f"{outcome.already:,}, by an earlier run"
    if outcome.again:
        facts["made again"] = f"{outcome.again:,}, whose originals or copies have changed since"
    if outcome.orphans:
        facts["left over"] = (
            f"{len(outcome.orphans):,} copies whose originals are gone or have others now (the first: "
            f"{shown(outcome.orphans[0])}); remove what nobody is to see"
        )
    if outcome.carried:
        facts["left clean"] = f"split {', '.join(outcome.carried)} (name it with --split to protect it)"
    if outcome.ignored:
        kinds = ", ".join(f"{count} {shown(suffix)}" for suffix, count in sorted(outcome.ignored.items()))
        facts["ignored"] = f"{sum(outcome.ignored.values())} files that are not images ({kinds})"
    facts["epsilon"] = protector.limit
    if measured is not None:
        facts["largest change"] = f"{measured.max_difference}/255, measured on {measured.images} stored images"
        if not container.lossless:
            facts["largest change"] += f" ({container}: what the compression changes comes on top of epsilon)"
        facts["PSNR"] = f"{measured.psnr:.1f} dB on average, {measured.worst_psnr:.1f} dB at worst"
        facts["SSIM"] = f"{measured.ssim:.3f} on average, {measured.worst_ssim:.3f} at worst"
        facts["FLIP"] = f"{measured.flip:.3f} on average, {measured.worst_flip:.3f} at worst (0: nothing is seen)"
    before, after = outcome.bytes_before, outcome.bytes_after
    facts["size"] = f"{size(before)} -> {size(after)} ({after / before:.1f} times)"
    facts["time"] = duration(result.seconds)
    facts["protector"] = f"{result.key} ({protector.fitted.summary() if result.fitted else 'loaded'})"
    if result.pushed_to is not None:
        facts["published"] = result.pushed_to
    say_lines(facts)
    for told, found in (("Not published", outcome.left_out), ("Note", outcome.noted)):
        for kind, names in found.items():
            say_text(f"{told}: {kind}: {summary(names)}", fg="yellow" if found is outcome.left_out else None)
    for image in outcome.left_out.get(BAD, ())[1 : BadImages.SHOWN]:
        say_text(f"  {image}")
    if result.listed is not None:
        say_text(f"All of them are listed in {result.listed}.")
    say_text(
        f"Keep {result.key} private: it is the key that removes the noise.\n"
        "Take down the originals: while they are public, the protected copies protect nothing."
    )


def _ways_out(error: BadImages, key: Path) -> str:
    listed = _list([str(image) for image in error.found], key)
    named = "" if listed is None else f"All are listed in {listed}. "
    return f"{named}Mend them, or write --skip-bad: the others are protected then, and these are left out."


def _list(bad: Sequence[str], key: Path) -> Path | None:
    """Write down images that are too many to be named on a screen, beside the protector."""
    if len(bad) <= BadImages.SHOWN:
        return None
    path = key.with_name(f"{key.name.removesuffix('.protector')}.bad-images.txt")
    write_whole(path, "".join(f"{shown(image)}\n" for image in bad).encode())
    return path


def _fit(protector: Protector, sample: Any, key: Path) -> None:
    """Fit and save; what the fit goes on from stays until the protector is on the disk."""
    unfinished = FITS / hashlib.sha256(os.fsencode(key.resolve())).hexdigest()[:32]
    protector.fit(sample, check=False, checkpoint_dir=unfinished, keep_checkpoint=True)
    save_protector(protector, key)
    shutil.rmtree(unfinished)


def _unpack(file: Path, key: Path) -> None:
    """Save the key that a file holds as the protector beside the output, unless it lies there already."""
    protector = open_protector(str(file))
    if not (key / "config.json").is_file():
        save_protector(protector, key)
    elif Work.of(open_protector(str(key)), "").protector != Work.of(protector, "").protector:
        raise OutputError(f"the protector {key} is another one than the key {file}. Choose another --out.")


def _manifest(protector: Protector, source: str, out: Path, key: Path) -> Manifest:
    return Manifest(manifest_path(source, out, key), Work.of(protector, source))


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
        named = ", ".join(f"{name} {wanted!r} (saved: {had!r})" for name, (wanted, had) in different.items())
        raise SettingError(
            f"the protector {key} was fitted with other settings: {named}. Leave them out to go on with the saved "
            "protector, or choose another --out (or --protector) to fit a new one."
        )


_NOWHERE = "say where the protected copy goes: --out FOLDER, --push-to USER/NAME, or both."


def _beside(out: Path | None, push_to: str | None) -> Path:
    """Where the protector lies unless the user says otherwise: beside the output, or in the working directory."""
    if out is not None:
        named = out if out.name not in ("", "..") else out.resolve()
        if not named.name:
            raise OutputError(f"the output {out} is a whole disk. Name a folder on it.")
        return named.with_name(f"{named.name}.protector")
    if push_to is not None:
        return Path(f"{push_to.split('/')[-1]}.protector")
    raise OutputError(_NOWHERE)


def _refuse_filled(destination: Destination, saved: Protector | None, key: Path) -> None:
    """Refuse a destination with data that no protector of ours can have made."""
    if saved is None and destination.is_filled():
        raise OutputError(
            f"{destination.name} holds data already, and there is no protector in {key} that could have made it. Name "
            "the one that has with --protector, or push to another repository."
        )


def _run(
    job: FolderJob | DatasetJob,
    protector: Protector,
    out: Path | None,
    manifest: Manifest | None,
    destination: Destination | None,
) -> Outcome:
    if out is None and destination is not None:
        return job.push(destination, protector)
    if out is None or manifest is None:
        raise OutputError(_NOWHERE)
    manifest.begin()
    outcome = job.write(out, protector, manifest)
    if destination is not None:
        job.upload(out, destination, protector)
    return outcome
