"""What goes wrong in practice, and the message that each mistake ends in: what, where, and what to do instead."""

import io
import json
import re
from pathlib import Path

import evaluate
import numpy as np
import pytest
from datasets import Dataset, DatasetDict, Features, Image, Value, load_dataset
from PIL import Image as PILImage

import uc_hf
from tests.commands import invoke, start, succeed
from tests.minihub import MiniHub
from uc_hf import UCProtector, open_protector, protector_for
from uc_hf.errors import (
    ClusterError,
    DatasetError,
    EpsilonError,
    ImageError,
    OutputError,
    SettingError,
    SurrogateError,
    UCError,
)
from uc_hf.scoring.recipes import Recipe
from uc_hf.scoring.scorecard import score
from uc_hf.scoring.trace.trace import trace


def jpeg(width: int = 16, height: int = 12, seed: int = 0) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    PILImage.fromarray(pixels).save(file, format="JPEG")
    return file.getvalue()


def dataset(*files: bytes) -> Dataset:
    values = [{"bytes": file, "path": None} for file in files]
    return Dataset.from_dict({"photo": values}).cast_column("photo", Image())


def refusal(kind: type[UCError], data: object, **settings: object) -> str:
    with pytest.raises(kind) as caught:
        UCProtector(**settings).fit(data)
    return str(caught.value)


