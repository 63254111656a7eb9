"""The card of a protected dataset: what was done to it, how well that works, its limits, and its origin.

A card is public. It never contains the place of the protector, a path on the publisher's disk, or an image beside its
original: that pair would be the removal key.
"""

import logging
import math
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from io import BytesIO
from typing import Any, NamedTuple

import pyarrow.parquet as pq
from datasets.info import DatasetInfosDict
from huggingface_hub import CommitOperationAdd, DatasetCard, HfApi, constants
from huggingface_hub.errors import RemoteEntryNotFoundError, RepositoryNotFoundError
from PIL import Image, ImageOps

from uc_hf.data import images
from uc_hf.data.hub import name_on_hub
from uc_hf.data.images import ImageValue
from uc_hf.data.splits import refuse_text
from uc_hf.errors import DatasetError, SettingError
from uc_hf.protecting.commitment import commitment
from uc_hf.protecting.protector import Protector
from uc_hf.protecting.public import public_surrogates
from uc_hf.publishing.destination import shard_path
from uc_hf.publishing.marks import Mark
from uc_hf.publishing.provenance import provenance, public_name
from uc_hf.reports import markdown, templates
from uc_hf.reports.markdown import Markdown
from uc_hf.reports.page import PAPER
from uc_hf.scoring.imperceptibility import in_words
from uc_hf.scoring.results import Scorecard


logger = logging.getLogger(__name__)

CONTACT_SHEET = ".uc_hf/contact-sheet.png"
"""Path in the dataset's repository. `datasets` skips folders that begin with a dot; elsewhere the sheet would become
another row, with its own class, of a repository that is a tree of images."""

SHOWN = 16
"""Largest number of images in the contact sheet."""

BEGIN, END = "<!-- uc_hf: this section is written anew at each push -->", "<!-- uc_hf: end of the section -->"

# A section between an earlier BEGIN and this one was cut by hand: the text after it is not ours.
_SECTION = re.compile(f"{re.escape(BEGIN)}(?:(?!{re.escape(BEGIN)}).)*?{re.escape(END)}", re.DOTALL)

# Keys that only make sense together are copied together.
_CARRIED_OVER = (("license", "license_name", "license_link"), ("language",), ("task_categories",), ("pretty_name",))


def push_dataset_card(
    repo_id: str,
    protector: Protector,
    *,
    source: str | None = None,
    protected_splits: Sequence[str],
    clean_splits: Sequence[str] = (),
    pictures: Sequence[ImageValue] = (),
    scorecard: Scorecard | None = None,
    flip: float | None = None,
    token: str | None = None,
) -> str:
    """Write the card of a protected dataset on the Hub; the rest of an existing card stays.

    Examples:
        >>> protected.push_to_hub("me/pets-protected")  # doctest: +SKIP
        >>> push_dataset_card("me/pets-protected", protector, protected_splits=["train"])  # doctest: +SKIP

    Args:
        repo_id: "user/name", the dataset that was pushed.
        protector: the protector that made it; the card only shows its settings.
        source: the originals' name on the Hub; their licence, language and task are copied. A local path is never
            written.
        protected_splits: splits whose images carry the noise.
        clean_splits: splits that were copied unchanged.
        pictures: *protected* images for the contact sheet, in any form that `images.decode` takes; the first `SHOWN`
            are drawn. If empty, an existing sheet stays.
        scorecard: a scorecard of this dataset.
        flip: mean FLIP between originals and protected images, as `compare` measures it; None leaves it out.
        token: token for the Hub; None for the saved one.

    Returns:
        the URL of the commit.

    Raises:
        NotFittedError: the protector is not fitted.
        SettingError: no protected split is named, splits are a text and no list, or the scorecard lacks the clean or
            the protected set.
        DatasetError: the dataset's card knows its splits, and one that is named is not among them.
        ImageError: an image cannot be read.
        RepositoryNotFoundError: there is no such dataset, or you may not write to it.
    """
    api = HfApi(token=token)
    card = _card_of(repo_id, token) or DatasetCard(f"---\n\n---\n\n# {repo_id.split('/')[-1]}\n")
    source_name = name_on_hub(source)
    additions = [CommitOperationAdd(CONTACT_SHEET, contact_sheet(pictures))] if pictures else []
    filled = dataset_card(
        card,
        protector,
        source_name=source_name,
        source_card=None if source_name is None else _source_card(source_name, token),
        protected_splits=protected_splits,
        clean_splits=clean_splits,
        scorecard=scorecard,
        flip=flip,
        contact_sheet=bool(additions) or api.file_exists(repo_id, CONTACT_SHEET, repo_type="dataset"),
    )
    _refuse_unknown(repo_id, card, [*protected_splits, *clean_splits])
    additions.append(CommitOperationAdd(constants.REPOCARD_NAME, str(filled).encode()))
    message = "Write the card with uc_hf"
    return api.create_commit(repo_id, additions, commit_message=message, repo_type="dataset").commit_url


