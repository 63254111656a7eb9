"""One user's photographs, key and protected copies, in a folder, so that a reload loses nothing."""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from uc_hf.cli.web import work
from uc_hf.cli.web.jobs import Job
from uc_hf.cli.web.uploads import Limits, take_in
from uc_hf.data.container import Container
from uc_hf.data.folders import Folder, list_folder
from uc_hf.data.hub import HUB_NAME
from uc_hf.data.progress import warnings_heard
from uc_hf.data.sources import image_folder
from uc_hf.errors import DatasetError, shown
from uc_hf.files import write_whole
from uc_hf.protecting.protector import Protector
from uc_hf.scoring.imperceptibility import Difference
from uc_hf.scoring.results import Scorecard


LEAST = 2
"""Smallest number of classes, and of photographs in each, with which networks can be trained."""


@dataclass(frozen=True)
class Facts:
    """The state of a session beside its files.

    Attributes:
        folder: a folder of this machine whose photographs are read in place; None if they were uploaded.
        left_out: files that are not protected, each with its "name" and the "reason".
        strength: the strength of the copies; None before there are any.
        old_key: whether the user dropped in the key.
        warnings: the library's warnings about the photographs.
    """

    folder: str | None = None
    left_out: Sequence[Mapping[str, str]] = ()
    strength: str | None = None
    old_key: bool = False
    warnings: Sequence[str] = ()


