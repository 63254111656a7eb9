"""The picture of what each look costs and takes away."""

from benchmarks import frontier
from benchmarks.results import Line
from uc_hf.scoring.results import Row, Scorecard


JUDGE = ("resnet-small", "from-scratch")
LASTS = {"clean": 0.9, "tint (tiny)": 0.4, "protected (tiny)": 0.5, "quiet (tiny)": 0.7, "control-family (tiny)": 0.6}
JOD = {"tint": 9.0, "quiet": 8.0, "balanced": 7.0, "strong": 6.0}


def measured(name: str) -> Line:
    rows = [Row(*JUDGE, of, None, 0, last, peak=last) for of, last in LASTS.items()]
    return Line(name, {}, Scorecard(0.1, rows), "protected", None, None, JUDGE, {})


def test_what_is_left_is_a_share_of_what_the_originals_teach_beyond_guessing() -> None:
    line = measured("set")
    assert [line.left(of) for of in ("clean", "protected", "strong")] == [1.0, 0.5, None]


def test_the_picture_has_a_line_for_each_set_through_the_looks_that_were_measured() -> None:
    figure = frontier.draw([measured("one"), measured("two")], JOD)
    [axes] = figure.axes
    paths = [line.get_xydata().round(2).tolist() for line in axes.lines if len(line.get_xydata()) == 3]
    assert paths == [[[10.0, 1.0], [8.0, 0.75], [7.0, 0.5]]] * 2
    marks = [line.get_xydata().round(3).tolist() for line in axes.lines if line.get_marker() == "s"]
    assert marks == [[[9.0, 0.375]]] * 2
    assert {text.get_text() for text in axes.texts} == {"one", "two", *JOD}
