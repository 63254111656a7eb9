"""A destination is one file: this one, registered from outside, keeps what is published in memory."""

import json
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path

import fsspec
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict, load_dataset
from huggingface_hub import DatasetCard

from tests.commands import invoke, succeed
from tests.stored import contents, stored
from uc_hf import UCProtector, publish
from uc_hf.errors import OutputError, SettingError
from uc_hf.protecting.protector import Protector
from uc_hf.publishing.cards import dataset_card
from uc_hf.publishing.destinations import DESTINATIONS, open_destination


SHELVES: dict[str, dict[str, bytes]] = {}
CARD = "README.md"


class Shelf:
    """A place on a shelf of this process."""

    def __init__(self, place: str, token: str | None = None) -> None:
        self.name = place
        self.url = f"shelf://{place}"

    def check(self) -> None:
        if self.name == "locked":
            raise OutputError("the shelf is locked. Choose another.")

    def is_filled(self) -> bool:
        return self.name in SHELVES and bool(self.files())

    def create(self, private: bool | None = None) -> None:
        SHELVES.setdefault(self.name, {})

    @property
    def workspace(self) -> Path:
        return Path()  # each test works in a folder of its own

    def files(self) -> dict[str, int]:
        return {path: len(data) for path, data in SHELVES[self.name].items() if path != CARD}

    def is_whole(self, path: str) -> bool:
        return True

    def was_taken(self, path: str) -> bool:
        return path in SHELVES[self.name]

    def footer(self, path: str) -> pq.FileMetaData:
        return pq.read_metadata(BytesIO(SHELVES[self.name][path]))

    def take(self, file: Path, path: str) -> None:
        SHELVES[self.name][path] = file.read_bytes()

    def read_card(self) -> str | None:
        card = SHELVES[self.name].get(CARD)
        return None if card is None else card.decode()

    def write_card(self, text: str) -> None:
        SHELVES[self.name][CARD] = text.encode()

    def upload(self, folder: Path) -> None:
        for path in (folder / "data").glob("*.parquet"):
            self.take(path, f"data/{path.name}")

    def introduce(
        self, protector: Protector, source: str | None, protected_splits: Sequence[str], clean_splits: Sequence[str]
    ) -> None:
        card = dataset_card(
            DatasetCard(self.read_card()),
            protector,
            source_name=None,
            source_card=None,
            protected_splits=protected_splits,
            clean_splits=clean_splits,
            scorecard=None,
            flip=None,
            contact_sheet=False,
        )
        self.write_card(str(card))


@pytest.fixture(autouse=True)
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    SHELVES.clear()
    DESTINATIONS["shelf"] = Shelf
    yield
    del DESTINATIONS["shelf"]


@pytest.fixture
def splits(tiles: Dataset) -> DatasetDict:
    return DatasetDict(train=tiles.select(range(24)), test=tiles.select(range(24, 30)))


def test_what_is_published_there_loads_and_goes_on_like_everywhere(
    splits: DatasetDict, fitted: UCProtector, tmp_path: Path
):
    for _ in range(2):
        assert publish(splits, "shelf://top/tiles", protector=fitted) == "shelf://top/tiles"
    shelf = SHELVES["top/tiles"]
    assert sorted(shelf) == [CARD, "data/test-00000.parquet", "data/train-00000.parquet"]
    for path, data in shelf.items():
        (tmp_path / "copy" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "copy" / path).write_bytes(data)
    loaded = load_dataset(str(tmp_path / "copy"))
    assert [row["bytes"] for row in stored(loaded["test"])] == [row["bytes"] for row in stored(splits["test"])]
    assert all(new != old for new, old in zip(stored(loaded["train"]), stored(splits["train"]), strict=True))
    assert DatasetCard(shelf[CARD].decode()).data["uc_hf"]["epsilon"] == "16/255"


def test_the_program_pushes_there_with_and_without_a_local_copy(splits: DatasetDict, fitted: UCProtector):
    splits.save_to_disk("originals")
    fitted.save_pretrained("key")
    command = ["protect", "originals", "--protector", "key", "--push-to", "shelf://direct"]
    assert json.loads(succeed(*command, "--json"))["pushed_to"] == "shelf://direct"
    assert json.loads(succeed(*command, "--json"))["already_done"] == 24
    succeed(*command[:-1], "shelf://later", "--out", "out")
    local = {path: data for path, data in contents(Path("out")).items() if path.startswith("data/")}
    for place in ("direct", "later"):
        assert {path: data for path, data in SHELVES[place].items() if path != CARD} == local
        assert b"uc_hf: this section" in SHELVES[place][CARD]


def test_what_it_refuses_is_told_before_the_fit(splits: DatasetDict, tmp_path: Path):
    splits.save_to_disk("originals")
    assert "the shelf is locked" in invoke("protect", "originals", "--push-to", "shelf://locked").stderr
    SHELVES["full"] = {"data/train-00000.parquet": b"somebody's"}
    assert "full holds data already" in invoke("protect", "originals", "--push-to", "shelf://full").stderr
    assert [path.name for path in tmp_path.iterdir()] == ["originals"]


def test_an_address_without_a_name_is_the_hub_s_and_an_unknown_name_is_answered_with_those_that_there_are():
    assert open_destination("me/pets").url == open_destination("hub://me/pets").url
    with pytest.raises(SettingError, match=r"destination 'attic' is not known\. Write one of 'hub', 'shelf'\."):
        open_destination("attic://pets")


def test_an_address_of_fsspec_is_a_destination_and_goes_on_where_it_was(
    splits: DatasetDict, fitted: UCProtector, protected_rows: list[int]
):
    splits.save_to_disk("originals")
    fitted.save_pretrained("key")
    command = ["protect", "originals", "--protector", "key", "--push-to"]
    assert json.loads(succeed(*command, "memory://bucket/direct", "--json"))["pushed_to"] == "memory://bucket/direct"
    assert protected_rows == list(range(24))
    assert json.loads(succeed(*command, "memory://bucket/direct", "--json"))["already_done"] == 24
    assert len(protected_rows) == 24
    succeed(*command, f"file://{Path('later').absolute()}", "--out", "out")
    local = {path: data for path, data in contents(Path("out")).items() if path.startswith("data/")}
    fsspec.filesystem("memory").get("/bucket/direct", "direct", recursive=True)
    for place in ("direct", "later"):
        found = contents(Path(place))
        assert {path: data for path, data in found.items() if path.startswith("data/")} == local
        assert {path for path in found if not path.startswith("data/")} == {CARD, ".uc_hf/contact-sheet.png"}
        assert b"uc_hf: this section" in found[CARD]
    assert load_dataset("direct")["train"].features == splits["train"].features


def test_an_address_of_fsspec_with_other_files_or_without_rights_is_refused(splits: DatasetDict, fitted: UCProtector):
    splits.save_to_disk("originals")
    fitted.save_pretrained("key")
    fsspec.filesystem("memory").pipe("/bucket/filled/data/other.parquet", b"none")
    command = ["protect", "originals", "--protector", "key", "--push-to"]
    refused = invoke(*command, "memory://bucket/filled").stderr
    assert "memory://bucket/filled holds files of another dataset: data/other.parquet" in refused
    Path("file").write_text("x")
    assert "cannot be written" in invoke(*command, f"file://{Path('file/out').absolute()}").stderr
    assert "nowhere" in invoke(*command, "nowhere://bucket").stderr
    with pytest.raises(OutputError, match="leave private out"):
        publish(splits, "memory://bucket/private", protector=fitted, private=True)
