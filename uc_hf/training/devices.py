"""The device that a process works on, in which precision, and how it is made to give equal results for equal work."""

import multiprocessing
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeVar

import multiprocess
import torch
from accelerate import Accelerator
from torch import nn

from uc_hf.errors import SettingError, SurrogateError, first_line


Network = TypeVar("Network", bound=nn.Module)


def worker_device() -> torch.device:
    """The GPU of this process: that of its LOCAL_RANK; otherwise workers, map's or Python's own, take one in turn."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", _number_here() % torch.cuda.device_count())


def _number_here() -> int:
    """The number of this process among those that work side by side on this machine."""
    if rank := os.environ.get("LOCAL_RANK"):
        return int(rank)
    processes = (multiprocess.current_process(), multiprocessing.current_process())
    return next((process._identity[0] - 1 for process in processes if process._identity), 0)


def is_worker() -> bool:
    """Whether this process is a worker of map, or of Python's own multiprocessing."""
    return multiprocess.parent_process() is not None or multiprocessing.parent_process() is not None


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


def find_device(device: str | torch.device) -> torch.device:
    """A device by its name: "cpu", "cuda", "cuda:1", "mps".

    Raises:
        SettingError: it is no device, or this machine has none.
    """
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:
        raise SettingError(f"device={str(device)!r}: {first_line(error)}. Write 'cpu', or leave it out.") from error
    return found


@contextmanager
def accelerator_on(device: torch.device | None) -> Iterator[Accelerator]:
    """An accelerator for one process on a device; None for the one that Accelerate chooses.

    Raises:
        SettingError: Accelerate works on another kind of device in this process already.
    """
    if device is None:
        yield Accelerator()
        return
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        try:
            accelerator = Accelerator(cpu=device.type == "cpu")
        except ValueError:
            accelerator = Accelerator()
        if accelerator.device.type != device.type:
            raise SettingError(
                f"device={str(device)!r}: Accelerate works on {accelerator.device} in this process already. Start a "
                "new one, or pass an accelerator= of your own."
            )
        yield accelerator


@contextmanager
def deterministic() -> Iterator[None]:
    """Have cuDNN take algorithms that give the same bits each time; on the CPU it changes nothing."""
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic = before


@contextmanager
def seeded(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Have what draws from torch's global generators draw from a seed: fresh weights, dropout.

    Args:
        seed: of the draws.
        device: its generator and the CPU's are put back; None for the CPU's alone, which is all that a forked worker
            can touch.
    """
    with torch.random.fork_rng(devices=[device] if device is not None and device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def mixed_precision(accelerator: Accelerator) -> str:
    """The precision in which targets are trained, by Accelerate's name for it.

    Returns:
        that of the accelerator, which all of a process share, if it was made in another one than full; otherwise what
        ACCELERATE_MIXED_PRECISION says ("no" or "bf16"); without it "bf16" on a device that has instructions for it
        (elsewhere it is slower than full precision), and "no" on others.
    """
    if accelerator.mixed_precision != "no":
        return accelerator.mixed_precision
    if chosen := os.environ.get("ACCELERATE_MIXED_PRECISION"):
        return chosen
    if accelerator.device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no"
    able = torch.cpu.get_capabilities()
    cpu = accelerator.device.type == "cpu" and any(able.get(name) for name in ("avx512_bf16", "amx_bf16", "sve_bf16"))
    return "bf16" if cpu else "no"


def autocast(accelerator: Accelerator) -> AbstractContextManager[None]:
    """Forward passes in `mixed_precision`, also where the accelerator itself leaves them in full precision."""
    if mixed_precision(accelerator) == "bf16":
        return torch.autocast(accelerator.device.type, torch.bfloat16)
    return accelerator.autocast()
