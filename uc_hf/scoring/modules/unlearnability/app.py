"""The Space: train a small model on a clean and on a protected dataset of the Hub, and test both on clean images."""

from pathlib import Path

import datasets
import gradio as gr
import numpy as np
from matplotlib.figure import Figure

from uc_hf.data.hub import HUB_NAME
from uc_hf.data.sources import open_from_hub
from uc_hf.errors import DatasetError, UCError
from uc_hf.reports import figures
from uc_hf.scoring.recipes import Recipe
from uc_hf.scoring.results import Scorecard
from uc_hf.scoring.scorecard import score


TARGET = "resnet-small"
PROGRESS = gr.Progress(track_tqdm=True)
CARD = Path(__file__).with_name("README.md").read_text(encoding="utf-8").split("---\n", 2)[2]


def measure(
    clean: str,
    protected: str,
    train_split: str,
    test_split: str,
    images: int,
    epochs: int,
    seeds: int,
    progress: gr.Progress = PROGRESS,
) -> tuple[str, list[list[str]], Figure]:
    """Score a protected dataset on a sample of its rows."""
    try:
        originals, copies = _from_hub(clean), _from_hub(protected)
        train_sets = {
            "clean": _sample(originals, clean, train_split, images),
            "protected": _sample(copies, protected, train_split, images),
        }
        test = _sample(originals, clean, test_split, images)
        card = score(train_sets, test, targets=[TARGET], seeds=range(int(seeds)), recipe=Recipe(epochs=int(epochs)))
    except UCError as error:
        raise gr.Error(str(error)) from error
    rows = [
        [summary.train_set, figures.percent(summary.last), figures.percent(summary.peak)]
        for summary in card.summaries()
    ]
    return card.headline(), [*rows, ["guessing", figures.percent(card.chance), ""]], _curves(card)


def _from_hub(name: str) -> datasets.DatasetDict:
    """A dataset by its name: a visitor reads neither the disk of this machine nor other addresses."""
    if not HUB_NAME.fullmatch(name) or Path(name).exists():
        raise DatasetError(f"{name!r} is no dataset on the Hub: write USER/NAME.")
    return open_from_hub(name, streaming=False)


def _sample(splits: datasets.DatasetDict, source: str, split: str, images: int) -> datasets.Dataset:
    """A seeded sample: of two sets with the same rows it takes the same ones."""
    if split not in splits:
        raise DatasetError(f"{source} has no split {split!r}; it has {', '.join(splits)}.")
    return splits[split].shuffle(seed=0).select(range(min(int(images), len(splits[split]))))


def _curves(card: Scorecard) -> Figure:
    curves: dict[str, list[list[float]]] = {}
    for row, curve in zip(card.rows, card.curves, strict=True):
        curves.setdefault(row.train_set, []).append(curve)
    arrays = {name: np.array(values) for name, values in curves.items()}
    return figures.accuracy_curves(arrays, card.chance, f"{TARGET}, while training")


with gr.Blocks(title="Unlearnability") as demo:
    gr.Markdown(
        "# Unlearnability\n\nHow unlearnable is a protected image dataset? A small model is trained from scratch on "
        "the clean set and on the protected one, and tested on clean images. This Space reads public datasets. It "
        "takes minutes, and a claim needs the controls of `uc-hf score` beside it."
    )
    with gr.Row():
        clean_name = gr.Textbox(label="Clean dataset on the Hub", placeholder="user/pets")
        protected_name = gr.Textbox(label="Protected dataset on the Hub", placeholder="user/pets-protected")
    with gr.Row():
        train_name = gr.Textbox(label="Split to train on", value="train")
        test_name = gr.Textbox(label="Clean split to test on", value="test")
    with gr.Row():
        most_images = gr.Slider(100, 5000, value=1000, step=100, label="Images at most, of each set")
        epoch_count = gr.Slider(1, 40, value=12, step=1, label="Epochs")
        seed_count = gr.Slider(1, 3, value=1, step=1, label="Seeds")
    button = gr.Button("Train and test", variant="primary")
    sentence = gr.Markdown()
    table = gr.Dataframe(headers=["trained on", "last epoch", "best epoch"], interactive=False, label="Accuracy")
    plot = gr.Plot(label="Accuracy on clean images while training", format="png")
    inputs = [clean_name, protected_name, train_name, test_name, most_images, epoch_count, seed_count]
    button.click(measure, inputs, [sentence, table, plot], api_name="measure")
    with gr.Accordion("About this measurement", open=False):
        gr.Markdown(CARD)


if __name__ == "__main__":
    demo.launch()
