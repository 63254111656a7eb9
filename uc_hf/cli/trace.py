"""`uc-hf trace`: was this model trained on my set?"""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import datasets
import typer
from huggingface_hub import DatasetCard
from huggingface_hub.errors import RemoteEntryNotFoundError

from uc_hf.cli.console import say_lines
from uc_hf.cli.sets import check_apart, check_clean, check_report
from uc_hf.data.sources import open_dataset
from uc_hf.data.splits import TEST_SPLITS, choose_splits
from uc_hf.errors import SettingError
from uc_hf.files import write_whole
from uc_hf.methods.registry import open_protector
from uc_hf.protecting.commitment import digest, read_commitment
from uc_hf.protecting.protector import Protector
from uc_hf.scoring.trace.evidence import NAMES, Commitment, Evidence, p_text
from uc_hf.scoring.trace.figure import draw
from uc_hf.scoring.trace.trace import trace as find_evidence


TOKEN = "UC_HF_TRACE_TOKEN"
"""The environment variable with an endpoint's token; the Hub's own is sent to the Hub alone."""


def trace(
    model: str,
    *,
    protector: str,
    originals: str,
    published: str | None,
    unseen: str | None,
    references: Sequence[str],
    splits: Sequence[str],
    budget: int,
    stop_at: float | None,
    image: str | None,
    label: str | None,
    out: Path | None,
) -> Evidence:
    """Trace, and write the evidence down.

    Args:
        model: a name on the Hub, a folder, or an endpoint's address.
        protector: the key, a folder or a name on the Hub.
        originals: what `uc_hf.data.sources.open_dataset` takes.
        published: the same, of the protected set; its card is read for the commitment.
        unseen: pictures that no suspect was trained on; None for the originals' test split, if there is one.
        references: models that were not trained on the set, named as `model` is.
        splits: of the originals and the published set that were protected.
        budget: number of questions.
        stop_at: a p-value.
        image: the originals' column of images.
        label: the originals' column of labels.
        out: a folder for answers.jsonl, trace.json and trace.png.

    Raises:
        UCError: of any kind, with the remedy.
    """
    sets = {"--originals": originals, "--published": published, "--unseen": unseen}
    check_report(out, sets)
    check_apart(sets)
    for option in ("--originals", "--unseen"):
        check_clean(option, sets[option], protector)
    key = open_protector(protector)
    clean = open_dataset(originals)
    others = _unseen(clean, unseen)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    evidence = find_evidence(
        model,
        protector=key,
        originals=_rows(clean, splits),
        published=None if published is None else _rows(open_dataset(published), splits),
        unseen=others,
        references=references,
        budget=budget,
        stop_at=stop_at,
        image=image,
        label=label,
        token=os.environ.get(TOKEN),
        journal=None if out is None else out / "answers.jsonl",
        commitment=find_commitment(key, published, Path(protector)),
    )
    if out is not None:
        write_whole(out / "trace.json", (json.dumps(evidence.to_dict(), indent=2) + "\n").encode())
        draw(evidence).savefig(out / "trace.png", dpi=120, metadata={"Software": None})
    return evidence


def say(evidence: Evidence, out: Path | None) -> None:
    """Print evidence for a person."""
    typer.echo(evidence.sentence())
    facts = {}
    for test in {test.name: test for test in evidence.tests}.values():
        facts[NAMES[test.name]] = f"{p_text(test.p)} ({test.witnesses:,} {test.name}, {test.questions:,} questions)"
    if evidence.least_effect is not None:
        facts["power"] = (
            f"{evidence.scenes:,} pictures show an effect of {evidence.least_effect:.2f} in 19 of 20 cases"
        )
    if evidence.observed_effect is not None:
        facts["observed effect"] = f"{evidence.observed_effect:.2f} standard deviations of a picture's difference"
    if evidence.repeats:
        facts["left out"] = f"{evidence.repeats:,} further pictures of the same scenes"
    if evidence.strangers:
        facts["not published"] = f"{evidence.strangers:,} originals whose copy is not in the published set"
    facts["commitment"] = _describe(evidence.commitment)
    if out is not None:
        facts["written"] = f"{out / 'trace.json'}, {out / 'trace.png'}"
    say_lines(facts)
    if evidence.found:
        typer.echo(
            "The p-value is the probability of such answers from a model that was not trained on the set. What it "
            "assumes, and what an accused could say: docs/how-to/trace.md"
        )
    else:
        typer.echo("A model may have been trained on the set and show nothing of it.")


def find_commitment(protector: Protector, published: str | None, key: Path) -> Commitment:
    """The commitment to the key in the card of the published set, or else in the file beside the protector.

    Raises:
        SettingError: the card commits to another key.
    """
    own = digest(protector)
    stated = None if published is None else _from_card(published)
    if stated is not None:
        if stated.get("digest") != own:
            raise SettingError(
                f"the card of {published} commits to the key {stated.get('digest')}, and this is {own}. "
                "Name the protector that the set was published with."
            )
        return Commitment(own, stated.get("date"), f"the card of {published}")
    beside = read_commitment(key) if key.is_dir() else None
    if beside is not None and beside.get("digest") == own:
        return Commitment(own, beside.get("date"), "a file beside the protector")
    return Commitment(own)


def _from_card(published: str) -> dict[str, str] | None:
    beside = Path(published) / "README.md"
    if Path(published).exists() and not beside.is_file():
        return None
    try:
        card = DatasetCard.load(beside if beside.is_file() else published)
    except RemoteEntryNotFoundError:
        return None
    found = dict(card.data.get("uc_hf") or {}).get("commitment")
    return found if isinstance(found, dict) else None


def _describe(commitment: Commitment) -> str:
    if commitment.where is None:
        return "none: only you know how old this key is"
    if commitment.where.startswith("the card"):
        return f"in {commitment.where} since {commitment.date}"
    return f"in {commitment.where} since {commitment.date}; publish its digest, so that others can check it"


def _rows(splits: datasets.DatasetDict, asked: Sequence[str]) -> datasets.Dataset:
    chosen = [splits[name] for name in choose_splits(splits, asked)]
    return chosen[0] if len(chosen) == 1 else datasets.concatenate_datasets(chosen)


def _unseen(originals: datasets.DatasetDict, asked: str | None) -> datasets.Dataset | None:
    if asked is not None:
        return next(iter(open_dataset(asked).values()))
    return next((originals[name] for name in TEST_SPLITS if name in originals), None)
