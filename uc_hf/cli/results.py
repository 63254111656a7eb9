"""What `uc-hf protect` has done, or would do: as JSON values, and for a person."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from uc_hf.cli.console import duration, say_lines, say_text, size
from uc_hf.cli.places import Places
from uc_hf.data.folders import BAD, summary
from uc_hf.errors import SHOWN, counted, shown
from uc_hf.protecting.protector import Protector
from uc_hf.publishing.outcome import Outcome
from uc_hf.scoring.imperceptibility import Imperceptibility, in_words


KEPT = "kept, camera, time and place among it: the protector was made with --keep-exif"


@dataclass(frozen=True)
class Result:
    """What `protect` reports.

    Attributes:
        out: the folder of the protected images; None if they were only pushed.
        key: the protector's folder.
        fitted: whether this run fitted the protector; otherwise it was loaded.
        protector: the protector.
        outcome: what was written.
        measured: how visible the noise is on stored images of this run; None if all were done before.
        seconds: duration of this run.
        pushed_to: the address of the published dataset; None if nothing was pushed.
        listed: a file with the names of all skipped images; None if they are few.
        sheet: a picture of the images that changed most, before and after; None if this run protected none.
        warnings: warnings about the fit, as sentences.
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
    sheet: Path | None = None
    warnings: Sequence[str] = ()

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
            "sheet": None if self.sheet is None else str(self.sheet),
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True)
class Rehearsal:
    """What `protect` would do.

    Attributes:
        places: what it would read and write.
        images: that it would protect; None of a stream, which is not read through.
        left_out: why others are left out -> their paths.
        protector: saved before, or still to be fitted.
        fitted: which of these.
        push_to: where it would be published; None for nowhere.
    """

    places: Places
    images: int | None
    left_out: Mapping[str, Sequence[Any]]
    protector: Protector
    fitted: bool
    push_to: str | None

    def to_dict(self) -> dict[str, Any]:
        """The rehearsal as JSON values."""
        return {
            "dry_run": True,
            "images": self.images,
            "left_out": {reason: [shown(name) for name in names] for reason, names in self.left_out.items()},
            "out": None if self.places.out is None else str(self.places.out),
            "protector": str(self.places.key),
            "protector_fitted_now": not self.fitted,
            "settings": self.protector.settings.plain(),
            "push_to": self.push_to,
        }


def say_rehearsal(rehearsal: Rehearsal) -> None:
    """Print what would be done, for a person."""
    places, settings = rehearsal.places, rehearsal.protector.settings
    images = "the images of a stream" if rehearsal.images is None else counted(rehearsal.images, "image")
    say_text(f"This would protect {images}, and nothing is written now.")
    surrogate = settings.plain()["surrogate"]
    key = f"{places.key} ({'saved before' if rehearsal.fitted else f'to be fitted, with surrogate {surrogate}'})"
    facts = {"out": str(places.out or rehearsal.push_to), "protector": key, "epsilon": rehearsal.protector.limit}
    if places.out is not None and rehearsal.push_to is not None:
        facts["push to"] = rehearsal.push_to
    say_lines(facts | {"stored as": str(settings.stored_as)} | ({"EXIF": KEPT} if settings.keep_exif else {}))
    for reason, names in rehearsal.left_out.items():
        say_text(f"Not published: {reason}: {summary(names)}", fg="yellow")


def say(result: Result) -> None:
    """Print a result for a person."""
    outcome, measured, protector = result.outcome, result.measured, result.protector
    container = protector.settings.stored_as
    say_text(f"Protected {counted(outcome.images, 'image')}, sizes unchanged: {result.out or result.pushed_to}")
    facts = {}
    if outcome.already:
        facts["already done"] = f"{outcome.already:,}, by an earlier run"
    if outcome.again:
        facts["made again"] = f"{outcome.again:,}, whose originals or copies have changed since"
    if outcome.orphans:
        facts["left over"] = (
            f"{counted(len(outcome.orphans), 'file')} of an earlier run that this one would not write (the first: "
            f"{shown(outcome.orphans[0])}); remove what nobody should see"
        )
    if outcome.carried:
        facts["left clean"] = f"split {', '.join(outcome.carried)} (name it with --split to protect it)"
    if outcome.ignored:
        kinds = ", ".join(f"{count} {shown(suffix)}" for suffix, count in sorted(outcome.ignored.items()))
        facts["ignored"] = f"{sum(outcome.ignored.values())} files that are not images ({kinds})"
    if protector.settings.keep_exif:
        facts["EXIF"] = KEPT
    facts["epsilon"] = protector.limit
    if measured is not None:
        facts["largest change"] = (
            f"{measured.max_difference}/255, measured on {counted(measured.images, 'stored image')}"
        )
        if not container.lossless:
            facts["largest change"] += f" ({container}: what the compression changes comes on top of epsilon)"
        facts["visibility"] = f"{in_words(measured.flip)} on average, {in_words(measured.worst_flip)} at worst"
        facts["FLIP"] = f"{measured.flip:.3f} on average, {measured.worst_flip:.3f} at worst (0: nothing is seen)"
        facts["PSNR"] = f"{measured.psnr:.1f} dB on average, {measured.worst_psnr:.1f} dB at worst"
        facts["SSIM"] = f"{measured.ssim:.3f} on average, {measured.worst_ssim:.3f} at worst (1: the same)"
    if result.sheet is not None:
        facts["look at"] = f"{result.sheet} (the most changed, before and after; keep it private)"
    before, after = outcome.bytes_before, outcome.bytes_after
    facts["size"] = f"{size(before)} -> {size(after)} ({after / before:.1f} times)"
    facts["time"] = duration(result.seconds)
    facts["protector"] = f"{result.key} ({protector.fitted.summary() if result.fitted else 'loaded'})"
    if result.pushed_to is not None:
        facts["published"] = result.pushed_to
    say_lines(facts)
    for heading, found in (("Not published", outcome.left_out), ("Note", outcome.noted)):
        for kind, names in found.items():
            say_text(f"{heading}: {kind}: {summary(names)}", fg="yellow" if found is outcome.left_out else None)
    for image in outcome.left_out.get(BAD, ())[1:SHOWN]:
        say_text(f"  {image}")
    if result.listed is not None:
        say_text(f"All of them are listed in {result.listed}.")
    say_text(
        f"Keep {result.key} private: it is the key that removes the noise.\n"
        "Take down the originals: while they are public, the protected copies protect nothing."
    )
