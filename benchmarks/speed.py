"""The time of embedding and of `map`, beside the least that each needs.

    python -m benchmarks.speed --dataset ../shared/data/cifar10 --images 2000 --surrogate uc_hf/tiny --out speed

Three measurements: embedding a dataset, against the surrogate's forward pass over images that are decoded in memory;
k-means by faiss against scikit-learn's, where that is installed; and `map` with a fitted protector, against a `map`
that decodes and stores the same images unchanged, plus one forward pass over all. Compared jobs run in turn,
`--repeats` times after a first round that does not count. Seconds are medians, ratios are medians of the ratios of
consecutive runs. OUT.json holds everything, OUT.md the tables.
"""

import argparse
import json
import logging
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import starmap
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from benchmarks.machine import device_name, median_ratio, time_in_turn
from uc_hf import UCProtector
from uc_hf.data import images
from uc_hf.data.checks import undecoded
from uc_hf.data.container import Container
from uc_hf.data.images import Picture
from uc_hf.data.sources import open_dataset
from uc_hf.fitting.clustering import find_clusters, nearest
from uc_hf.fitting.clusterings.kmeans import ITERATIONS, RESTARTS
from uc_hf.fitting.embedding import embed, embed_canvases
from uc_hf.fitting.sample import Sample, draw_sample
from uc_hf.protecting.noise import add, check_bound
from uc_hf.protecting.protector import AT_ONCE
from uc_hf.reports import markdown
from uc_hf.surrogates.surrogate import Embedder, load_surrogate


logger = logging.getLogger(__name__)

Table = list[dict[str, str]]


@dataclass(frozen=True)
class Work:
    """What is timed: a fitted protector, its surrogate on the accelerator's device, and stored images."""

    protector: UCProtector
    surrogate: Embedder
    accelerator: Accelerator
    dataset: datasets.Dataset
    sample: Sample
    workers: int
    repeats: int

    @property
    def container(self) -> Container:
        """The container of the protected images."""
        return self.protector.settings.stored_as

    def embed(self) -> tuple[Tensor, np.ndarray]:
        """Canvases and embeddings of all images, decoded from their stored form."""
        return embed(
            self.sample,
            self.surrogate,
            size=self.protector.fitted.view_size,
            normalise=True,
            accelerator=self.accelerator,
            batch_size=AT_ONCE,
            num_workers=self.workers,
        )

    def forward(self, canvases: Tensor) -> None:
        """The surrogate alone, over canvases uint8 [N, 3, S, S]."""
        with torch.inference_mode(), self.accelerator.autocast():
            for part in canvases.split(AT_ONCE):
                embed_canvases(part, self.surrogate, normalise=False)

    def per_image(self, seconds: list[float]) -> str:
        """A median in milliseconds per image."""
        return f"{1000 * statistics.median(seconds) / len(self.sample):.3f} ms"


class Identity:
    """The function of the `map` to compare with: it decodes images and stores them unchanged."""

    def __init__(self, column: str, container: Container) -> None:
        self.column, self.container = column, container

    def __call__(self, examples: dict[str, Any]) -> dict[str, Any]:
        """The batch with its images encoded again."""
        pictures = [images.decode(value) for value in examples[self.column]]
        stored = [images.encode(picture, self.container) for picture in pictures]
        examples[self.column] = [{"bytes": data, "path": None} for data in stored]
        return examples


def embedding(work: Work) -> tuple[dict[str, list[float]], Table]:
    """Embedding, decoding included, against the bare forward pass."""
    canvases = work.embed()[0].to(work.accelerator.device)
    seconds = time_in_turn({"forward pass": lambda: work.forward(canvases), "embedding": work.embed}, work.repeats)
    row = {name: work.per_image(times) for name, times in seconds.items()}
    fraction = median_ratio(seconds["forward pass"], seconds["embedding"])
    return seconds, [row | {"throughput of the forward pass": f"{fraction:.2f}"}]


def k_means(work: Work) -> tuple[dict[str, list[float]], Table]:
    """K-means on the embeddings, with the same number of restarts."""
    _, embeddings = work.embed()
    n_clusters, seed = work.protector.settings.p, work.protector.settings.seed
    found: dict[str, np.ndarray] = {}

    def faiss() -> None:
        found["faiss"] = find_clusters(embeddings, n_clusters, seed).centroids

    def scikit_learn() -> None:
        from sklearn.cluster import KMeans

        kmeans = KMeans(n_clusters, n_init=RESTARTS, max_iter=ITERATIONS, random_state=seed)
        found["scikit-learn"] = kmeans.fit(embeddings).cluster_centers_

    jobs: dict[str, Callable[[], object]] = {"faiss": faiss}
    if find_spec("sklearn") is not None:
        jobs["scikit-learn"] = scikit_learn
    seconds = time_in_turn(jobs, work.repeats)
    table = []
    for name, centroids in found.items():
        distance = np.linalg.norm(embeddings - centroids[nearest(embeddings, centroids)], axis=1)
        cost = {"mean squared distance": f"{np.square(distance).mean():.5f}"}
        table.append({"k-means by": name, "seconds": f"{statistics.median(seconds[name]):.3f}"} | cost)
    if "scikit-learn" not in found:
        table.append({"k-means by": "scikit-learn", "seconds": "not installed", "mean squared distance": ""})
    return seconds, table


