"""The small table 1: each way to publish in a row, the worst judge and the paper's figure beside."""

import pytest

from benchmarks import paper, small
from uc_hf.scoring.results import Row, Scorecard


WORDS = ["table1", "--small", "--data", "flowers=x", "--data", "y", "--surrogate", "uc_hf/tiny", "--out", "out"]


def test_the_worst_judge_counts_and_the_papers_figure_stands_beside() -> None:
    lasts = {"clean": (0.7, 0.8), "emin, clusters": (0.5, 0.6), "UC, balanced": (0.3, 0.2)}
    judges = (("resnet-small", "from-scratch"), ("models/lite", "linear-probe"))
    rows = [
        Row(*judge, name, None, 0, last, peak=last)
        for name, both in lasts.items()
        for judge, last in zip(judges, both, strict=True)
    ]
    text = small.table("flowers", Scorecard(0.1, rows)).replace("\N{NO-BREAK SPACE}", " ")
    assert "| lite, linear-probe |" in text and "Guessing gives 10.0 %" in text
    assert "| emin, clusters | 50.0 % | 60.0 % | 60.0 % | 50.6 % |" in text
    assert "| UC, balanced | 30.0 % | 20.0 % | 30.0 % | - |" in text


def test_the_small_table_compares_ten_baselines_the_papers_recipe_and_each_look() -> None:
    names = [row.name for row in small.rows(paper.arguments(WORDS))]
    assert len([name for name in names if name.endswith((", clusters", ", predicted"))]) == 10
    assert names[-5:] == ["UC, the paper's recipe", "UC, tint", "UC, quiet", "UC, balanced", "UC, strong"]


def test_small_is_of_table_1_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        paper.arguments(["at", *WORDS[1:]])
    assert "--small belongs to table1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([*WORDS, "--steps", "10"], "not with --small: --steps"),
        ([*WORDS[:1], *WORDS[2:4], *WORDS[6:], "--pretrained", "lite"], "only with --small: --pretrained"),
    ],
)
def test_what_the_small_table_or_the_large_one_does_not_use_is_refused(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        paper.arguments(words)
    assert said in capsys.readouterr().err
