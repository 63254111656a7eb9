"""Measured results: rows, their summaries over seeds, and the scorecard, which has one schema everywhere."""

import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from uc_hf.files import write_whole
from uc_hf.reports import markdown
from uc_hf.scoring.detection import Detection


NONE = "none"
"""How a table shows that no counter-measure was applied."""

LEAST_TAUGHT = 0.1
"""Smallest accuracy above guessing on the originals with which a loss can be measured."""


@dataclass(frozen=True)
class Row:
    """One training of one target model.

    Attributes:
        target: name of the target model.
        protocol: "from-scratch", "finetune" or "linear-probe".
        train_set: "clean", "protected", "control-random", "control-blocky", "control-grating" or any other name.
        counter_measure: what the scraper did against the noise; None for nothing.
        seed: of the initial weights, the order of images and the augmentations.
        last: accuracy on clean test images after the last epoch, in [0, 1].
        peak: the best accuracy after any epoch, in [0, 1]: no early stopping can do better.
        early: accuracy after the epoch that is best on a held-out tenth of the clean set; None without early
            stopping.
        curve: accuracy after every epoch; empty in older files.
    """

    target: str
    protocol: str
    train_set: str
    counter_measure: str | None
    seed: int
    last: float
    peak: float
    early: float | None = None
    curve: list[float] = field(default_factory=list)

    @property
    def cell(self) -> tuple[str, str, str, str | None, int]:
        """The training without its result."""
        return self.target, self.protocol, self.train_set, self.counter_measure, self.seed


@dataclass(frozen=True)
class Summary:
    """Summary over all seeds of one target, protocol, training set and counter-measure; accuracies in [0, 1].

    Attributes:
        target: name of the target model.
        protocol: how it was trained.
        train_set: name of the training set.
        counter_measure: None for nothing.
        seeds: number of trainings.
        last: mean accuracy after the last epoch.
        last_std: its sample standard deviation over the seeds; 0 for one seed.
        peak: mean of the best accuracies.
        early: mean accuracy at the early-stopping epoch; None without early stopping.
        drop: mean last accuracy of the clean set with the same counter-measure, minus this mean.
    """

    target: str
    protocol: str
    train_set: str
    counter_measure: str | None
    seeds: int
    last: float
    last_std: float
    peak: float
    early: float | None
    drop: float

    @property
    def scraper(self) -> float:
        """The scraper's result: the accuracy at the early-stopping epoch if there is one, else after the last."""
        return self.last if self.early is None else self.early


@dataclass(frozen=True)
class Judged:
    """What one target and protocol say of all training sets, under one counter-measure or none.

    Attributes:
        sets: training set -> its summary; "clean" and "protected" are among them.
        chance: accuracy of guessing, in [0, 1].
    """

    sets: dict[str, Summary]
    chance: float

    @property
    def clean(self) -> Summary:
        """The matched originals."""
        return self.sets["clean"]

    @property
    def protected(self) -> Summary:
        """The protected set."""
        return self.sets["protected"]

    @property
    def name(self) -> str:
        """The target and the protocol, and the counter-measure if there was one."""
        of = self.protected
        return f"{of.target}, {of.protocol}" + (f", with {of.counter_measure}" if of.counter_measure else "")

    @property
    def taught(self) -> float:
        """The accuracy above guessing that the originals teach."""
        return self.clean.last - self.chance

    @property
    def can_tell(self) -> bool:
        """Whether the originals teach enough to measure a loss."""
        return self.taught >= LEAST_TAUGHT

    @property
    def lost(self) -> float:
        """The share of what the originals teach that the protected set does not; 0 where they teach nothing."""
        return 0.0 if self.taught <= 0 else (self.clean.last - self.protected.last) / self.taught

    @property
    def order(self) -> tuple[bool, float, str]:
        """The smallest is the worst for the publisher; those that cannot tell are largest."""
        return not self.can_tell, self.lost, self.name


