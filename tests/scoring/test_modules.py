"""The measurements for `evaluate`: loaded from a folder and from a Space, and what they measure."""

import doctest
import re
import runpy
from importlib.metadata import version
from pathlib import Path
from typing import Any

import evaluate
import numpy as np
import pytest
import yaml
from datasets import Dataset, DatasetDict, Image
from packaging.requirements import Requirement
from PIL import Image as PILImage

import uc_hf
from tests.commands import invoke, succeed
from tests.minihub import MiniHub
from uc_hf import UCProtector
from uc_hf.errors import DatasetError
from uc_hf.scoring.imperceptibility import compare


MODULES = ["imperceptibility", "unlearnability"]


@pytest.fixture(scope="module")
def originals(tiles: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Three JPEG files, held as bytes."""
    folder = tmp_path_factory.mktemp("originals")
    for index in range(3):
        tiles[index]["image"].save(folder / f"{index}.jpg", quality=90)
    values = [{"bytes": (folder / f"{index}.jpg").read_bytes(), "path": f"{index}.jpg"} for index in range(3)]
    return Dataset.from_dict({"image": values}).cast_column("image", Image())


@pytest.fixture(scope="module")
def protected(originals: Dataset) -> Dataset:
    """The first two shifted by 1/255, the third by 5/255, as PNG."""
    shifted = [
        PILImage.fromarray(np.clip(np.asarray(image).astype(int) + shift, 0, 255).astype(np.uint8))
        for image, shift in zip(originals["image"], (1, 1, 5), strict=True)
    ]
    return Dataset.from_dict({"image": shifted}).cast_column("image", Image())


@pytest.fixture
def imperceptibility() -> Any:
    return evaluate.load(uc_hf.module_path("imperceptibility"))


def stored(dataset: Dataset) -> list[dict]:
    return list(dataset.cast_column("image", Image(decode=False))["image"])


def test_imperceptibility_names_the_worst_rows_and_how_the_files_grew(
    imperceptibility: Any, originals: Dataset, protected: Dataset
):
    result = imperceptibility.compute(originals=originals, protected=protected)
    assert result["images"] == 3 and result["max_difference"] == 5
    assert result["worst_psnr_row"] == result["worst_ssim_row"] == 2
    assert result["worst_psnr"] == pytest.approx(20 * np.log10(255 / 5), abs=0.1)
    assert result["mean_difference"] == pytest.approx((1 + 1 + 5) / 3, abs=0.05)
    sizes = [sum(len(value["bytes"]) for value in stored(dataset)) for dataset in (originals, protected)]
    assert result["size_ratio"] == sizes[1] / sizes[0] != 1


def test_every_form_of_the_same_pictures_measures_the_same(
    imperceptibility: Any, originals: Dataset, protected: Dataset, tmp_path: Path
):
    expected = imperceptibility.compute(originals=originals, protected=protected)
    paths: dict[str, list[str]] = {"originals": [], "protected": []}
    for name, dataset in (("originals", originals), ("protected", protected)):
        for index, value in enumerate(stored(dataset)):
            path = tmp_path / f"{name}-{index}"
            path.write_bytes(value["bytes"])
            paths[name].append(str(path))
    forms = {
        "columns": (originals["image"], protected["image"]),
        "values": (stored(originals), stored(protected)),
        "paths": (paths["originals"], paths["protected"]),
    }
    for before, after in forms.values():
        assert imperceptibility.compute(originals=before, protected=after) == expected
    # A decoded JPEG must not be compressed anew on its way; its file's size is gone.
    decoded = {"originals": list(originals["image"]), "protected": [np.asarray(i) for i in protected["image"]]}
    in_memory = evaluate.load(uc_hf.module_path("imperceptibility"), keep_in_memory=True)
    for module in (imperceptibility, in_memory):
        assert module.compute(**decoded) == expected | {"size_ratio": None}


def test_pairs_can_be_added_one_by_one(imperceptibility: Any, originals: Dataset, protected: Dataset):
    expected = imperceptibility.compute(originals=originals, protected=protected)
    for before, after in zip(stored(originals), stored(protected), strict=True):
        imperceptibility.add(originals=before, protected=after)
    assert imperceptibility.compute() == expected


def test_sets_that_do_not_pair_up_are_refused(imperceptibility: Any, originals: Dataset, protected: Dataset):
    with pytest.raises(ValueError, match="originals has 3 images and protected 2"):
        imperceptibility.compute(originals=originals, protected=protected.select(range(2)))
    with pytest.raises(DatasetError, match="no column holds images"):
        imperceptibility.compute(originals=originals, protected=Dataset.from_dict({"label": [1, 2, 3]}))


OTHER = '''
import datasets
import evaluate


class {name}(evaluate.Metric):
    """Of somebody else."""

    def _info(self):
        features = datasets.Features({features})
        return evaluate.MetricInfo(description="", citation="", inputs_description="", features=features)

    def _compute(self, {inputs}):
        return {{"{result}": {formula}}}
'''


def write_module(folder: Path, name: str, features: str, inputs: str, result: str, formula: str) -> str:
    (folder / name).mkdir()
    code = OTHER.format(name=name.title(), features=features, inputs=inputs, result=result, formula=formula)
    (folder / name / f"{name}.py").write_text(code)
    return str(folder / name)


def test_imperceptibility_is_combined_with_other_modules(
    imperceptibility: Any, originals: Dataset, protected: Dataset, tmp_path: Path
):
    expected = imperceptibility.compute(originals=originals, protected=protected)
    image = "datasets.Image(decode=False)"
    pairs = write_module(
        tmp_path,
        "pairs",
        f'{{"originals": {image}, "protected": {image}}}',
        "originals, protected",
        "pairs",
        "len(originals)",
    )
    before, after = stored(originals), stored(protected)
    together = evaluate.combine([imperceptibility, evaluate.load(pairs)])
    assert together.compute(originals=before, protected=after) == expected | {"pairs": 3}

    integer = 'datasets.Value("int64")'
    hits = write_module(
        tmp_path,
        "hits",
        f'{{"predictions": {integer}, "references": {integer}}}',
        "predictions, references",
        "hits",
        "sum(p == r for p, r in zip(predictions, references))",
    )
    together = evaluate.combine([imperceptibility, evaluate.load(hits)])
    together.add_batch(predictions=[0, 1, 2], references=[0, 1, 1], originals=before, protected=after)
    assert together.compute() == expected | {"hits": 2}


def test_the_modules_are_pushed_as_spaces_updated_and_loaded_from_there(
    hub: MiniHub, originals: Dataset, protected: Dataset
):
    addresses = succeed("spaces", "push", "me", *MODULES).split()
    assert addresses == [f"{hub.url}/spaces/me/{name}" for name in MODULES]
    for name in MODULES:
        space = hub.repos["spaces", f"me/{name}"]
        assert space.sdk == "gradio" and not space.private
        local = {path.name: path.read_bytes() for path in Path(uc_hf.module_path(name)).iterdir() if path.is_file()}
        assert hub.files("spaces", f"me/{name}") == local
        assert set(local) == {f"{name}.py", "README.md", "app.py", "requirements.txt"}
    assert succeed("spaces", "push", "me", *MODULES).split() == addresses
    loaded = evaluate.load("me/imperceptibility")
    assert loaded.compute(originals=originals, protected=protected)["worst_psnr_row"] == 2


def test_the_page_is_pushed_as_a_private_space_with_what_the_hub_needs(hub: MiniHub):
    assert succeed("spaces", "push", "me", "protect-photos").split() == [f"{hub.url}/spaces/me/protect-photos"]
    space = hub.repos["spaces", "me/protect-photos"]
    assert space.sdk == "gradio" and space.private
    files = hub.files("spaces", "me/protect-photos")
    assert set(files) == {"README.md", "app.py", "requirements.txt"}
    front = files["README.md"].decode().split("---")[1]
    assert "sdk: gradio" in front and "app_file: app.py" in front and f"sdk_version: {version('gradio')}" in front
    compile(files["app.py"], "app.py", "exec")
    assert files["requirements.txt"].startswith(b"uc_hf[app] @ ")


def test_pushing_spaces_says_what_is_missing(hub: MiniHub, monkeypatch: pytest.MonkeyPatch):
    unknown = invoke("spaces", "push", "me", "page")
    assert unknown.exit_code == 1 and "Write one of unlearnability, imperceptibility, protect-photos" in unknown.stderr
    wrong = invoke("spaces", "push", "no/such")
    assert wrong.exit_code == 1 and "'no/such/unlearnability' is not a name of a repository" in wrong.stderr
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    stranger = invoke("spaces", "push", "me")
    assert stranger.exit_code == 1 and "me/unlearnability on the Hub: " in stranger.stderr


def test_the_space_of_unlearnability_reads_datasets_of_the_hub_and_nothing_else(
    hub: MiniHub, tiles: Dataset, fitted: UCProtector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    gr = pytest.importorskip("gradio", reason="the Space needs gradio: pip install 'uc_hf[app]'")
    splits = DatasetDict(train=tiles.select(range(64)), test=tiles.select(range(64, 96)))
    splits.push_to_hub("me/space-clean")
    splits.map(fitted, batched=True).push_to_hub("me/space-protected")
    splits["train"].to_parquet(tmp_path / "own" / "set" / "train-00000.parquet")
    monkeypatch.chdir(tmp_path)
    measure = runpy.run_path(str(Path(uc_hf.module_path("unlearnability")) / "app.py"))["measure"]
    for name in (
        *(
            str(tmp_path / "own"),
            "own/set",
            "./own/set",
            "../own",
            f"file://{tmp_path}/own",
            f"local://{tmp_path}/own",
        ),
        *(f"simplecache::file://{tmp_path}/own/set/train-00000.parquet", "ftp://127.0.0.1:1/x", "tiles"),
        *("hf://datasets/me/space-clean/data", "https://127.0.0.1:1/x", "memory://x", "me/space-clean@main", ""),
    ):
        with pytest.raises(gr.Error, match="is no dataset on the Hub: write USER/NAME"):
            measure(name, "me/space-protected", "train", "test", 100, 1, 1)
    with pytest.raises(gr.Error, match="nor a dataset on the Hub that you may read"):
        measure("me/space-misspelt", "me/space-protected", "train", "test", 100, 1, 1)
    headline, rows, _ = measure("me/space-clean", "me/space-protected", "train", "test", 100, 1, 1)
    assert "protected" in headline and sorted(row[0] for row in rows) == ["clean", "guessing", "protected"]


@pytest.mark.parametrize("name", MODULES)
def test_a_space_has_all_that_the_hub_and_a_reader_need(name: str):
    folder = Path(uc_hf.module_path(name))
    front, text = re.fullmatch(r"---\n(.*?)\n---\n(.*)", (folder / "README.md").read_text(), re.DOTALL).groups()
    metadata = yaml.safe_load(front)
    assert metadata["sdk"] == "gradio" and metadata["sdk_version"].startswith("6.")
    assert {"evaluate", "measurement"} <= set(metadata["tags"]) and metadata["title"] == name.title()
    for heading in ("Description", "How to use", "Inputs", "Output values", "Examples", "Limitations", "Citation"):
        assert f"# {heading}\n" in text
    app = folder / metadata["app_file"]
    compile(app.read_text(), str(app), "exec")
    assert "import gradio as gr" in app.read_text()
    lines = map(Requirement, (folder / "requirements.txt").read_text().splitlines())
    requirements = {line.name: line for line in lines}
    assert set(requirements) == {"gradio", "uc_hf"} and requirements["uc_hf"].url.startswith("git+https://")
    assert metadata["sdk_version"] in requirements["gradio"].specifier


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_card_give_what_it_shows(name: str):
    folder = uc_hf.module_path(name)
    text = (Path(folder) / "README.md").read_text().replace("```", "")
    examples = doctest.DocTestParser().get_doctest(text, {name: evaluate.load(folder)}, name, None, None)
    outcome = doctest.DocTestRunner().run(examples)
    assert outcome.failed == 0 and outcome.attempted > 3


def test_the_card_of_imperceptibility_explains_every_value(imperceptibility: Any):
    pair = [PILImage.new("RGB", (16, 16))]
    result = imperceptibility.compute(originals=pair, protected=pair)
    assert result == vars(compare([(pair[0], pair[0])]))
    text = (Path(uc_hf.module_path("imperceptibility")) / "README.md").read_text()
    assert all(f"**{name}**" in text and name in imperceptibility.inputs_description for name in result)
