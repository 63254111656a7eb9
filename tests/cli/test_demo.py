"""The demo, on few images: what was trained before an interruption is not trained again."""

import json
from pathlib import Path

import pytest

from uc_hf.cli.demo import Demo, run
from uc_hf.scoring import scorecard


def test_an_interrupted_demo_goes_on_and_ends_with_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few, out = Demo(train_images=60, test_images=20, epochs=1, seeds=1), tmp_path / "demo"
    train, calls = scorecard.train_target, []

    def interrupted(*arguments: object, **options: object) -> object:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return train(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(scorecard, "train_target", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(few, out)
    kept = json.loads((out / "scorecard.json").read_text())["rows"]
    assert len(kept) == 2
    run(few, out)
    rows = json.loads((out / "scorecard.json").read_text())["rows"]
    assert rows[:2] == kept and len(calls) == 1 + len(rows)
    assert "generated in code" in (out / "report.html").read_text()
