"""One fraction and one remaining time over all phases of a job."""

import time
from collections.abc import Callable, Mapping

from uc_hf.data.progress import Progress


KNOWN = 0.05
"""Of a phase of which that share is done its own speed is believed, of others what was expected."""


class Estimate:
    """How far a job is, from the progress of its phases.

    Args:
        expected: seconds of each phase on a common machine, in their order; how wrong they are on this one is
            found out while the job runs.
        clock: gives the present time in seconds.
    """

    def __init__(self, expected: Mapping[str, float], clock: Callable[[], float] = time.monotonic) -> None:
        self.latest: Progress | None = None
        self._expected, self._clock = dict(expected), clock
        self._spent = dict.fromkeys(expected, 0.0)
        self._share = dict.fromkeys(expected, 0.0)
        self._start = self._last = clock()
        self._shown = 0.0

    def hear(self, report: Progress) -> None:
        """Take note of a phase's progress: a listener, as `uc_hf.data.progress.listening` takes it."""
        now, phase = self._clock(), report.phase
        self._expected.setdefault(phase, 0.0)
        self._spent[phase] = self._spent.get(phase, 0.0) + now - self._last
        done = report.done / report.total if report.total else 0.0
        self._share[phase] = max(self._share.get(phase, 0.0), min(done, 1.0))
        self._last, self.latest = now, report

    @property
    def remaining(self) -> float:
        """Seconds that the job will still take."""
        known = [phase for phase, share in self._share.items() if share >= KNOWN and self._expected[phase]]
        foreseen = sum(self._expected[phase] * self._share[phase] for phase in known)
        slower = sum(self._spent[phase] for phase in known) / foreseen if foreseen else 1.0
        return sum(self._left(phase, slower) for phase in self._expected)

    def _left(self, phase: str, slower: float) -> float:
        share = self._share.get(phase, 0.0)
        if share >= KNOWN:
            return self._spent[phase] * (1 / share - 1)
        return self._expected[phase] * slower * (1 - share)

    @property
    def fraction(self) -> float:
        """How much of the job's time is over, in [0, 1]; it never goes back."""
        elapsed, remaining = self._clock() - self._start, self.remaining
        if elapsed + remaining > 0:
            self._shown = max(self._shown, elapsed / (elapsed + remaining))
        return self._shown
