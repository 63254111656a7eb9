"""An unfinished fit on disk: safetensors and JSON, so that going on gives the bytes of an uninterrupted fit."""

import hashlib
import json
import logging
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Generator, Tensor, nn

from uc_hf.data.progress import Bar
from uc_hf.errors import OutputError, SettingError
from uc_hf.files import cannot_write, check_writable, set_aside, write_whole


logger = logging.getLogger(__name__)

CHECKPOINTS = 20
"""Number of checkpoints of a fit: an interruption loses at most a twentieth of it."""

DIGEST = "digest"
"""The key of a checkpoint's own digest in its metadata."""

_REMEDY = (
    "Make room there, set HF_HOME to a folder that you may write to, or pass another checkpoint_dir; the fit goes on "
    "from its last checkpoint."
)


def check_place(folder: Path) -> None:
    """Refuse a folder that takes no checkpoint, before hours are spent.

    Raises:
        OutputError: no space left, or it cannot be written to.
    """
    try:
        check_writable(folder)
    except OutputError as error:
        raise cannot_write(f"the checkpoint folder {folder}", error, _REMEDY) from error


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a checkpoint; a crash while writing leaves the previous file whole.

    Raises:
        OutputError: no space left, or the place cannot be written to.
    """
    tensors = {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}
    try:
        write_whole(path, save(tensors, metadata | {DIGEST: _digest(tensors, metadata)}))
    except OutputError as error:
        raise cannot_write(f"the checkpoint {path}", error, _REMEDY) from error


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]] | None:
    """What `save_tensors` has written, tensors and metadata; a damaged file is set aside, and a warning says so.

    Returns:
        None where there is nothing to go on from.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        if metadata.pop(DIGEST, None) == _digest(tensors, metadata):
            return tensors, metadata
    except SafetensorError as error:
        logger.debug("%s: %s", path, error)
    logger.warning("The checkpoint is damaged, so that the fit begins again. It is kept as %s.", set_aside(path))
    return None


def _digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(sorted(metadata.items())).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


class FitState:
    """All that an interrupted fit needs to go on to the same bytes, in one safetensors file.

    Attributes:
        shown: scalars of the present step, by the name that the progress bar gives them.
    """

    def __init__(
        self,
        noise: nn.Module,
        optimizer: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LRScheduler,
        generator: Generator,
    ) -> None:
        self.noise, self.optimizer, self.schedule, self.generator = noise, optimizer, schedule, generator
        self.shown: dict[str, Tensor] = {}

    def steps(self, total: int, checkpoint: Path | None, title: str) -> Iterator[int]:
        """The number of each step that is still to be done, beside a progress bar.

        Args:
            total: steps of the whole fit.
            checkpoint: a file to go on from when it exists, and to write to after every `CHECKPOINTS`th part.
            title: of the bar.
        """
        done = 0 if checkpoint is None else self.load(checkpoint)
        every = math.ceil(total / CHECKPOINTS)
        with Bar(total=total, initial=done, desc=title, unit="step") as bar:
            for step in range(done, total):
                yield step
                bar.update()
                if (step + 1) % every == 0:
                    # A GPU is waited for here.
                    bar.set_postfix({name: f"{value.item():.3f}" for name, value in self.shown.items()})
                    if checkpoint is not None:
                        self.save(checkpoint, step + 1)

    def save(self, path: Path, step: int) -> None:
        """Write the state after `step` steps."""
        tensors = {f"noise.{name}": tensor for name, tensor in self.noise.state_dict().items()}
        for index, slots in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in slots.items()}
        tensors["generator"] = self.generator.get_state()
        metadata = {
            "step": str(step),
            "schedule": json.dumps(self.schedule.state_dict()),
            "learning_rate": repr(self.optimizer.param_groups[0]["lr"]),
        }
        save_tensors(path, tensors, metadata)

    def load(self, path: Path) -> int:
        """Take up the state of a file, if there is one.

        Returns:
            the number of steps that were done.

        Raises:
            SettingError: the file belongs to another fit.
        """
        saved = load_tensors(path)
        if saved is None:
            return 0
        tensors, metadata = saved
        noise = {name.removeprefix("noise."): t for name, t in tensors.items() if name.startswith("noise.")}
        try:
            self.noise.load_state_dict(noise)
        except RuntimeError as error:
            raise SettingError(f"{path} was written by a fit with other settings: remove it. {error}") from error
        slots: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith("optimizer."):
                _, index, slot = name.split(".")
                slots.setdefault(int(index), {})[slot] = tensor
        whole = self.optimizer.state_dict()
        whole["state"] = slots
        whole["param_groups"][0]["lr"] = float(metadata["learning_rate"])
        self.optimizer.load_state_dict(whole)
        self.schedule.load_state_dict(json.loads(metadata["schedule"]))
        self.generator.set_state(tensors["generator"])
        logger.info("going on after step %s", metadata["step"])
        return int(metadata["step"])
