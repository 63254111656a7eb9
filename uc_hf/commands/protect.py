"""`uc-hf protect`: check, fit, save the protector, apply; the second run of the same command goes on."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import typer
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError
from huggingface_hub.utils import validate_repo_id

from uc_hf.commands.console import duration, say_lines, size
from uc_hf.commands.jobs import open_job
from uc_hf.commands.places import check_places, enter, save_protector
from uc_hf.errors import OutputError, SettingError
from uc_hf.images import Container
from uc_hf.imperceptibility import Imperceptibility, compare
from uc_hf.outputs import Outcome
from uc_hf.protector import UCProtector
from uc_hf.settings import Settings
from uc_hf.sources import open_dataset, open_protector


@dataclass(frozen=True)
class Result:
    """What `protect` reports.

    Attributes:
        out: where the protected images lie.
        key: the protector's folder.
        fitted: whether this run has fitted the protector; else it was loaded.
        protector: it.
        outcome: what was written.
        measured: on stored images.
        seconds: that this run took.
        pushed_to: the dataset's address on the Hub.
    """

    out: Path
    key: Path
    fitted: bool
    protector: UCProtector
    outcome: Outcome
    measured: Imperceptibility
    seconds: float
    pushed_to: str | None

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON values."""
        outcome = self.outcome
        return {
            "out": str(self.out),
            "images": outcome.images,
            "already_done": outcome.already,
            "carried_over_clean": outcome.carried,
            "ignored_files": outcome.ignored,
            "epsilon": self.protector.settings.epsilon,
            "container": self.protector.settings.container,
            "imperceptibility": asdict(self.measured),
            "bytes_before": outcome.bytes_before,
            "bytes_after": outcome.bytes_after,
            "seconds": round(self.seconds, 3),
            "protector": str(self.key),
            "protector_fitted_now": self.fitted,
            "pushed_to": self.pushed_to,
        }


def protect(
    source: str,
    out: Path,
    *,
    given: Mapping[str, Any],
    splits: Sequence[str],
    key: Path | None,
    push_to: str | None,
) -> Result:
    """Protect a folder or a dataset.

    Args:
        source: what `uc_hf.sources.open_dataset` takes, or a folder of images.
        out: a new or empty folder, or one that an earlier run has begun.
        given: the settings that the user wrote; others are the saved protector's, or the defaults.
        splits: of a dataset; none for all but those with a test split's name.
        key: the protector's folder; None for `out` with ".protector" appended.
        push_to: a dataset repository on the Hub.

    Raises:
        UCError: of any kind, with the remedy.
    """
    start = time.monotonic()
    settings = Settings.from_mapping(given)
    key = key or out.with_name(out.name + ".protector")
    check_places(source, out, key)
    if push_to is not None:
        _check_push(push_to)
    saved = open_protector(str(key)) if (key / "config.json").is_file() else None
    if saved is not None:
        _refuse_other_settings(saved.settings, settings, given, key)
    job = open_job(source, splits)
    if saved is None:
        protector = UCProtector(**given).fit(job.sample(settings.image_column, Container.parse(settings.container)))
        save_protector(protector, key)
    else:
        protector = saved
    enter(key, out, source)
    outcome = job.run(out, protector)
    measured = compare(outcome.pairs)
    pushed = None if push_to is None else _push(out, push_to)
    seconds = time.monotonic() - start
    return Result(out, key, saved is None, protector, outcome, measured, seconds, pushed)


def say(result: Result) -> None:
    """Print a result for a person."""
    outcome, measured, protector = result.outcome, result.measured, result.protector
    container = Container.parse(protector.settings.container)
    typer.echo(f"Protected {outcome.images:,} images, each at its own size: {result.out}")
    facts = {}
    if outcome.already:
        facts["already done"] = f"{outcome.already:,}, by an earlier run"
    if outcome.carried:
        facts["left clean"] = f"split {', '.join(outcome.carried)} (name it with --split to protect it)"
    if outcome.ignored:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(outcome.ignored.items()))
        facts["ignored"] = f"{sum(outcome.ignored.values())} files that are not images ({kinds})"
    facts["epsilon"] = f"{protector.settings.epsilon * 255:g}/255"
    facts["largest change"] = f"{measured.max_difference}/255, measured on {measured.images} stored images"
    if not container.lossless:
        facts["largest change"] += f" ({container}: what the compression changes comes on top of epsilon)"
    facts["PSNR"] = f"{measured.psnr:.1f} dB on average, {measured.worst_psnr:.1f} dB at worst"
    facts["SSIM"] = f"{measured.ssim:.3f} on average, {measured.worst_ssim:.3f} at worst"
    before, after = outcome.bytes_before, outcome.bytes_after
    facts["size"] = f"{size(before)} -> {size(after)} ({after / before:.1f} times)"
    facts["time"] = duration(result.seconds)
    fitted = f"fitted now, {protector.fitted.moved:.0%} of the sample moved to its goal"
    facts["protector"] = f"{result.key} ({fitted if result.fitted else 'loaded'})"
    if result.pushed_to is not None:
        facts["published"] = result.pushed_to
    say_lines(facts)
    typer.echo(
        f"Keep {result.key} private: it is the key that removes the noise.\n"
        "Take down the originals: while they are public, the protected copies protect nothing."
    )


def _refuse_other_settings(saved: Settings, asked: Settings, given: Mapping[str, Any], key: Path) -> None:
    has, wants = saved.plain(), asked.plain()
    different = [name for name in given if has[name] != wants[name]]
    if different:
        named = ", ".join(f"{name} {wants[name]!r} (saved: {has[name]!r})" for name in different)
        raise SettingError(
            f"the protector {key} was fitted with other settings: {named}. Leave them out to go on with the saved "
            "protector, or choose another --out (or --protector) to fit a new one."
        )


def _check_push(repo: str) -> None:
    """Find out before hours are spent whether the result can be pushed."""
    try:
        validate_repo_id(repo)
        HfApi().whoami()
    except HFValidationError as error:
        raise OutputError(f"--push-to {repo}: not a name of a repository. Write USER/NAME.") from error
    except LocalTokenNotFoundError as error:
        raise OutputError(f"--push-to {repo}: you are not logged in to the Hub. Run `hf auth login`.") from error
    except (HfHubHTTPError, OSError) as error:
        raise OutputError(f"--push-to {repo}: the Hub does not know you, or is not in reach: {error}") from error


def _push(out: Path, repo: str) -> str:
    try:
        open_dataset(str(out)).push_to_hub(repo)
    except (HfHubHTTPError, OSError) as error:
        raise OutputError(
            f"{out} is complete, but could not be pushed to {repo}: {error}\nThe same command tries again."
        ) from error
    return f"{constants.ENDPOINT}/datasets/{repo}"
