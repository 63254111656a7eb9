"""A look at every picture of a folder or dataset before hours are spent on any."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import datasets
from tqdm.auto import tqdm

from uc_hf import images
from uc_hf.errors import DatasetError, ImageError
from uc_hf.images import Container, ImageValue
from uc_hf.sources import is_image_file, visible


SHOWN_ERRORS = 5
"""So many bad pictures are named in one message."""


def folder_images(source: Path, container: Container) -> dict[Path, Path]:
    """The pictures of a folder, at any depth, and what each one's protected copy is called.

    Args:
        source: hidden files, and files that are not pictures by their suffix, are left out.
        container: decides the suffix of the copies.

    Returns:
        path -> path of the copy, both relative to their folder.

    Raises:
        DatasetError: no picture, or two that would have the same copy.
    """
    copies: dict[Path, Path] = {}
    originals: dict[Path, Path] = {}
    for path in filter(is_image_file, visible(source)):
        name = path.relative_to(source)
        copy = name.with_suffix(container.suffix)
        if copy in originals:
            raise DatasetError(f"{originals[copy]} and {name} would both become {copy}. Rename one of them.")
        copies[name], originals[copy] = copy, name
    if not copies:
        raise DatasetError(f"the folder {source} holds no images: there is nothing to protect.")
    return copies


def check_folder(source: Path, names: Sequence[Path], container: Container) -> None:
    """Look at every picture of a folder before time is spent on any.

    Raises:
        ImageError: pictures that cannot be protected, named by their path.
    """
    _check(((str(name), source / name) for name in names), len(names), container)


def check_dataset(dataset: datasets.Dataset, split: str, column: str, container: Container) -> None:
    """Look at every picture of a split before time is spent on any.

    Raises:
        ImageError: pictures that cannot be protected, named by their row.
    """
    named = (
        (f"row {row} of split {split!r}, column {column!r}", value[column])
        for row, value in enumerate(undecoded(dataset, column))
    )
    _check(named, len(dataset), container)


def undecoded(dataset: datasets.Dataset, column: str) -> datasets.Dataset:
    """A dataset's images as they are stored, one column."""
    dataset = dataset.with_format(None).select_columns([column])
    return dataset.cast_column(column, datasets.Image(decode=False))


def _check(values: Iterable[tuple[str, ImageValue]], total: int, container: Container) -> None:
    bad = []
    for name, value in tqdm(values, total=total, desc="checking images", unit="image", leave=False):
        try:
            images.check(value)
            if not container.lossless and images.open_image(value).has_transparency_data:
                raise ImageError(f"{container} cannot hold its transparency: use the container 'png' or 'webp'.")
        except ImageError as error:
            bad.append(f"  {name}: {error}")
    if bad:
        more = [f"  and {len(bad) - SHOWN_ERRORS} more"] if len(bad) > SHOWN_ERRORS else []
        reasons = "\n".join([*bad[:SHOWN_ERRORS], *more])
        raise ImageError(f"{len(bad)} of {total} images cannot be protected:\n{reasons}")
