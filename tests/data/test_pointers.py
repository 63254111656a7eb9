"""A dataset that names files of the machine that it is opened on: whatever it names, nobody's files are published."""

import io
import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Audio, Dataset, DatasetDict, Features, Image, List, Pdf, Value, Video, load_dataset
from huggingface_hub import HfApi
from PIL import Image as PILImage

from tests.commands import invoke, succeed
from tests.minihub import MiniHub
from tests.stored import stored
from uc_hf import UCProtector, errors, publish
from uc_hf.data.rows import read_rows
from uc_hf.data.sources import open_dataset
from uc_hf.errors import DatasetError, ImageError
from uc_hf.publishing.export import export_folders


SECRET = b"-----BEGIN OPENSSH PRIVATE KEY-----"
KINDS = {
    "image": Image(decode=False),
    "audio": Audio(decode=False),
    "pdf": Pdf(decode=False),
    "video": Video(decode=False),
}


def png(seed: int = 0, side: int = 16) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    PILImage.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def jpeg() -> bytes:
    file = io.BytesIO()
    PILImage.open(io.BytesIO(png())).save(file, format="JPEG", quality=97)
    return file.getvalue()


def rows(extra: object, value: Callable[[int], object], count: int = 4) -> Dataset:
    """Healthy pictures, and a second column."""
    pictures = [{"bytes": png(row), "path": None} for row in range(count)]
    columns = {"picture": pictures, "extra": [value(row) for row in range(count)]}
    schema = Features({"picture": Image(), "extra": extra}).arrow_schema  # encoding sounds would need torchcodec
    return Dataset(pa.Table.from_pydict(columns, schema=schema))