def mapping(work: Work) -> tuple[dict[str, list[float]], Table]:
    """Both maps, and the forward pass that one of them has to make."""
    canvases = work.embed()[0].to(work.accelerator.device)
    options = {"batched": True, "batch_size": AT_ONCE, "keep_in_memory": True, "load_from_cache_file": False}
    unchanged = Identity(work.sample.column, work.container)
    seconds = time_in_turn(
        {
            "identity map": lambda: work.dataset.map(unchanged, **options),
            "forward pass": lambda: work.forward(canvases),
            "protecting map": lambda: work.dataset.map(work.protector, **options),
        },
        work.repeats,
    )
    least = [sum(pair) for pair in zip(seconds["identity map"], seconds["forward pass"], strict=True)]
    row = {name: work.per_image(times) for name, times in seconds.items()}
    ratio = median_ratio(seconds["protecting map"], least)
    return seconds, [row | {"protecting / (identity + forward)": f"{ratio:.2f}"}]


def stages(work: Work) -> tuple[dict[str, list[float]], Table]:
    """The parts of protecting, each alone over all images."""
    fitted, levels = work.protector.fitted, work.protector.settings.levels

    def noisy(picture: Picture) -> Picture:
        return add(picture, fitted.noise.for_picture(picture, 0), levels)

    values = list(work.sample.values)
    pictures = [images.decode(value) for value in values]
    protected = [noisy(picture) for picture in pictures]
    pairs = [(p, images.encode(q, work.container), levels) for p, q in zip(pictures, protected, strict=True)]
    canvases = work.embed()[0].to(work.accelerator.device)
    seconds = time_in_turn(
        {
            "decode": lambda: [images.decode(value) for value in values],
            "canvas": lambda: [images.canvas(picture, fitted.view_size) for picture in pictures],
            "embed": lambda: work.forward(canvases),
            "add": lambda: [noisy(picture) for picture in pictures],
            "encode": lambda: [images.encode(picture, work.container) for picture in protected],
            "check": lambda: list(starmap(check_bound, pairs)),
        },
        work.repeats,
    )
    return seconds, [{name: work.per_image(times) for name, times in seconds.items()}]


MEASUREMENTS = {"embedding": embedding, "k-means": k_means, "map": mapping, "stages of map": stages}


def measure(work: Work) -> tuple[dict[str, Any], str]:
    """All measurements: their seconds, and their tables as Markdown."""
    results: dict[str, Any] = {"device": device_name(), "images": len(work.sample), "seconds": {}, "tables": {}}
    lines = [f"{len(work.sample)} images, {results['device']}, medians of {work.repeats}, in milliseconds per image"]
    for name, measurement in MEASUREMENTS.items():
        results["seconds"][name], results["tables"][name] = measurement(work)
        lines += ["", markdown.table(results["tables"][name])]
    return results, "\n".join(lines) + "\n"


def prepare(dataset: datasets.Dataset, *, workers: int, repeats: int, **settings: Any) -> Work:
    """Fit a protector in a moment: how well it protects changes nothing of its speed."""
    accelerator = Accelerator()
    protector = UCProtector(**settings, max_fit_images=None)
    protector.fit(dataset, accelerator=accelerator)
    surrogate = load_surrogate(
        protector.settings.surrogate, size=protector.settings.surrogate_size or protector.fitted.surrogate_sizes
    )
    return Work(
        protector=protector,
        surrogate=surrogate.to(accelerator.device),
        accelerator=accelerator,
        dataset=undecoded(dataset, protector.fitted.column),
        sample=draw_sample(dataset, protector.settings),
        workers=workers,
        repeats=repeats,
    )


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True, help="Hub name or local path; its train split, or the first one")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--surrogate", default="uc_hf/tiny")
    parser.add_argument("--surrogate-size", type=int)
    parser.add_argument("--container", default="png")
    parser.add_argument("--workers", type=int, default=0, help="processes that decode while embedding")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, help="name of the files, without suffix")
    return parser.parse_args()


def main() -> None:
    """Measure, write both files and log the tables."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    datasets.disable_progress_bars()
    args = arguments()
    splits = open_dataset(args.dataset)
    dataset = splits.get("train", next(iter(splits.values()))).shuffle(seed=0)
    dataset = dataset.select(range(min(args.images, len(dataset)))).flatten_indices()
    given = {name: getattr(args, name) for name in ("surrogate", "surrogate_size", "container", "workers", "repeats")}
    work = prepare(dataset, **given)
    results, tables = measure(work)
    if args.out is not None:
        args.out.with_suffix(".json").write_text(json.dumps(vars(args) | results, indent=2, default=str) + "\n")
        args.out.with_suffix(".md").write_text(tables)
    logger.info("\n%s", tables)


if __name__ == "__main__":
    main()
