"""`uc-hf card`: write the card of a protected dataset that is on the Hub."""

from collections.abc import Sequence
from pathlib import Path

import datasets
from huggingface_hub import HfApi
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

from uc_hf.data.columns import image_column
from uc_hf.data.hub import FAILURES, in_our_words
from uc_hf.data.sources import open_from_hub
from uc_hf.data.splits import choose_splits
from uc_hf.errors import DatasetError, SettingError, first_line
from uc_hf.methods.registry import open_protector
from uc_hf.publishing.cards import SHOWN, push_dataset_card
from uc_hf.scoring.results import Scorecard


def card(repo: str, *, protector: str, source: str | None, scorecard: Path | None, splits: Sequence[str]) -> str:
    """Write a card; the contact sheet shows the first pictures of the first protected split.

    Args:
        repo: the protected dataset on the Hub.
        protector: folder or Hub name of what it was protected with.
        source: the originals' name on the Hub.
        scorecard: a file that `uc-hf score` wrote.
        splits: the protected ones; none for all but those with a test split's name.

    Returns:
        the URL of the commit.

    Raises:
        UCError: of any kind, with the remedy.
    """
    key = open_protector(protector)
    measured = None if scorecard is None else _read(scorecard)
    published = _open(repo)
    protected = choose_splits(published, splits)
    with in_our_words(repo):
        return push_dataset_card(
            repo,
            key,
            source=source,
            protected_splits=protected,
            clean_splits=[name for name in published if name not in protected],
            pictures=_first_pictures(published[protected[0]], key.fitted.column),
            scorecard=measured,
        )


def _read(scorecard: Path) -> Scorecard:
    try:
        return Scorecard.load(scorecard)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise SettingError(
            f"{scorecard} is not a scorecard: {error!r}. Name the scorecard.json of `uc-hf score --out`."
        ) from error


def _open(repo: str) -> datasets.IterableDatasetDict:
    try:
        HfApi().dataset_info(repo)
    except (HFValidationError, RepositoryNotFoundError) as error:
        raise DatasetError(
            f"there is no dataset {repo} on the Hub that you may read. Push it first; its name is written USER/NAME."
        ) from error
    except (*FAILURES, ValueError) as error:
        raise DatasetError(f"the dataset {repo} cannot be read: {first_line(error)}.") from error
    return open_from_hub(repo, streaming=True)


def _first_pictures(split: datasets.IterableDataset, column: str) -> list[dict]:
    image_column(split.features, column)
    return [row[column] for row in split.cast_column(column, datasets.Image(decode=False)).take(SHOWN)]
