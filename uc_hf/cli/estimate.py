"""One fraction and one remaining time over all phases of a job."""

import time
from collections.abc import Callable, Mapping

from uc_hf.data.progress import Progress


KNOWN = 0.05
"""From this share on a phase is judged by its own speed; before, by the expected one."""

TELLING = 0.05
"""Share of the expected time from which on what was spent tells how fast the machine is: a start takes time itself."""


class Estimate:
    """How far a job is, from the progress of its phases.

    Args:
        expected: seconds of each phase on a common machine, in their order; they are corrected for this machine
            while the job runs.
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
        """Record a phase's progress; a listener for `uc_hf.data.progress.listening`."""
        now, phase = self._clock(), report.phase
        self._expected.setdefault(phase, 0.0)
        self._spent[phase] = self._spent.get(phase, 0.0) + now - self._last
        done = report.done / report.total if report.total else 0.0
        self._share[phase] = max(self._share.get(phase, 0.0), min(done, 1.0))
        self._last, self.latest = now, report

    @property
    def remaining(self) -> float:
        """Estimated seconds until the job ends."""
        known = [phase for phase, share in self._share.items() if share >= KNOWN and self._expected[phase]]
        foreseen = sum(self._expected[phase] * self._share[phase] for phase in known)
        telling = foreseen > TELLING * sum(self._expected.values())
        slower = sum(self._spent[phase] for phase in known) / foreseen if telling else 1.0
        return sum(self._left(phase, slower) for phase in self._expected)

    def _left(self, phase: str, slower: float) -> float:
        share = self._share.get(phase, 0.0)
        if share >= KNOWN:
            return self._spent[phase] * (1 / share - 1)
        return self._expected[phase] * slower * (1 - share)

    @property
    def fraction(self) -> float:
        """Share of the job's time that has passed, in [0, 1]; it never decreases."""
        elapsed, remaining = self._clock() - self._start, self.remaining
        if elapsed + remaining > 0:
            self._shown = max(self._shown, elapsed / (elapsed + remaining))
        return self._shown