def write(dataset: Dataset, file: Path) -> Path:
    """As a stranger writes a parquet file: what rows point to is not taken in."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(dataset.data.table.cast(dataset.features.arrow_schema), file)
    return file


def pointing(feature: object, path: str | Path, row: int = 2) -> Dataset:
    return rows(feature, lambda at: {"bytes": None, "path": str(path)} if at == row else None)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "home" / "id_rsa"
    path.parent.mkdir()
    path.write_bytes(SECRET)
    return path


def refusal(source: Path, streaming: bool) -> str:
    with pytest.raises(DatasetError) as caught:
        splits = open_dataset(str(source), streaming=streaming)
        assert streaming and list(splits["train"].decode(False))
    return str(caught.value)


@pytest.mark.parametrize("streaming", [False, True], ids=["stored", "streamed"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_outside_the_dataset_is_not_opened_for_any_kind_of_column(
    secret: Path, tmp_path: Path, kind: str, streaming: bool
) -> None:
    write(pointing(KINDS[kind], secret), tmp_path / "evil" / "train.parquet")
    for source in (tmp_path / "evil", tmp_path / "evil" / "train.parquet"):
        said = refusal(source, streaming)
        assert f"row 2 of the split 'train', column 'extra': '{secret}': it lies outside the dataset" in said


WAYS_OUT = [
    "../home/id_rsa",
    "{evil}/../home/id_rsa",
    "{evil}/link",
    "{evil}/linked/id_rsa",
    "{evil}/pipe",
    "{evil}/.git/config",
    "{evil}/absent",
    "{evil}",
    "/dev/zero",
    "/proc/self/environ",
    "~/.ssh/id_rsa",
    "file://{home}/id_rsa",
    "file:{home}/id_rsa",
    "local://{home}/id_rsa",
    "http://169.254.169.254/latest",
    "https://example.com/a.png",
    "hf://datasets/me/private@main/a.png",
    "zip://a.png::{home}/a.zip",
    "zip://a.png::http://localhost/a.zip",
    "simplecache::file://{home}/id_rsa",
    "{evil}/inside.png::{home}/id_rsa",
    "{home}/id_rsa::{evil}/inside.png",
    "{evil}/a\0b",
    "",
]


def test_no_way_of_writing_a_path_leads_out_of_the_dataset(
    secret: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evil = tmp_path / "evil"
    (evil / ".git").mkdir(parents=True)
    (evil / ".git" / "config").write_text("token")
    (evil / "inside.png").write_bytes(png())
    (evil / "link").symlink_to(secret)
    (evil / "linked").symlink_to(secret.parent)
    os.mkfifo(evil / "pipe")
    monkeypatch.chdir(evil)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(errors, "SHOWN", 99)
    paths = [path.format(evil=evil, home=secret.parent) for path in (*WAYS_OUT, "{evil}/inside.png")]
    many = rows(Image(decode=False), lambda row: {"bytes": None, "path": paths[row]}, len(paths))
    said = refusal(write(many, evil / "train.parquet").parent, streaming=False)
    named = [int(row) for row in re.findall(r"row (\d+) of the split 'train', column 'extra'", said)]
    assert named == list(range(len(WAYS_OUT)))


NESTED = {
    "list": (List(Image(decode=False)), lambda file: [{"bytes": png(), "path": "a.png"}, file]),
    "struct": ({"page": Pdf(decode=False), "name": Value("string")}, lambda file: {"page": file, "name": "x"}),
    "list of structs": (List({"clip": Video(decode=False)}), lambda file: [{"clip": None}, {"clip": file}]),
    "lists of lists": (List(List(Audio(decode=False))), lambda file: [[], [file]]),
    "fixed list": (List(Image(decode=False), length=2), lambda file: [None, file]),
}


@pytest.mark.parametrize("shape", NESTED)
def test_nested_files_are_found_too(secret: Path, tmp_path: Path, shape: str) -> None:
    feature, value = NESTED[shape]
    file = {"bytes": None, "path": str(secret)}
    nested = rows(feature, lambda row: value(file) if row == 2 else None)
    write(nested, tmp_path / "evil.parquet")
    for streaming in (False, True):
        assert "row 2 of the split 'train', column 'extra'" in refusal(tmp_path / "evil.parquet", streaming)


def test_splits_that_are_carried_over_and_the_images_themselves_are_looked_at(secret: Path, tmp_path: Path) -> None:
    write(rows(Image(decode=False), lambda row: None), tmp_path / "evil" / "train.parquet")
    write(pointing(Image(decode=False), secret, row=1), tmp_path / "evil" / "test.parquet")
    assert "row 1 of the split 'test', column 'extra'" in refusal(tmp_path / "evil", streaming=False)
    own = pointing(Image(), tmp_path / "protector" / "noise.png").select_columns("extra")
    write(own, tmp_path / "images.parquet")
    assert "row 2 of the split 'train', column 'extra'" in refusal(tmp_path / "images.parquet", streaming=True)


def test_more_rows_than_a_screen_holds_are_counted(secret: Path, tmp_path: Path) -> None:
    many = rows(Image(decode=False), lambda row: {"bytes": None, "path": str(secret)}, count=9)
    assert "  and 4 more\n" in refusal(write(many, tmp_path / "evil.parquet"), streaming=False)


def test_files_within_the_dataset_are_taken_in(tmp_path: Path, fitted: UCProtector) -> None:
    folder = tmp_path / "album"
    (folder / "files").mkdir(parents=True)
    (folder / "files" / "a.png").write_bytes(png(1))
    (folder / "linked.png").symlink_to(folder / "files" / "a.png")
    names = ["files/a.png", "linked.png"]
    inside = [{"bytes": None, "path": str(folder / name)} for name in names]
    nested = rows(List(Image(decode=False)), lambda row: inside if row == 2 else None).rename_column(
        "picture", "image"
    )
    write(nested, folder / "train.parquet")
    fitted.save_pretrained(tmp_path / "key")
    words = ["--protector", tmp_path / "key", "--image-column", "image", "--keep-clean", "extra"]
    succeed("protect", folder, "--out", tmp_path / "out", *words)
    taken = load_dataset(str(tmp_path / "out"), split="train")["extra"][2]
    assert taken == [{"bytes": png(1), "path": "a.png"}, {"bytes": png(1), "path": "linked.png"}]


@pytest.mark.parametrize("where", ["--out", "--push-to"])
def test_the_command_publishes_nobodys_files_and_writes_nothing(
    hub: MiniHub, secret: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write(pointing(Pdf(decode=False), "home/id_rsa", row=3), tmp_path / "evil.parquet")
    words = {"--out": ["--out", "out"], "--push-to": ["--push-to", "me/evil"]}[where]
    result = invoke("protect", "evil.parquet", *words, "--surrogate", "uc_hf/tiny", "--n-clusters", 2)
    assert result.exit_code == 1 and "row 3 of the split 'train', column 'extra': 'home/id_rsa'" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evil.parquet", "home"]
    assert ("datasets", "me/evil") not in hub.repos


def test_a_stream_from_the_hub_stops_before_the_row_is_read(
    hub: MiniHub, secret: Path, tmp_path: Path, fitted: UCProtector
) -> None:
    evil = pointing(Image(decode=False), secret).rename_column("picture", "image")
    HfApi().create_repo("me/evil-rows", repo_type="dataset", exist_ok=True)
    file = write(evil, tmp_path / "train.parquet")
    HfApi().upload_file(
        path_or_fileobj=file, path_in_repo="train.parquet", repo_id="me/evil-rows", repo_type="dataset"
    )
    with pytest.raises(DatasetError, match=r"row 2 of the split 'train', column 'extra'"):
        stream, options = load_dataset("me/evil-rows", streaming=True), {"protector": fitted, "keep_clean": ["extra"]}
        publish(stream, "me/evil-copy", source="me/evil-rows", **options)
    with pytest.raises(DatasetError, match=r"row 2 of the split 'train', column 'extra'"):
        publish(evil, "me/evil-copy", **options)
    assert not [path for path in hub.files("datasets", "me/evil-copy") if path.startswith("data/")]
    with pytest.raises(DatasetError, match=r"row 2 of the split 'train', column 'extra'"):
        open_dataset("me/evil-rows")


def test_files_are_published_from_the_folder_that_was_named(hub: MiniHub, tmp_path: Path, fitted: UCProtector) -> None:
    (tmp_path / "mine").mkdir()
    paths = [tmp_path / "mine" / f"{row}.png" for row in range(3)]
    for path in paths:
        path.write_bytes(png())
    mine = Dataset.from_dict({"image": [str(path) for path in paths]}).cast_column("image", Image())
    with pytest.raises(DatasetError, match=r"row 0 of the split 'train', column 'image'"):
        publish(mine, "me/mine", protector=fitted)
    publish(mine, "me/mine", protector=fitted, files_in=tmp_path / "mine")
    assert [row["path"] for row in stored(load_dataset("me/mine", split="train"))] == ["0.png", "1.png", "2.png"]


@pytest.mark.parametrize("streaming", [False, True], ids=["stored", "streamed"])
def test_pictures_that_lie_in_the_repository_itself_are_read(hub: MiniHub, tmp_path: Path, streaming: bool) -> None:
    HfApi().create_repo("me/a-tree", repo_type="dataset", exist_ok=True)
    for name in ("cats/a.jpg", "dogs/b.jpg"):
        HfApi().upload_file(path_or_fileobj=jpeg(), path_in_repo=name, repo_id="me/a-tree", repo_type="dataset")
    splits = open_dataset("me/a-tree", streaming=streaming)
    assert [row["label"] for row in splits["train"]] == [0, 1]
    read = [table.to_pylist()[0]["image"] for table in read_rows(splits["train"], "the split 'train'")]
    assert [row["bytes"] for row in read] == [jpeg()] * 2 and [row["path"] for row in read] == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize("streaming", [False, True], ids=["stored", "streamed"])
def test_pictures_in_an_archive_of_the_repository_are_read(
    hub: MiniHub, tmp_path: Path, fitted: UCProtector, streaming: bool
) -> None:
    with zipfile.ZipFile(tmp_path / "train.zip", "w") as archive:
        for name in ("a.png", "b.png"):
            archive.writestr(name, png())
    HfApi().create_repo("me/zipped", repo_type="dataset", exist_ok=True)
    file = {"path_or_fileobj": tmp_path / "train.zip", "path_in_repo": "train.zip"}
    HfApi().upload_file(**file, repo_id="me/zipped", repo_type="dataset")
    fitted.save_pretrained(tmp_path / "key")
    place = ["--push-to", "me/unzipped"] if streaming else ["--out", tmp_path / "out"]
    succeed("protect", "me/zipped", *place, "--protector", tmp_path / "key")
    made = load_dataset("me/unzipped" if streaming else str(tmp_path / "out"), split="train")
    assert [row["path"] for row in stored(made)] == ["a.png", "b.png"]


@pytest.mark.parametrize("path", ["{home}/*.parquet", "../home/*.parquet", "hf://datasets/me/private/*.parquet"])
@pytest.mark.parametrize("key", ["data_files", "data_dir"])
def test_a_readme_that_names_files_elsewhere_is_refused(
    hub: MiniHub, secret: Path, tmp_path: Path, path: str, key: str
) -> None:
    write(rows(Value("string"), str), secret.parent / "diary.parquet")
    HfApi().create_repo("me/private", repo_type="dataset", private=True, exist_ok=True)
    diary = {"path_or_fileobj": secret.parent / "diary.parquet", "path_in_repo": "diary.parquet"}
    HfApi().upload_file(**diary, repo_id="me/private", repo_type="dataset")
    named = path.format(home=secret.parent)
    named = named if key == "data_files" else named.removesuffix("/*.parquet")
    write(rows(Value("string"), str), tmp_path / "evil" / "train.parquet")
    card = f"---\nconfigs:\n- config_name: default\n  {key}: '{named}'\n---\n"
    (tmp_path / "evil" / "README.md").write_text(card)
    with pytest.raises(DatasetError):
        open_dataset(str(tmp_path / "evil"))
    HfApi().create_repo("me/evil-card", repo_type="dataset", exist_ok=True)
    HfApi().upload_folder(repo_id="me/evil-card", repo_type="dataset", folder_path=tmp_path / "evil")
    with pytest.raises(DatasetError):
        open_dataset("me/evil-card")


def test_a_saved_dataset_that_names_arrow_files_elsewhere_is_refused(tmp_path: Path) -> None:
    rows(Value("string"), str).save_to_disk(tmp_path / "diary")
    DatasetDict(train=rows(Value("string"), str)).save_to_disk(tmp_path / "evil")
    state = tmp_path / "evil" / "train" / "state.json"
    whole = state.read_text()
    (arrow,) = (tmp_path / "diary").glob("*.arrow")
    for name in (f"../../diary/{arrow.name}", str(arrow)):
        state.write_text(re.sub(r'"filename": "[^"]+"', f'"filename": "{name}"', whole))
        with pytest.raises(DatasetError, match="which is not one of its own files"):
            open_dataset(str(tmp_path / "evil"))
    state.write_text(whole)
    (own,) = state.parent.glob("*.arrow")
    own.unlink()
    os.mkfifo(own)
    with pytest.raises(DatasetError, match=r"lacks .*Copy it again"):
        open_dataset(str(tmp_path / "evil"))
    (tmp_path / "evil" / "dataset_dict.json").write_text('{"splits": ["../diary"]}')
    with pytest.raises(DatasetError, match="which is not one of its own files"):
        open_dataset(str(tmp_path / "evil"))


def test_an_export_copies_what_is_stored_in_the_rows_alone(secret: Path, tmp_path: Path) -> None:
    evil = pointing(Image(decode=False), secret).add_column("label", ["a", "b", "a", "b"])
    with pytest.raises(DatasetError, match="row 2 of the split 'train', column 'extra'"):
        export_folders(evil, tmp_path / "out", image_column="extra")
    assert not (tmp_path / "out").exists()


def test_a_pipe_or_a_device_is_not_read_where_python_hands_a_row_over(tmp_path: Path, fitted: UCProtector) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for path in (str(tmp_path / "pipe.png"), "/dev/zero"):
        endless = Dataset.from_dict({"image": [path]}).cast_column("image", Image())
        with pytest.raises(ImageError, match="Not a regular file"):
            endless.map(fitted, batched=True)


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["a.parquet", "b.parquet", "eye-test.parquet"], {"train": 3}),
        (["train.parquet", "test.parquet"], {"train": 1, "test": 1}),
        (["test/0.parquet", "train/0.parquet", "val/0.parquet"], {"train": 1, "validation": 1, "test": 1}),
        (["data/more-00000-of-00001.parquet", "data/train-00000-of-00001.parquet"], {"train": 1, "more": 1}),
        (["DATA.PARQUET"], {"train": 1}),
        (["[v2]/b [1].parquet", "[v2]/a*.parquet"], {"train": 2}),
    ],
)
@pytest.mark.parametrize("streaming", [False, True], ids=["stored", "streamed"])
def test_every_parquet_file_of_a_folder_is_read(
    tmp_path: Path, names: list[str], splits: dict[str, int], streaming: bool
) -> None:
    for name in names:
        write(rows(Value("string"), str, count=1), tmp_path / "[x] set" / name)
    os.mkfifo(tmp_path / "[x] set" / "pipe.parquet")
    opened = open_dataset(str(tmp_path / "[x] set"), streaming=streaming)
    assert {split: len(list(part)) for split, part in opened.items()} == splits


def test_a_readme_says_which_files_are_which_split_and_what_the_columns_are(tmp_path: Path) -> None:
    for name in ("one.parquet", "two.parquet", "left/three.parquet"):
        write(rows(Value("string"), str, count=1), tmp_path / name)
    card = "---\nconfigs:\n- config_name: default\n  data_files:\n  - {split: big, path: '*.parquet'}\n---\n"
    (tmp_path / "README.md").write_text(card)
    opened = open_dataset(str(tmp_path))
    assert {split: len(part) for split, part in opened.items()} == {"big": 2}
    assert isinstance(opened["big"], datasets.Dataset)
    (tmp_path / "README.md").write_text(card.replace("*.parquet", "none-*.parquet"))
    with pytest.raises(DatasetError, match=r"names 'none-\*\.parquet' as the split 'big', and the folder holds no"):
        open_dataset(str(tmp_path))
    (tmp_path / "README.md").write_text("---\nconfigs: [a\n---\n")
    with pytest.raises(DatasetError, match=r"README\.md cannot be read"):
        open_dataset(str(tmp_path))
