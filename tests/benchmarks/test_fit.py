"""The benchmarks of strength, speed, a fit and what each epsilon costs, from end to end on a few pictures."""

import csv
import json
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import pytest
import torch
from datasets import Dataset, DatasetDict
from PIL import Image

from benchmarks import fit, imperceptibility, speed, strength
from uc_hf.errors import SettingError
from uc_hf.reports.figures import percent
from uc_hf.scoring.controls import CONTROLS
from uc_hf.scoring.imperceptibility import compare


@pytest.fixture(scope="module")
def saved(tiles: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("splits") / "tiles"
    DatasetDict(train=tiles.select(range(64)), test=tiles.select(range(64, 96))).save_to_disk(folder)
    return folder


def test_recipes_are_compared_and_a_second_run_finds_everything_done(
    saved: Path, surrogate_folder: str, tmp_path: Path
) -> None:
    words = ["--dataset", str(saved), "--surrogate", surrogate_folder, "--out", str(tmp_path / "out")]
    words += ["--paper-epochs", "0.5", "--seeds", "1", "--epochs", "1", "--batch-size", "16", "--image-size", "16"]
    text = fit.report(fit.parse(words))
    fits = json.loads((tmp_path / "out" / "fit.json").read_text())["fits"]
    assert fits["default"]["passes"] == {"forward only": 64}
    assert fits["paper"]["passes"] == {"forward only": 64 + 64, "with gradient": 256}
    least = 1 if torch.cuda.is_available() else 50  # of a GPU torch's own tensors alone, of a CPU the whole process
    assert all(cost["seconds"] > 0 and cost["peak_memory_mb"] > least for cost in fits.values())
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if "%" in line[1:]]
    assert [row[0] for row in rows[1:]] == ["clean", "control-grating", "default", "paper"]
    seconds, extrapolated = rows[-1][3:5]
    assert float(extrapolated.replace(",", "")) > 50 * float(seconds) and rows[-2][4] == ""

    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.safetensors")}
    assert len(files) == 2 and fit.report(fit.parse(words)) == text
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.safetensors")} == files
    with pytest.raises(SettingError, match=r"fit\.json was written with .*'paper_epochs': 0\.5"):
        fit.report(fit.parse([*words, "--paper-epochs", "1"]))


def test_methods_are_compared_on_the_same_clusters_and_a_second_run_trains_nothing(
    saved: Path, surrogate_folder: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "card.json"
    words = ["--dataset", str(saved), "--surrogate", surrogate_folder, "--seeds", "2"]
    words += ["--method", "default", "--method", "direct", "--epochs", "1", "--batch-size", "16", "--image-size", "16"]
    words += ["--counter-measure", "none", "--counter-measure", "gray", "--out", str(out)]
    card = strength.measure(strength.arguments(words))
    name = Path(surrogate_folder).name
    kinds = ("protected", *(f"control-{control}" for control in CONTROLS), "direct")
    sets = ["clean", *(f"{kind} ({name})" for kind in kinds)]
    assert [(of.train_set, of.counter_measure) for of in card.summaries()] == [
        (train_set, measure) for measure in (None, "gray") for train_set in sets
    ]
    written = out.stat().st_mtime_ns
    assert strength.measure(strength.arguments(words)).rows == card.rows and out.stat().st_mtime_ns == written

    strength.write_csv(card, tmp_path / "card.csv")
    rows = list(csv.DictReader((tmp_path / "card.csv").open()))
    assert [float(row["last"]) for row in rows] == [row.last for row in card.rows] and len(rows) == 28
    assert f"| gray | direct ({name}) |" in strength.table(card)
    labels = [text.get_text() for text in strength.draw(card).texts]
    assert f"direct ({name}), gray, resnet-small" in labels


def test_every_draw_is_another_noise_and_is_told_apart_from_the_trainings(
    saved: Path, surrogate_folder: str, tmp_path: Path
) -> None:
    words = ["--dataset", str(saved), "--surrogate", surrogate_folder, "--seeds", "1", "--draws", "2"]
    words += ["--epochs", "1", "--batch-size", "16", "--image-size", "16", "--out", str(tmp_path / "card.json")]
    card = strength.measure(strength.arguments(words))
    name = Path(surrogate_folder).name
    kinds, ends = ("protected", "control-grating"), ("", ", draw 1")
    assert len({card.sets[f"{kind} ({name}{end})"] for kind in kinds for end in ends}) == 4
    lasts = [of.last for of in card.summaries() if of.train_set.startswith("protected")]
    (row,) = [row for row in strength.over_draws(card) if row["trained on"] == f"protected ({name})"]
    assert row["draws"] == "2" and row["last epoch"].startswith(percent(sum(lasts) / 2))
    assert row["lowest and highest"] == f"{percent(min(lasts))}, {percent(max(lasts))}"

    figure = strength.draw(card)
    assert f"protected ({name}), 2 draws, resnet-small" in [text.get_text() for text in figure.texts]
    (dots,) = [line for line in figure.axes[0].lines if list(line.get_xdata()) == lasts]
    bar = figure.axes[0].patches[int(dots.get_ydata()[0])]
    assert bar.get_width() == pytest.approx(sum(lasts) / 2)


def test_the_parts_of_embedding_and_of_map_are_timed(tiles: Dataset, surrogate_folder: str) -> None:
    work = speed.prepare(tiles, surrogate=surrogate_folder, workers=0, repeats=1)
    results, tables = speed.measure(work)
    assert all(all(times) for part in results["seconds"].values() for times in part.values())
    parts = results["seconds"]["map"]
    ratio = parts["protecting map"][0] / (parts["identity map"][0] + parts["forward pass"][0])
    assert results["tables"]["map"][0]["protecting / (identity + forward)"] == f"{ratio:.2f}"
    assert set(results["tables"]["stages of map"][0]) == {"decode", "canvas", "embed", "add", "encode", "check"}
    assert ("| scikit-learn | not installed |" in tables) == (find_spec("sklearn") is None)


def test_the_map_that_is_compared_with_stores_the_same_pixels(tiles: Dataset, surrogate_folder: str) -> None:
    work = speed.prepare(tiles.select(range(20)), surrogate=surrogate_folder, workers=0, repeats=1)
    stored = work.dataset.map(speed.Identity("image", work.container), batched=True)["image"]
    assert compare(zip(work.dataset["image"], stored, strict=True)).max_difference == 0


def test_a_smaller_epsilon_costs_less_and_the_sheet_shows_them_all(
    saved: Path, surrogate_folder: str, tmp_path: Path
) -> None:
    results, table, sheet = imperceptibility.measure([str(saved)], surrogate_folder, None, n_images=20, shown=1)
    prices = results["tiles"]
    assert [prices[f"{epsilon}/255"]["max_difference"] for epsilon in (8, 12, 16)] == [8, 12, 16]
    assert prices["8/255"]["psnr"] > prices["12/255"]["psnr"] > prices["16/255"]["psnr"] > 24
    assert "| 8/255 | 20 of tiles |" in table
    file = BytesIO()
    sheet.savefig(file, dpi=imperceptibility.DPI, format="jpg")
    assert Image.open(file).width == 960
    assert {text.get_text().split(" ")[0] for text in sheet.texts} >= {"original", "8/255", "12/255", "16/255"}
