"""The same rows through `map` in two processes, Ray on two workers, and four shard jobs, two at once.

    OMP_NUM_THREADS=1 python -m benchmarks.scale --rows 10000 1000000 --kill 5000 --work WORK --out scale.json

Every way reads the same parquet files of 64 px and writes parquet, in a program of its own: seconds include its start.
Memory is the proportional share (PSS) of the program and all its children, without the pages of mapped files, which
the system takes back when it needs them; CPU is their user and system time. Both are read while they run (Linux). The
images of every way must have the same SHA-256, in the same order. What a row costs is the difference between the most
and the fewest rows, so that the start does not count.

The JSON keeps what is measured, and the same command goes on with it. With --kill so many rows go through Ray and the
shards again: one of their workers is killed with SIGKILL, and then the program itself with all of its processes, which
is started once more. They must give the same bytes as well.
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

SHARDS, WORKERS, BATCH = 4, 2, 64

FILES, FILE_ROWS = 8, 10_000
"""The smallest number of parquet files, and the rows of one where there are more."""

PICTURES = 20_000
"""Different pictures; where more rows are asked for, each file holds them in an order of its own."""

SAMPLED_EVERY = 2.0
"""Seconds: reading the memory takes time as well."""

KILLED_AT = 0.6
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
        sha256: of the images that it wrote, in their order; empty for shards, which are merged first.
    """

    way: str
    rows: int
    seconds: float
    rows_per_second: int
    of_map: float
    cpu_seconds: float
    peak_mb: int
    megabytes: float
    sha256: str


@dataclass(frozen=True)
class Killed:
    """A way of which something was killed, and which gave the same bytes in the end.

    Attributes:
        way: name of it.
        rows: that it protected.
        killed: "a worker" or "everything".
        starts: how often the program was started.
    """

    way: str
    rows: int
    killed: str
    starts: int


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
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.use_datasource_v2 = False  # which reads many files in another order
    ray.data.read_parquet(str(work / "clean")).map_batches(
        Protect,
        fn_constructor_args=[str(work / "key")],
        batch_format="pyarrow",
        batch_size=None,
        compute=ray.data.ActorPoolStrategy(size=WORKERS),
    ).write_parquet(str(out / "data"), schema=pq.read_schema(work / "clean" / "00000.parquet"), mode="overwrite")


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
"""The ways that are disturbed, and what stands in the command line of a worker."""


def measure(way: str, work: Path, out: Path, kill: str | None = None, after: float = 0.0) -> tuple[float, float, int]:
    """Run a way; its seconds, its CPU seconds, and its peak memory in MB.

    Args:
        way: one of `WAYS`.
        work: the folder with originals and key.
        out: where it writes.
        kill: None, "a worker", or "everything", which ends the run.
        after: seconds from the start until then.
    """
    words = ["-m", "benchmarks.scale", "--way", way, "--work", str(work), "--out", str(out)]
    start, cpu, peak = time.monotonic(), dict[int, float](), 0
    victim = VICTIMS[way] if kill == "a worker" else ""
    with (out.parent / f"{out.name}.log").open("ab") as log:
        process = subprocess.Popen([sys.executable, *words], stdout=log, stderr=log)
        while process.poll() is None:
            memory, dying = 0, kill is not None and time.monotonic() - start > after
            for member in _tree(process.pid):
                with suppress(psutil.Error):
                    times = member.cpu_times()
                    cpu[member.pid] = times.user + times.system
                    memory += _memory(member.pid)
                    if dying and kill and victim in " ".join(member.cmdline()):
                        member.kill()
                        kill = None if victim else kill
            peak = max(peak, memory)
            time.sleep(SAMPLED_EVERY)
    if (victim and kill) or bool(process.returncode) != (kill == "everything"):
        raise SystemExit(f"{way} ended with {process.returncode}, or its worker was not killed: see {log.name}")
    return time.monotonic() - start, sum(cpu.values()), peak // 2**20