def dataset_card(
    card: DatasetCard,
    protector: Protector,
    *,
    source_name: str | None,
    source_card: DatasetCard | None,
    protected_splits: Sequence[str],
    clean_splits: Sequence[str],
    scorecard: Scorecard | None,
    flip: float | None,
    contact_sheet: bool,
) -> DatasetCard:
    """A copy of a card with the description of a protected dataset.

    Everything in the card stays except what an earlier call has written: one section of the text and the YAML's
    `uc_hf`.

    Args:
        card: the repository's present card.
        protector: a fitted protector.
        source_name: the originals' name on the Hub; None if they are not there.
        source_card: the originals' card; None if it cannot be read.
        protected_splits: splits whose images carry the noise.
        clean_splits: splits that were copied unchanged.
        scorecard: a scorecard of this dataset.
        flip: between its images and the originals; None leaves it out.
        contact_sheet: whether the repository holds `CONTACT_SHEET`.

    Raises:
        NotFittedError: the protector is not fitted.
        SettingError: no protected split is named, splits are a text and no list, or the scorecard lacks the clean or
            the protected set.
    """
    refuse_text("protected_splits", protected_splits)
    refuse_text("clean_splits", clean_splits)
    if not protected_splits:
        raise SettingError("protected_splits is empty: name the splits whose pictures carry the noise.")
    filled = DatasetCard(card.content)
    data = filled.data
    if source_card is not None and source_name is not None:
        for name, value in _carried_over(card, source_card, source_name).items():
            data[name] = value
    data["tags"] = _united(data.get("tags"), ["unlearnable", protector.slug, "uc_hf", "data-protection"])
    if source_name is not None:
        data["source_datasets"] = _united(data.get("source_datasets"), [source_name])
    committed = commitment(protector, dict(data.get("uc_hf") or {}).get("commitment"))
    data["uc_hf"] = provenance(protector) | {"commitment": committed}
    section = templates.fill(
        "dataset-section.md",
        protected=_listed(protected_splits),
        title=Markdown(protector.title),
        reference=Markdown(protector.reference),
        slug=protector.slug,
        reach=Markdown(protector.reach),
        facts=_facts(protector, protected_splits, clean_splits, committed, flip),
        contact_sheet=Markdown(CONTACT_SHEET) if contact_sheet else None,
        scores=None if scorecard is None else _scores(scorecard),
        source="the originals" if source_name is None else Markdown(f"[{source_name}]({_page(source_name)})"),
        licence=None if source_card is None else _licence(source_card),
    )
    filled.text = _with_section(filled.text, f"{BEGIN}\n{section}\n{END}")
    return filled


class Sample(NamedTuple):
    """Protected images of a finished dataset as they are stored, and how visible their noise is."""

    pictures: list[ImageValue]
    flip: float | None


def sample_of(
    shards: Collection[str],
    protected_splits: Sequence[str],
    column: str,
    opened: Callable[[str], AbstractContextManager[pq.ParquetFile]],
) -> Sample:
    """The images that a card shows: the first `SHOWN` at most of the first protected split that has any.

    Args:
        shards: the paths of a dataset's shards.
        protected_splits: splits whose images carry the noise.
        column: of the images.
        opened: opens one of the shards.
    """
    first = next(path for split in protected_splits if (path := shard_path(split, 0)) in shards)
    with opened(first) as file:
        mark = Mark.of(file.metadata)
        pictures = file.read_row_group(0, columns=[column])[column][:SHOWN].to_pylist()
    return Sample(pictures, None if mark is None else mark.flip)


