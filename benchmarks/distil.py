"""Distil a small surrogate of photographs: `python -m benchmarks.distil --shared ../shared --work distil --out small`.

A small ResNet learns to embed pictures as two larger networks do, EfficientNet-Lite0 and MobileNetV2, both trained on
ImageNet (distillation). It sees no label. Its pictures are a photograph of each ImageNet class, the training images of
Tiny ImageNet, and the training images of CIFAR-10 that no benchmark protects; it never sees flowers17 and cats-dogs.
Needs no network and about an hour and a half on one core; what the two networks say is kept in WORK.
"""

import argparse
import logging
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset, Image, concatenate_datasets, load_dataset
from PIL import Image as PILImage
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm
from transformers import ResNetConfig, ResNetModel, ViTImageProcessorPil

from benchmarks.train_tiny import take_step
from uc_hf.data import images
from uc_hf.data.sources import train_and_test
from uc_hf.surrogates.surrogate import Surrogate


logger = logging.getLogger(__name__)

TEACHERS = ("efficientnet_lite0-imagenet", "mobilenet_v2_1.0_224-imagenet")
TEACHER_SIZE = 160
SIZE = 96
FIRST_SIZE = 64  # in the first half of the epochs, which so takes half the time
MEAN, STD = 0.5, 0.25
PROTECTED = 5000  # rows of CIFAR-10 that the benchmarks protect, the first ones of their sample
CROP_AREA = (0.3, 1.0)
CROP_RATIO = (3 / 4, 4 / 3)
EPOCHS = 32
BATCH_SIZE = 128
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 0.02
SEED = 1000


def picture_sets(shared: Path) -> dict[str, tuple[Dataset, int]]:
    """The pictures, and how many random crops of each are learned from."""
    data = shared / "data"
    cifar = load_dataset(str(data / "cifar10"))
    sample, _ = train_and_test(cifar, "cifar10", train_images=len(cifar["train"]), test_images=0)
    return {
        "imagenet-sample": (concatenate_datasets(list(load_dataset(str(data / "imagenet-sample")).values())), 24),
        "tiny-imagenet-20": (load_dataset(str(data / "tiny-imagenet-20"), split="train"), 2),
        "cifar10": (sample.select(range(PROTECTED, len(sample))), 1),
    }


def random_box(width: int, height: int, rng: np.random.Generator) -> tuple[float, float, float, float]:
    """A random part of a picture, in its pixels: left, upper, right, lower."""
    area = rng.uniform(*CROP_AREA)
    ratio = math.exp(rng.uniform(*np.log(CROP_RATIO)))
    w, h = min(1, math.sqrt(area * ratio)) * width, min(1, math.sqrt(area / ratio)) * height
    left, upper = rng.uniform(0, width - w), rng.uniform(0, height - h)
    return left, upper, left + w, upper + h


def crops(sets: dict[str, tuple[Dataset, int]]) -> Iterator[tuple[PILImage.Image, tuple[float, float, float, float]]]:
    """Each picture and a box of it, as often as its set asks for."""
    rng = np.random.default_rng(SEED)
    for dataset, times in sets.values():
        for row in dataset.cast_column("image", Image(decode=False)):
            picture = PILImage.fromarray(images.decode(row["image"]).pixels).convert("RGB")
            for _ in range(times):
                yield picture, random_box(*picture.size, rng)


def square(picture: PILImage.Image, box: tuple[float, float, float, float], size: int) -> Tensor:
    """A part of a picture as uint8 [3, size, size]."""
    pixels = np.asarray(picture.resize((size, size), PILImage.Resampling.BICUBIC, box=box))
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)


@torch.inference_mode()
def lessons(shared: Path, sets: dict[str, tuple[Dataset, int]]) -> dict[str, Tensor]:
    """What is learned from: "pixels", uint8 [N, 3, SIZE, SIZE], and of each teacher its embeddings, float16 [N, d]."""
    teachers = {
        name: Surrogate.from_pretrained(shared / "models" / name, size=TEACHER_SIZE).fold() for name in TEACHERS
    }
    total = sum(len(dataset) * times for dataset, times in sets.values())
    pixels = torch.empty(total, 3, SIZE, SIZE, dtype=torch.uint8)
    embeddings = {name: torch.empty(total, teacher.dim, dtype=torch.float16) for name, teacher in teachers.items()}
    large: list[Tensor] = []
    for row, (picture, box) in enumerate(tqdm(crops(sets), total=total, desc="asking the teachers", unit="crop")):
        pixels[row] = square(picture, box, SIZE)
        large.append(square(picture, box, TEACHER_SIZE))
        if len(large) == BATCH_SIZE or row == total - 1:
            batch = torch.stack(large).float() / 255
            for name, teacher in teachers.items():
                with torch.autocast("cpu", dtype=torch.bfloat16):
                    embeddings[name][row + 1 - len(batch) : row + 1] = teacher(batch).half()
            large.clear()
    return {"pixels": pixels, **embeddings}


