"""A second framework as the scraper: PaddlePaddle, with fixed fast settings, on exported class folders.

    python -m benchmarks.blackbox --clean ../shared/data/cifar10 --protected cifar10-protected \
        --protector cifar10-protected.protector --out scorecard.json

It needs `pip install ".[paddle]"`. Each set is written as class folders, which PaddlePaddle's own reader, transforms,
layers and training loop use; PyTorch trains nothing. `--protector` adds the controls on the same clusters, and "clean"
is then encoded in the same way. The JSON is an ordinary scorecard, and the same command continues with it.
"""

import argparse
import logging
import random
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from uc_hf.data.columns import class_names
from uc_hf.data.sources import open_dataset
from uc_hf.errors import SettingError
from uc_hf.methods.registry import open_protector
from uc_hf.publishing.export import export_folders
from uc_hf.scoring.controls import with_controls
from uc_hf.scoring.reading import load_images
from uc_hf.scoring.recipes import Recipe
from uc_hf.scoring.results import Row, Scorecard
from uc_hf.scoring.scorecard import begin


logger = logging.getLogger(__name__)

TARGET = "paddle resnet-small"
RECIPE = Recipe(epochs=8, batch_size=64, augmentation="pad-crop")
WIDTHS = (32, 64, 128)
"""Channels of the three stages, of one basic block each: the shape of the preset "resnet-small" at 32 px."""

MEAN, STD = [127.5] * 3, [63.75] * 3


def build_network(n_classes: int) -> Any:
    """A small ResNet (He et al. 2016) of PaddlePaddle's layers, with fresh weights."""
    from paddle import nn
    from paddle.vision.models.resnet import BasicBlock

    def convolution(before: int, after: int, side: int) -> list[Any]:
        layer = nn.Conv2D(before, after, side, stride=2, padding=side // 2, bias_attr=False)
        return [layer, nn.BatchNorm2D(after)]

    layers = [*convolution(3, WIDTHS[0], 3), nn.ReLU(), BasicBlock(WIDTHS[0], WIDTHS[0])]
    for before, after in pairwise(WIDTHS):
        shortcut = nn.Sequential(*convolution(before, after, 1))
        layers.append(BasicBlock(before, after, stride=2, downsample=shortcut))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2D(1), nn.Flatten(), nn.Linear(WIDTHS[-1], n_classes))


def train_on_folder(train: Path, test: Path, recipe: Recipe, seed: int) -> list[float]:
    """Train on one folder of class folders, from scratch, and test on another after every epoch.

    Args:
        train: written by `export_folders`.
        test: clean, with the same classes.
        recipe: its epochs, batch size, image size, learning rate, momentum, weight decay and warm-up count; the
            augmentation is "pad-crop".
        seed: of weights, order and augmentation.

    Returns:
        accuracy in [0, 1] after each epoch.
    """
    import paddle
    from paddle.vision.datasets import DatasetFolder
    from paddle.vision.transforms import Compose, Normalize, RandomCrop, RandomHorizontalFlip, Resize

    # PaddlePaddle's transforms and loader draw from the global generators; none can be handed to them.
    paddle.seed(seed)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    side = (recipe.image_size, recipe.image_size)
    last = Normalize(MEAN, STD, data_format="HWC", to_rgb=False)
    view = [Resize(side), RandomCrop(side, padding=recipe.image_size // 8), RandomHorizontalFlip(), last, _chw]
    images = DatasetFolder(str(train), transform=Compose(view))
    tested = DatasetFolder(str(test), transform=Compose([Resize(side), last, _chw]))
    batches = paddle.io.DataLoader(images, batch_size=recipe.batch_size, shuffle=True)
    network = build_network(len(images.classes))
    model = paddle.Model(network)
    steps = recipe.epochs * len(batches)
    rise = max(1, round(recipe.warm_up * steps))
    cosine = paddle.optimizer.lr.CosineAnnealingDecay(recipe.learning_rate, T_max=steps - rise)
    optimizer = paddle.optimizer.Momentum(
        paddle.optimizer.lr.LinearWarmup(cosine, rise, start_lr=0.0, end_lr=recipe.learning_rate),
        momentum=recipe.momentum,
        use_nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
        parameters=network.parameters(),
    )
    model.prepare(optimizer, paddle.nn.CrossEntropyLoss(), paddle.metric.Accuracy())
    curve: list[float] = []
    for _ in range(recipe.epochs):
        model.fit(batches, epochs=1, verbose=0)
        curve.append(float(model.evaluate(tested, batch_size=4 * recipe.batch_size, verbose=0)["acc"]))
    return curve


def _chw(image: np.ndarray) -> np.ndarray:
    return image.transpose(2, 0, 1)


def measure(
    sets: Mapping[str, datasets.Dataset], test: datasets.Dataset, seeds: int, out: Path, recipe: Recipe = RECIPE
) -> Scorecard:
    """Export every set and train on it; trainings in the scorecard at OUT are not repeated.

    Args:
        sets: labelled training sets by name; "clean" is required.
        test: clean, labelled images.
        seeds: trainings on each set.
        out: a scorecard's JSON, written after each training.
        recipe: as `train_on_folder`'s.

    Raises:
        SettingError: PaddlePaddle is missing, or OUT belongs to other sets, another recipe or version.
        DatasetError: a set without images or labels.
    """
    try:
        framework = f"paddlepaddle {version('paddlepaddle')}"
    except PackageNotFoundError as error:
        raise SettingError('PaddlePaddle is not installed: pip install "uc_hf[paddle]".') from error
    classes = class_names(sets["clean"])

    def load(name: str, dataset: datasets.Dataset) -> Any:
        return load_images(dataset, None, None, classes, recipe.image_size, name)

    held = {name: load(name, dataset) for name, dataset in sets.items()}
    conditions = asdict(recipe) | {"mixed_precision": "no", "framework": framework}
    card = begin(held, load("test", test), conditions, out)
    done = {row.cell for row in card.rows}
    with tempfile.TemporaryDirectory() as work:
        folders = {name: Path(work) / name for name in ("test", *sets)}
        for name, dataset in {"test": test, **sets}.items():
            export_folders(dataset, folders[name])
        for name, seed in product(sets, range(seeds)):
            if (TARGET, "from-scratch", name, None, seed) not in done:
                curve = train_on_folder(folders[name], folders["test"], recipe, seed)
                card.rows.append(Row(TARGET, "from-scratch", name, None, seed, curve[-1], max(curve), curve=curve))
                card.save(out)
                logger.info("%s, seed %d: last %.3f, peak %.3f", name, seed, curve[-1], max(curve))
    return card


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clean", required=True, help="the originals, with the splits train and test")
    parser.add_argument("--protected", required=True, help="their protected copy, with the split train")
    parser.add_argument("--protector", help="the protector that made it: adds the controls on its clusters")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True, help="scorecard JSON; what it holds is not trained again")
    return parser.parse_args()


def main() -> None:
    """Export, train, write the scorecard and log its table."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    args = arguments()
    clean, protected = open_dataset(args.clean), open_dataset(args.protected)["train"]
    sets = {"clean": clean["train"], "protected": protected}
    if args.protector:
        sets = with_controls(open_protector(args.protector), clean["train"], protected)
    card = measure(sets, clean["test"], args.seeds, args.out)
    logger.info("\n%s", card.to_markdown())


if __name__ == "__main__":
    main()
