"""What metadata.csv and its kin say of the pictures of a folder: read for a score, published on request alone."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Features, Image, Value, load_dataset
from PIL import Image as PILImage

from tests.commands import invoke, succeed
from tests.minihub import MiniHub
from tests.stored import contents
from uc_hf import UCProtector
from uc_hf.data.sources import open_dataset
from uc_hf.errors import DatasetError


@pytest.fixture
def key(fitted: UCProtector, tmp_path: Path) -> Path:
    fitted.save_pretrained(tmp_path / "key")
    return tmp_path / "key"


@pytest.fixture
def album(tmp_path: Path) -> Path:
    root = tmp_path / "album"
    for name in ("a.jpg", "b.png", "trips/c.jpg"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        PILImage.new("RGB", (24, 20), "teal").save(root / name)
    return root


CSV = 'file_name,gps,text\na.jpg,52.1,"of me, at home"\nnowhere.jpg,1,x\n./trips/../b.png,,\n'


def test_it_stays_at_home_unless_it_is_asked_for(hub: MiniHub, album: Path, tmp_path: Path, key: Path) -> None:
    (album / "metadata.csv").write_text(CSV)
    said = succeed("protect", album, "--out", tmp_path / "out", "--push-to", "me/quiet", "--protector", key)
    assert "Note: descriptions of the pictures stay here (--metadata takes them along): 1 (metadata.csv)" in said
    assert load_dataset("me/quiet", split="train").column_names == ["image"]
    written = b"".join(contents(tmp_path / "out").values())
    assert b"at home" not in written and not list((tmp_path / "out").glob("metadata*"))


def test_it_goes_along_to_a_folder_and_to_the_hub(hub: MiniHub, album: Path, tmp_path: Path, key: Path) -> None:
    (album / "metadata.csv").write_text(CSV, encoding="utf-8-sig")
    words = ["protect", album, "--protector", key, "--metadata"]
    succeed(*words, "--push-to", "me/described")
    said = succeed(*words, "--out", tmp_path / "out", "--push-to", "me/described-beside")
    assert "descriptions" not in said
    for name in ("me/described", "me/described-beside"):
        rows = load_dataset(name, split="train")
        assert rows.features == Features({"image": Image(), "gps": Value("float64"), "text": Value("string")})
        assert rows["gps"] == [52.1, None, None] and rows["text"] == ["of me, at home", None, None]
    assert (tmp_path / "out" / "metadata.csv").read_text() == (
        'file_name,gps,text\na.png,52.1,"of me, at home"\nb.png,,\n'
    )
    strangers = load_dataset("imagefolder", data_dir=str(tmp_path / "out"), split="train")
    assert len(strangers) == 2 and strangers["gps"][0] == 52.1


def test_what_an_earlier_run_has_published_of_it_is_named(album: Path, tmp_path: Path, key: Path) -> None:
    (album / "metadata.csv").write_text(CSV)
    words = ["protect", album, "--out", tmp_path / "out", "--protector", key]
    succeed(*words, "--metadata")
    assert (tmp_path / "out" / "metadata.csv").is_file()
    assert "1 file of an earlier run that this one would not write (the first: metadata.csv)" in succeed(*words)


def test_names_from_windows_are_understood_and_rows_of_no_picture_are_named(
    album: Path, tmp_path: Path, key: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (album / "metadata.csv").write_text("file_name,text\ntrips\\c.jpg,of me\nold.jpg,x\n")
    succeed("protect", album, "--out", tmp_path / "out", "--protector", key, "--metadata")
    assert (tmp_path / "out" / "metadata.csv").read_text() == "file_name,text\ntrips/c.png,of me\n"
    assert "metadata.csv describes 1 picture that the folder lacks; the first is old.jpg" in caplog.text


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_files_of_every_kind_and_in_any_folder_describe_what_lies_beside_them(
    album: Path, tmp_path: Path, key: Path, kind: str
) -> None:
    for folder, name, text in (("", "a.jpg", "one"), ("trips", "c.jpg", "two")):
        file = album / folder / f"metadata.{kind}"
        if kind == "jsonl":
            file.write_text(json.dumps({"file_name": name, "text": text}) + "\n")
        else:
            pq.write_table(pa.table({"file_name": [name], "text": [text]}), file)
    assert open_dataset(str(album))["train"]["text"] == ["one", None, "two"]
    succeed("protect", album, "--out", tmp_path / "out", "--protector", key, "--metadata")
    assert open_dataset(str(tmp_path / "out"))["train"]["text"] == ["one", None, "two"]


def test_its_labels_are_read_by_a_score_and_no_column_points_to_a_file(album: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"secret")
    features = Features({"file_name": Value("string"), "label": Value("string"), "more": Image(decode=False)})
    columns = {
        "file_name": ["a.jpg", "b.png"],
        "label": ["x", "y"],
        "more": [{"bytes": None, "path": str(secret)}] * 2,
    }
    pq.write_table(pa.Table.from_pydict(columns, schema=features.arrow_schema), album / "metadata.parquet")
    rows = open_dataset(str(album))["train"]
    assert rows["label"] == ["x", "y", None] and not isinstance(rows.features["more"], Image)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("metadata.csv", "picture,text\na.jpg,x\n", "needs a column 'file_name', .*it has picture, text"),
        ("metadata.csv", "file_name,image\na.jpg,x\n", "none that is called 'image'"),
        ("metadata.csv", "file_name,text\na.jpg,x\n./a.jpg,y\n", r"describes a\.jpg a second time"),
        ("metadata.csv", "file_name,text\nb.jpg,x\n", r"names none of the pictures .*is b\.jpg in its first row"),
        ("metadata.csv", "file_name,text\na.jpg,x,\n", "line 2 has 3 fields, and the header 2"),
        ("metadata.csv", "", r"metadata\.csv cannot be read: No columns"),
        ("metadata.csv", 'file_name\n"a.jpg', r"metadata\.csv cannot be read"),
        ("metadata.jsonl", "{", r"metadata\.jsonl cannot be read"),
        ("metadata.parquet", "PAR1", r"metadata\.parquet cannot be read"),
    ],
)
def test_a_file_that_describes_nothing_is_named(
    album: Path, tmp_path: Path, key: Path, name: str, text: str, message: str
) -> None:
    (album / name).write_text(text)
    with pytest.raises(DatasetError, match=message):
        open_dataset(str(album))
    result = invoke("protect", album, "--out", tmp_path / "out", "--protector", key, "--metadata")
    assert result.exit_code == 1 and name in result.stderr and not list((tmp_path / "out").glob("*.png"))


def test_what_has_no_metadata_is_told_so(album: Path, tmp_path: Path, key: Path) -> None:
    words = ["--out", tmp_path / "out", "--protector", key, "--metadata"]
    nothing = invoke("protect", album, *words)
    assert nothing.exit_code == 1 and "holds none of metadata.csv, metadata.jsonl, metadata.parquet" in nothing.stderr
    open_dataset(str(album))["train"].to_parquet(tmp_path / "rows.parquet")
    rows = invoke("protect", tmp_path / "rows.parquet", *words)
    assert rows.exit_code == 1 and "all columns of a dataset go along" in rows.stderr


def test_links_into_the_output_or_the_protector_are_refused(album: Path, tmp_path: Path, key: Path) -> None:
    words = ["protect", album, "--out", tmp_path / "out", "--protector", key]
    (album / "noise.png").symlink_to(key / "noise.png")
    result = invoke(*words)
    assert result.exit_code == 1 and "a link in the source leads to" in result.stderr
    (album / "noise.png").unlink()
    succeed(*words)
    (album / "earlier").symlink_to(tmp_path / "out")
    result = invoke(*words)
    assert result.exit_code == 1 and "a link in the source leads to" in result.stderr