def contact_sheet(pictures: Sequence[ImageValue]) -> bytes:
    """Protected images side by side, as PNG.

    Only protected ones: an image beside its original reveals the noise of its cluster, so a public card would give
    away the removal key.

    Args:
        pictures: at least one image, in any form that `images.decode` takes; the first `SHOWN` are drawn.

    Raises:
        ImageError: an image cannot be read.
    """
    cell, gap, columns = 152, 8, 8
    shown = [_fitted_into(picture, cell) for picture in pictures[:SHOWN]]
    across, down = min(columns, len(shown)), math.ceil(len(shown) / columns)
    sheet = Image.new("RGB", (gap + across * (cell + gap), gap + down * (cell + gap)), PAPER)
    for index, picture in enumerate(shown):
        left, top = gap + index % columns * (cell + gap), gap + index // columns * (cell + gap)
        sheet.paste(picture, (left + (cell - picture.width) // 2, top + (cell - picture.height) // 2))
    buffer = BytesIO()
    sheet.save(buffer, format="PNG")
    return buffer.getvalue()


def _card_of(repo_id: str, token: str | None) -> DatasetCard | None:
    try:
        return DatasetCard.load(repo_id, token=token)
    except RemoteEntryNotFoundError:
        return None


def _refuse_unknown(repo_id: str, card: DatasetCard, splits: Iterable[str]) -> None:
    infos = DatasetInfosDict.from_dataset_card_data(card.data)
    known = {split for info in infos.values() for split in info.splits or ()}
    if unknown := [split for split in splits if known and split not in known]:
        raise DatasetError(
            f"{repo_id} has no split {unknown[0]!r}; the splits are {', '.join(map(repr, sorted(known)))}."
        )


def _source_card(name: str, token: str | None) -> DatasetCard | None:
    try:
        card = _card_of(name, token)
    except RepositoryNotFoundError:
        card = None
    if card is None:
        logger.warning("%s has no card that you may read: its licence is not known.", name)
    return card


def _page(dataset: str) -> str:
    return f"{constants.ENDPOINT}/datasets/{dataset}"


def _carried_over(card: DatasetCard, source: DatasetCard, source_name: str) -> dict[str, Any]:
    """Entries of the source's YAML that the card's YAML lacks."""
    carried: dict[str, Any] = {}
    for group in _CARRIED_OVER:
        if not any(card.data.get(name) for name in group):
            carried |= {name: value for name in group if _is_text(value := source.data.get(name))}
    if "language" in carried:
        # YAML 1.1, which Python reads, takes the code of Norwegian ("no") for a false.
        carried["language"] = ["no" if code is False else code for code in _united(carried["language"])]
    if "license_link" in carried and "://" not in carried["license_link"]:
        carried["license_link"] = f"{_page(source_name)}/blob/main/{carried['license_link']}"
    return carried


def _is_text(value: Any) -> bool:
    """Whether a value from a YAML is a text or a list of texts; False stands for a language."""
    return all(isinstance(item, str) or item is False for item in _several(value)) and value not in (None, [])


def _licence(card: DatasetCard) -> str | None:
    """The name of a licence; None if it is unknown."""
    stated, own = card.data.get("license"), card.data.get("license_name")
    names = [name for name in _united(stated) if name != "unknown"] if _is_text(stated) else []
    if "other" in names and isinstance(own, str) and own:
        names = [own if name == "other" else name for name in names]
    return ", ".join(names) or None


def _united(values: Any, more: Iterable[str] = ()) -> list[Any]:
    """One value, several or none as a list without duplicates that ends with `more`."""
    return list(dict.fromkeys([*_several(values), *more]))


def _several(values: Any) -> list[Any]:
    return [] if values is None else values if isinstance(values, list) else [values]


def _listed(splits: Sequence[str]) -> Markdown:
    return Markdown(f"the split{'s' if len(splits) > 1 else ''} {', '.join(map(markdown.code, splits))}")


def _facts(
    protector: Protector,
    protected_splits: Sequence[str],
    clean_splits: Sequence[str],
    committed: dict[str, str],
    flip: float | None,
) -> Markdown:
    facts = provenance(protector)
    container = protector.settings.stored_as
    stored = f"{container}, lossless" if container.lossless else f"{container}: its compression changes more"
    models = [
        f"{markdown.plain(name)}, revision {markdown.code(commit)}" if commit else markdown.plain(name)
        for name, commit in public_surrogates(protector.settings, protector.fitted)
    ]
    rows = {
        "protected splits": ", ".join(protected_splits),
        "clean splits": ", ".join(clean_splits) or "none",
        "largest change of a pixel": facts["epsilon"],
        "groups of images": facts["n_clusters"],
        "surrogate": Markdown("; ".join(models)),
        "stored as": stored,
        "made with": ", ".join(f"{name} {version}" for name, version in facts["versions"].items()),
        "hash of the settings": markdown.code(facts["config_hash"]),
        "commitment to the key": Markdown(f"{markdown.code(committed['digest'])}, {committed['date']}"),
    }
    if flip is not None:
        rows["visibility"] = f"{in_words(flip)}: FLIP {flip:.2f}, where 0 is not seen and 1 is black on white"
    return markdown.table([{"fact": name, "value": value} for name, value in rows.items()])


def _scores(scorecard: Scorecard) -> Markdown:
    trained = {row.train_set for row in scorecard.rows}
    if missing := [name for name in ("clean", "protected") if name not in trained]:
        raise SettingError(
            f"the scorecard lacks the set {missing[0]!r} (it has {', '.join(sorted(trained))}): a card shows the "
            "protected set beside the clean one."
        )
    public = [replace(row, target=public_name(row.target)) for row in scorecard.rows]
    return Markdown(replace(scorecard, rows=public).to_markdown().strip())


def _with_section(text: str, section: str) -> str:
    """A text with our section in place of the previous one, or at its end."""
    line_end = "\r\n" if "\r\n" in text else "\n"
    section = section.replace("\n", line_end)
    if _SECTION.search(text):
        return _SECTION.sub(lambda _: section, text, count=1)
    return f"{text.rstrip()}{2 * line_end}{section}{line_end}"


def _fitted_into(picture: ImageValue, side: int) -> Image.Image:
    whole = Image.fromarray(images.decode(picture).pixels)
    hard_edged = max(whole.size) <= side // 2
    return ImageOps.contain(whole, (side, side), Image.Resampling.NEAREST if hard_edged else Image.Resampling.LANCZOS)
