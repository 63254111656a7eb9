"""What a benchmark runs on, and the clock that its figures are read from."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import torch


def device_name() -> str:
    """The GPU, or the CPU with the number of its threads."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU, {torch.get_num_threads()} threads"


def seconds_of(job: Callable[[], object]) -> float:
    """Wall time of a job, whatever it leaves on the GPU included."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start = time.perf_counter()
    job()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def time_in_turn(jobs: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each job in each repeat, one job after the other, after a first round that does not count."""
    rounds = [{name: seconds_of(job) for name, job in jobs.items()} for _ in range(repeats + 1)]
    return {name: [seconds[name] for seconds in rounds[1:]] for name in jobs}


def median_ratio(dividends: Sequence[float], divisors: Sequence[float]) -> float:
    """Median of the ratios of neighbours in time: what slows the whole machine for a while cancels out."""
    return statistics.median(a / b for a, b in zip(dividends, divisors, strict=True))
