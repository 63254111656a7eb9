"""One bar and one remaining time over the phases of a job."""

from uc_hf.cli.estimate import Estimate
from uc_hf.data.progress import Progress


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_remaining_time_comes_from_how_fast_this_machine_is() -> None:
    clock = Clock()
    estimate = Estimate({"checking": 10, "protecting": 90}, clock)
    assert (estimate.fraction, estimate.remaining) == (0, 100)
    for done in range(11):
        clock.now = 2.0 * done  # twice as slow as expected
        estimate.hear(Progress("checking", done, 10))
    assert estimate.remaining == 180 and estimate.fraction == 0.1
    for done in range(1, 91):
        clock.now = 20.0 + done  # and this as fast as expected
        estimate.hear(Progress("protecting", done, 90))
    assert estimate.remaining == 0 and estimate.fraction == 1


def test_the_bar_never_goes_back() -> None:
    clock = Clock()
    estimate, seen = Estimate({"a": 1, "b": 1}, clock), []
    for phase in ("a", "b", "unforeseen"):
        for done in range(11):
            clock.now += 1 if phase == "a" else 5
            estimate.hear(Progress(phase, done, 10))
            seen.append(estimate.fraction)
    assert seen == sorted(seen) and seen[-1] == 1


def test_a_phase_of_unknown_length_says_nothing_of_the_remaining_time() -> None:
    estimate = Estimate({"checking": 5}, Clock())
    estimate.hear(Progress("checking", 3, None))
    assert estimate.remaining == 5 and estimate.latest == Progress("checking", 3, None)
