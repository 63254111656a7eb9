"""The device that a process works on, and how it is made to give equal results for equal work."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import multiprocess
import torch
from torch import nn

from uc_hf.errors import SurrogateError


Network = TypeVar("Network", bound=nn.Module)


def worker_device() -> torch.device:
    """The GPU of this process: map's workers take one each in turn."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    identity = multiprocess.current_process()._identity
    return torch.device("cuda", (identity[0] - 1 if identity else 0) % torch.cuda.device_count())


def to_worker_device(network: Network) -> Network:
    """A network on the device of this process.

    Raises:
        SurrogateError: this process was forked from one that used the GPU, which CUDA does not allow.
    """
    try:
        return network.to(worker_device())
    except RuntimeError as error:
        if "forked subprocess" not in str(error):
            raise
        raise SurrogateError(
            "a worker that is forked from a process which has used the GPU cannot use it. Leave num_proc (of a "
            'DataLoader: num_workers) out, or have workers started anew: multiprocess.set_start_method("spawn") '
            'below if __name__ == "__main__":, before map.'
        ) from error


@contextmanager
def deterministic() -> Iterator[None]:
    """Have cuDNN take algorithms that give the same bits each time; on the CPU it changes nothing."""
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic = before
