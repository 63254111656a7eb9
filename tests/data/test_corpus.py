"""Damaged files among good ones: every one is named, none of the good ones, and nothing ends in a traceback."""

import json
import resource
from pathlib import Path

import pytest

from tests.commands import start
from tests.data.corpus import DAMAGE, write_corpus
from uc_hf.data import images
from uc_hf.data.container import Container
from uc_hf.errors import ImageError


def test_each_kind_of_damage_is_named_and_no_good_file(tmp_path: Path) -> None:
    damaged = write_corpus(tmp_path, n_good=27, n_damaged=9 * len(DAMAGE))
    named = []
    for path in sorted(tmp_path.rglob("*.*")):
        try:
            images.check(path, Container.parse("png"))
        except ImageError:
            named.append(str(path.relative_to(tmp_path)))
    assert sorted(damaged) == named


@pytest.mark.slow
def test_a_thousand_damaged_files_among_two_hundred_good_ones(tmp_path: Path, surrogate_folder: str) -> None:
    damaged = sorted(write_corpus(tmp_path / "photos", 200, 1000))
    words = ["protect", tmp_path / "photos", "--out", tmp_path / "out", "--surrogate", surrogate_folder, "--json"]

    def run(*more: object) -> tuple[int, dict, str]:
        process = start(*words, *more)
        printed, said = process.communicate(timeout=1200)
        return process.returncode, json.loads(printed), said

    code, told, said = run()
    assert code == 1 and "Traceback" not in said and "1000 of 1200 images cannot be protected" in said
    assert [bad["image"] for bad in told["bad_images"]] == damaged
    assert len((tmp_path / "out.bad-images.txt").read_text().splitlines()) == 1000
    assert not (tmp_path / "out").exists()
    code, told, said = run("--skip-bad", "--n-clusters", 2, "--steps", 4)
    assert code == 3 and "Traceback" not in said and told["images"] == 200
    (left_out,) = told["left_out"].values()
    assert [image.split(": ")[0] for image in left_out] == damaged
    assert len([path for path in (tmp_path / "out").rglob("*.png") if path.is_file()]) == 200
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    assert peak < 1000, f"{peak:.0f} MB, of which half is torch and datasets"