def _memory(pid: int) -> int:
    """The share of a process, in bytes, of memory that no file on the disk holds."""
    with suppress(OSError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:")))
    return 0


def _tree(pid: int) -> list[psutil.Process]:
    """A program and its children, which are listed before any of them is killed."""
    with suppress(psutil.Error):
        return [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return []


def digest(out: Path) -> str:
    """SHA-256 of all protected images in their order."""
    found = hashlib.sha256()
    for file in sorted((out / "data").glob("*.parquet")):
        for batch in pq.ParquetFile(file).iter_batches(columns=["image"], batch_size=100):
            for image in batch["image"].to_pylist():
                found.update(hashlib.sha256(image["bytes"]).digest())
    return found.hexdigest()


def write_originals(rows: int, work: Path) -> None:
    """The parquet files and a fitted protector, in an empty folder."""
    shutil.rmtree(work, ignore_errors=True)
    rng = np.random.default_rng(0)
    clean = generated_images(min(rows, PICTURES), rng)
    UCProtector("uc_hf/tiny", max_fit_images=1000).fit(clean).save_pretrained(work / "key")
    files = max(FILES, rows // FILE_ROWS)
    for number, some in enumerate(np.array_split(np.arange(rows), files)):
        chosen = some if rows <= PICTURES else rng.permutation(PICTURES)[: len(some)]
        clean.select(chosen).to_parquet(work / "clean" / f"{number:05}.parquet")
    (work / "rows").write_text(str(rows))


def compare(rows: int, work: Path, done: dict[str, Run]) -> Iterator[Run]:
    """All ways on so many rows, one after the other, but for those that are done.

    Raises:
        SystemExit: one gives other bytes.
    """
    missing = [way for way in WAYS if way not in done]
    if not missing:
        return
    if not (work / "rows").exists() or (work / "rows").read_text() != str(rows):  # else a run that was cut off
        write_originals(rows, work)
    of_map = done["map, 2 processes"].seconds if "map, 2 processes" in done else 0.0
    expected = next((run.sha256 for run in done.values() if run.sha256), "")
    for way in missing:
        out = work / ("shards" if WAYS[way] in (by_shards, by_merge) else WAYS[way].__name__)
        seconds, cpu, peak = measure(way, work, out)
        of_map, size, found = of_map or seconds, 0.0, ""
        if WAYS[way] is not by_shards:
            size = sum(file.stat().st_size for file in (out / "data").glob("*.parquet"))
            found = digest(out)
            expected = expected or found
            if found != expected:
                raise SystemExit(f"{way} gives other bytes, see {out}")
            shutil.rmtree(out)
        yield Run(
            way=way,
            rows=rows,
            seconds=round(seconds, 1),
            rows_per_second=round(rows / seconds),
            of_map=round(of_map / seconds, 2),
            cpu_seconds=round(cpu, 1),
            peak_mb=peak,
            megabytes=round(size / 1e6, 1),
            sha256=found,
        )


def disturb(rows: int, work: Path) -> Iterator[Killed]:
    """Ray and the shards on so many rows, with a worker killed, and with everything killed and started again.

    Raises:
        SystemExit: one gives other bytes than undisturbed.
    """
    write_originals(rows, work)
    for way in VICTIMS:
        expected = ""
        for killed in ("nothing", "a worker", "everything"):
            out = work / f"{WAYS[way].__name__} without {killed}"
            if killed == "nothing":
                undisturbed = measure(way, work, out)[0]
            else:
                measure(way, work, out, killed, KILLED_AT * undisturbed)
            if killed == "everything":
                measure(way, work, out)
            if WAYS[way] is by_shards:
                by_merge(work, out)
            expected = expected or digest(out)
            if digest(out) != expected:
                raise SystemExit(f"{way}, {killed} killed, gives other bytes, see {out}")
            if killed != "nothing":
                yield Killed(way, rows, killed, 1 + (killed == "everything"))


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
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000], help="in rising order")
    parser.add_argument("--kill", type=int, help="rows with which workers and programs are killed; default: none are")
    parser.add_argument("--work", type=Path, required=True, help="a folder for rows and outputs; it is emptied")
    parser.add_argument("--out", type=Path, required=True, help="JSON; what it holds is not run again")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    work = args.work.resolve()
    if args.way:
        WAYS[args.way](work, args.out)
        return
    report = json.loads(args.out.read_text()) if args.out.exists() else {"runs": [], "kills": []}
    runs = [Run(**run) for run in report["runs"]]
    kills = [Killed(**kill) for kill in report["kills"]]

    def keep() -> None:
        runs.sort(key=lambda run: (run.rows, list(WAYS).index(run.way)))
        whole = len(runs) == len(args.rows) * len(WAYS)
        kept = {"runs": [asdict(run) for run in runs], "kills": [asdict(kill) for kill in kills]}
        args.out.write_text(json.dumps(kept | ({"cost": cost(runs)} if whole else {}), indent=2) + "\n")

    for rows in args.rows:
        for run in compare(rows, work, {run.way: run for run in runs if run.rows == rows}):
            logger.info("%s", run)
            runs.append(run)
            keep()
    if args.kill and not kills:
        for kill in disturb(args.kill, work):
            logger.info("%s", kill)
            kills.append(kill)
        keep()


if __name__ == "__main__":
    main()