class Session:
    """One user's work, in a folder.

    Args:
        home: the folder.
        surrogate: for fitting a new key.
        limits: for the files that are dropped in.

    Attributes:
        job: the latest job.
        version: increases whenever there is something new to show.
    """

    def __init__(self, home: Path, surrogate: str, limits: Limits) -> None:
        self.home, self.surrogate, self.limits = home, surrogate, limits
        self.job: Job | None = None
        self.version = 0
        self._previews: dict[tuple[str, str], work.Preview] = {}
        self._levels: work.Levels | None = None

    @property
    def facts(self) -> Facts:
        """The state as saved; it outlives the program."""
        file = self.home / "facts.json"
        return Facts(**json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else Facts()

    def _note(self, **changes: Any) -> None:
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        facts = asdict(replace(self.facts, **changes))
        write_whole(self.home / "facts.json", json.dumps(facts, indent=2).encode())
        self.version += 1

    # --- where things lie

    @property
    def source(self) -> Path:
        """The folder of the originals."""
        return self.home / "originals" if self.facts.folder is None else Path(self.facts.folder)

    @property
    def fitted(self) -> Path:
        """The folder of the protector, at full strength, that each strength's key is made from."""
        return self.home / "fitted"

    @property
    def out(self) -> Path:
        """The folder of the protected copies; for a folder of this machine it lies beside that folder."""
        if self.facts.folder is None:
            return self.home / "protected"
        return self.source.with_name(f"{self.source.name}-protected-{self.facts.strength}")

    @property
    def key(self) -> Path:
        """The folder of the protector that made them."""
        return self.out.with_name(f"{self.out.name}.protector")

    @property
    def folder(self) -> Folder | None:
        """The contents of `source`; None before there are photographs."""
        return list_folder(self.source) if image_folder(self.source) else None

    @property
    def photos(self) -> dict[str, Path]:
        """The name of each original within `source`, and of its copy within `out`."""
        folder = self.folder
        return {} if folder is None else {str(name): copy for name, copy in folder.copies(Container("png")).items()}

    @property
    def left_out(self) -> list[Mapping[str, str]]:
        """Files that are not protected, each with its "name" and the "reason"."""
        folder = self.folder
        found = {} if folder is None or self.facts.folder is None else folder.left_out
        unread = [{"name": shown(name), "reason": reason} for reason, names in found.items() for name in names]
        return [*self.facts.left_out, *unread]

    @property
    def n_bytes(self) -> int:
        """Size of the originals."""
        return sum((self.source / name).stat().st_size for name in self.photos)

    @property
    def classes(self) -> dict[str, str]:
        """The class of each photograph, named by its folder; empty if there are too few to train on."""
        folder = self.folder
        names, numbers = ([], {}) if folder is None else folder.classes
        found = {str(path): names[number] for path, number in numbers.items() if number is not None}
        counts = Counter(found.values())
        kept = {name: label for name, label in found.items() if counts[label] >= LEAST}
        return kept if len(set(kept.values())) >= LEAST else {}

    # --- what a person does

    def add(self, files: Sequence[Path]) -> None:
        """Take in the dropped files, and fit a key in the background.

        Raises:
            UCError: there are too many; those taken in until then stay.
        """
        self._refuse_while_busy()
        if self.facts.folder is None:
            self._forget_results()
        else:
            self._forget_copies()
            self._note(folder=None, left_out=[])
        try:
            left_out = take_in(files, self.home / "originals", self.limits)
            self._note(left_out=[*self.facts.left_out, *map(asdict, left_out)])
        finally:
            self._look()

    def use_folder(self, folder: str, *, local: bool) -> None:
        """Work on a folder of this machine, in place.

        Args:
            folder: its path.
            local: whether the page runs on the user's machine. It hides its field elsewhere, but anybody can send one.

        Raises:
            DatasetError: a server opens none; or it is no folder, or holds no photographs.
        """
        self._refuse_while_busy()
        if not local:
            raise DatasetError("this server opens no folders. Drop photos in.")
        try:
            path = Path(folder).expanduser().resolve()
            found = bool(folder.strip()) and image_folder(path) is not None
        except (RuntimeError, ValueError):  # a "~" of nobody's, a name that none can have
            found = False
        if not found:
            raise DatasetError(f"{folder!r} is not a folder of photographs on this machine. Check the path.")
        if str(path) == self.facts.folder:
            self._forget_results()
        else:
            self._forget_copies()
        self._note(folder=str(path), left_out=[])
        self._look()

    def use_key(self, file: Path) -> None:
        """Protect with an old key: the same clusters and noise as before.

        Raises:
            UCError: it is no key, or cannot give the strengths of this page.
        """
        self._refuse_while_busy()
        work.take_key(file, self.fitted)
        self._forget_levels()
        self._forget_copies()
        self._note(old_key=True)

    def protect(self, strength: str) -> None:
        """Protect all photographs at a strength; copies of an interrupted run at the same strength stay."""
        self._refuse_while_busy()
        if strength not in self.levels:
            raise DatasetError("choose how strong.")
        if strength != self.facts.strength:
            self._forget_copies()
        self._note(strength=strength)
        self._begin(f"Protecting {len(self.photos)} photos", lambda: work.protect(self), work.PROTECT)

    def test(self) -> None:
        """Train small networks on the originals and on the protected copies, and compare their accuracy."""
        self._refuse_while_busy()
        self._begin("Testing", lambda: work.test(self), work.TEST)

    def trace(self, model: str, *, local: bool) -> None:
        """Ask whether a model was trained on the published photographs.

        Args:
            model: a name on the Hub, or, where the page is local, a folder or the address of an endpoint.
            local: whether the page runs on the user's machine.

        Raises:
            DatasetError: a server may only ask models on the Hub.
        """
        self._refuse_while_busy()
        model = model.strip()
        if not model:
            raise DatasetError("name the model: USER/NAME on the Hub, for example google/vit-base-patch16-224.")
        if not local and not HUB_NAME.fullmatch(model):
            raise DatasetError(f"this server only asks models on the Hub, and {model!r} is not a name there.")
        for name in (work.EVIDENCE, work.CURVE):
            (self.home / name).unlink(missing_ok=True)
        self._begin(f"Asking {model}", lambda: work.trace(self, model), work.TRACE)

    def clear(self) -> None:
        """Forget everything: photographs that were uploaded, copies, key. A folder of this machine stays as it is."""
        if self.job is not None:
            self.job.stop()
            self.job.wait()
        shutil.rmtree(self.home, ignore_errors=True)
        self._forget_levels()
        self.job = None
        self.version += 1

    # --- what there is to see

    @property
    def busy(self) -> bool:
        """Whether a job has not ended yet."""
        return self.job is not None and self.job.busy

    @property
    def has_key(self) -> bool:
        """Whether previews can be made."""
        return (self.fitted / "config.json").is_file()

    @property
    def measured(self) -> dict[str, Difference]:
        """How visible the noise of each protected photograph is, the worst first; empty before."""
        file = self.home / "measured.json"
        read = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        return {name: Difference(**values) for name, values in read.items()}

    @property
    def thumbnails(self) -> list[str]:
        """Small pictures of the protected photographs, the most visible noise first."""
        return [str(path) for path in sorted((self.home / "thumbnails").glob("*.webp"))]

    @property
    def package(self) -> Path | None:
        """The protected copies in one file; None for a folder of this machine, which has them beside it."""
        file = self.home / work.PACKAGE
        return file if file.is_file() else None

    def preview(self, name: str, strength: str) -> work.Preview:
        """A photograph at a strength, before anything is protected."""
        made = (name, strength)
        if made not in self._previews:
            self._previews[made] = work.preview(self.levels[strength], self.original(name))
        return self._previews[made]

    @property
    def levels(self) -> Mapping[str, Protector]:
        """What a person may choose from; none before the photographs have been looked at."""
        if self._levels is None and self.has_key:
            self._levels = work.levels(self.fitted)
        return {} if self._levels is None else self._levels.protectors

    @property
    def usual(self) -> str | None:
        """The level that is chosen unless a person chooses another."""
        return self._levels.usual if self.levels and self._levels else None

    @property
    def scorecard(self) -> Scorecard | None:
        """The result of the test; None before it."""
        file = self.home / "scorecard.json"
        return Scorecard.load(file) if file.is_file() else None

    @property
    def can_testify(self) -> bool:
        """Whether photographs may have been published with this key, and their noise testifies.

        The key made copies here, or came from before.
        """
        if not (self.photos and self.has_key and (self.measured or self.facts.old_key)):
            return False
        level = self.levels.get(self.facts.strength or self.usual or "")
        return level is not None and level.fitted.noise.testifies

    @property
    def evidence(self) -> tuple[str, Path] | None:
        """What a model's answers show, in a sentence, and a picture of it; None before one was asked."""
        file = self.home / work.EVIDENCE
        if not file.is_file():
            return None
        return str(json.loads(file.read_text(encoding="utf-8"))["sentence"]), self.home / work.CURVE

    def original(self, name: str) -> Path:
        """A photograph, by its name as it came from the page.

        Raises:
            DatasetError: there is none of that name here.
        """
        self._known(name)
        return self.source / name

    def copy(self, name: str) -> Path:
        """The protected copy of a photograph.

        Raises:
            DatasetError: there is none of that name here.
        """
        return self.out / self._known(name)

    def key_file(self) -> Path:
        """The key in one file."""
        return work.key_file(self.key, self.home)

    # --- inside

    def _known(self, name: str) -> Path:
        if (copy := self.photos.get(name)) is None:
            raise DatasetError(f"there is no photograph {name!r} here.")
        return copy

    def _look(self) -> None:
        """Fit in the background, unless the user gave a key or copies exist that need theirs."""
        self._previews.clear()
        if self.photos and not self.facts.old_key and self.facts.strength is None:
            shutil.rmtree(self.fitted, ignore_errors=True)
            self._forget_levels()
            self._note(warnings=[])
            self._begin(f"Looking at {len(self.photos)} photos", lambda: work.look(self), work.LOOK)

    def _begin(self, title: str, do: Callable[[], None], expected: Mapping[str, float]) -> None:
        def and_show() -> None:
            with warnings_heard() as heard:
                try:
                    do()
                finally:
                    self._note(warnings=[*dict.fromkeys([*self.facts.warnings, *heard])])

        seconds = {phase: each * max(len(self.photos), 1) for phase, each in expected.items()}
        self.job = Job(title, and_show, seconds)
        self.version += 1

    def _forget_copies(self) -> None:
        """Remove earlier copies, their key and what was found of them; those beside a folder of this machine stay."""
        for name in ("protected", "protected.protector"):
            shutil.rmtree(self.home / name, ignore_errors=True)
        self._forget_results()
        self._note(strength=None)

    def _forget_results(self) -> None:
        """Remove what was made of the copies: it is of the photographs that there were."""
        shutil.rmtree(self.home / "thumbnails", ignore_errors=True)
        for name in ("measured.json", "scorecard.json", work.PACKAGE, work.EVIDENCE, work.CURVE):
            (self.home / name).unlink(missing_ok=True)

    def _forget_levels(self) -> None:
        self._previews.clear()
        self._levels = None

    def _refuse_while_busy(self) -> None:
        if self.busy:
            raise DatasetError("another job is still running. Wait for it, or stop it.")
