"""How often a model that was trained on a protected set is found, and how often one that was not.

    python -m benchmarks.trace --dataset ../shared/data/cifar10 --share 0.1 --share 0.02 --trials 20 --out trace
    python -m benchmarks.trace --dataset ../shared/data/cifar10 --scenario jpeg-75 --scenario mixup --out trace
    python -m benchmarks.trace --dataset ../shared/data/cifar10 --share 0 --nulls 40 --trials 3 --out trace

Each trial has a key and a choice of protected rows of its own. With --owners N so many trials share a training: the
model was trained on the pictures of N owners, each of whom holds the share and asks about his own. A scenario is
"plain", a counter-measure as `uc-hf score` takes it ("jpeg-75", "gray", "spectral-10"), a protocol ("finetune",
"linear-probe": name a --target with published weights), "relabelled-N" (N random groups of classes), or "distilled":
a second model learns what the first one says of the originals. With --reference each trial is judged twice: as it is,
and with the answers of a model that was trained on the originals taken off. With --nulls N every suspect is also asked
about N keys that have nothing to do with it.

OUT/trials.jsonl keeps what is done, and the same command goes on with it; OUT/trace.md and OUT/trace.png are made of
all that it holds.
"""

import argparse
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import product
from pathlib import Path
from typing import Any
from zlib import crc32

import datasets
import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from benchmarks.trials import OWN, PLAIN, Trials, draw, key, table
from uc_hf import UCProtector
from uc_hf.data import images
from uc_hf.data.columns import class_names
from uc_hf.data.images import Picture
from uc_hf.data.sources import open_dataset, train_and_test
from uc_hf.protecting.protector import Protector
from uc_hf.scoring.counter_measures.registry import NONE, CounterMeasure, find_counter_measure
from uc_hf.scoring.reading import load_images
from uc_hf.scoring.recipes import PROTOCOLS, Recipe
from uc_hf.scoring.trace.evidence import Evidence
from uc_hf.scoring.trace.trace import trace
from uc_hf.scoring.trainer import accuracy, still, train_target
from uc_hf.training.labelled import LabelledImages
from uc_hf.training.networks import build_target, load_target


logger = logging.getLogger(__name__)

DISTILLED, RELABELLED = "distilled", "relabelled-"

NULLS = ("another key, same pictures", "another key, other pictures", "its own key, pictures that it got as originals")
"""What a suspect is asked about that it cannot know. It does know its own key's textures, so of the last kind only the
pairs count."""

PAIRS = "pairs"
"""Name of the test of published pictures against their opposites."""

