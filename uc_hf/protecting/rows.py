"""Rows of images, protected some at a time and named in errors: what a protector does when `map` calls it."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from uc_hf.data import images
from uc_hf.data.batches import in_batches
from uc_hf.errors import DatasetError, cell, naming


if TYPE_CHECKING:
    from uc_hf.protecting.protector import Protector


LARGEST_BATCH = 2**31 - 1
"""In bytes."""


def protect_rows(
    protector: "Protector[Any]", values: Sequence[Any], labels: Sequence[Any] | None, position: Sequence[Any]
) -> Iterator[dict[str, Any]]:
    """What is stored of each row's image: {"bytes", "path"}.

    Args:
        protector: fitted.
        values: the images of the rows, in any form.
        labels: of each, where the method asks for them.
        position: row numbers and rank, as `map` hands them over; without them errors count the batch's images.
    """
    numbers = position[0] if position and isinstance(position[0], list) else None
    column, container = protector.fitted.column, protector.settings.stored_as
    done = size = 0
    for batch in in_batches(values, lambda value: value):
        rows = range(done, done + len(batch))
        pictures = []
        for row, value in zip(rows, batch, strict=True):
            batched = f"image {row} of this batch, column {column!r}"
            with naming(batched if numbers is None else cell(numbers[row], column)):
                pictures.append(images.check(value, container))
        encoded = protector.protect(pictures, None if labels is None else [labels[row] for row in rows])
        done, size = rows.stop, size + sum(map(len, encoded))
        _refuse_batch(size, done, len(values))
        for value, data in zip(batch, encoded, strict=True):
            stem = images.stem(value)
            yield {"bytes": data, "path": None if stem is None else stem + container.suffix}


def _refuse_batch(size: int, done: int, total: int) -> None:
    """Refuse a batch as soon as it is seen to become larger than `datasets` can write at once.

    Args:
        size: bytes of the protected images so far.
        done: how many these are.
        total: how many the batch has.
    """
    if size > LARGEST_BATCH / 16 and size * total > LARGEST_BATCH * done:
        raise DatasetError(
            f"the {total} protected images of this batch would take {size * total / done / 2**30:.1f} GB, and "
            f"`datasets` writes 2 GB at once. Write map(..., batch_size={max(1, LARGEST_BATCH * done // size // 8)})."
        )
