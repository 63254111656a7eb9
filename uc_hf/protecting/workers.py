"""Processes that add noise, check and encode, side by side; the groups are found in the process that asks them."""

import multiprocessing
import pickle
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from uc_hf.data.images import Picture
from uc_hf.training.memory import keep_freed_memory


if TYPE_CHECKING:
    from uc_hf.protecting.protector import Protector


class Workers:
    """A protector in several processes, which are started anew: one that is forked cannot use its parent's GPU.

    Args:
        protector: fitted.
        count: of processes.
    """

    def __init__(self, protector: "Protector[Any]", count: int) -> None:
        anew = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(count, anew, initializer=_begin, initargs=(pickle.dumps(protector),))

    def protect_groups(self, pictures: Sequence[Picture], groups: np.ndarray) -> list[bytes]:
        """As `Protector.protect_groups`, with the same bytes.

        Raises:
            MemoryError: a process was killed.
        """
        try:
            return list(self._pool.map(_protect, pictures, groups.tolist()))
        except BrokenProcessPool as error:
            raise MemoryError("a worker process was killed; fewer of them, --num-proc, take less memory") from error

    def close(self) -> None:
        """End the processes."""
        self._pool.shutdown(cancel_futures=True)


@contextmanager
def working_in(protector: "Protector[Any]", count: int) -> Iterator[None]:
    """Have a protector work in so many processes; with one it works in this one."""
    if count < 2:
        yield
        return
    protector.workers = Workers(protector, count)
    try:
        yield
    finally:
        protector.workers.close()
        protector.workers = None


_protector: "Protector[Any]"
"""That of a worker process."""


def _begin(protector: bytes) -> None:
    global _protector
    keep_freed_memory()
    torch.set_num_threads(1)
    _protector = pickle.loads(protector)


def _protect(picture: Picture, group: int) -> bytes:
    [made] = _protector.protect_groups([picture], np.array([group]))
    return made
