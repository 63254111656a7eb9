"""Protect a large dataset straight to a Hub: memory and disk, once killed twice, once never interrupted.

The Hub is a stand-in on this machine, which the caller starts in a checkout:

    python -c "from tests.minihub import MiniHub; hub = MiniHub(); print(hub.url, flush=True); hub.serve_forever()"

    HF_ENDPOINT=http://127.0.0.1:PORT HF_TOKEN=hf_dummy HF_HUB_DISABLE_XET=1 HF_HOME=/tmp/reader \
        python -m benchmarks.publish --rows 20000 --work /tmp/publish

Generated images are pushed to it. `uc-hf protect` streams them and pushes the protected set shard by shard; it is
killed with SIGKILL after a third and after two thirds of the shards, and run a third time. In another folder it fits
again and runs once without interruption. Then both sets and the originals are loaded with `load_dataset` and compared
row by row: the benchmark ends with an error at the first difference. Peak memory is read from /proc, that is on Linux.
"""

import argparse
import io
import json
import logging
import os
import re
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, load_dataset
from huggingface_hub import HfApi
from huggingface_hub.hf_api import RepoFile
from PIL import Image as PILImage

from uc_hf.data.generated import ORNAMENTS, generate
from uc_hf.protecting.saving import versions


logger = logging.getLogger(__name__)

SIDE = 64
FILE_ROWS = 1000
TEST_SHARE = 20
"""The test split has a twentieth of the rows; it has to arrive clean."""
EPSILON = 16
"""The program's default bound, of 255."""
SAMPLED_EVERY = 0.2
"""Seconds between two measurements of the memory, the disk and the Hub."""


@dataclass(frozen=True)
class Run:
    """The cost of one run of `uc-hf protect`.

    Attributes:
        ended: "finished", or "killed" by this benchmark.
        rows: number of protected rows; None for a killed run.
        already: rows that earlier runs had pushed; None for a killed run.
        shards: number of shards on the Hub when the run ended.
        seconds: duration of the run, with the start of Python and the fit.
        peak_memory_mb: largest resident memory of the program.
        peak_disk_mb: largest size of its working folder, which holds its cache and its temporary files too.
    """

    ended: str
    rows: int | None
    already: int | None
    shards: int
    seconds: float
    peak_memory_mb: float
    peak_disk_mb: float


@dataclass(frozen=True)
class Comparison:
    """What was found equal; a difference would have been an error.

    Attributes:
        rows: of each split, the same in the originals and both protected sets.
        files: parquet files of the two protected sets that have the same SHA-256.
        largest_change: of any pixel of any protected row, in levels of 255.
    """

    rows: dict[str, int]
    files: int
    largest_change: int


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--work", type=Path, required=True, help="folder for the protectors, caches and temporaries")
    parser.add_argument("--surrogate", default="uc_hf/tiny")
    parser.add_argument("--max-fit-images", type=int, default=1000)
    return parser.parse_args()


