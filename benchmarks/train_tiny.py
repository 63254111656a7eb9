"""Train the built-in surrogate: `python -m benchmarks.train_tiny --data ../shared/data`.

One small ResNet learns to tell apart the classes of four sets at once (a single softmax over all of them): objects
(cifar10, tiny-imagenet-20), flowers (flowers17) and the ornaments of `uc_hf.data.generated`, drawn with another seed
than the demo's. Random-resized crops make its features insensitive to scale and place. Needs no network and about ten
minutes on two cores.
"""

import argparse
import logging
import math
from pathlib import Path

import numpy as np
import torch
from datasets import ClassLabel, Dataset, Image, load_dataset
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import TensorDataset
from tqdm.auto import tqdm
from transformers import ResNetConfig, ResNetModel, ViTImageProcessorPil

from uc_hf.data import images
from uc_hf.data.generated import generated_dataset
from uc_hf.training.augmentations import random_resized_crop


logger = logging.getLogger(__name__)

SIZE = 48
MEAN, STD = 0.5, 0.25
EPOCHS = 12
BATCH_SIZE = 128
LEARNING_RATE = 0.3
WEIGHT_DECAY = 5e-4
LABEL_SMOOTHING = 0.1
CROP_SCALE = (0.3, 1.0)
SEED = 1000

CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: image-feature-extraction
---

# uc_hf/tiny

The surrogate that ships with uc_hf, so that the demo and the tests need no network: a `ResNetModel` of
{parameters:.1f} M parameters for {size} x {size} px images, {dim} features. It is small and knows few things; protect
real photographs with a larger surrogate (CLIP).

It was trained as a classifier over all classes of four sets at once; the head was thrown away. Accuracy of that head
on the test splits, among each set's own classes:

| set | training images | test accuracy |
|---|---|---|
{rows}

The generated set is that of the demo, drawn with another seed: the demo's surrogate knows the kind of picture it
protects, as CLIP knows photographs.

Made by `python -m benchmarks.train_tiny --data ../shared/data` (seed {seed}, {epochs} epochs).
"""


def load_split(dataset: Dataset) -> TensorDataset:
    """Decode a split to uint8 [N, 3, SIZE, SIZE] and int64 [N] labels."""
    rows = dataset.cast_column("image", Image(decode=False))
    canvases = np.stack([images.canvas(images.decode(row["image"]), SIZE) for row in rows])
    return TensorDataset(torch.from_numpy(canvases).permute(0, 3, 1, 2), torch.tensor(dataset["label"]))


def load_sets(data: Path) -> dict[str, tuple[TensorDataset, TensorDataset, ClassLabel]]:
    """Train split, test split and classes of every set."""
    sets = {name: load_dataset(str(data / name)) for name in ("cifar10", "tiny-imagenet-20", "flowers17")}
    sets["generated"] = generated_dataset(n_train=12_000, n_test=1_000, seed=SEED)
    return {
        name: (load_split(splits["train"]), load_split(splits["test"]), splits["train"].features["label"])
        for name, splits in tqdm(sets.items(), desc="decoding")
    }


class Classifier(nn.Module):
    """The surrogate and the linear head that is thrown away after training."""

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        config = ResNetConfig(
            embedding_size=32, hidden_sizes=[32, 64, 128, 192], depths=[1, 1, 1, 1], layer_type="basic"
        )
        self.backbone = ResNetModel(config)
        self.head = nn.Linear(config.hidden_sizes[-1], n_classes)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits [N, classes] of float [N, 3, SIZE, SIZE] in [0, 1]."""
        pixels = ((pixels - MEAN) / STD).contiguous(memory_format=torch.channels_last)
        return self.head(self.backbone(pixel_values=pixels).pooler_output.flatten(1))


def fit(classifier: Classifier, train: TensorDataset) -> None:
    """SGD with Nesterov momentum and a one-cycle learning rate."""
    generator = torch.Generator().manual_seed(SEED)
    pixels, labels = train.tensors
    optimizer = torch.optim.SGD(
        classifier.parameters(), LEARNING_RATE, momentum=0.9, weight_decay=WEIGHT_DECAY, nesterov=True
    )
    total = EPOCHS * (len(train) // BATCH_SIZE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=total, pct_start=0.15)
    classifier.train()
    with tqdm(total=total, unit="step") as bar:
        for _ in range(EPOCHS):
            order = torch.randperm(len(train), generator=generator)
            for batch in order.split(BATCH_SIZE)[: len(train) // BATCH_SIZE]:
                views = random_resized_crop(pixels[batch].float() / 255, generator, scale=CROP_SCALE)
                loss = F.cross_entropy(classifier(views), labels[batch], label_smoothing=LABEL_SMOOTHING)
                take_step(loss, optimizer, schedule, bar)


def take_step(loss: Tensor, optimizer: Optimizer, schedule: LRScheduler, bar: tqdm) -> None:
    """One step down the gradient, and on along the learning rate's schedule."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()
    bar.update()
    bar.set_postfix(loss=f"{loss.item():.3f}")


@torch.inference_mode()
def accuracy(classifier: Classifier, test: TensorDataset, classes: slice) -> float:
    """Share of images whose own class has the highest logit among those of its set."""
    classifier.eval()
    right = 0
    for pixels, labels in zip(*(tensor.split(4 * BATCH_SIZE) for tensor in test.tensors), strict=True):
        right += int((classifier(pixels.float() / 255)[:, classes].argmax(dim=1) == labels).sum())
    return right / len(test)


def main() -> None:
    """Train, measure, and write the model folder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with cifar10, tiny-imagenet-20, flowers17")
    parser.add_argument("--out", type=Path, default=Path("uc_hf/surrogates/tiny"))
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.manual_seed(SEED)

    sets = load_sets(arguments.data)
    classes, shifted, offset = {}, [], 0
    for name, (train, _, labels) in sets.items():
        classes[name] = slice(offset, offset + labels.num_classes)
        shifted.append(train.tensors[1] + offset)
        offset += labels.num_classes
    classifier = Classifier(offset)
    pixels = torch.cat([train.tensors[0] for train, _, _ in sets.values()])
    fit(classifier, TensorDataset(pixels, torch.cat(shifted)))

    rows = [
        f"| {name} | {len(train):,} | {accuracy(classifier, test, classes[name]):.1%} |"
        for name, (train, test, _) in sets.items()
    ]
    logger.info("\n".join(rows))
    backbone = classifier.backbone
    backbone.save_pretrained(arguments.out)
    processor = ViTImageProcessorPil(size={"height": SIZE, "width": SIZE}, image_mean=[MEAN] * 3, image_std=[STD] * 3)
    processor.save_pretrained(arguments.out)
    card = CARD.format(
        parameters=sum(math.prod(p.shape) for p in backbone.parameters()) / 1e6,
        size=SIZE,
        dim=backbone.config.hidden_sizes[-1],
        rows="\n".join(rows),
        seed=SEED,
        epochs=EPOCHS,
    )
    (arguments.out / "README.md").write_text(card)


if __name__ == "__main__":
    main()