def test_a_truncated_jpeg_is_named_by_row_and_column_before_anything_is_learnt(surrogate_folder: str) -> None:
    whole = jpeg()
    files = [whole] * 1300
    files[1234] = whole[: len(whole) * 2 // 3]
    message = refusal(ImageError, dataset(*files), surrogate=surrogate_folder)
    assert "1 of 1300 images cannot be protected" in message and "row 1234, column 'photo': truncated" in message
    assert "Mend them, or leave them out." in message


def test_all_bad_rows_are_named_at_once(surrogate_folder: str) -> None:
    message = refusal(ImageError, dataset(jpeg(), jpeg(1, 1), b"", jpeg(10_000, 20)), surrogate=surrogate_folder)
    assert "3 of 4 images" in message
    assert "row 1, column 'photo': 1 x 1 pixels: sides below 8 cannot be protected" in message
    assert "row 2, column 'photo': it is empty" in message
    assert "row 3, column 'photo': 10000 x 20 pixels: one side is more than 32 times the other" in message


def test_a_column_that_holds_no_images_is_refused_with_what_it_holds(tiles: Dataset, surrogate_folder: str) -> None:
    message = refusal(DatasetError, tiles, surrogate=surrogate_folder, image_column="note")
    assert "column 'note' holds string, not images. Image columns here: image" in message
    assert 'ds.cast_column("note", datasets.Image())' in message
    message = refusal(DatasetError, tiles, surrogate=surrogate_folder, image_column="img")
    assert "there is no column 'img'; the columns are 'image' (Image), 'label' (ClassLabel)" in message


def test_images_that_are_shown_in_another_mode_than_they_are_stored_in_are_refused_with_what_works(
    tiles: Dataset, fitted: UCProtector, surrogate_folder: str, tmp_path: Path
) -> None:
    import datasets

    shown = tiles.cast_column("image", Image(mode="L"))
    for given in (shown, shown.to_iterable_dataset()):
        message = refusal(DatasetError, given, surrogate=surrogate_folder)
        assert "column 'image' shows its images in mode 'L', which coloured noise would not survive" in message
    shown.save_to_disk(tmp_path / "shown")
    fitted.save_pretrained(tmp_path / "key")
    result = invoke("protect", tmp_path / "shown", "--protector", tmp_path / "key", "--out", tmp_path / "out")
    assert result.exit_code == 1 and "shows its images in mode 'L'" in result.stderr

    as_stored, in_gray = re.findall(r"ds\.(?:cast_column|map)\(.*?\)(?=;|\.$)", message)
    fit = UCProtector(surrogate=surrogate_folder, n_clusters=2)
    for line, mode in (as_stored, "RGB"), (in_gray, "L"):
        rows = eval(line, {"ds": shown, "datasets": datasets})
        assert {row["image"].mode for row in rows.map(fit.fit(rows), batched=True)} == {mode}


@pytest.mark.parametrize("method", ["uc", "synper"])
def test_a_dataset_with_a_transform_is_refused(tiles: Dataset, method: str) -> None:
    with pytest.raises(DatasetError, match=r"a transform .*Write ds.with_format\(None\).map\(TRANSFORM, batched=True"):
        protector_for(method).fit(tiles.with_transform(lambda rows: rows))


@pytest.mark.parametrize("which", ["clean", "protected", "test", "originals", "imperceptibility"])
def test_nor_is_it_scored_traced_or_compared_without_its_transform(
    tiles: Dataset, surrogate_folder: str, which: str
) -> None:
    key = UCProtector(surrogate=surrogate_folder, n_clusters=2).fit(tiles)
    sets = {"clean": tiles, "protected": tiles.map(key, batched=True), "test": tiles.select(range(4))}
    lazily = tiles.with_transform(key)
    with pytest.raises(DatasetError, match=r"a transform .*uc_hf takes what is stored"):
        if which == "originals":
            trace(lambda pictures: np.ones((len(pictures), 4)), protector=key, originals=lazily)
        elif which == "imperceptibility":
            compared = evaluate.load(uc_hf.module_path("imperceptibility"))
            compared.compute(originals=tiles, protected=lazily)
        else:
            sets[which] = lazily
            score({name: sets[name] for name in ("clean", "protected")}, sets["test"], recipe=Recipe(epochs=1))


def test_an_empty_dataset_is_refused(surrogate_folder: str) -> None:
    empty = Dataset.from_dict({"image": []}, features=Features({"image": Image()}))
    assert "the dataset is empty" in refusal(DatasetError, empty, surrogate=surrogate_folder)
    texts = Dataset.from_dict({"text": ["a"]}, features=Features({"text": Value("string")}))
    assert "no column holds images" in refusal(DatasetError, texts, surrogate=surrogate_folder)


def test_a_dataset_dict_is_refused_with_the_split_to_write(tiles: Dataset, surrogate_folder: str) -> None:
    splits = DatasetDict(training=tiles, test=tiles)
    message = refusal(DatasetError, splits, surrogate=surrogate_folder)
    assert "DatasetDict with the splits 'training', 'test'" in message and "protector.fit(ds['training'])" in message


def test_a_dataset_dict_is_no_stream_to_a_method_for_labels_either(tiles: Dataset) -> None:
    with pytest.raises(DatasetError, match=r"DatasetDict with the splits 'train'. .*protector.fit\(ds\['train'\]\)"):
        protector_for("synper").fit(DatasetDict(train=tiles))


@pytest.mark.parametrize("lazily", [False, True], ids=["map", "with_transform"])
def test_rows_without_the_column_that_was_fitted_on_are_told_what_to_rename(
    tiles: Dataset, surrogate_folder: str, lazily: bool
) -> None:
    protector = UCProtector(surrogate=surrogate_folder, n_clusters=2, fit_to=tiles)
    renamed = tiles.rename_column("image", "img")
    with pytest.raises(DatasetError, match=r"no column 'image', .* but img, label.*rename_column"):
        renamed.with_transform(protector)[0] if lazily else renamed.map(protector, batched=True)


def test_a_checkpoint_folder_that_cannot_be_made_is_named(
    tiles: Dataset, surrogate_folder: str, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("a file")
    protector = UCProtector(surrogate=surrogate_folder, n_clusters=2, batch_size=8)
    with pytest.raises(
        OutputError,
        match=r"the checkpoint folder .*taken.* cannot be written: Not a directory.*pass another checkpoint_dir",
    ):
        protector.fit(tiles, checkpoint_dir=tmp_path / "taken" / "fits")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_damaged_protector_is_named_with_what_is_damaged(
    tiles: Dataset, surrogate_folder: str, tmp_path: Path, name: str
) -> None:
    UCProtector(surrogate=surrogate_folder, n_clusters=2, fit_to=tiles).save_pretrained(tmp_path / "key")
    whole = (tmp_path / "key" / name).read_bytes()
    (tmp_path / "key" / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SettingError, match=f"key.*{name} is .*damaged.*Copy it again"):
        open_protector(str(tmp_path / "key"))


def test_more_clusters_than_images_are_refused_with_a_number_that_works(tiles: Dataset, surrogate_folder: str) -> None:
    message = refusal(ClusterError, tiles.select(range(30)), surrogate=surrogate_folder, n_clusters=31)
    assert "n_clusters=31 is more than the 30 images to fit on. Write n_clusters=3" in message


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({"epsilon": 16}, EpsilonError, "epsilon=16 is above 1.*write 16/255 \\(0.0627\\)"),
        ({"epsilon": 300}, EpsilonError, "epsilon=300 is above 1.*for example 16/255"),
        ({"epsilon": 0.001}, EpsilonError, "epsilon=0.001 is not between 1/255, .* and 127/255"),
        ({"epsilon": 0.51}, EpsilonError, "epsilon=0.51 is not between 1/255, .* and 127/255"),
        ({"epsilon": float("nan")}, EpsilonError, "epsilon=nan is not a number"),
        ({"epsilon": None}, EpsilonError, "epsilon=None is not a number"),
        ({"epsilon": "16/255"}, EpsilonError, "epsilon='16/255' is not a number"),
        ({"epsilon": "strong"}, EpsilonError, "epsilon='strong' is not a number. .* words are for look \\(--look\\)"),
        ({"n_clusters": 0}, SettingError, "n_clusters=0 is not a whole number of at least 1"),
        ({"n_cluster": 10}, SettingError, "'n_cluster' is not a setting. Did you mean 'n_clusters'"),
        ({"container": "gif"}, SettingError, "container 'gif' is not known: write 'png' or 'webp'"),
    ],
)
def test_settings_out_of_range_are_refused_at_once(settings: dict, kind: type[UCError], message: str) -> None:
    with pytest.raises(kind, match=message):
        UCProtector(**settings)


