"""`uc-hf demo`: protect a set, score it and show it, in one command and without a network."""

from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np

from uc_hf.cli.console import say_text
from uc_hf.cli.score import SCORECARD, accuracy_sections, banner, picture_sections
from uc_hf.data import images
from uc_hf.data.checks import undecoded
from uc_hf.data.columns import image_column
from uc_hf.data.generated import generated_dataset
from uc_hf.data.images import Picture
from uc_hf.data.sources import open_dataset, train_and_test
from uc_hf.files import check_writable
from uc_hf.methods.unlearnable_clusters.protector import UCProtector
from uc_hf.reports import figures
from uc_hf.reports.html import Section, write_report
from uc_hf.scoring.controls import with_controls
from uc_hf.scoring.recipes import Recipe
from uc_hf.scoring.results import Scorecard
from uc_hf.scoring.scorecard import score


GENERATED = "generated"
"""The name of the image set that is generated in code."""

LARGEST = 64
"""Largest training size in pixels, so that a demo on photos finishes on a laptop."""

PER_CLUSTER = 10
"""Number of pictures of each cluster in the contact sheet."""

MAPPED = 600
"""Largest number of points in an embedding map."""


@dataclass(frozen=True, kw_only=True)
class Demo:
    """What the demo protects and scores.

    Attributes:
        dataset: a Hub name or local path with the splits train and test, or "generated".
        surrogate: as `UCProtector`'s.
        surrogate_size: as `UCProtector`'s.
        train_images: largest number of images that are protected and trained on.
        test_images: largest number of clean images that are tested on.
        epochs: epochs of each training.
        batch_size: images in a step of training; small, for many steps on few images.
        seeds: number of trainings on each set.
    """

    dataset: str = GENERATED
    surrogate: str = "uc_hf/tiny"
    surrogate_size: int | None = None
    train_images: int = 2000
    test_images: int = 1000
    epochs: int = 10
    batch_size: int = 64
    seeds: int = 3


def run(demo: Demo, out: Path) -> Scorecard:
    """Protect and score a set; write scorecard.json, report.html and the protector into `out`.

    Trainings that its scorecard holds are not repeated.

    Raises:
        UCError: of any kind, with the remedy.
    """
    check_writable(out)
    splits = generated_dataset() if demo.dataset == GENERATED else open_dataset(demo.dataset)
    train, test = train_and_test(splits, demo.dataset, train_images=demo.train_images, test_images=demo.test_images)
    protector = UCProtector(surrogate=demo.surrogate, surrogate_size=demo.surrogate_size)
    protector.fit(train)
    say_text(repr(protector), err=True)
    sets = with_controls(protector, train)
    size = min(LARGEST, protector.fitted.view_size)
    recipe = Recipe(epochs=demo.epochs, batch_size=demo.batch_size, image_size=size)
    scorecard = score(sets, test, seeds=range(demo.seeds), recipe=recipe, resume=out / SCORECARD)
    protector.save_pretrained(out / "protector")
    write_report(
        out / "report.html",
        title=f"uc_hf demo: {_described(demo)}, surrogate {demo.surrogate}",
        headline=scorecard.headline(),
        verdict=banner(scorecard),
        sections=[
            Section("What this is", _explained(demo, len(train), len(test))),
            *accuracy_sections(scorecard),
            *picture_sections(sets, None),
            *_inside(protector, train, sets),
        ],
    )
    return scorecard


def _explained(demo: Demo, n_train: int, n_test: int) -> str:
    origin = f"{n_train:,} images of {_described(demo)} were protected"
    if demo.dataset == GENERATED:
        origin = (
            f"{n_train:,} images were generated in code and protected: ten ornaments printed faintly over scenes of "
            "colour. They are not photographs, the built-in surrogate was trained on images of this kind, and their "
            "classes are about as faint as the noise: expect less on photographs, and score your own set"
        )
    return (
        f"{origin}. Then {demo.seeds} small networks were trained from scratch on each training set and tested on "
        f"{n_test:,} clean images. The controls carry noise of the same strength on the same clusters that was not "
        "searched for: a random sign for each pixel, or for each block of 8 x 8, or a random grating."
    )


def _described(demo: Demo) -> str:
    return "images generated in code" if demo.dataset == GENERATED else Path(demo.dataset).name


def _inside(protector: UCProtector, train: datasets.Dataset, sets: dict[str, datasets.Dataset]) -> list[Section]:
    """What happened inside: clusters, noise, and where the noise moves the embeddings."""
    fitted = protector.fitted
    before, after = (
        _pictures(dataset.select(range(min(MAPPED, len(train))))) for dataset in (train, sets["protected"])
    )
    clusters = protector.assign(before)
    sheet = [
        [images.open_image(before[row].pixels) for row in np.flatnonzero(clusters == cluster)[:PER_CLUSTER]]
        for cluster in range(len(fitted.sizes))
    ]
    embedded = protector.embed(before), protector.embed(after)
    return [
        Section(
            "Clusters",
            "Groups of the surrogate's embeddings; no label is used.",
            figures.cluster_sheet(sheet, fitted.sizes),
        ),
        Section(
            "The noise",
            "One pattern for each cluster, within epsilon, and its spectrum.",
            figures.noise_gallery(protector.canvases(), protector.settings.epsilon),
        ),
        Section(
            "Embeddings",
            "The surrogate's embeddings of the images before and after. The noise is made for networks that are "
            "trained on the set; it moves these embeddings little.",
            figures.embedding_map(*embedded, clusters, fitted.centroids),
        ),
    ]


def _pictures(dataset: datasets.Dataset) -> list[Picture]:
    column = image_column(dataset.features)
    return [images.decode(value) for value in undecoded(dataset, column)[column]]
