"""The same rows through `map` in two processes, Ray on two workers, and four shard jobs, two at once.

    OMP_NUM_THREADS=1 python -m benchmarks.scale --rows 1000 8000 --work /tmp/scale --out scale.json

Every way reads the same parquet files of 64 px and writes parquet, in a program of its own: seconds include its start.
Memory is the proportional share (PSS) of the program and all its children, CPU their user and system time, both read
while they run (Linux). The most rows go through Ray too; with --kill Ray and the shards then run once more, and a
worker of theirs is killed with SIGKILL; a shard is started again. The images of every way must have the same SHA-256.
What a row costs is the difference between the most and the fewest rows, so that the start does not count.
"""

import argparse
import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import load_dataset

from benchmarks.publish import generated_images
from uc_hf import UCProtector, open_protector


logger = logging.getLogger(__name__)

FILES, SHARDS, WORKERS = 8, 4, 2
BATCH = 64
SAMPLED_EVERY = 2.0
"""Seconds: reading the memory takes time as well."""
KILLED_AT = 0.7
"""Of the time that the way took undisturbed."""

MANY = 100_000_000
"""Images of the calculated cost."""


@dataclass(frozen=True)
class Run:
    """The cost of one way.

    Attributes:
        way: name of it.
        rows: that it protected.
        seconds: from its start to its end.
        rows_per_second: of these.
        of_map: this, divided by that of `map`.
        cpu_seconds: CPU time of all its processes.
        peak_mb: largest memory of all its processes.
        megabytes: size of what it wrote.
    """

    way: str
    rows: int
    seconds: float
    rows_per_second: int
    of_map: float
    cpu_seconds: float
    peak_mb: int
    megabytes: float


class Protect:
    """The actor of docs/how-to/scale.md."""

    def __init__(self, key: str) -> None:
        self.protector = open_protector(key).loaded()

    def __call__(self, batch: pa.Table) -> pa.Table:
        """A batch, protected."""
        return self.protector(batch)


def by_map(work: Path, out: Path) -> None:
    """`Dataset.map` in two processes."""
    clean = load_dataset("parquet", data_files=str(work / "clean" / "*"), split="train", cache_dir=str(out / "cache"))
    protector = open_protector(str(work / "key"))
    clean.map(protector, batched=True, batch_size=BATCH, num_proc=WORKERS).to_parquet(out / "data" / "0.parquet")


def by_ray(work: Path, out: Path) -> None:
    """Ray Data with two actors."""
    import ray

    os.environ["RAY_worker_niceness"] = "0"  # by default 15, which a busy machine would hardly let run
    environment = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    ray.init(num_cpus=WORKERS + 1, include_dashboard=False, runtime_env={"env_vars": environment})
    ray.data.DataContext.get_current().execution_options.preserve_order = True
    schema = pq.read_schema(work / "clean" / "0.parquet")
    ray.data.read_parquet(str(work / "clean")).repartition(FILES).map_batches(
        Protect,
        fn_constructor_args=[str(work / "key")],
        batch_format="pyarrow",
        batch_size=None,
        concurrency=WORKERS,
    ).write_parquet(str(out / "data"), schema=schema)


def by_shards(work: Path, out: Path) -> None:
    """Four jobs, two at once; one that is killed is started again."""
    words = ["protect", work / "clean", "--protector", _key(work, out), "--out", out]

    def job(number: int) -> None:
        again = [*words, "--shard", f"{number}/{SHARDS}"]
        if _program(*again) and _program(*again):
            raise SystemExit(f"shard {number} fails")

    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(job, range(1, SHARDS + 1)))


def by_merge(work: Path, out: Path) -> None:
    """The shards of `by_shards` as one output."""
    if _program("merge", out, "--protector", _key(work, out)):
        raise SystemExit("the shards cannot be merged")


def _key(work: Path, out: Path) -> Path:
    """The protector's folder of an output: it holds the manifests."""
    key = out.with_name(f"{out.name}.key")
    if not key.exists():
        shutil.copytree(work / "key", key)
    return key