OTHER_KEYS = 1000
"""Seeds of keys that nothing was published with begin here."""


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True, help="Hub name or local folder with the splits train and test")
    parser.add_argument("--train-images", type=int, default=5000)
    parser.add_argument("--test-images", type=int, default=1000)
    parser.add_argument("--surrogate", default="uc_hf/tiny")
    parser.add_argument("--share", type=float, action="append", help="of protected rows; repeat; default: 0.1")
    parser.add_argument("--scenario", action="append", help="repeat; default: plain")
    parser.add_argument("--target", default="resnet-small")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=36)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--augmentation", default="pad-crop", choices=["pad-crop", "resized-crop"])
    parser.add_argument("--pictures", type=int, default=500, help="asked about, at the most")
    parser.add_argument("--budget", type=int, default=20_000)
    parser.add_argument("--null-budget", type=int, default=4_000)
    parser.add_argument("--trials", type=int, default=1, help="a multiple of --owners")
    parser.add_argument("--owners", type=int, default=1, help="trials that share a training")
    parser.add_argument("--reference", action="store_true", help="take off what a model of the originals answers")
    parser.add_argument("--nulls", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(words)
    args.share, args.scenario = args.share or [0.1], args.scenario or [PLAIN]
    if args.trials % args.owners or max(args.share) * args.owners > 1:
        parser.error("--trials is a multiple of --owners, whose shares add up to 1 at the most")
    return args


class Bench:
    """A labelled set, and models trained on versions of it.

    Args:
        train: rows of originals.
        test: rows that no suspect sees.
        args: the command line.
    """

    def __init__(self, train: datasets.Dataset, test: datasets.Dataset, args: argparse.Namespace) -> None:
        self.train, self.test, self.args = train, test, args
        self.classes = class_names(train)
        self.recipe = Recipe(
            epochs=args.epochs, batch_size=args.batch_size, image_size=args.image_size, augmentation=args.augmentation
        )

    @cached_property
    def originals(self) -> LabelledImages:
        """The training rows."""
        return self._load(self.train, "train")

    @cached_property
    def tested(self) -> LabelledImages:
        """The test rows."""
        return self._load(self.test, "test")

    @cached_property
    def reference(self) -> Callable[[list[Image.Image]], Tensor]:
        """A model that was trained on the originals, with a seed that no suspect has."""
        return self.suspect(self.originals, PLAIN, seed=OTHER_KEYS)[0]

    @cache  # noqa: B019 (a bench lives as long as the program)
    def protector(self, seed: int) -> Protector:
        """A key, fitted on the originals."""
        return UCProtector(surrogate=self.args.surrogate, seed=seed).fit(self.train)

    def rows(self, seed: int) -> np.ndarray:
        """All rows in a random order: those that the owners of a training protect come first, owner by owner."""
        return np.random.default_rng(seed).permutation(len(self.train))

    def published(self, training: int, share: float) -> LabelledImages:
        """The originals, some of which each owner has protected with a key of his own."""
        pixels = self.originals.pixels.clone()
        for trial, rows in self.protected(training, share).items():
            protected = self._load(self.train.select(rows).map(self.protector(trial), batched=True), "protected")
            pixels[torch.from_numpy(rows)] = protected.pixels
        return LabelledImages(pixels, self.originals.labels)

    def protected(self, training: int, share: float) -> dict[int, np.ndarray]:
        """The trials of a training, and the rows that the owner of each has protected; none without a share.

        Args:
            training: the number of its first trial.
            share: of all rows, for each owner.
        """
        size = round(share * len(self.train))
        order = self.rows(training)
        owners = self.args.owners if share else 0
        return {training + owner: order[owner * size : (owner + 1) * size] for owner in range(owners)}

    def suspect(
        self, published: LabelledImages, scenario: str, seed: int
    ) -> tuple[Callable[[list[Image.Image]], Tensor], float]:
        """A model that was trained on a set as the scenario says, as a function, and its accuracy on the test rows."""
        measure, labels = _measure(scenario), self._labels(scenario, seed)
        model = self._model(scenario, seed)
        recipe = PROTOCOLS[scenario].adapt(self.recipe) if scenario in PROTOCOLS else self.recipe
        pixels = measure.clean(published, self.originals).pixels
        train_target(model, LabelledImages(pixels, labels[published.labels]), {}, recipe, seed, scenario, measure)
        if scenario == DISTILLED:
            answers = self._ask(model, self.originals.pixels).argmax(dim=1)
            model = self._model(scenario, seed + 1)
            train_target(model, LabelledImages(self.originals.pixels, answers), {}, recipe, seed + 1, scenario)
        right = accuracy(model, measure.as_shown(self.tested).pixels, labels[self.tested.labels], self.recipe)
        return lambda pictures: self._ask(model, self._squares(pictures)), right

    def evidence(self, suspect: Callable[..., Tensor], claim: "Claim") -> Evidence:
        """What a claim finds in a suspect."""
        return trace(
            suspect,
            protector=self.protector(claim.key),
            originals=self.train.select(claim.rows[: self.args.pictures]),
            unseen=self.test,
            references=[self.reference] if claim.reference else [],
            budget=self.args.budget if claim.name == OWN else self.args.null_budget,
            seed=claim.trial,
        )

    def claims(self, training: int, share: float, scenario: str) -> Iterator["Claim"]:
        """What a suspect is asked about: by each of its owners, and the nulls, each with a key that no other has."""
        protected = self.protected(training, share)
        for trial, rows in protected.items():
            for reference in (False, True)[: 1 + self.args.reference]:
                yield Claim(OWN, trial, trial, rows, reference)
        clean = self.rows(training)[sum(map(len, protected.values())) :]
        args = self.args
        for number in range(args.nulls):
            kind = NULLS[number % len(NULLS)] if share else "trained on originals"
            asked = f"{scenario} {share} {args.target} {args.epochs} {args.owners} {training} {number}"
            name, key = f"{kind}, {number}", OTHER_KEYS + crc32(asked.encode())
            if kind == NULLS[0]:
                yield Claim(name, training, key, protected[training])
            elif kind == NULLS[2] and len(clean) >= args.pictures:
                yield Claim(name, training, training, np.random.default_rng(key).permutation(clean))
            else:
                yield Claim(name, training, key, self.rows(key))

    def _load(self, dataset: datasets.Dataset, name: str) -> LabelledImages:
        return load_images(dataset, None, None, self.classes, self.recipe.image_size, name)

    def _labels(self, scenario: str, seed: int) -> Tensor:
        """What the scraper calls each class: int64 [C]; its own name, or that of one of N random groups."""
        order = torch.randperm(len(self.classes), generator=torch.Generator().manual_seed(seed))
        return order % _groups(scenario) if _groups(scenario) else torch.arange(len(self.classes))

    def _model(self, scenario: str, seed: int) -> Any:
        size, n_classes = self.recipe.input_size, _groups(scenario) or len(self.classes)
        if scenario in PROTOCOLS and PROTOCOLS[scenario].pretrained:
            frozen = PROTOCOLS[scenario].frozen
            return load_target(self.args.target, n_classes, size, seed, frozen=frozen)
        return build_target(self.args.target, n_classes, size, seed)

    @torch.inference_mode()
    def _ask(self, model: nn.Module, pixels: Tensor) -> Tensor:
        model.eval()
        device = next(model.parameters()).device
        parts = [model(still(part.to(device), self.recipe)).float().softmax(dim=1) for part in pixels.split(256)]
        return torch.cat(parts).cpu()

    def _squares(self, pictures: Sequence[Image.Image]) -> Tensor:
        squares = [images.canvas(Picture(np.array(p), "RGB"), self.recipe.image_size) for p in pictures]
        return torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Claim:
    """That a suspect was trained on a set.

    Attributes:
        name: `OWN`, or a null's kind and number.
        trial: its number.
        key: seed of the key.
        rows: of the originals.
        reference: whether a model of the originals is taken off.
    """

    name: str
    trial: int
    key: int
    rows: np.ndarray
    reference: bool = False


def _measure(scenario: str) -> CounterMeasure:
    other = scenario in (PLAIN, DISTILLED, *PROTOCOLS) or _groups(scenario)
    return NONE if other else find_counter_measure(scenario)


def _groups(scenario: str) -> int:
    """N of "relabelled-N", else 0."""
    return int(scenario.removeprefix(RELABELLED)) if scenario.startswith(RELABELLED) else 0


def measure(bench: Bench, trials: Trials) -> None:
    """Train what is missing, and ask about what is missing."""
    args = bench.args
    shared = {"target": args.target, "epochs": args.epochs, "train_images": len(bench.train), "owners": args.owners}
    done = {key(line) for line in trials.read()}
    for share, scenario, training in product(args.share, args.scenario, range(0, args.trials, args.owners)):
        asked = {"share": share, "scenario": scenario, **shared}
        claims = [
            (line, claim)
            for claim in bench.claims(training, share, scenario)
            if key(line := asked | {"trial": claim.trial, "claim": claim.name, "reference": claim.reference})
            not in done
        ]
        if not claims:
            continue
        suspect, right = bench.suspect(bench.published(training, share), scenario, seed=training)
        for line, claim in claims:
            evidence = bench.evidence(suspect, claim)
            p_of = {test.name: test.p for test in evidence.tests}
            p = p_of[PAIRS] if claim.name.startswith(NULLS[2]) else evidence.p
            line |= {"accuracy": right, "p": p, "p_of": p_of}
            line |= {"effect": evidence.observed_effect, "scenes": evidence.scenes, "questions": evidence.questions}
            trials.add(line)
            logger.info("%s", json.dumps(line))


def main() -> None:
    """Measure, and write the table and the picture."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    sizes = {"train_images": args.train_images, "test_images": args.test_images}
    bench = Bench(*train_and_test(open_dataset(args.dataset), args.dataset, **sizes), args)
    trials = Trials(args.out / "trials.jsonl")
    measure(bench, trials)
    lines = trials.read()
    (args.out / "trace.md").write_text(table(lines))
    draw(lines).savefig(args.out / "trace.png", dpi=120, metadata={"Software": None})
    logger.info("\n%s", table(lines))


if __name__ == "__main__":
    main()
