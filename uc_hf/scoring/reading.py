"""Datasets -> labelled images: decoded once to 8-bit pixels, for every training and attack of a scorecard."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import datasets
import numpy as np
import torch

from uc_hf.data import images
from uc_hf.data.checks import undecoded
from uc_hf.data.columns import class_name, labels_of
from uc_hf.data.columns import image_column as find_image_column
from uc_hf.data.columns import label_column as find_label_column
from uc_hf.data.progress import Bar
from uc_hf.errors import DatasetError, cell, naming
from uc_hf.training.labelled import LabelledImages, room


def load_images(
    dataset: datasets.Dataset,
    image_column: str | None,
    label_column: str | None,
    classes: list[str],
    size: int,
    name: str,
    files: Sequence[Callable[[np.ndarray], np.ndarray]] = (),
) -> LabelledImages:
    """Decode a dataset once; a set above `LARGEST_SHARE` of the memory is kept in a temporary file.

    Args:
        dataset: rows of images and labels.
        image_column: its images; None for the only image column.
        label_column: its labels, a ClassLabel or plain values whose text is among `classes`; None for the only
            ClassLabel column, or one with a usual name.
        classes: class names in label order.
        size: side in pixels to which whole images are resized.
        name: name of the set, for messages.
        files: changes to each image at its own size, uint8 [H, W, 3], before it is resized.

    Raises:
        DatasetError: the set is empty or has a label that is not among the classes.
        ImageError: an image cannot be read; the message names its row.
    """
    if len(dataset) == 0:
        raise DatasetError(f"the {name!r} set is empty.")
    image_column = find_image_column(dataset.features, image_column)
    label_column = find_label_column(dataset.features, label_column)
    feature = dataset.features[label_column]
    values = undecoded(dataset, image_column)
    number = {text: index for index, text in enumerate(classes)}
    pixels = room(len(values), 3, size, size)
    labels = torch.empty(len(values), dtype=torch.int64)
    try:
        texts = [class_name(feature, label) for label in labels_of(dataset, label_column)]
    except DatasetError as error:
        raise DatasetError(f"the {name!r} set: {error}") from error
    for row, example in enumerate(Bar(values, desc=f"reading {name}", unit="image", leave=False)):
        text = texts[row]
        if text not in number:
            raise DatasetError(f"row {row} of the {name!r} set has the label {text!r}, which the clean set lacks.")
        with naming(cell(row, image_column, f"the {name!r} set")):
            picture = images.decode(example[image_column])
        for change in files:
            picture = replace(picture, pixels=change(picture.pixels))
        pixels[row] = torch.from_numpy(images.canvas(picture, size)).permute(2, 0, 1)
        labels[row] = number[text]
    return LabelledImages(pixels, labels)
