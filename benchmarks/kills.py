"""Kill `uc-hf` at random moments, damage what it has finished, and compare the end with a run that nobody disturbed.

    OMP_NUM_THREADS=1 HF_HOME=/tmp/kills/home python -m benchmarks.kills --work /tmp/kills --kills 200 --out kills.json

Five jobs take turns: a fit, a folder of pictures, a parquet file, a push to a Hub, and a score. Each is first run
without a break. Then the same command is run again and again in a fresh place. It gets SIGKILL, SIGTERM, SIGINT or
SIGHUP at a random moment of its work, and after every second kill one of the files that it has finished is emptied,
cut in half, filled with zeros, changed by a bit, replaced, or removed. After a few kills it may run to its end. Then
every file must have the bytes of the undisturbed run, and nothing unfinished may lie beside them: the benchmark ends
with an error at the first difference. Where a command refuses to go on, because what tells whose an output is was
damaged, its remedy is followed and counted.

The Hub is the stand-in of the tests, on this machine. HF_HOME is emptied between the runs. Needs a POSIX system.
"""

import argparse
import hashlib
import json
import logging
import multiprocessing
import os
import random
import re
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import cycle
from multiprocessing.process import BaseProcess
from pathlib import Path

from huggingface_hub import constants

from tests.minihub import TOKEN, MiniHub
from tests.stored import DAMAGE
from uc_hf.cli.app import app
from uc_hf.cli.sheet import BEGINS
from uc_hf.data.generated import generated_dataset
from uc_hf.publishing import dataset


logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
REMEDIES = ("Empty it", "Copy it again", "Name the one that has", "Choose another")
"""Of what a command cannot mend by itself: a protector without which nobody could tell what lies in its outputs."""

FORKED = multiprocessing.get_context("forkserver")
"""Runs are forked from a process that has loaded the libraries: most of the time of a small run goes there."""

UNREAD = ("noise.png", "README.md", "commitment.json")
"""Not damaged: of a protector nothing is read from these again, and an edited card is its owner's, and kept."""

DATE = re.compile(rb"20\d\d-\d\d-\d\d")
"""A commitment says on which day it was made."""

PHOTOS, ROWS, SIDE = 40, 300, 96
SHARD_ROWS = 100
"""In place of a thousand: several shards of few rows."""

KILLS_OF_A_CYCLE = 8


@dataclass(frozen=True)
class Job:
    """A command.

    Attributes:
        name: of the job.
        words: what is written behind `uc-hf`.
        repository: that it fills on the Hub.
    """

    name: str
    words: Sequence[str]
    repository: str | None = None


@dataclass
class Tally:
    """What happened to a job.

    Attributes:
        kills: by signal.
        damaged: finished files, by what was done to them.
        refused: how often the command's remedy had to be followed.
        compared: how often it was run to its end, each time with equal bytes.
        seconds: of the work of the undisturbed run.
    """

    kills: Counter[str] = field(default_factory=Counter)
    damaged: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    compared: int = 0
    seconds: float = 0.0


class Disturbed:
    """Runs of one job in one place."""

    def __init__(self, job: Job, place: Path, hub: MiniHub, rng: random.Random) -> None:
        self.job, self.hub, self.rng = job, hub, rng
        self.here, self.home, self.log = place / "here", Path(constants.HF_HOME), place / "said.txt"
        self.tally = Tally()

    def straight(self) -> None:
        """Run the job without a break, and keep what it ends with."""
        self.clear()
        process = self._start()
        self._await_work(process)
        began = time.monotonic()
        if _ended(process):
            raise SystemExit(f"{self.job.name}: {self._said()}")
        self.tally.seconds = round(time.monotonic() - began, 1)
        self.expected, self.span = self._contents(), self.tally.seconds

    def disturbed(self) -> None:
        """Kill a few runs, damage something between them, let one run to its end, and compare."""
        self.clear()
        left = self.span
        for turn in range(self.rng.randint(1, KILLS_OF_A_CYCLE)):
            moment = self.rng.random() * left
            lasted = self._killed(moment)
            if lasted is not None:
                self.span = lasted if turn == 0 else self.span
                break
            left -= moment / 2
            if self.rng.random() < 0.5:
                self._damage()
        while _ended(self._start()):
            self._follow_remedy()
        found = self._contents()
        if found != self.expected:
            odd = sorted(name for name in found.keys() | self.expected if found.get(name) != self.expected.get(name))
            raise SystemExit(f"{self.job.name}: {odd} differ from those of the undisturbed run")
        self.tally.compared += 1

    def clear(self) -> None:
        """Remove all that the job has written."""
        for folder in (self.here, self.home):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        self.hub.repos.pop(("datasets", self.job.repository or ""), None)

    def _start(self) -> BaseProcess:
        process = FORKED.Process(target=_run, args=(self.job.words, self.here, self.log))
        process.start()
        return process

    def _said(self) -> str:
        return self.log.read_text(errors="replace")[-2000:]

    def _await_work(self, process: BaseProcess) -> None:
        """Wait until a run has locked its places: Python and the libraries are loaded by then."""
        while process.is_alive() and not any(_is_of(process, lock) for lock in self.here.rglob(".*.lock")):
            time.sleep(0.01)

    def _killed(self, moment: float) -> float | None:
        """Kill a run some seconds into its work; the seconds that it took if it ended before."""
        process, number = self._start(), self.rng.choice(SIGNALS)
        self._await_work(process)
        began = time.monotonic()
        process.join(moment)
        if process.pid is not None and process.is_alive():
            with suppress(ProcessLookupError):
                os.kill(process.pid, number)
        if _ended(process) in (0, 1):
            return time.monotonic() - began
        self.tally.kills[number.name] += 1
        return None

    def _damage(self) -> None:
        """Do something to a finished file."""
        fits = (self.home / "uc_hf").rglob("*")
        files = [path for path in (*self.here.rglob("*"), *fits) if _is_read(path) and _holds_bytes(path)]
        finished = sorted(path for path in files if not path.name.startswith("."))
        if finished:
            file, damage = self.rng.choice(finished), self.rng.choice(sorted(DAMAGE))
            if file.name == "scorecard.json" and "bit" in damage:
                damage = "half"  # a digit of a scorecard may be a person's doing
            DAMAGE[damage](file)
            self.tally.damaged[damage] += 1

    def _follow_remedy(self) -> None:
        """Empty the job's places, where that is what the command has asked for."""
        if not any(remedy in self._said() for remedy in REMEDIES):
            raise SystemExit(f"{self.job.name}: {self._said()}")
        self.tally.refused += 1
        self.clear()

    def _contents(self) -> dict[str, str]:
        """The digest of each file that the job has left, its files on the Hub included."""
        found = {
            path.relative_to(self.here).as_posix(): _digest(path.read_bytes())
            for path in self.here.rglob("*")
            # Manifests tell of times, a damaged scorecard is kept under another name, a sheet shows one run's work.
            if path.is_file()
            and path.parent.name != "outputs"
            and path.suffix != ".damaged"
            and not path.name.startswith(BEGINS)
        }
        if self.job.repository is not None:
            files = self.hub.files("datasets", self.job.repository)
            found |= {f"hub/{name}": _digest(data) for name, data in files.items()}
        return found


