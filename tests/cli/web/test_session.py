"""One user's work behind the page, without a browser."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from uc_hf.cli.web import work
from uc_hf.cli.web.session import Session
from uc_hf.cli.web.uploads import Limits
from uc_hf.errors import DatasetError


pytest.importorskip("gradio", reason="the page needs gradio: pip install 'uc_hf[app]'")


def finished(session: Session) -> None:
    assert session.job is not None
    session.job.wait()
    assert session.job.error is None


@pytest.fixture
def session(tmp_path: Path) -> Session:
    """Twenty photographs in two folders, protected."""
    rng = np.random.default_rng(0)
    for number in range(20):
        file = tmp_path / "photos" / ("sea" if number % 2 else "hills") / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        coarse = rng.integers(30, 220, (4, 5, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((50, 40), Image.Resampling.BICUBIC).save(file)
    session = Session(tmp_path / "session", "uc_hf/tiny", Limits())
    session.use_folder(str(tmp_path / "photos"))
    finished(session)
    session.protect("balanced")
    finished(session)
    return session


def test_a_model_is_asked_whether_it_was_trained_on_the_published_photographs(session: Session, stranger: Path):
    assert session.can_testify and session.evidence is None
    session.trace(f" {stranger} ", local=True)
    finished(session)
    assert session.evidence is not None
    sentence, picture = session.evidence
    assert (
        sentence.startswith(f"No evidence that {stranger} was trained on this set: p = ") and "20 pictures" in sentence
    )
    assert Image.open(picture).width > 500
    session.protect("strong")  # other copies, of which nothing has been asked
    finished(session)
    assert session.evidence is None and session.can_testify
    session.protect("tint")  # which has no phases
    finished(session)
    assert not session.can_testify


def test_a_preview_is_whole_for_two_requests_at_once(session: Session, tmp_path: Path):
    pixels = np.random.default_rng(0).integers(0, 256, (700, 900, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "large.png")
    for _ in range(5):
        shown = work.preview(session.levels["tint"], tmp_path / "large.png").before
        with ThreadPoolExecutor(8) as requests:
            seen = list(requests.map(lambda picture: np.asarray(picture.convert("RGB")), [shown] * 8))
        assert all(np.array_equal(each, pixels) for each in seen)


def test_a_server_asks_no_model_but_those_on_the_hub(session: Session):
    for model in ("", "/etc/passwd", "../model", "http://169.254.169.254/latest", "vit", "a/b/c", "./a"):
        with pytest.raises(DatasetError, match="on the Hub"):
            session.trace(model, local=False)
        assert not session.busy
