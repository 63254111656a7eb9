"""Which column of a dataset holds the images, and which the labels."""

from collections.abc import Mapping
from typing import Any

import datasets
from datasets import ClassLabel, Features, Image, Value

from uc_hf.errors import DatasetError


LABEL_NAMES = ("label", "labels", "fine_label", "coarse_label", "class", "target")


def image_column(features: Features, asked: str | None = None) -> str:
    """The column of images: the one that was asked for, or the only one there is.

    Raises:
        DatasetError: no such column, it does not hold images, or there are several and none was asked for.
    """
    columns = [name for name, feature in features.items() if isinstance(feature, Image)]
    if asked is not None:
        return _checked(asked, features, columns)
    if len(columns) == 1:
        return columns[0]
    if not columns:
        raise DatasetError(
            f"no column holds images; the columns are {_described(features)}. "
            'If one holds paths or bytes, write ds.cast_column("NAME", datasets.Image()) first.'
        )
    raise DatasetError(f"several columns hold images: {', '.join(columns)}. Write image_column={columns[0]!r}.")


def _checked(asked: str, features: Features, images: list[str]) -> str:
    if asked not in features:
        raise DatasetError(f"there is no column {asked!r}; the columns are {_described(features)}.")
    if asked not in images:
        raise DatasetError(
            f"column {asked!r} holds {_kind(features[asked])}, not images. "
            f"Image columns here: {', '.join(images) or 'none'}. "
            f'If it holds paths or bytes, write ds.cast_column("{asked}", datasets.Image()) first.'
        )
    return asked


def label_column(features: Features, asked: str | None = None) -> str:
    """The column of labels: the one that was asked for, the only ClassLabel, or one with a usual name.

    Raises:
        DatasetError: no such column, or none that can be told to be the labels.
    """
    if asked is not None:
        if asked not in features:
            raise DatasetError(f"there is no column {asked!r}; the columns are {_described(features)}.")
        return asked
    labels = [name for name, feature in features.items() if isinstance(feature, ClassLabel)]
    named = [name for name in LABEL_NAMES if name in features]
    if len(labels) == 1:
        return labels[0]
    if named:
        return named[0]
    raise DatasetError(f"no column of labels found; the columns are {_described(features)}. Write label_column=...")


def _described(features: Mapping[str, Any]) -> str:
    return ", ".join(f"{name!r} ({_kind(feature)})" for name, feature in features.items())


def _kind(feature: Any) -> str:
    return feature.dtype if isinstance(feature, Value) else type(feature).__name__


def class_names(dataset: datasets.Dataset, asked: str | None = None) -> list[str]:
    """The classes of a dataset in label order: a ClassLabel's names, or the different values as text.

    Raises:
        DatasetError: no column of labels, or fewer than two classes.
    """
    column = label_column(dataset.features, asked)
    feature = dataset.features[column]
    if isinstance(feature, datasets.ClassLabel):
        return feature.names
    names = sorted({class_name(feature, label) for label in dataset[column]})
    if len(names) < 2:
        raise DatasetError(f"column {column!r} holds {len(names)} different labels; a classifier needs two or more.")
    return names


def class_name(feature: Any, label: Any) -> str:
    """A label as text: ClassLabel numbers by name, so that sets whose classes are ordered differently still agree."""
    return feature.int2str(label) if isinstance(feature, datasets.ClassLabel) else str(label)
