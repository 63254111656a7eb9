"""Which GPU a process takes, and that workers of every kind keep to one thread."""

import multiprocessing
import pickle
from typing import Any

import multiprocess
import pytest
import torch

from uc_hf import UCProtector
from uc_hf.training.devices import worker_device


@pytest.fixture
def four_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)


@pytest.mark.usefixtures("four_gpus")
@pytest.mark.parametrize(("rank", "index"), [("", 0), ("0", 0), ("3", 3), ("5", 1)])
def test_a_process_takes_the_gpu_of_its_local_rank(rank: str, index: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", rank)
    assert worker_device() == torch.device("cuda", index)


def tell(protector: bytes, told: Any) -> None:
    torch.set_num_threads(2)
    pickle.loads(protector)
    told.put((str(worker_device()), torch.get_num_threads()))


@pytest.mark.usefixtures("four_gpus")
@pytest.mark.parametrize("library", [multiprocess, multiprocessing])
def test_workers_take_a_gpu_each_and_one_thread(library: Any, fitted: UCProtector) -> None:
    context = library.get_context("fork")
    told, protector = context.SimpleQueue(), pickle.dumps(fitted)
    workers = [context.Process(target=tell, args=(protector, told)) for _ in range(2)]
    for worker in workers:
        worker.start()
    (one, threads), (other, _) = told.get(), told.get()
    for worker in workers:
        worker.join()
    assert one.startswith("cuda:") and one != other and threads == 1