@dataclass(frozen=True)
class Scorecard:
    """All trainings and the chance level.

    Attributes:
        chance: accuracy on the test set of always answering its most common class, in [0, 1].
        rows: one for each training.
        recipe: the recipe's fields and the mixed precision, which all rows share; empty in older files.
        sets: name -> fingerprint of the images and labels, also of "test"; empty in older files.
        detection: how well protected images can be told from clean ones; None if the two sets do not match row by row.
        notes: what the reader has to know of the conditions, in sentences: a training size far below a scraper's.
        folders: "target, protocol" -> digest of what was loaded, for targets that are local folders; empty in older
            files.
    """

    chance: float
    rows: list[Row]
    recipe: dict[str, Any] = field(default_factory=dict)
    sets: dict[str, str] = field(default_factory=dict)
    detection: Detection | None = None
    notes: list[str] = field(default_factory=list)
    folders: dict[str, str] = field(default_factory=dict)

    @property
    def curves(self) -> list[list[float]]:
        """The accuracy after every epoch, for each row."""
        return [row.curve for row in self.rows]

    def to_dict(self) -> dict[str, Any]:
        """The scorecard in the schema that files, the command line and the evaluate module share.

        docs/scorecards/README.md describes it.
        """
        return asdict(self)

    def save(self, path: str | Path) -> None:
        """Write `to_dict()` as JSON, one row per line; a crash while writing leaves the previous file whole."""
        path = Path(path)
        whole = self.to_dict()
        rows = ",\n    ".join(json.dumps(row) for row in whole.pop("rows"))
        head = json.dumps(whole, indent=2).removesuffix("\n}")
        write_whole(path, f'{head},\n  "rows": [\n    {rows}\n  ]\n}}\n'.encode())

    @classmethod
    def load(cls, path: str | Path) -> "Scorecard":
        """Read what `save` wrote.

        Raises:
            ValueError, KeyError, TypeError: the file is not a scorecard.
        """
        saved = json.loads(Path(path).read_text())
        return cls(
            chance=saved["chance"],
            rows=[Row(**row) for row in saved["rows"]],
            recipe=saved.get("recipe", {}),
            sets=saved.get("sets", {}),
            detection=Detection(**saved["detection"]) if saved.get("detection") else None,
            notes=saved.get("notes", []),
            folders=saved.get("folders", {}),
        )

    def summaries(self) -> list[Summary]:
        """One summary for each target, protocol, training set and counter-measure, in the order of training."""
        groups: dict[tuple[str, str, str, str | None], list[Row]] = {}
        for row in self.rows:
            groups.setdefault(row.cell[:4], []).append(row)
        means = {key: statistics.mean(row.last for row in rows) for key, rows in groups.items()}
        return [
            Summary(
                target=target,
                protocol=protocol,
                train_set=train_set,
                counter_measure=counter_measure,
                seeds=len(rows),
                last=means[target, protocol, train_set, counter_measure],
                last_std=statistics.stdev(row.last for row in rows) if len(rows) > 1 else 0.0,
                peak=statistics.mean(row.peak for row in rows),
                early=_mean([row.early for row in rows]),
                drop=means.get((target, protocol, "clean", counter_measure), float("nan"))
                - means[target, protocol, train_set, counter_measure],
            )
            for (target, protocol, train_set, counter_measure), rows in groups.items()
        ]

    def judged(self) -> list[Judged]:
        """Each target and protocol with the sets "clean" and "protected".

        Where nothing was measured without a counter-measure, the one that is worst for the publisher stands for it.
        The one that the noise stops least comes first, those that learnt too little of the originals to tell last.
        """
        found: dict[tuple[str, str], dict[str | None, dict[str, Summary]]] = {}
        for s in self.summaries():
            found.setdefault((s.target, s.protocol), {}).setdefault(s.counter_measure, {})[s.train_set] = s
        of_each = []
        for measures in found.values():
            whole = {
                measure: Judged(sets, self.chance)
                for measure, sets in measures.items()
                if {"clean", "protected"} <= set(sets)
            }
            if whole:
                of_each.append(whole.get(None) or min(whole.values(), key=lambda judged: judged.order))
        return sorted(of_each, key=lambda judged: judged.order)

    def headline(self) -> str:
        """The result in one sentence, by the target that the noise stops least; needs "clean" and "protected"."""
        judged = self.judged()[0]
        clean, protected = judged.clean, judged.protected
        plain = (protected.protocol, protected.counter_measure)
        of = [s for s in self.summaries() if s.target == protected.target]
        others = [s for s in of if s.train_set == "protected" and s != protected]
        best = max(others, key=lambda s: s.scraper, default=protected)
        around = ""
        if best.scraper > protected.scraper:
            most = f"{in_percent(best.scraper)} with {_way(best, plain)}"
            around = f" and {most}, the best of {len(others)} ways round it tried"
        elif others:
            around = f", and no more with any of {len(others)} ways round it tried"
        with_measure = "" if plain[1] is None else f" with {plain[1]}"
        return (
            f"A {clean.target} trained on the protected set{with_measure} reaches {accuracy_text(protected)} on clean "
            f"pictures{around}; on the originals it reaches {accuracy_text(clean)}; guessing gives "
            f"{in_percent(self.chance)}."
        )

    def table(self) -> list[dict[str, str]]:
        """One row for each target, protocol and counter-measure, the worst for the publisher first; all text.

        The columns after those of the training sets describe the protected set: its distance below the clean set
        ("drop"), its best epoch, and its early-stopping epoch if any row has one.
        """
        summaries = self.summaries()
        groups = list(dict.fromkeys((s.target, s.protocol) for s in summaries))
        sets = list(dict.fromkeys(s.train_set for s in summaries))
        protected = next((name for name in sets if name.startswith("protected")), sets[-1])
        cells: dict[tuple[str, str, str | None], dict[str, Summary]] = {}
        for s in summaries:
            cells.setdefault((s.target, s.protocol, s.counter_measure), {})[s.train_set] = s
        stopped = any(s.early is not None for s in summaries)

        def order(cell: tuple[str, str, str | None]) -> tuple[int, float]:
            worst = cells[cell].get(protected)
            return groups.index(cell[:2]), 0.0 if worst is None else -worst.scraper

        rows = []
        for target, protocol, counter_measure in sorted(cells, key=order):
            of = cells[target, protocol, counter_measure]
            row = {"target": target, "protocol": protocol, "counter-measure": counter_measure or NONE}
            row |= {name: accuracy_text(of.get(name)) for name in sets}
            worst = of.get(protected)
            row["drop"] = in_percent(worst.drop if worst else None)
            row["best epoch"] = in_percent(worst.peak if worst else None)
            if stopped:
                row["early stop"] = in_percent(worst.early if worst else None)
            rows.append(row)
        return rows

    def to_markdown(self) -> str:
        """Headline, table and chance as Markdown, for a dataset card."""
        rows = self.table()
        lines = (
            []
            if not {"clean", "protected"} <= {row.train_set for row in self.rows}
            else [markdown.plain(self.headline()), ""]
        )
        lines += [markdown.table(rows)]
        seeds = max(summary.seeds for summary in self.summaries())
        spread = f", mean ± standard deviation of {seeds} seeds" if seeds > 1 else ", one seed"
        lines += [
            "",
            f"Accuracy on clean pictures after the last epoch{spread}. Guessing gives {in_percent(self.chance)}.",
        ]
        if self.detection is not None:
            lines += ["", describe_detection(self.detection)]
        for note in self.notes:
            lines += ["", markdown.plain(note)]
        return "\n".join(lines) + "\n"


