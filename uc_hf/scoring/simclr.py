"""A scraper without labels: SimCLR on the published images, then a linear probe on its features (Chen et al. 2020)."""

import torch
from accelerate import Accelerator
from torch import Generator, Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import convert_conv2d_weight_memory_format

from uc_hf.data.progress import Bar
from uc_hf.scoring.counter_measures.operations import recoloured
from uc_hf.scoring.recipes import Recipe
from uc_hf.training.augmentations import random_resized_crop
from uc_hf.training.descent import take_step
from uc_hf.training.devices import autocast, deterministic, seeded
from uc_hf.training.networks import BackboneTarget, build_target, take_head


TEMPERATURE = 0.5
PROJECTION = 128
"""Number of dimensions in which views are compared."""

LEARNING_RATE, WEIGHT_DECAY = 1e-3, 1e-6
CROP_SCALE = (0.2, 1.0)


@deterministic()
def pretrain(
    pixels: Tensor, name: str, n_classes: int, recipe: Recipe, seed: int, title: str = "SimCLR"
) -> BackboneTarget:
    """Learn features of images without their labels.

    Args:
        pixels: uint8 [N, 3, S, S], published.
        name: target, as in `build_target`.
        n_classes: number of classes of the later head.
        recipe: gives epochs, batch size and image size; the optimiser is Adam with a cosine schedule.
        seed: of weights, order and augmentations.
        title: shown beside the progress bar.

    Returns:
        the frozen backbone with a fresh head, for `train_target`.
    """
    accelerator = Accelerator()
    device = accelerator.device
    generator = Generator().manual_seed(seed)
    backbone = build_target(name, n_classes, recipe.image_size, seed)
    dim = take_head(backbone)
    with seeded(seed):
        projector = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, PROJECTION))
    model = nn.Sequential(convert_conv2d_weight_memory_format(backbone, torch.channels_last), projector).to(device)
    pixels = pixels.to(device)
    batches = max(1, len(pixels) // recipe.batch_size)
    optimizer: torch.optim.Optimizer = torch.optim.Adam(
        model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.epochs * batches)
    model, optimizer = accelerator.prepare(model, optimizer)
    model.train()
    with seeded(seed, device):
        for _ in Bar(range(recipe.epochs), desc=title, unit="epoch", leave=False):
            for rows in torch.randperm(len(pixels), generator=generator).tensor_split(batches):
                batch = pixels[rows.to(device)].float() / 255
                views = torch.cat([augment(batch, generator), augment(batch, generator)])
                with autocast(accelerator):
                    projected = model(views.contiguous(memory_format=torch.channels_last))
                loss = nt_xent(projected.float(), TEMPERATURE)
                take_step(loss, optimizer, schedule, accelerator)
    with seeded(seed):
        return BackboneTarget(backbone, dim, n_classes, frozen=True)


def nt_xent(projected: Tensor, temperature: float) -> Tensor:
    """The normalised temperature-scaled cross entropy (Chen et al. 2020, equation 1).

    Args:
        projected: float [2 * N, d]; rows i and N + i are views of one image.
        temperature: divisor of the cosines.

    Returns:
        the mean loss over all 2 * N rows.
    """
    n = len(projected) // 2
    unit = F.normalize(projected, dim=1)
    cosines = unit @ unit.T / temperature
    cosines.fill_diagonal_(-torch.inf)
    partner = torch.arange(2 * n, device=projected.device).roll(n)
    return F.cross_entropy(cosines, partner)


def augment(images: Tensor, generator: Generator) -> Tensor:
    """A random view of images float [N, 3, S, S] in [0, 1]: crop, flip, colour jitter, gray (no hue shift or blur)."""
    return recoloured(random_resized_crop(images, generator, scale=CROP_SCALE), generator)