class Student(nn.Module):
    """The surrogate, and one linear head for each teacher, which is thrown away after training."""

    def __init__(self, dims: dict[str, int]) -> None:
        super().__init__()
        config = ResNetConfig(
            embedding_size=32, hidden_sizes=[32, 64, 128, 256], depths=[1, 1, 1, 1], layer_type="basic"
        )
        self.backbone = ResNetModel(config).to(memory_format=torch.channels_last)
        self.heads = nn.ModuleDict(
            {name.replace(".", "_"): nn.Linear(config.hidden_sizes[-1], dim) for name, dim in dims.items()}
        )

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """What each teacher would say, [N, d], of float [N, 3, SIZE, SIZE] in [0, 1]."""
        pixels = ((pixels - MEAN) / STD).contiguous(memory_format=torch.channels_last)
        features = self.backbone(pixel_values=pixels).pooler_output.flatten(1)
        return [head(features) for head in self.heads.values()]


def goals(embeddings: Tensor) -> Tensor:
    """Embeddings [N, d] of length 1 without what all have in common, so that their directions tell pictures apart."""
    embeddings = F.normalize(embeddings.float())
    return (embeddings - embeddings.mean(dim=0)).half()


def fit(student: Student, pixels: Tensor, taught: list[Tensor], epochs: int) -> None:
    """AdamW with a one-cycle learning rate; the loss is one minus the cosine, averaged over teachers."""
    generator = torch.Generator().manual_seed(SEED)
    steps = len(pixels) // BATCH_SIZE
    optimizer = torch.optim.AdamW(student.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=epochs * steps, pct_start=0.1)
    student.train()
    with tqdm(total=epochs * steps, desc="learning", unit="step") as bar:
        for epoch in range(epochs):
            for rows in torch.randperm(len(pixels), generator=generator).split(BATCH_SIZE)[:steps]:
                views = pixels[rows].float() / 255
                mirrored = torch.rand(len(rows), generator=generator) < 0.5
                views[mirrored] = views[mirrored].flip(3)
                if epoch < epochs / 2:
                    views = F.interpolate(views, (FIRST_SIZE, FIRST_SIZE), mode="bilinear", antialias=True)
                with torch.autocast("cpu", dtype=torch.bfloat16):
                    said = student(views)
                alike = [
                    F.cosine_similarity(one.float(), goal[rows].float())
                    for one, goal in zip(said, taught, strict=True)
                ]
                loss = 1 - torch.stack(alike).mean()
                take_step(loss, optimizer, schedule, bar)


def main() -> None:
    """Ask the teachers, train the student, and write the model folder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--shared", type=Path, required=True, help="folder with data/ and models/")
    parser.add_argument("--work", type=Path, required=True, help="folder for what the teachers say")
    parser.add_argument("--out", type=Path, required=True, help="folder of the model")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.manual_seed(SEED)

    sets = picture_sets(arguments.shared)
    kept = arguments.work / "lessons.safetensors"
    if not kept.exists():
        arguments.work.mkdir(parents=True, exist_ok=True)
        save_file(lessons(arguments.shared, sets), arguments.work / "unfinished")
        (arguments.work / "unfinished").rename(kept)
    learned = load_file(kept)
    student = Student({name: learned[name].shape[1] for name in TEACHERS})
    fit(student, learned["pixels"], [goals(learned[name]) for name in TEACHERS], arguments.epochs)

    backbone = student.backbone.half()  # half the size; it is loaded in float32
    backbone.save_pretrained(arguments.out)
    processor = ViTImageProcessorPil(size={"height": SIZE, "width": SIZE}, image_mean=[MEAN] * 3, image_std=[STD] * 3)
    processor.save_pretrained(arguments.out)


if __name__ == "__main__":
    main()
