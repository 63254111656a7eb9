"""Progress and warnings as data: what a page or a service hears while the library works."""

import logging
import threading
from pathlib import Path

import pytest
from datasets import Dataset

from uc_hf import UCProtector
from uc_hf.data.folders import list_folder
from uc_hf.data.progress import Bar, Progress, listening, warnings_heard
from uc_hf.publishing.image_folder import protect_folder
from uc_hf.publishing.manifest import Manifest
from uc_hf.publishing.marks import Work


def test_one_listener_hears_every_phase_of_a_fit_and_of_protecting(
    tiles: Dataset, surrogate_folder: str, tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    for row in range(20):
        tiles[row]["image"].save(tmp_path / "photos" / f"{row}.png")
    heard: list[Progress] = []
    with listening(heard.append):
        protector = UCProtector(surrogate=surrogate_folder, n_clusters=2, batch_size=8)
        fitted = protector.fit(tiles)
        manifest = Manifest(tmp_path / "done.jsonl", Work.of(fitted, "photos"))
        protect_folder(list_folder(tmp_path / "photos"), tmp_path / "out", fitted, manifest)
    assert {report.phase for report in heard} == {"checking images", "embedding", "protecting"}
    protecting = [report for report in heard if report.phase == "protecting"]
    assert [report.done for report in protecting] == list(range(21)) and {r.total for r in protecting} == {20}


def test_what_a_listener_raises_ends_the_work() -> None:
    def stop(report: Progress) -> None:
        if report.done == 3:
            raise KeyboardInterrupt

    done = []
    with pytest.raises(KeyboardInterrupt), listening(stop):
        done.extend(Bar(range(10), desc="work"))
    assert done == [0, 1, 2]


def test_a_listener_hears_nothing_of_other_threads_and_nothing_afterwards() -> None:
    heard: list[Progress] = []

    def work() -> None:
        with Bar(total=1, desc="elsewhere") as bar:
            bar.update()

    with listening(heard.append):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    work()
    assert heard == []


def test_warnings_of_this_thread_are_collected_once_each() -> None:
    logger = logging.getLogger("uc_hf.somewhere")
    with warnings_heard() as heard:
        for _ in range(2):
            logger.warning("%d pictures are gray", 3)
        thread = threading.Thread(target=logger.warning, args=("of another job",))
        thread.start()
        thread.join()
    logger.warning("afterwards")
    assert heard == ["3 pictures are gray"]
