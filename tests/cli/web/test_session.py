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


def photographs(root: Path, seed: int = 0) -> Path:
    """Twenty of them in two folders."""
    rng = np.random.default_rng(seed)
    for number in range(20):
        file = root / ("sea" if number % 2 else "hills") / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        coarse = rng.integers(30, 220, (4, 5, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((50, 40), Image.Resampling.BICUBIC).save(file)
    return root


@pytest.fixture
def session(tmp_path: Path) -> Session:
    """Photographs in a folder of this machine, protected."""
    session = Session(tmp_path / "session", "uc_hf/tiny", Limits())
    session.use_folder(str(photographs(tmp_path / "photos")), local=True)
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


def test_another_folder_has_a_key_of_its_own_and_shows_nothing_of_the_first(session: Session, tmp_path: Path):
    first = session.key_file().read_bytes()
    before = session.preview("sea/1.png", "balanced").before
    session.use_folder(str(photographs(tmp_path / "others", seed=1)), local=True)
    assert not session.measured and not session.thumbnails and session.package is None
    finished(session)
    assert np.asarray(session.preview("sea/1.png", "balanced").before).tobytes() != np.asarray(before).tobytes()
    session.protect("balanced")
    finished(session)
    assert session.key_file().read_bytes() != first and len(session.measured) == 20
    assert session.out == tmp_path / "others-protected-balanced"


@pytest.mark.parametrize("folder", ["", " ", "~nobody-of-this-name/photos", "a\0b", "/etc/passwd", "/nowhere"])
def test_a_folder_that_is_none_is_refused_and_what_was_made_stays(session: Session, folder: str):
    with pytest.raises(DatasetError, match="is not a folder of photographs on this machine"):
        session.use_folder(folder, local=True)
    assert len(session.measured) == 20 and session.facts.strength == "balanced"


def test_photographs_that_come_later_are_protected_with_the_same_key_and_the_old_package_is_not_offered(
    tmp_path: Path,
):
    session = Session(tmp_path / "session", "uc_hf/tiny", Limits())
    files = sorted(photographs(tmp_path / "photos").glob("sea/*"))
    session.add(files[:6])
    finished(session)
    session.protect("balanced")
    finished(session)
    key = session.key_file().read_bytes()
    assert session.package is not None and len(session.measured) == 6
    session.add(files[6:])
    assert session.package is None and not session.measured
    session.protect("balanced")
    finished(session)
    assert session.package is not None and len(session.measured) == 10 and session.key_file().read_bytes() == key


def test_classes_are_folders_within_the_splits_and_not_the_splits(tmp_path: Path):
    photos = tmp_path / "photos"
    for split in ("train", "test"):
        photographs(photos / split, seed=len(split))
    session = Session(tmp_path / "session", "uc_hf/tiny", Limits())
    session.use_folder(str(photos), local=True)
    finished(session)
    assert set(session.classes.values()) == {"hills", "sea"} and len(session.classes) == 40


def test_a_server_opens_no_folder_whoever_asks(tmp_path: Path):
    gradio_client = pytest.importorskip("gradio_client")
    from uc_hf.cli.web.page import build
    from uc_hf.cli.web.sessions import Sessions

    photographs(tmp_path / "photos")
    page = build(Sessions(tmp_path / "sessions", "uc_hf/tiny", Limits()), local=False, space=None, secret="s")
    page.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True)
    try:
        client = gradio_client.Client(page.local_url, verbose=False)
        calls = [call for call in client.config["dependencies"] if any("submit" in to for to in call["targets"])]
        sent = "", None, None, str(tmp_path / "photos")
        answers = [str(client.predict(*sent, api_name=f"/{call['api_name']}")) for call in calls]
    finally:
        page.close()
    assert "this server opens no folders" in answers[0] and "1.png" not in "".join(answers)


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
