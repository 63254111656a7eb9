"""Projected gradient descent in an L-infinity ball (Madry et al. 2018): the one inner search of the library.

A scraper who trains adversarially searches what raises the loss; error-minimising noise is what lowers it; and
targeted noise what lowers the loss of another label.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def descend(
    loss: Callable[[Tensor], Tensor], images: Tensor, change: Tensor, *, bound: float, step: float, steps: int
) -> Tensor:
    """Signed gradient steps down a loss, projected back into the ball after each.

    The loss sees images that are cut off at black and white. A pixel that is there already and is first pushed further
    has no gradient from then on: it keeps a change that shows nowhere.

    Args:
        loss: of images float [N, 3, H, W] in [0, 1], a scalar: the sum or mean over them.
        images: float [N, 3, H, W] in [0, 1].
        change: float [N, 3, H, W], where to start, within the bound.
        bound: the radius of the ball, in [0, 1] pixel units.
        step: of each pixel, the same units.
        steps: how many.

    Returns:
        float [N, 3, H, W], the change within the bound.
    """
    for _ in range(steps):
        change = change.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(loss((images + change).clamp(0, 1)), change)
        change = (change.detach() - step * gradient.sign()).clamp(-bound, bound)
    return change
