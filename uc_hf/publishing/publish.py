"""Publish a dataset: protect it piece by piece, and push each piece to the Hub as soon as it is made."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets

from uc_hf.data.arrays import refuse_arrays
from uc_hf.data.checks import Look
from uc_hf.data.columns import image_column, refuse_clean_twins, refuse_mode, refuse_transform
from uc_hf.data.hub import name_on_hub
from uc_hf.data.pointers import Home, confined
from uc_hf.data.splits import choose_splits, refuse_text
from uc_hf.errors import DatasetError
from uc_hf.protecting.protector import Protector
from uc_hf.publishing.dataset import Splits, common_features, protect_dataset
from uc_hf.publishing.destination import Destination, Held, find_shards, retry_on_conflict, write_split_table
from uc_hf.publishing.destinations import open_destination
from uc_hf.publishing.marks import Work


def publish(
    dataset: Any,
    repo_id: str,
    *,
    protector: Protector,
    splits: Sequence[str] | None = None,
    source: str | None = None,
    files_in: str | Path | None = None,
    keep_clean: Sequence[str] = (),
    private: bool | None = None,
    token: str | None = None,
) -> str:
    """Protect a clean dataset and push the result to the Hub, with bounded memory and disk.

    Rows are protected in pieces; each piece is pushed and deleted here before the next begins. An interrupted call
    continues where it stopped if it is repeated with the same protector, dataset and source.

    Examples:
        >>> stream = load_dataset("timm/oxford-iiit-pet", streaming=True)  # doctest: +SKIP
        >>> publish(stream, "me/pets-protected", protector=UCProtector(fit_to=stream["train"]))  # doctest: +SKIP

    Args:
        dataset: a Dataset, DatasetDict, IterableDataset or IterableDatasetDict of originals. For a stream from
            `load_dataset`, write `stream.decode(False)` before you map, filter or take from it: decoded images would
            be encoded again.
        repo_id: "user/name" on the Hub, or "NAME://PLACE" of another destination; created if it does not exist. One
            with other data, or with splits or last rows that `dataset` lacks, is refused.
        protector: a fitted protector.
        splits: the splits to protect; None for all without the name of a test split. The others are copied clean.
        source: the originals' name on the Hub, for the card; a local path is never written.
        files_in: a folder whose files rows may point to, as those of `load_dataset("imagefolder", ...)` do. Without
            it rows may only point to files of `source`, since the files that a row names are published.
        keep_clean: other columns of images that may be published unchanged; without it they are refused.
        private: whether a new repository is private; None for the default of your account or organisation, which is
            public unless you have changed it.
        token: token for the Hub; None for the saved one.

    Returns:
        the dataset's address.

    Raises:
        NotFittedError: the protector is not fitted.
        SettingError: `splits` or `keep_clean` is a text, not a list of names.
        DatasetError: there are no images or several columns of images, a split shows them otherwise than they are
            stored, the splits cannot form one dataset, a row cannot be read, or it points to a file outside
            `files_in` and `source` (in a stream, when its turn comes).
        ImageError: an image cannot be protected; the message names split and row (in a stream, when its turn comes).
        OutputError: the repository cannot be written to, or holds other data.
    """
    refuse_text("splits", splits or ())
    refuse_text("keep_clean", keep_clean)
    column = protector.fitted.column
    parts = _by_split(dataset)
    chosen = choose_splits(parts, splits or [])
    features = common_features(parts)
    for part in parts.values():
        refuse_transform(part)
    column = image_column(features, column)
    refuse_mode(features, column)
    refuse_clean_twins(features, column, keep_clean)
    named = name_on_hub(source)
    home = Home() if named is None else Home.on_hub(named)
    home = home if files_in is None else replace(home, folder=Path(files_in))
    parts = {split: confined(part, home, split) for split, part in parts.items()}
    parts = {**parts, **{split: refuse_arrays(parts[split], column, keep_clean) for split in chosen}}
    destination = open_destination(repo_id, token)
    destination.check()
    look = Look(protector.settings.stored_as)
    for split, part in parts.items():
        if isinstance(part, datasets.Dataset):
            if split in chosen:
                look.at_rows(part, column, split)
            look.at_carried(part, split, protector.settings.keep_exif, column if split in chosen else None)
    look.end()
    destination.create(private)
    protect_dataset(parts, chosen, destination, protector, source or "")
    destination.introduce(protector, source, chosen, [split for split in parts if split not in chosen])
    return destination.url


def push_shards(
    folder: Path,
    splits: Splits,
    protect: Sequence[str],
    destination: Destination,
    protector: Protector,
    source: str,
) -> None:
    """Push the shards that `protect_dataset` wrote into a folder with the same arguments.

    Raises:
        OutputError: the repository cannot be written to, or holds other data.
    """
    features, work = common_features(splits), Work.of(protector, source)
    protected = {split: split in protect for split in splits}
    held: dict[str, Held] = {}

    def look_again() -> None:
        found = find_shards(destination, work, protected, features)
        held.update({split: part for split, (part, _) in found.items()})

    look_again()
    retry_on_conflict(lambda: destination.upload(folder), look_again)
    look_again()
    retry_on_conflict(lambda: write_split_table(destination, held, features), look_again)


def _by_split(dataset: Any) -> Splits:
    if isinstance(dataset, datasets.Dataset | datasets.IterableDataset):
        # A part of a split, such as "train[:10%]", is published under the name of the split.
        return {str(dataset.split or "train").split("[")[0].split("+")[0]: dataset}
    if isinstance(dataset, datasets.DatasetDict | datasets.IterableDatasetDict) and dataset:
        return dataset
    raise DatasetError(
        f"{type(dataset).__name__} is not a dataset to publish: give a Dataset, a DatasetDict, or a stream of "
        "load_dataset(..., streaming=True)."
    )
