"""Whatever `datasets` hands over, in any format, becomes the same bytes as under a plain `map`."""

from collections.abc import Callable
from functools import partial
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from datasets import ClassLabel, Dataset, Features, Image, Value
from PIL import Image as PILImage
from PIL import ImageCms

from tests.stored import stored
from tests.workers import WORKERS
from uc_hf import UCProtector
from uc_hf.errors import DatasetError
from uc_hf.protecting import rows


ALL = ["image", "label", "note"]


def encoded(image: PILImage.Image, format: str, **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def pictures() -> Dataset:
    """Named files that bare arrays cannot stand for: turned, with a profile, CMYK, a palette, gray, 16 bits, alpha."""
    rng = np.random.default_rng(0)
    photo = PILImage.fromarray(rng.integers(60, 200, (4, 6, 3), dtype=np.uint8)).resize((48, 32))
    exif = PILImage.Exif()
    exif[0x0112] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    files = {
        "turned.jpg": encoded(photo, "JPEG", exif=exif),
        "profile.jpg": encoded(photo, "JPEG", icc_profile=profile),
        "ink.jpg": encoded(photo.convert("CMYK"), "JPEG"),
        "palette.png": encoded(photo.convert("P", palette=PILImage.Palette.ADAPTIVE), "PNG"),
        "gray.png": encoded(photo.convert("L"), "PNG"),
        "scan.png": encoded(PILImage.fromarray(rng.integers(0, 65536, (32, 48), dtype=np.uint16)), "PNG"),
        "logo.png": encoded(PILImage.fromarray(rng.integers(0, 256, (40, 40, 4), dtype=np.uint8)), "PNG"),
    }
    rows = [
        {"image": {"bytes": data, "path": name}, "label": number % 2, "note": name}
        for number, (name, data) in enumerate(files.items())
    ]
    return Dataset.from_list(
        rows, features=Features({"image": Image(), "label": ClassLabel(names=["a", "b"]), "note": Value("string")})
    )


@pytest.fixture(scope="module")
def expected(pictures: Dataset, fitted: UCProtector) -> Dataset:
    return pictures.map(fitted, batched=True)


@pytest.mark.parametrize("format", ["numpy", "torch", "arrow", "pandas"])
@pytest.mark.parametrize(
    "options",
    [{}, {"batched": True}, {"batched": True, "batch_size": 3, "with_indices": True}],
    ids=lambda options: "-".join(options) or "plain",
)
def test_a_dataset_with_a_format_is_protected_as_without(
    pictures: Dataset, expected: Dataset, fitted: UCProtector, format: str, options: dict
) -> None:
    protected = pictures.with_format(format).map(fitted, **options)
    assert protected.format["type"] == format
    plain = protected.with_format(None)
    assert stored(plain) == stored(expected)
    assert plain.features == expected.features
    assert plain["label"] == expected["label"] and plain["note"] == expected["note"]


def test_workers_protect_a_dataset_with_a_format_as_without(
    pictures: Dataset, expected: Dataset, fitted: UCProtector
) -> None:
    protected = pictures.with_format("torch").map(fitted, batched=True, num_proc=WORKERS)
    assert stored(protected.with_format(None)) == stored(expected)


@pytest.mark.parametrize("format", [None, "numpy", "torch", "arrow", "pandas"])
@pytest.mark.parametrize("options", [{}, {"batched": True}, {"batched": True, "with_indices": True}], ids=str)
def test_what_is_to_be_removed_goes_and_the_images_stay(
    pictures: Dataset, expected: Dataset, fitted: UCProtector, format: str | None, options: dict
) -> None:
    for removed, left in (["note"], ["image", "label"]), (["image"], ["label", "note", "image"]), (ALL, ["image"]):
        protected = pictures.with_format(format).map(fitted, remove_columns=removed, **options).with_format(None)
        assert sorted(protected.column_names) == sorted(left)
        assert stored(protected) == stored(expected)


@pytest.mark.parametrize("options", [{}, {"batched": True}, {"batched": True, "input_columns": ["image"]}], ids=str)
def test_what_is_to_be_removed_from_a_stream_goes_and_the_images_stay(
    pictures: Dataset, fitted: UCProtector, options: dict
) -> None:
    stream = pictures.to_iterable_dataset()
    kept = list(stream.map(fitted, **options))
    assert [list(row) for row in kept] == [ALL] * len(pictures)
    alone = list(stream.map(fitted, remove_columns=ALL, **options))
    assert alone == [{"image": row["image"]} for row in kept]


@pytest.mark.parametrize("format", ["arrow", "pandas"])
def test_a_stream_of_tables_that_would_lose_its_images_is_refused(
    pictures: Dataset, expected: Dataset, fitted: UCProtector, format: str
) -> None:
    stream = pictures.to_iterable_dataset().with_format(format)
    rows = [
        row
        for table in stream.map(fitted, remove_columns=["note"]).with_format("arrow").iter(2)
        for row in table.to_pylist()
    ]
    assert [list(row) for row in rows] == [["image", "label"]] * len(pictures)
    with pytest.raises(
        DatasetError, match=r"'image' out of remove_columns, or write stream.with_format\(None\) first"
    ):
        next(iter(stream.map(fitted, remove_columns=ALL)))


def test_a_function_that_calls_the_protector_is_given_all_columns(pictures: Dataset, fitted: UCProtector) -> None:
    def noted(batch: Any) -> Any:
        protected = fitted(batch)
        return {"image": protected["image"], "copy": protected["note"]}

    assert pictures.map(noted, batched=True)["copy"] == pictures["note"]


def test_a_transform_is_not_passed_by(pictures: Dataset, fitted: UCProtector) -> None:
    def blurred(batch: dict) -> dict:
        return {"image": [PILImage.new("RGB", (20, 20), "teal") for _ in batch["image"]]}

    seen = pictures.with_transform(blurred)
    for protect in (seen.map, partial(seen.map, batched=True), partial(seen.map, batched=True, num_proc=WORKERS)):
        with pytest.raises(DatasetError, match=r"a transform .*Write ds.with_format\(None\).map\(TRANSFORM"):
            protect(fitted)
    for stored_first in (pictures.map(blurred, batched=True), seen.map(dict, batched=True).with_format(None)):
        assert {row["image"].size for row in stored_first.map(fitted, batched=True)} == {(20, 20)}
    assert {row["image"].size for row in seen.map(lambda rows: fitted(rows), batched=True).with_format(None)} == {
        (20, 20)
    }


@pytest.mark.parametrize(
    "protect",
    [
        lambda shown, fitted: shown.map(fitted, batched=True),
        lambda shown, fitted: shown.with_format("torch").map(fitted),
        lambda shown, fitted: shown.map(fitted, input_columns=["image"]),
        lambda shown, fitted: shown.map(lambda rows: fitted(rows), batched=True),
        lambda shown, fitted: next(iter(shown.to_iterable_dataset().map(fitted, features=shown.features))),
    ],
    ids=["plain", "formatted", "input columns", "wrapped", "stream"],
)
def test_a_mode_in_which_the_noise_would_be_lost_is_refused(
    tiles: Dataset, fitted: UCProtector, protect: Callable
) -> None:
    with pytest.raises(
        DatasetError, match=r"'image' shows its images in mode 'L'.*ds.cast_column\('image', datasets.I"
    ):
        protect(tiles.cast_column("image", Image(mode="L")), fitted)
    assert len(protect(tiles.cast_column("image", Image(mode="RGB")), fitted)) in (len(tiles), 3)


def test_a_stream_of_arrow_tables_or_data_frames(pictures: Dataset, expected: Dataset, fitted: UCProtector) -> None:
    for format in ("arrow", "pandas"):
        stream = pictures.to_iterable_dataset().with_format(format).map(fitted, batched=True, batch_size=3)
        rows = [row for table in stream.with_format("arrow").iter(2) for row in table.to_pylist()]
        assert [row["image"] for row in rows] == stored(expected)
        assert [row["note"] for row in rows] == expected["note"]


HANDED: dict[str, tuple[Callable[[pa.Table], Any], Callable[[Any], list]]] = {
    "table": (lambda table: table, lambda done: done["image"].to_pylist()),
    "record batch": (lambda table: table.to_batches()[0], lambda done: done["image"].to_pylist()),
    "data frame": (lambda table: table.to_pandas(), lambda done: done["image"].tolist()),
    "arrow column": (lambda table: {"image": table["image"]}, lambda done: done["image"]),
    "series": (lambda table: {"image": pd.Series(table["image"].to_pylist())}, lambda done: done["image"]),
    "object array": (
        lambda table: {"image": np.array(table["image"].to_pylist(), dtype=object)},
        lambda done: done["image"],
    ),
    "tuple": (lambda table: {"image": tuple(table["image"].to_pylist())}, lambda done: done["image"]),
}


@pytest.mark.parametrize("name", HANDED)
def test_tables_and_columns_of_any_kind_are_taken(
    pictures: Dataset, expected: Dataset, fitted: UCProtector, name: str
) -> None:
    hand, images = HANDED[name]
    given = hand(pictures.with_format("arrow")[:])
    done = fitted(given)
    assert type(done) is type(given) and images(done) == stored(expected)
    if name in ("table", "record batch"):
        assert done.schema.names == given.schema.names and done["note"].to_pylist() == expected["note"][:]


def test_of_no_pictures_there_is_no_protected_one(fitted: UCProtector) -> None:
    assert fitted.transform([]) == [] and fitted({"image": []}) == {"image": []}


def test_arrays_of_one_size_are_a_batch_and_one_array_is_an_image(fitted: UCProtector) -> None:
    arrays = np.random.default_rng(0).integers(0, 256, (3, 32, 24, 3), dtype=np.uint8)
    together = fitted({"image": arrays})["image"]
    assert together == [fitted({"image": array})["image"] for array in arrays]


def test_what_a_user_has_put_in_the_place_of_an_image_is_what_is_protected(
    pictures: Dataset, fitted: UCProtector
) -> None:
    def cropped(batch: Any) -> Any:
        batch["image"] = [PILImage.new("RGB", (20, 20), "teal") for _ in batch["image"]]
        return fitted(batch)

    for format in (None, "numpy"):
        for row in pictures.with_format(format).map(cropped, batched=True).with_format(None):
            assert row["image"].size == (20, 20)


def test_tensors_of_a_stream_are_refused_with_what_to_write(pictures: Dataset, fitted: UCProtector) -> None:
    stream = pictures.to_iterable_dataset().with_format("torch").map(fitted)
    with pytest.raises(ValueError, match=r"Tensor is not an image.*with_format\(None\)"):
        next(iter(stream))


def test_a_batch_beyond_what_datasets_can_write_is_refused_early(
    pictures: Dataset, fitted: UCProtector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "LARGEST_BATCH", 40_000)
    monkeypatch.setattr("uc_hf.data.batches.IMAGES", 2)
    many = pictures.select([0] * 200)
    with pytest.raises(DatasetError, match=r"the 200 protected images .*Write map\(..., batch_size=2\)"):
        many.map(fitted, batched=True)
    assert len(many.select(range(3)).map(fitted, batched=True, batch_size=1)) == 3