def _is_read(path: Path) -> bool:
    return path.name not in UNREAD and not path.name.startswith(BEGINS)


def _holds_bytes(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _digest(data: bytes) -> str:
    return hashlib.sha256(DATE.sub(b"", data)).hexdigest()


def _run(words: Sequence[str], here: Path, log: Path) -> None:
    """What the program does that a user starts, but for loading the libraries, which the parent has done."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with log.open("wb") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    os.chdir(here)
    dataset.SHARD_ROWS = SHARD_ROWS
    app([*words], prog_name="uc-hf")


def _ended(process: BaseProcess) -> int | None:
    process.join()
    return process.exitcode


def _is_of(process: BaseProcess, lock: Path) -> bool:
    try:
        return lock.read_text(errors="replace").startswith(f"process {process.pid} ")
    except FileNotFoundError:
        return False


def make_sources(folder: Path) -> None:
    """Pictures as files, as rows, and a clean set beside a protected one."""
    train, test = generated_dataset(n_train=ROWS, n_test=100).values()
    (folder / "photos").mkdir(parents=True)
    for row in range(PHOTOS):
        train[row]["image"].resize((SIDE, SIDE)).save(folder / "photos" / f"{row:03}.png")
    train.to_parquet(folder / "rows.parquet")
    small = {"train": train.select(range(200)), "test": test}
    for split, rows in small.items():
        rows.to_parquet(folder / "clean" / f"{split}.parquet")


def jobs(sources: Path) -> list[Job]:
    """The five commands."""
    photos, rows, clean = (str(sources / name) for name in ("photos", "rows.parquet", "clean"))
    fast = ["--surrogate", "uc_hf/tiny", "--n-clusters", "4"]
    learnt = ["--parametrisation", "direct", "--steps", "10", "--canvas-size", "32"]
    short = ["--seeds", "2", "--epochs", "2", "--image-size", "16"]
    return [
        Job("fit", ["protect", photos, "--out", "out", *fast, *learnt]),
        Job("folder", ["protect", photos, "--out", "out", *fast]),
        Job("parquet", ["protect", rows, "--out", "out", *fast]),
        Job("push", ["protect", rows, "--push-to", "me/rows", *fast], "me/rows"),
        Job("score", ["score", str(sources / "making" / "here" / "out"), "--clean", clean, "--out", "report", *short]),
    ]


def main() -> None:
    """Disturb the jobs by turns until enough runs were killed, and report as JSON."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="a folder for sources and runs; it is emptied")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="of signals, moments and damage")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    work, rng = args.work.resolve(), random.Random(args.seed)
    if not Path(constants.HF_HOME).resolve().is_relative_to(work):
        raise SystemExit("HF_HOME is emptied: set it to a folder within --work.")
    shutil.rmtree(work, ignore_errors=True)
    make_sources(work / "sources")
    FORKED.set_forkserver_preload(["uc_hf.cli.protect", "uc_hf.cli.score", "uc_hf.methods.registry"])
    with MiniHub() as hub:
        (work / "tmp").mkdir()
        os.environ |= {
            "TMPDIR": str(work / "tmp"),
            "HF_ENDPOINT": hub.url,
            "HF_TOKEN": TOKEN,
            "HF_HUB_DISABLE_XET": "1",
        }
        making = Job(
            "source", ["protect", str(work / "sources" / "clean"), "--out", "out", "--surrogate", "uc_hf/tiny"]
        )
        Disturbed(making, work / "sources" / "making", hub, rng).straight()
        runs = [Disturbed(job, work / job.name, hub, rng) for job in jobs(work / "sources")]
        for run in runs:
            run.straight()
            logger.info("%s: undisturbed, %s s of work", run.job.name, run.tally.seconds)
        for run in cycle(runs):
            killed = sum(sum(each.tally.kills.values()) for each in runs)
            args.out.write_text(json.dumps({each.job.name: vars(each.tally) for each in runs}, indent=2) + "\n")
            if killed >= args.kills:
                break
            run.disturbed()
            logger.info("%d kills; %s: %s", killed, run.job.name, run.tally)


if __name__ == "__main__":
    main()
