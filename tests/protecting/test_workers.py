"""Several processes give the bytes of one, and a killed one is told in a sentence."""

import os
import signal

import pytest
from datasets import Dataset

from uc_hf import UCProtector
from uc_hf.data import images
from uc_hf.protecting.workers import working_in


def test_processes_give_the_same_bytes_and_a_killed_one_is_said(tiles: Dataset, surrogate_folder: str) -> None:
    protector = UCProtector(surrogate=surrogate_folder, n_clusters=2).fit(tiles.select(range(12)))
    pictures = [images.decode(row["image"]) for row in tiles.select(range(12))]
    expected = protector.protect(pictures)
    with working_in(protector, 2):
        assert protector.protect(pictures) == expected
        workers = protector.workers
        assert workers is not None
        for process in list(workers._pool._processes):
            os.kill(process, signal.SIGKILL)
        with pytest.raises(MemoryError, match="a worker process was killed; fewer of them"):
            protector.protect(pictures)
    assert protector.workers is None and protector.protect(pictures) == expected