def fill(repo: str, rows: int) -> None:
    """Push generated images of 64 pixels as parquet files, a thousand rows each: splits train and test."""
    sizes = {"train": rows, "test": rows // TEST_SHARE}
    splits = {
        split: generated_images(size, np.random.default_rng([number]))
        for number, (split, size) in enumerate(sizes.items())
    }
    DatasetDict(splits).push_to_hub(repo, num_shards={split: -(-size // FILE_ROWS) for split, size in sizes.items()})


def generated_images(n_images: int, rng: np.random.Generator) -> Dataset:
    """Labelled pictures of `SIDE` pixels, as PNG."""
    features = Features({"image": Image(), "label": ClassLabel(names=list(ORNAMENTS))})
    images: list[dict[str, Any]] = []
    labels: list[int] = []
    for start in range(0, n_images, FILE_ROWS):
        pixels, drawn = generate(min(FILE_ROWS, n_images - start), rng)
        labels.extend(drawn)
        for row, picture in enumerate(pixels, start):
            file = io.BytesIO()
            PILImage.fromarray(picture).resize((SIDE, SIDE), PILImage.Resampling.BICUBIC).save(file, "PNG")
            images.append({"bytes": file.getvalue(), "path": f"{row}.png"})
    return Dataset.from_dict({"image": images, "label": labels}, features=features)


def measure(source: str, target: str, args: argparse.Namespace, *, kill_at: int | None = None) -> Run:
    """Run `uc-hf protect` in a process of its own, and watch it; kill it as soon as `kill_at` shards have arrived."""
    work = args.work.resolve() / target.split("/")[-1]
    places = {"HF_HOME": work / "home", "TMPDIR": work / "tmp"}
    for folder in places.values():
        folder.mkdir(parents=True, exist_ok=True)
    words = ["protect", source, "--push-to", target, "--json", "--surrogate", args.surrogate]
    words += ["--max-fit-images", str(args.max_fit_images)]
    memory, disk, killed, start = 0.0, 0.0, False, time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-c", "from uc_hf.cli.app import main; main()", *words],
        cwd=work,
        env=os.environ | {name: str(folder) for name, folder in places.items()},
        stdout=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None:
        memory, disk = max(memory, peak_memory(process.pid)), max(disk, size(work))
        if kill_at is not None and len(parquet(target)) >= kill_at:
            process.kill()
            killed = True
        time.sleep(SAMPLED_EVERY)
    printed, _ = process.communicate()
    if process.returncode and not killed:
        raise SystemExit(f"the program ended with {process.returncode}")
    report = {} if killed else json.loads(printed)
    return Run(
        ended="killed" if killed else "finished",
        rows=report.get("images"),
        already=report.get("already_done"),
        shards=len(parquet(target)),
        seconds=round(time.monotonic() - start, 1),
        peak_memory_mb=round(memory / 2**20, 1),
        peak_disk_mb=round(disk / 2**20, 1),
    )


def compare(source: str, finished: str, straight: str) -> Comparison:
    """Load the originals and both protected sets, and compare everything in them."""
    same(parquet(finished), parquet(straight), "the parquet files by path and SHA-256")
    originals, one, other = (load_dataset(repo) for repo in (source, finished, straight))
    change = 0
    for loaded in (one, other):
        same(list(loaded), list(originals), "the splits")
        for split, rows in loaded.items():
            same(rows.features, originals[split].features, f"the features of {split}")
            same(rows.num_rows, originals[split].num_rows, f"the row count of {split}")
    for split in originals:
        change = max(change, compare_rows(split, originals, one, other))
    return Comparison(
        rows={split: rows.num_rows for split, rows in originals.items()},
        files=len(parquet(finished)),
        largest_change=change,
    )


def compare_rows(split: str, originals: DatasetDict, one: DatasetDict, other: DatasetDict) -> int:
    """Compare a split row by row; the largest change of a pixel of the originals."""
    sets = [undecoded(loaded[split]) for loaded in (originals, one, other)]
    largest = 0
    for row, (clean, first, second) in enumerate(zip(*sets, strict=True)):
        where = f"row {row} of {split}"
        same(first, second, where)
        same(first | {"image": first["image"]["path"]}, clean | {"image": clean["image"]["path"]}, where)
        change = int(np.abs(pixels(first) - pixels(clean)).max())
        same(0 < change <= EPSILON, split == "train", f"{where}, its largest change is {change}: in bounds, protected")
        largest = max(largest, change)
    return largest


def undecoded(dataset: Dataset) -> Dataset:
    """Rows with their images as they are stored."""
    return dataset.cast_column("image", Image(decode=False))


def pixels(row: dict[str, Any]) -> np.ndarray:
    """An image's levels: int [height, width, channels], of 255."""
    with PILImage.open(io.BytesIO(row["image"]["bytes"])) as image:
        return np.asarray(image).astype(int)


def same(found: Any, expected: Any, what: str) -> None:
    """End the benchmark where two things are not equal."""
    if found != expected:
        raise SystemExit(f"{what}: {found}, not {expected}")


def parquet(repo: str) -> dict[str, str]:
    """Path and SHA-256 of the parquet files of a dataset on the Hub; empty where there is none."""
    api = HfApi()
    if not api.repo_exists(repo, repo_type="dataset"):
        return {}
    tree = api.list_repo_tree(repo, recursive=True, repo_type="dataset")
    return {file.path: file.lfs.sha256 for file in tree if isinstance(file, RepoFile) and file.lfs}


def peak_memory(process: int) -> int:
    """Largest resident memory of a process so far, in bytes; 0 once it has ended."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else 0


def size(folder: Path) -> int:
    """Bytes of all files of a folder that is being written to."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(root) / name).lstat().st_size
            except FileNotFoundError:
                continue  # removed since it was listed
    return total


def main() -> None:
    """Fill the source, protect it with and without interruptions, compare, and report as JSON."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for chatty in ("httpx", "httpx2"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    args = arguments()
    if "HF_ENDPOINT" not in os.environ:
        raise SystemExit("Set HF_ENDPOINT to a stand-in for the Hub: this benchmark makes datasets on it.")
    user = HfApi().whoami()["name"]
    source, finished, straight = (
        f"{user}/uc-hf-benchmark-{args.rows}-{kind}" for kind in ("clean", "finished", "straight")
    )
    if args.work.exists() or parquet(source):
        raise SystemExit(
            "An earlier run has left its work: start a fresh stand-in, and name a --work that does not exist."
        )
    fill(source, args.rows)
    expected = args.rows // FILE_ROWS
    report: dict[str, Any] = {"versions": versions(), "killed twice and finished": []}
    for kill_at in (max(1, expected // 3), max(1, 2 * expected // 3), None):
        report["killed twice and finished"].append(asdict(measure(source, finished, args, kill_at=kill_at)))
    report["never interrupted"] = asdict(measure(source, straight, args))
    report["equal"] = asdict(compare(source, finished, straight))
    logger.info(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
