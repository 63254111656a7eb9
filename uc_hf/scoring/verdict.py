"""The verdict on a scorecard in a word, with the rule behind it."""

from dataclasses import dataclass
from typing import Any

from uc_hf.scoring.results import Judged, Scorecard, Summary, in_percent


PROTECTED, PARTLY, NOT_PROTECTED, UNDECIDED = "protected", "partly protected", "not protected", "cannot tell"

MOST, SOME = 2 / 3, 1 / 3
"""Thresholds for "protected" and "partly protected": the loss as a share of the originals' accuracy above guessing."""


@dataclass(frozen=True)
class Verdict:
    """What a scorecard means for the publisher, judged by the target that the noise stops least.

    Targets that learnt too little of the originals are left out, unless all did.

    Attributes:
        word: "protected", "partly protected", "not protected" or "cannot tell".
        share: the loss of the protected set as a share of the originals' accuracy above guessing; None if that
            accuracy is too low to tell.
        control: name of the control with the largest loss; None without controls.
        control_share: its loss; None without controls.
        judge: the target and protocol with the smallest loss, and the counter-measure if all were trained with one.
        why: the rule, with its figures, in a sentence or two.
    """

    word: str
    share: float | None
    control: str | None
    control_share: float | None
    judge: str
    why: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return dict(vars(self))


def judge(card: Scorecard) -> Verdict | None:
    """The verdict on a scorecard; None where no target was trained on both sets.

    It is about the trainings without a counter-measure, or else about the one that is worst for the publisher.

    Args:
        card: with the sets "clean" and "protected".
    """
    judged = card.judged()
    if not judged:
        return None
    worst = judged[0]
    name = worst.name
    if not worst.can_tell:
        why = (
            f"on the originals {name} reaches {in_percent(worst.clean.last)}, and guessing gives "
            f"{in_percent(card.chance)}: the originals themselves teach too little to tell. Train longer, at a larger "
            "image size, or on more images."
        )
        return Verdict(UNDECIDED, None, None, None, name, why)
    share = worst.lost
    control = _best_control(worst)
    control_share = None if control is None else (worst.clean.last - control.last) / worst.taught
    word = PROTECTED if share >= MOST else PARTLY if share >= SOME else NOT_PROTECTED
    why = (
        f"{_whole(share)} of what the originals teach {name} is lost (from {in_percent(worst.clean.last)} to "
        f"{in_percent(worst.protected.last)}; guessing {in_percent(card.chance)}); "
        f"two thirds are needed for \N{LEFT DOUBLE QUOTATION MARK}protected\N{RIGHT DOUBLE QUOTATION MARK}, a third "
        f"for \N{LEFT DOUBLE QUOTATION MARK}partly\N{RIGHT DOUBLE QUOTATION MARK}."
    )
    if control is not None and control_share is not None:
        why += f" {_beside(control, control_share, worst.protected)}"
    left_out = [of for of in judged if not of.can_tell]
    if left_out:
        names = "; ".join(f"{of.name} ({in_percent(of.clean.last)})" for of in left_out)
        why += f" Left out, since the originals teach too little there to tell: {names}."
    if word != NOT_PROTECTED and len(judged) - len(left_out) == 1:
        asked = "could tell" if left_out else "was asked"
        why += f" Only this network {asked}; a larger or a pretrained one may learn more."
    return Verdict(word, share, None if control is None else control.train_set, control_share, name, why)


def _best_control(judged: Judged) -> Summary | None:
    controls = [summary for name, summary in judged.sets.items() if name.startswith("control-")]
    return min(controls, key=lambda summary: summary.last, default=None)


def _beside(control: Summary, control_share: float, protected: Summary) -> str:
    """Whether the protection leads a control by more than the spread of both over the seeds."""
    lead = control.last - protected.last
    text = f"{control.train_set}, which nobody learnt, loses {_whole(control_share)}"
    if min(control.seeds, protected.seeds) == 1:
        return f"{text}: one seed cannot tell which of the two is ahead."
    if lead > (control.last_std**2 + protected.last_std**2) ** 0.5:
        return f"{text}: the protection is ahead of it."
    return f"{text}: the protection is not ahead of it, so the clusters do the work."


def _whole(share: float) -> str:
    return f"{100 * max(share, 0.0):.0f} %"
