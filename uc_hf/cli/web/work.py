"""The page's jobs: fit on the photographs, protect them, test the protection, ask a model about them."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import datasets
import PIL.Image

from uc_hf.cli.places import save_protector
from uc_hf.cli.protect import protect as protect_by_command
from uc_hf.cli.trace import find_commitment
from uc_hf.cli.web.uploads import pack
from uc_hf.data import images
from uc_hf.data.container import Container
from uc_hf.data.progress import Bar
from uc_hf.errors import DatasetError, SettingError
from uc_hf.files import write_whole
from uc_hf.methods.registry import open_protector
from uc_hf.methods.unlearnable_clusters.looks import LOOKS
from uc_hf.methods.unlearnable_clusters.protector import UCProtector
from uc_hf.protecting.key_file import SUFFIX, pack_key
from uc_hf.protecting.protector import Protector
from uc_hf.scoring.imperceptibility import Difference, differences
from uc_hf.scoring.scorecard import score
from uc_hf.scoring.trace.figure import draw
from uc_hf.scoring.trace.trace import trace as find_evidence


if TYPE_CHECKING:
    from uc_hf.cli.web.session import Session


LOOK = {"checking images": 0.005, "embedding": 0.05, "drawing the preview": 0.3}
PROTECT = {"checking images": 0.005, "protecting": 0.3, "measuring": 0.3}
TEST = {"reading clean": 0.02, "reading protected": 0.02, "trainings": 2.0}
TRACE = {"finding the published copies": 0.1, "asking the suspect": 2.0}
"""Expected seconds for each photograph, by phase."""

TESTED = 0.25
"""Share of the photographs that are kept for testing."""

SEEDS = 2

AS_IT_IS = "as it is"
"""The one choice that there is with a key whose noise has no looks."""

PACKAGE = "protected.zip"
EVIDENCE, CURVE = "trace.json", "trace.png"
THUMBNAIL = 320
THUMBNAILS = 60
"""Side in pixels and largest number of the pictures in the gallery."""


@dataclass(frozen=True)
class Preview:
    """A photograph at one strength.

    Attributes:
        before: the original, upright.
        after: the protected copy.
        difference: between the two as stored.
    """

    before: PIL.Image.Image
    after: PIL.Image.Image
    difference: Difference


def look(session: "Session") -> None:
    """Fit a protector on the photographs."""
    protector = UCProtector(surrogate=session.surrogate).fit(session.source)
    save_protector(protector, session.fitted)
    first = next(iter(session.photos))
    for name in Bar(list(session.levels), desc="drawing the preview"):
        session.preview(first, name)


def take_key(file: Path, fitted: Path) -> None:
    """Make an old key the one that photographs are protected with.

    Raises:
        UCError: it is no key.
    """
    protector = open_protector(str(file))
    shutil.rmtree(fitted, ignore_errors=True)
    save_protector(protector, fitted)


@dataclass(frozen=True)
class Levels:
    """How visible the noise may be.

    Attributes:
        protectors: what makes each, in the order of `LOOKS`.
        usual: the one that the key was fitted with.
    """

    protectors: Mapping[str, Protector]
    usual: str


def levels(fitted: Path) -> Levels:
    """What a person may choose from: each look, or a key of an earlier kind of noise as it is."""
    protector = open_protector(str(fitted))
    alone = Levels({AS_IT_IS: protector}, AS_IT_IS)
    if not isinstance(protector, UCProtector):
        return alone
    try:
        looks = {look: protector.loaded().with_look(look) for look in LOOKS}
    except SettingError:
        return alone
    return Levels(looks, str(protector.settings.plain()["look"]))


def preview(protector: Protector, photo: Path) -> Preview:
    """A photograph as it would be protected.

    Raises:
        ImageError: it cannot be.
    """
    original = images.decode(photo)
    before = images.encode(protector.as_stored(original), Container("png"))
    [after] = protector.protect([original])
    [difference] = differences([(before, after)])
    shown = Preview(images.open_image(before), images.open_image(after), difference)
    for picture in (shown.before, shown.after):
        picture.load()  # Pillow reads pixels when they are first asked for, which two requests at once would do twice
    return shown


def protect(session: "Session") -> None:
    """Protect as the command does, with a key of the chosen strength; then measure every photograph."""
    strength, folder = session.facts.strength, session.folder
    if strength is None or folder is None:
        raise DatasetError("there are no photographs to protect.")
    splits = list(folder.splits) if len(folder.splits) > 1 else []
    if not (session.key / "config.json").is_file():
        save_protector(session.levels[strength], session.key)
    protect_by_command(str(session.source), session.out, splits=splits, key=session.key)
    pairs = {name: (session.source / name, session.out / copy) for name, copy in session.photos.items()}
    measured = dict(zip(pairs, differences(Bar(pairs.values(), desc="measuring")), strict=True))
    worst_first = dict(sorted(measured.items(), key=lambda item: -item[1].flip))
    _draw_gallery([pairs[name][1] for name in worst_first][:THUMBNAILS], session.home / "thumbnails")
    if session.facts.folder is None:
        pack(session.out, session.home / PACKAGE)
    write_whole(
        session.home / "measured.json",
        json.dumps({name: asdict(difference) for name, difference in worst_first.items()}).encode(),
    )


def _draw_gallery(pictures: list[Path], folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for number, path in enumerate(Bar(pictures, desc="drawing the gallery")):
        with images.open_image(path) as picture:
            picture.thumbnail((THUMBNAIL, THUMBNAIL))
            picture.convert("RGB").save(folder / f"{number:03}.webp")


def key_file(key: Path, home: Path) -> Path:
    """The key in one file."""
    file = home / f"protector{SUFFIX}"
    pack_key(key, file)
    return file


def test(session: "Session") -> None:
    """Train small networks on originals and on protected copies; test them on other originals."""
    classes = session.classes
    clean = _labelled({session.original(name): label for name, label in classes.items()})
    protected = _labelled({session.copy(name): label for name, label in classes.items()})
    n_classes = len(set(classes.values()))
    split = clean.add_column("row", list(range(len(clean)))).train_test_split(
        test_size=max(TESTED, n_classes / len(clean)), stratify_by_column="label", seed=0
    )
    chosen = split["train"]["row"]
    score(
        {"clean": clean.select(chosen), "protected": protected.select(chosen)},
        split["test"].remove_columns("row"),
        seeds=range(SEEDS),
        resume=session.home / "scorecard.json",
    )


def trace(session: "Session", model: str) -> None:
    """Ask a model about the published photographs; a question that was answered before is not asked again."""
    key = session.key if (session.key / "config.json").is_file() else session.fitted
    protector = open_protector(str(key))
    asked = hashlib.sha256(model.encode()).hexdigest()[:16]
    evidence = find_evidence(
        model,
        protector=protector,
        originals=_originals(session),
        journal=session.home / f"answers-{asked}.jsonl",
        commitment=find_commitment(protector, None, key),
    )
    draw(evidence).savefig(session.home / CURVE, dpi=120, metadata={"Software": None})
    write_whole(session.home / EVIDENCE, json.dumps(evidence.to_dict()).encode())


def _originals(session: "Session") -> datasets.Dataset:
    """The photographs, labelled by their folders where each lies in one."""
    photos, classes = session.photos, session.classes
    if len(classes) == len(photos):
        return _labelled({session.original(name): label for name, label in classes.items()})
    paths = [str(session.original(name)) for name in photos]
    return datasets.Dataset.from_dict({"image": paths}).cast_column("image", datasets.Image())


def _labelled(classes: dict[Path, str]) -> datasets.Dataset:
    """Photographs and their classes as rows."""
    names = sorted(set(classes.values()))
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)})
    return datasets.Dataset.from_dict(
        {"image": [str(path) for path in classes], "label": list(classes.values())}, features=features
    )