def _program(*words: object) -> int:
    program = [sys.executable, "-c", "from uc_hf.cli.app import main; main()"]
    return subprocess.run(
        [*program, *map(str, words)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ).returncode


WAYS = {
    "map, 2 processes": by_map,
    "Ray, 2 workers": by_ray,
    "4 shards, 2 at once": by_shards,
    "their merge": by_merge,
}
VICTIMS = {"Ray, 2 workers": "ray::MapWorker", "4 shards, 2 at once": f"--shard {SHARDS}/{SHARDS}"}


def measure(way: str, work: Path, out: Path, kill_after: float | None = None) -> tuple[float, float, int]:
    """Run a way; its seconds, its CPU seconds, and its peak memory in MB.

    Args:
        way: one of `WAYS`.
        work: the folder with originals and key.
        out: where it writes.
        kill_after: seconds after which one of its workers is killed.
    """
    words = ["-m", "benchmarks.scale", "--way", way, "--work", str(work), "--out", str(out)]
    start, cpu, peak = time.monotonic(), dict[int, float](), 0
    with (out.parent / f"{out.name}.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, *words], stdout=log, stderr=log)
        while process.poll() is None:
            memory = 0
            for member in _tree(process.pid):
                with suppress(psutil.Error):
                    times = member.cpu_times()
                    cpu[member.pid] = times.user + times.system
                    memory += member.memory_full_info().pss
                    if kill_after and time.monotonic() - start > kill_after:
                        if VICTIMS[way] in " ".join(member.cmdline()):
                            member.kill()
                            kill_after = None
                            logger.info("%s: killed %d", way, member.pid)
            peak = max(peak, memory)
            time.sleep(SAMPLED_EVERY)
    if process.returncode or kill_after:
        raise SystemExit(f"{way} ended with {process.returncode}, or its worker was not killed: see {log.name}")
    return time.monotonic() - start, sum(cpu.values()), peak // 2**20


def _tree(pid: int) -> Iterator[psutil.Process]:
    with suppress(psutil.Error):
        yield psutil.Process(pid)
        yield from psutil.Process(pid).children(recursive=True)


def digest(out: Path) -> str:
    """SHA-256 of all protected images in their order."""
    found = hashlib.sha256()
    for file in sorted((out / "data").glob("*.parquet")):
        for batch in pq.ParquetFile(file).iter_batches(columns=["image"], batch_size=100):
            for image in batch["image"].to_pylist():
                found.update(hashlib.sha256(image["bytes"]).digest())
    return found.hexdigest()


def compare(rows: int, work: Path, *, most: bool, kill: bool) -> Iterator[Run]:
    """All ways on so many rows; the most through Ray, and with killed workers, too.

    Raises:
        SystemExit: one gives other bytes.
    """
    shutil.rmtree(work, ignore_errors=True)
    clean = generated_images(rows, np.random.default_rng(0))
    for number in range(FILES):
        clean.shard(FILES, number, contiguous=True).to_parquet(work / "clean" / f"{number}.parquet")
    UCProtector("uc_hf/tiny", max_fit_images=1000).fit(clean).save_pretrained(work / "key")
    outs = {way: work / f"{min(place, 2)}" for place, way in enumerate(WAYS) if most or WAYS[way] is not by_ray}
    seconds = {}
    for way, out in outs.items():
        seconds[way], cpu, peak = measure(way, work, out)
        size = sum(file.stat().st_size for file in (out / "data").glob("*.parquet"))
        yield Run(
            way=way,
            rows=rows,
            seconds=round(seconds[way], 1),
            rows_per_second=round(rows / seconds[way]),
            of_map=round(seconds["map, 2 processes"] / seconds[way], 2),
            cpu_seconds=round(cpu, 1),
            peak_mb=peak,
            megabytes=round(size / 1e6, 1),
        )
    for way in VICTIMS if most and kill else ():
        outs[f"{way}, one killed"] = work / f"killed-{outs[way].name}"
        measure(way, work, outs[f"{way}, one killed"], kill_after=KILLED_AT * seconds[way])
    if most and kill:
        by_merge(work, work / "killed-2")
    found = {way: digest(out) for way, out in outs.items()}
    if len(set(found.values())) > 1:
        raise SystemExit(f"not all ways give the same bytes: {found}")
    logger.info("the same bytes: %s", ", ".join(found))


def cost(runs: list[Run]) -> list[dict[str, str]]:
    """What `MANY` images would take of CPU time and disk, the shards with their merge."""
    fewest, most = min(run.rows for run in runs), max(run.rows for run in runs)
    cpu = {(run.way, run.rows): run.cpu_seconds for run in runs}
    both = [way for way in WAYS if (way, fewest) in cpu and (way, most) in cpu]
    row = {way: (cpu[way, most] - cpu[way, fewest]) / (most - fewest) for way in both}
    row["4 shards, 2 at once"] += row.pop("their merge")
    size = next(run.megabytes / run.rows for run in runs if run.rows == most)
    return [
        {
            "way": {"4 shards, 2 at once": "shards, and their merge"}.get(way, way.split(",")[0]),
            "CPU time of a row": f"{1000 * seconds:.2f} ms",
            "core hours for 100 M": f"{MANY * seconds / 3600:,.0f}",
            "hours on 64 cores": f"{MANY * seconds / 3600 / 64:.1f}",
            "output": f"{MANY * size / 1e6:.1f} TB",
        }
        for way, seconds in row.items()
    ]


def main() -> None:
    """Run all ways and write the JSON; with --way one of them, as `measure` starts it."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 8000], help="in rising order")
    parser.add_argument("--work", type=Path, required=True, help="a folder for rows and outputs; it is emptied")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kill", action="store_true", help="run Ray and the shards again, and kill one worker each")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.way:
        WAYS[args.way](args.work, args.out)
        return
    runs: list[Run] = []
    for rows in args.rows:
        for run in compare(rows, args.work.resolve(), most=rows == args.rows[-1], kill=args.kill):
            logger.info("%s", run)
            runs.append(run)
    report = {"runs": [asdict(run) for run in runs], "cost": cost(runs)}
    args.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