def test_an_unknown_surrogate_is_refused(hub: MiniHub, tiles: Dataset) -> None:
    assert "no model of that name on the Hub" in refusal(SurrogateError, tiles, surrogate="nobody/knows-this")
    assert "there is no folder" in refusal(SurrogateError, tiles, surrogate="./models/resnet")


def test_a_text_model_is_no_surrogate(tiles: Dataset, tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    BertModel(BertConfig(vocab_size=32, **sizes)).save_pretrained(tmp_path)
    message = refusal(SurrogateError, tiles, surrogate=str(tmp_path))
    assert 'is a "bert", not a vision model' in message


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Small pictures, and a large one in the middle of them."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(40):
        size = (900, 700) if number == 30 else (16, 12)
        (folder / f"{number:02}.jpg").write_bytes(jpeg(*size, seed=number))
    return folder


def test_a_bad_file_of_a_folder_is_named_by_its_path(photos: Path, surrogate_folder: str, tmp_path: Path) -> None:
    (photos / "album").mkdir()
    (photos / "album" / "cut.jpg").write_bytes(jpeg()[:300])
    result = invoke("protect", photos, "--out", tmp_path / "out", "--surrogate", surrogate_folder)
    assert result.exit_code == 1
    *_, headline, bad, remedy = result.stderr.splitlines()
    assert headline == "Error: 1 of 41 images cannot be protected:"
    assert bad.startswith("  album/cut.jpg: truncated or damaged")
    assert remedy == "Mend them, or write --skip-bad: the others are protected then, and these are left out."


@pytest.fixture
def key(tiles: Dataset, surrogate_folder: str, tmp_path: Path) -> Path:
    protector = UCProtector(surrogate=surrogate_folder, n_clusters=2, batch_size=8)
    protector.fit(tiles.select(range(8))).save_pretrained(tmp_path / "key")
    return tmp_path / "key"


def test_all_bad_files_are_listed_and_left_out_on_request(key: Path, photos: Path, tmp_path: Path) -> None:
    bad = [f"cut {number:02}\x1b[31m.jpg" for number in range(12)]
    for name in bad:
        (photos / name).write_bytes(jpeg()[:200])
    words = ["protect", photos, "--out", tmp_path / "out", "--protector", key]
    refused = invoke(*words, "--json")
    assert refused.exit_code == 1 and "12 of 52 images cannot be protected" in refused.stderr
    assert "  and 7 more\nAll are listed in " in refused.stderr and "\x1b" not in refused.stderr.replace(
        "\x1b[31mE", ""
    )
    told = json.loads(refused.stdout)["bad_images"]
    assert [image["image"] for image in told] == [name.replace("\x1b", r"\x1b") for name in bad]
    listed = (tmp_path / "key.bad-images.txt").read_text().splitlines()
    assert len(listed) == 12 and all("truncated or damaged" in line for line in listed)
    done = invoke(*words, "--skip-bad")
    assert done.exit_code == 3 and "Protected 40 images" in done.stdout
    assert "Not published: images that cannot be protected: 12 (the first: cut 00" in done.stdout
    assert "cut 04" in done.stdout and "cut 05" not in done.stdout and "key.bad-images.txt" in done.stdout
    assert len([*(tmp_path / "out").glob("*.png")]) == 40
    again = json.loads(invoke(*words, "--skip-bad", "--json").stdout)
    assert again["already_done"] == 40 and len(again["left_out"]["images that cannot be protected"]) == 12


@pytest.mark.parametrize("where", ["out", "local stream", "hub stream"])
def test_bad_rows_are_left_out_of_every_split_and_the_job_goes_on_where_it_stopped(
    hub: MiniHub, key: Path, tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uc_hf.publishing.dataset.SHARD_ROWS", 4)
    good = [jpeg(seed=seed) for seed in range(12)]
    good[3] = good[9] = good[5][:300]
    splits = DatasetDict(train=dataset(*good), test=dataset(good[0], good[3], good[1]))
    splits = splits.rename_column("photo", "image")
    source, name = tmp_path / "set", f"me/skipped-{where.split()[0]}"
    for split, rows in splits.items():
        source.mkdir(exist_ok=True)
        rows.to_parquet(source / f"{split}.parquet")
    if where == "hub stream":
        splits.push_to_hub("me/some-bad")
        source = "me/some-bad"
    place = ["--out", tmp_path / "out"] if where == "out" else ["--push-to", name]
    result = invoke("protect", source, *place, "--protector", key, "--skip-bad", "--json")
    assert result.exit_code == 3, result.stderr
    report = json.loads(result.stdout)
    (bad,) = report["left_out"].values()
    assert [line.partition(":")[0].partition(", column")[0] for line in sorted(bad)] == [
        "row 1 of the split 'test'",
        "row 3 of the split 'train'",
        "row 9 of the split 'train'",
    ]
    made = load_dataset(str(tmp_path / "out") if where == "out" else name)
    assert {split: len(rows) for split, rows in made.items()} == {"train": 10, "test": 2}
    again = json.loads(invoke("protect", source, *place, "--protector", key, "--skip-bad", "--json").stdout)
    assert again["already_done"] == 10 and again["images"] == 10


def test_a_bad_row_of_a_dataset_is_named_by_split_row_and_column(surrogate_folder: str, tmp_path: Path) -> None:
    splits = DatasetDict(train=dataset(jpeg(), jpeg()), more=dataset(jpeg(), jpeg()[:300]))
    splits.save_to_disk(tmp_path / "saved")
    result = invoke("protect", tmp_path / "saved", "--out", tmp_path / "out", "--surrogate", surrogate_folder)
    assert result.exit_code == 1 and "row 1 of the split 'more', column 'photo': truncated" in result.stderr


def test_tomorrows_rows_are_all_looked_at_before_the_first_is_protected_by_a_saved_protector(
    surrogate_folder: str, tmp_path: Path
) -> None:
    good = dataset(*(jpeg(seed=seed) for seed in range(4)))
    key = tmp_path / "key"
    UCProtector(surrogate=surrogate_folder, n_clusters=2, fit_to=good).save_pretrained(key)
    DatasetDict(train=dataset(jpeg(), jpeg()[:300])).save_to_disk(tmp_path / "tomorrow")
    result = invoke("protect", tmp_path / "tomorrow", "--out", tmp_path / "out", "--protector", key)
    assert result.exit_code == 1 and "1 of 2 images cannot be protected" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{photos}", "--epsilon", "16"], r"^Error: epsilon=16 is above 1\. .* write 16/255 \(0\.0627\)\.$"),
        (["{photos}", "--epsilon", "x"], r"^Error: epsilon='x' is not a number\. .* for example 16/255"),
        (["{photos}", "--epsilon", "0"], r"^Error: epsilon=0 is not between 1/255, .* for example 16/255"),
        (["{photos}", "--epsilon", "1/0"], r"^Error: epsilon='1/0' is not a number\."),
        (["{photos}", "--split", "train"], "a folder of images has no splits"),
        (["{here}/nowhere.parquet"], "neither a local file or folder nor a dataset on the Hub"),
        (["{here}/notes.txt"], "is neither an image nor a .parquet file"),
        (["{here}/photos.zip"], "photos.zip is an archive. Unpack it, and name the folder"),
        (["{here}/film.mp4"], "film.mp4 is a film. Protect pictures of it: mkdir frames && ffmpeg -i"),
        (["{here}/films"], "nor a dataset written by save_to_disk, but 2 .mov. Protect pictures of it"),
        (["https://example.org/photo.jpg"], "is an address. Download what lies there"),
        (["https://huggingface.co/datasets/me/pets/tree/main"], "is an address. Write the dataset's name: me/pets"),
        (["{here}/broken.parquet"], "broken.parquet' cannot be read"),
        (["{here}/nothing"], "holds neither images, parquet files, nor a dataset"),
        (["nobody/knows-this"], "neither a local file or folder nor a dataset on the Hub that you may read"),
        (["{here}/tests-only"], "all splits are test splits by their name .*Write --split test"),
    ],
)
def test_sources_that_cannot_be_protected(
    hub: MiniHub, photos: Path, tmp_path: Path, tiles: Dataset, words: list[str], message: str
) -> None:
    (tmp_path / "notes.txt").write_text("a text")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "nothing").mkdir()
    (tmp_path / "films").mkdir()
    for name in ("photos.zip", "film.mp4", "films/a.mov", "films/b.mov"):
        (tmp_path / name).write_bytes(b"x")
    DatasetDict(test=tiles.select(range(2))).save_to_disk(tmp_path / "tests-only")
    places = {"photos": photos, "here": tmp_path}
    result = invoke("protect", *(word.format(**places) for word in words), "--out", tmp_path / "out")
    assert result.exit_code == 1 and re.search(message, result.stderr), result.stderr
    assert "Traceback" not in result.stderr and result.stdout == "" and not (tmp_path / "out").exists()


def test_without_the_hub_the_message_says_so(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    result = invoke("protect", "somebody/pets", "--out", tmp_path / "out")
    assert result.exit_code == 1 and "the Hub is not in reach" in result.stderr


def test_a_full_disk_ends_the_program_with_what_is_done_and_the_same_command_goes_on(
    photos: Path, tmp_path: Path, surrogate_folder: str
) -> None:
    out = tmp_path / "out"
    options = ["--surrogate", surrogate_folder, "--n-clusters", 2, "--json"]
    process = start("protect", photos, "--out", out, *options, file_limit=1_200_000)
    printed, said = process.communicate(timeout=120)
    assert process.returncode == 1 and printed == "" and "Traceback" not in said
    assert (
        f"Error: {out / '30.png'} cannot be written: File too large. Make room there. 30 of 40 images are done" in said
    )
    assert sorted(path.name for path in out.iterdir()) == [f"{number:02}.png" for number in range(30)]
    assert '"already_done": 30' in succeed("protect", photos, "--out", out, *options)
    assert len(list(out.iterdir())) == 40
