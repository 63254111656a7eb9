"""Parquet files at addresses that fsspec opens: memory:// stands for s3:// and its like."""

import sys
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from datasets import Dataset

from tests.commands import invoke, succeed
from tests.stored import contents, stored
from uc_hf import UCProtector
from uc_hf.data.sources import open_dataset
from uc_hf.errors import DatasetError


@pytest.fixture
def bucket(tiles: Dataset, tmp_path: Path) -> Iterator[str]:
    """Two splits in a bucket, beside what is no part of them; the same files lie in a folder."""
    for split, rows in {"train": range(20), "test": range(20, 26)}.items():
        tiles.select(rows).to_parquet(tmp_path / "rows" / f"{split}-00000.parquet")
    system = fsspec.filesystem("memory")
    system.put(str(tmp_path / "rows"), "/bucket/rows", recursive=True)
    system.pipe("/bucket/rows/.cache/train-00001.parquet", b"none")
    system.pipe("/bucket/rows/notes.txt", b"none")
    yield "memory://bucket/rows"
    system.rm("/bucket", recursive=True)


@pytest.mark.parametrize("streaming", [False, True])
def test_the_rows_of_a_bucket_are_those_of_its_files(bucket: str, tiles: Dataset, streaming: bool) -> None:
    splits = open_dataset(bucket, streaming=streaming)
    assert list(splits) == ["train", "test"] and splits["train"].features == tiles.features
    assert [row["note"] for row in splits["test"]] == tiles["note"][20:26]
    assert list(open_dataset(f"{bucket}/test-00000.parquet", streaming=streaming)) == ["train"]


def test_a_bucket_is_protected_as_its_files_are(bucket: str, fitted: UCProtector, tmp_path: Path) -> None:
    fitted.save_pretrained(tmp_path / "key")
    for source, out in ((bucket, "out"), (f"file://{tmp_path / 'rows'}", "file"), (tmp_path / "rows", "local")):
        succeed("protect", source, "--protector", tmp_path / "key", "--out", tmp_path / out / "rows")
        names = {name for name in contents(tmp_path / out / "rows") if name.startswith("data/")}
        assert names == {"data/train-00000.parquet", "data/test-00000.parquet"}
    made = [stored(open_dataset(str(tmp_path / out / "rows"))["train"]) for out in ("out", "file", "local")]
    assert len(made[0]) == 20 and made[0] == made[1] == made[2]


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("memory://bucket/none", "holds no parquet files"),
        ("nowhere://bucket/rows", "Protocol not known: nowhere"),
        ("s3://bucket/rows", "Install s3fs"),
    ],
)
def test_an_address_that_cannot_be_read_says_what_is_missing(
    address: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if address.startswith("s3:"):
        monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(DatasetError, match=reason):
        open_dataset(address)
    assert reason in invoke("protect", address, "--out", "out").stderr
