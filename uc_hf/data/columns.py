"""The columns of a dataset that hold the images and the labels."""

from collections.abc import Mapping, Sequence
from typing import Any

import datasets
from datasets import ClassLabel, Features, Image, Value

from uc_hf.data.pointers import holds_files
from uc_hf.errors import DatasetError, cell


LABEL_NAMES = ("label", "labels", "fine_label", "coarse_label", "class", "target")


def image_column(features: Features, asked: str | None = None) -> str:
    """The column of images: the one that was asked for, or the only one.

    Raises:
        DatasetError: there is no such column, it does not hold images, or there are several and none was asked for.
    """
    columns = [name for name, feature in features.items() if isinstance(feature, Image)]
    if asked is not None:
        return _checked(asked, features, columns)
    if len(columns) == 1:
        return columns[0]
    if not columns:
        nested = [name for name, feature in features.items() if holds_files(feature, Image)]
        remedy = _unnested(nested[0], features[nested[0]]) if nested else _CAST.format("NAME")
        raise DatasetError(f"no column holds images; the columns are {_described(features)}. {remedy}")
    raise DatasetError(f"several columns hold images: {', '.join(columns)}. Write image_column={columns[0]!r}.")


def _checked(asked: str, features: Features, images: list[str]) -> str:
    if asked not in features:
        raise DatasetError(f"there is no column {asked!r}; the columns are {_described(features)}.")
    if asked not in images:
        nested = holds_files(features[asked], Image)
        raise DatasetError(
            f"column {asked!r} holds {_kind(features[asked])}, not images. "
            f"Image columns here: {', '.join(images) or 'none'}. "
            f"{_unnested(asked, features[asked]) if nested else _CAST.format(asked)}"
        )
    return asked


_CAST = 'If it holds paths or bytes, write ds.cast_column("{}", datasets.Image()) first.'


def _unnested(column: str, feature: Any) -> str:
    """The remedy for images in lists or structs."""
    if isinstance(feature, dict):
        return f"Column {column!r} holds its images in a struct: write ds.flatten() first."
    if not isinstance(getattr(feature, "feature", None), Image):
        return f"Column {column!r} holds its images in lists within lists: write a row for each image first."
    return (
        f"Column {column!r} holds lists of images: write a row for each image first, "
        f"ds.cast(datasets.Features(ds.features | {{{column!r}: datasets.List(datasets.Image(decode=False))}}))"
        f'.map(lambda rows: {{"image": sum(rows[{column!r}], [])}}, batched=True, remove_columns=ds.column_names, '
        'features=datasets.Features({"image": datasets.Image()})).'
    )


def refuse_mode(features: Mapping[str, Any], column: str) -> None:
    """Refuse images that are converted as they are read: coloured noise does not survive mode "L" and others.

    Args:
        features: features of the dataset.
        column: the column that will be protected.

    Raises:
        DatasetError: the column's feature names a mode that loses colours.
    """
    mode = getattr(features.get(column), "mode", None)
    if mode not in (None, "RGB", "RGBA"):
        raise DatasetError(
            f"column {column!r} shows its images in mode {mode!r}, which coloured noise would not survive. To protect "
            f"them as they are stored, write ds.cast_column({column!r}, datasets.Image()); to store them in this mode "
            f"first, ds.map(lambda row: {{{column!r}: row[{column!r}]}}, "
            f"features=datasets.Features(ds.features | {{{column!r}: datasets.Image()}}))."
        )


def refuse_transform(dataset: datasets.Dataset | datasets.IterableDataset) -> None:
    """Refuse a dataset with a transform: what is read, compared and protected are the stored images, without it.

    Raises:
        DatasetError: it has one.
    """
    if isinstance(dataset, datasets.Dataset) and dataset.format["type"] == "custom":
        raise DatasetError(
            "this dataset has a transform (with_transform), which changes what you read of it; uc_hf takes what is "
            "stored. Write ds.with_format(None).map(TRANSFORM, batched=True) to store what it makes of the images, or "
            "ds.with_format(None) to take them without it."
        )


