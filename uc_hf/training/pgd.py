"""Projected gradient descent (PGD) in an L-infinity ball (Madry et al. 2018).

Adversarial training uses it to raise the loss, error-minimising noise to lower it, and targeted noise to lower the
loss of another label.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def descend(
    loss: Callable[[Tensor], Tensor], images: Tensor, change: Tensor, *, bound: float, step: float, steps: int
) -> Tensor:
    """Take signed gradient steps down a loss and project back into the ball after each.

    The loss sees images clipped to [0, 1]. Where a pixel is clipped it has no gradient, so it may keep a change that
    is not visible.

    Args:
        loss: of images float [N, 3, H, W] in [0, 1], a scalar: the sum or mean over them.
        images: float [N, 3, H, W] in [0, 1].
        change: float [N, 3, H, W], the change to start from, within the bound.
        bound: radius of the ball, in [0, 1] pixel units.
        step: size of a step, in the same units.
        steps: number of steps.

    Returns:
        float [N, 3, H, W], the change within the bound.
    """
    for _ in range(steps):
        change = change.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(loss((images + change).clamp(0, 1)), change)
        change = (change.detach() - step * gradient.sign()).clamp(-bound, bound)
    return change
