"""Columns of a dataset: which holds the images, what would stay clean beside them, and which rows have no label."""

import re
from pathlib import Path

import numpy as np
import pytest
from datasets import Array2D, Array3D, ClassLabel, Dataset, Features, Image, List, Value, load_dataset
from PIL import Image as PILImage

from tests.commands import invoke, succeed
from tests.minihub import MiniHub
from uc_hf import UCProtector, publish
from uc_hf.data.arrays import picture_arrays
from uc_hf.data.columns import class_names, image_column, other_images, refuse_clean_twins
from uc_hf.errors import DatasetError
from uc_hf.publishing.export import export_folders


def pictures(count: int) -> list[PILImage.Image]:
    return [PILImage.new("RGB", (40, 40), (30 * row, 90, 200)) for row in range(count)]


def table(features: dict, **columns: object) -> Dataset:
    return Dataset.from_dict(columns, features=Features(features))


def test_images_in_lists_and_structs_come_with_a_line_that_works() -> None:
    import datasets

    lists = table({"images": List(Image())}, images=[pictures(2), [], pictures(3)])
    with pytest.raises(DatasetError, match="holds lists of images: write a row for each image first") as caught:
        image_column(lists.features)
    line = str(caught.value).split("first, ")[1].rstrip(".")
    rows = eval(line, {"ds": lists, "datasets": datasets})
    assert image_column(rows.features) == "image" and len(rows) == 5 and rows[4]["image"].size == (40, 40)

    structs = table({"x": {"image": Image()}}, x=[{"image": picture} for picture in pictures(3)])
    with pytest.raises(DatasetError, match=r"holds its images in a struct: write ds.flatten\(\) first"):
        image_column(structs.features, "x")
    assert image_column(structs.flatten().features) == "x.image"


@pytest.mark.parametrize("feature", [Image(), List(Image())], ids=["column", "nested"])
def test_a_second_column_of_images_is_refused_unless_it_may_stay_clean(
    hub: MiniHub, tmp_path: Path, fitted: UCProtector, feature: object
) -> None:
    small = [[picture] for picture in pictures(3)] if isinstance(feature, List) else pictures(3)
    album = table({"image": Image(), "thumbnail": feature}, image=pictures(3), thumbnail=small)
    album.to_parquet(tmp_path / "album.parquet")
    fitted.save_pretrained(tmp_path / "key")
    words = ["protect", tmp_path / "album.parquet", "--protector", tmp_path / "key", "--image-column", "image"]
    for where in (["--out", tmp_path / "out"], ["--push-to", "me/twins"]):
        result = invoke(*words, *where)
        assert result.exit_code == 1 and "column 'thumbnail' holds images, too, and would be published clean" in (
            result.stderr
        )
    assert not (tmp_path / "out").exists() and ("datasets", "me/twins") not in hub.repos
    with pytest.raises(DatasetError, match=r"keep_clean=\['thumbnail'\]"):
        publish(album, "me/twins", protector=fitted)
    wrong = invoke(*words, "--out", tmp_path / "out", "--keep-clean", "thumb")
    assert wrong.exit_code == 1 and "there is no column 'thumb' to keep clean" in wrong.stderr
    succeed(*words, "--out", tmp_path / "out", "--keep-clean", "thumbnail")
    assert load_dataset(str(tmp_path / "out"), split="train").column_names == ["image", "thumbnail"]


@pytest.mark.parametrize(
    ("feature", "refused"),
    [
        (Value("binary"), True),
        (Value("large_binary"), True),
        (List({"jpg": Value("binary")}), True),
        (Array3D((48, 64, 3), "uint8"), True),
        (List(List(Value("uint8"))), True),
        (List(Value("uint8")), False),
        (Array2D((4, 4), "float32"), False),
        ({"name": Value("string"), "box": List(Value("float32"))}, False),
    ],
)
def test_raw_bytes_and_arrays_of_levels_may_be_pictures(feature: object, refused: bool) -> None:
    features = Features({"image": Image(), "raw": feature})
    assert other_images(features, "image") == ["raw"] * refused
    refuse_clean_twins(features, "image", ["raw"])
    if refused:
        with pytest.raises(DatasetError, match=r"column 'raw' \(\w+\) may hold images, too, .*--keep-clean raw"):
            refuse_clean_twins(features, "image")


def levels(size: int = 40) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (size, size, 3))


BOXES = {"bbox": List(List(Value("float32"), length=4)), "category": List(Value("int64"))}
POLYGONS = List(List(List(Value("float32"))))