def other_images(features: Features, column: str) -> list[str]:
    """The other columns that hold images at any depth, or raw bytes or arrays of 8-bit levels, which may be images."""
    others = {name: feature for name, feature in features.items() if name != column}
    return [name for name, feature in others.items() if holds_files(feature, Image) or _may_be_images(feature)]


def _may_be_images(feature: Any, depth: int = 0) -> bool:
    if isinstance(feature, dict):
        return any(map(_may_be_images, feature.values()))
    if hasattr(feature, "feature"):
        return _may_be_images(feature.feature, depth + 1)
    many = depth > 1 or hasattr(feature, "shape")
    return "binary" in str(getattr(feature, "dtype", "")) or (many and feature.dtype == "uint8")


def refuse_clean_twins(features: Features, column: str, keep_clean: Sequence[str] = ()) -> None:
    """Refuse other columns of images, which would be published without protection.

    Args:
        features: features of the dataset.
        column: the column that will be protected.
        keep_clean: columns that may stay clean.

    Raises:
        DatasetError: a column of images is not in `keep_clean`, or a name in `keep_clean` is not a column.
    """
    if unknown := [name for name in keep_clean if name not in features]:
        raise DatasetError(f"there is no column {unknown[0]!r} to keep clean; the columns are {_described(features)}.")
    for name in other_images(features, column):
        if name not in keep_clean:
            held = "holds" if holds_files(features[name], Image) else f"({_kind(features[name])}) may hold"
            raise clean_twin(name, held, column)


def clean_twin(name: str, held: str, column: str) -> DatasetError:
    """The error for a column that "holds", or "may hold", what is published clean beside the protected column."""
    return DatasetError(
        f"column {name!r} {held} images, too, and would be published clean beside the protected {column!r}: "
        "if they show the same, nothing is protected. Leave the column out (ds.remove_columns), or write "
        f"--keep-clean {name} (in Python, keep_clean=[{name!r}])."
    )


def label_column(features: Features, asked: str | None = None) -> str:
    """The column of labels: the one that was asked for, the only ClassLabel, or one with a usual name.

    Raises:
        DatasetError: there is no such column, or none that can be recognised as the labels.
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
    raise DatasetError(
        f"no column of labels found; the columns are {_described(features)}. "
        "Write --label-column NAME (in Python, label_column=...), or put the images of each class in a folder."
    )


def _described(features: Mapping[str, Any]) -> str:
    return ", ".join(f"{name!r} ({_kind(feature)})" for name, feature in features.items())


def _kind(feature: Any) -> str:
    return feature.dtype if isinstance(feature, Value) else type(feature).__name__


def labels_of(dataset: datasets.Dataset, column: str) -> list[Any]:
    """The label of every row, as stored.

    Raises:
        DatasetError: a row has no label: None, NaN, or -1 in a ClassLabel, as in test splits on the Hub.
    """
    feature = dataset.features[column]
    labels = dataset.with_format(None)[column][:]
    for row, label in enumerate(labels):
        if is_missing(feature, label):
            raise DatasetError(
                f"{cell(row, column)}, has no label. Leave such rows out: "
                f"dataset.filter(lambda label: label not in (None, -1), input_columns={column!r})."
            )
    return labels


def is_missing(feature: Any, label: Any) -> bool:
    """Whether a stored label says that there is none: None, NaN, or -1 in a ClassLabel."""
    return label is None or label != label or (isinstance(feature, ClassLabel) and label < 0)


def class_names(dataset: datasets.Dataset, asked: str | None = None) -> list[str]:
    """The classes of a dataset in label order: a ClassLabel's names, or the distinct values as text.

    Raises:
        DatasetError: there is no column of labels, or there are fewer than two classes.
    """
    column = label_column(dataset.features, asked)
    feature = dataset.features[column]
    if isinstance(feature, datasets.ClassLabel):
        return feature.names
    names = sorted({class_name(feature, label) for label in labels_of(dataset, column)})
    if len(names) < 2:
        raise DatasetError(f"column {column!r} holds {len(names)} different labels; a classifier needs two or more.")
    return names


def class_name(feature: Any, label: Any) -> str:
    """A label as text: a ClassLabel number by its name, so that sets with another order of classes agree."""
    return feature.int2str(label) if isinstance(feature, datasets.ClassLabel) else str(label)
