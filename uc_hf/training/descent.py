"""Steps of gradient descent, and networks that are asked meanwhile without learning from it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from torch import Tensor, nn


def take_step(
    loss: Tensor,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    accelerator: Accelerator,
) -> None:
    """One step down a loss, and one of the schedule."""
    optimizer.zero_grad()
    accelerator.backward(loss)
    optimizer.step()
    schedule.step()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Puts a network in eval mode, and back: no statistic of its batches moves meanwhile."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