@pytest.mark.parametrize(
    ("feature", "value", "refused"),
    [
        (Array3D((40, 40, 3), "float32"), levels() / 255, True),
        (Array3D((3, 40, 40), "float32"), levels().transpose(2, 0, 1) / 255, True),
        (Array2D((40, 40), "float64"), levels()[..., 0], True),
        (List(List(List(Value("int64")))), levels().tolist(), True),
        (List(List(Value("float16"), length=8), length=8), levels(8)[..., 0].tolist(), True),
        (List({"view": List(List(Value("int32")))}), [{"view": levels()[..., 1].tolist()}], True),
        (Array2D((4, 4), "float32"), levels(4)[..., 0], False),
        (BOXES, {"bbox": [[1.0, 2, 3, 4]] * 30, "category": [0] * 30}, False),
        (List({"bbox": List(Value("float32")), "segmentation": POLYGONS.feature}), None, False),
        (POLYGONS, [[list(range(2 * corners))] for corners in range(4, 24)], False),
        (List(List(List(Value("float32")))), [[[1.0, 2, 1]] * 17] * 3, False),
        (List(List(Value("string"))), [["a"] * 9] * 9, False),
    ],
)
def test_arrays_of_numbers_with_two_long_sides_may_be_pictures(
    tmp_path: Path, hub: MiniHub, fitted: UCProtector, feature: object, value: object, refused: bool
) -> None:
    rows = table({"image": Image(), "more": feature}, image=pictures(3), more=[None, value, value])
    rows.to_parquet(tmp_path / "rows.parquet")
    fitted.save_pretrained(tmp_path / "key")
    words = ["protect", tmp_path / "rows.parquet", "--protector", tmp_path / "key", "--out", tmp_path / "out"]
    says = r"column 'more' \(row 1: numbers with two sides of 8 or more\) may hold images, too, .*--keep-clean more"
    if refused:
        result = invoke(*words)
        assert result.exit_code == 1 and re.search(says, " ".join(result.stderr.split()))
        assert not (tmp_path / "out").exists()
        for given in (rows, rows.to_iterable_dataset()):
            with pytest.raises(DatasetError, match=says):
                publish(given, "me/arrays", protector=fitted)
    assert picture_arrays(rows, "image") == ["more"] * refused
    succeed(*words, *["--keep-clean", "more"] * refused)
    written = load_dataset(str(tmp_path / "out"), split="train")
    assert written.with_format("arrow")["more"][:].to_pylist() == rows.with_format("arrow")["more"][:].to_pylist()


@pytest.mark.parametrize("skip_bad", [False, True])
def test_a_stream_from_the_hub_ends_at_the_first_row_with_an_array_that_may_be_a_picture(
    hub: MiniHub, tmp_path: Path, fitted: UCProtector, skip_bad: bool
) -> None:
    features = {"image": Image(), "pixel_values": Array3D((40, 40, 3), "float32")}
    table(features, image=pictures(3), pixel_values=[None, None, levels() / 255]).push_to_hub("me/clean")
    fitted.save_pretrained(tmp_path / "key")
    out = f"me/out-{skip_bad}"
    words = ["protect", "me/clean", "--push-to", out, "--protector", tmp_path / "key", *["--skip-bad"] * skip_bad]
    result = invoke(*words)
    assert result.exit_code == 1 and "column 'pixel_values' (row 2: numbers" in " ".join(result.stderr.split())
    assert not [name for name in hub.files("datasets", out) if name.endswith(".parquet")]
    succeed(*words, "--keep-clean", "pixel_values")
    assert load_dataset(out, split="train").column_names == ["image", "pixel_values"]


@pytest.mark.parametrize("labels", [[0, -1, 1], [0, None, 1]], ids=["-1", "None"])
def test_a_row_without_a_label_is_named_and_nothing_is_written(tmp_path: Path, labels: list[int | None]) -> None:
    features = {"image": Image(), "label": ClassLabel(names=["a", "b"])}
    some = table(features, image=pictures(3), label=labels)
    with pytest.raises(DatasetError, match=r"row 1, column 'label', has no label\. .*dataset\.filter"):
        export_folders(some, tmp_path / "out")
    assert not list(tmp_path.iterdir())
    plain = table({"image": Image()}, image=pictures(3)).add_column("label", ["x", None, "y"])
    with pytest.raises(DatasetError, match="row 1, column 'label', has no label"):
        class_names(plain)


@pytest.mark.parametrize("name", ["a/b", "..", "a\0b", "\x1b[2Jx", "x" * 300, "\u202egpj.exe"])
def test_names_from_data_become_names_of_files_only_where_they_are_safe(tmp_path: Path, name: str) -> None:
    features = Features({"image": Image(), "label": ClassLabel(names=["cat", "dog"])})
    value = {"bytes": _png(), "path": f"{name}.png"}
    named = Dataset.from_dict({"image": [value, value], "label": [0, 1]}, features=features)
    export_folders(named, tmp_path / "out")
    files = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.png")}
    stem = {"a/b": "b"}.get(name)
    assert files == ({f"cat/{stem}.png", f"dog/1-{stem}.png"} if stem else {"cat/000000.png", "dog/000001.png"})
    classes = Features({"image": Image(), "label": ClassLabel(names=["cat", name])})
    with pytest.raises(DatasetError, match="cannot be the name of a folder"):
        export_folders(named.cast(classes), tmp_path / "classes")
    assert not (tmp_path / "classes").exists()


def _png() -> bytes:
    import io

    file = io.BytesIO()
    pictures(1)[0].save(file, "PNG")
    return file.getvalue()
