"""Work in the background: one job at a time, in a thread, which reports its progress to the page."""

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from enum import StrEnum

from uc_hf.cli.console import duration
from uc_hf.cli.estimate import Estimate
from uc_hf.data.progress import Progress, listening
from uc_hf.errors import UCError


logger = logging.getLogger(__name__)

FEW = 10
"""Remaining seconds below which the page says "a few seconds"."""

_worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="uc_hf")
"""One for all users of the page: two jobs at once would compete for the cores, and both take longer than in turn."""


class State(StrEnum):
    """Where a job is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"


class StoppedError(Exception):
    """The job was asked to stop."""


class Job:
    """A piece of work in the background.

    Args:
        title: what is done, for a person: "Protecting 12 photos".
        work: does it.
        expected: seconds of its phases, as `Estimate` takes them.

    Attributes:
        state: where it is.
        error: why it failed, for a person.
    """

    def __init__(self, title: str, work: Callable[[], None], expected: Mapping[str, float]) -> None:
        self.title, self.state = title, State.WAITING
        self.error: str | None = None
        self._work, self._expected = work, expected
        self._estimate: Estimate | None = None
        self._stopping = False
        self._future: Future[None] = _worker.submit(self._run)

    def _run(self) -> None:
        if self._stopping:
            self.state = State.STOPPED
            return
        self._estimate, self.state = Estimate(self._expected), State.RUNNING
        try:
            with listening(self._hear):
                self._work()
            self.state = State.DONE
        except StoppedError:
            self.state = State.STOPPED
        except UCError as error:
            self.error, self.state = str(error), State.FAILED
        except Exception as error:
            logger.exception("%s failed", self.title)
            self.error, self.state = f"This should not have happened: {type(error).__name__}: {error}", State.FAILED

    def _hear(self, report: Progress) -> None:
        if self._stopping:
            raise StoppedError
        if self._estimate is not None:
            self._estimate.hear(report)

    def stop(self) -> None:
        """Ask the job to stop at its next step; its files stay, and the same job continues from there."""
        self._stopping = True

    def wait(self) -> None:
        """Wait until it has ended."""
        self._future.result()

    @property
    def busy(self) -> bool:
        """Whether it has not ended yet."""
        return self.state in (State.WAITING, State.RUNNING)

    @property
    def fraction(self) -> float:
        """How much of it is done, in [0, 1]."""
        if self.state == State.DONE:
            return 1.0
        return 0.0 if self._estimate is None else self._estimate.fraction

    @property
    def told(self) -> str:
        """Where it is, in words."""
        if self._estimate is None:
            return f"{self.title}: waiting for another job to end"
        if self.state != State.RUNNING:
            return f"{self.title}: {self.state}"
        told = self.title
        if (latest := self._estimate.latest) is not None:
            told += f": {latest.phase}" + (f", {latest.done} of {latest.total}" if latest.total else "")
        left = self._estimate.remaining
        if not left:
            return told
        return f"{told}; {'a few seconds' if left < FEW else f'about {duration(round(left, -1))}'} left"