def describe_detection(detection: Detection) -> str:
    """The result of a detection in words."""
    text = (
        f"A linear model tells protected from clean pictures in {in_percent(detection.accuracy)} of the cases "
        f"(chance {in_percent(detection.chance)})"
    )
    if detection.cluster_accuracy is None:
        return f"{text}."
    named = f"{in_percent(detection.cluster_accuracy)} ({in_percent(detection.cluster_chance)})"
    return f"{text} and names their noise pattern in {named}."


def accuracy_text(summary: Summary | None) -> str:
    """An accuracy as "22.3 % ± 1.7", or a dash without trainings."""
    if summary is None:
        return in_percent(None)
    return in_percent(summary.last) + (f" ± {100 * summary.last_std:.1f}" if summary.seeds > 1 else "")


def _way(summary: Summary, plain: tuple[str, str | None]) -> str:
    """How a training differs from the plain one: "jpeg-75", "finetune", "jpeg-75 and finetune"."""
    ways = (summary.counter_measure, summary.protocol)
    return " and ".join(way for way, usual in zip(ways, reversed(plain), strict=True) if way and way != usual)


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.mean(known) if known else None


def in_percent(fraction: float | None) -> str:
    """A fraction as "22.3 %", or a dash where there is none."""
    return "\N{EN DASH}" if fraction is None or fraction != fraction else f"{100 * fraction:.1f} %"
