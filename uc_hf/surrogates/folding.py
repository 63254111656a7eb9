"""Fold batch normalisation into the convolutions before it: in eval mode the same function, with fewer operations."""

import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval


logger = logging.getLogger(__name__)

TOLERANCE = 1e-3
"""Largest change of an output that counts as rounding, as a share of the largest output."""


@torch.no_grad()
def fold_batch_norm(encoder: nn.Module, run: Callable[[], Tensor]) -> int:
    """Fold, in place, each BatchNorm2d whose input is the output of a convolution.

    Which layer follows which is observed in one forward pass, not inferred from names. If the output changes by more
    than rounding, because a convolution's output is also used elsewhere, all layers are restored.

    Args:
        encoder: frozen, in eval mode.
        run: passes an example through `encoder`.

    Returns:
        how many were folded.
    """
    expected, pairs = _watch(encoder, run)
    names = {module: name for name, module in encoder.named_modules()}
    before: dict[str, nn.Module] = {}
    for convolution, norm in pairs:
        folded = fuse_conv_bn_eval(convolution, norm)
        replaced: tuple[tuple[nn.Module, nn.Module], ...] = ((convolution, folded), (norm, nn.Identity()))
        for old, new in replaced:
            before[names[old]] = old
            encoder.set_submodule(names[old], new)
    if (run() - expected).abs().max() > TOLERANCE * expected.abs().max():
        for name, module in before.items():
            encoder.set_submodule(name, module)
        logger.info("the batch normalisation of %s is not folded: its output would change", type(encoder).__name__)
        return 0
    return len(pairs)


def _watch(encoder: nn.Module, run: Callable[[], Tensor]) -> tuple[Tensor, list[tuple[nn.Conv2d, nn.BatchNorm2d]]]:
    """The output of one run, and each convolution with the normalisation of its output, where both are used once."""
    outputs: dict[int, tuple[nn.Conv2d, Tensor]] = {}  # tensors are kept, so that no id is reused
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []
    uses: Counter[nn.Module] = Counter()

    def after(convolution: Any, _inputs: Any, output: Tensor) -> None:
        uses[convolution] += 1
        outputs[id(output)] = (convolution, output)

    def before(norm: Any, inputs: tuple[Tensor, ...]) -> None:
        uses[norm] += 1
        if id(inputs[0]) in outputs:
            pairs.append((outputs[id(inputs[0])][0], norm))

    hooks = []
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d):
            hooks.append(module.register_forward_hook(after))
        elif type(module) is nn.BatchNorm2d and module.track_running_stats:
            hooks.append(module.register_forward_pre_hook(before))
    expected = run()
    for hook in hooks:
        hook.remove()
    return expected, [pair for pair in pairs if uses[pair[0]] == uses[pair[1]] == 1]
