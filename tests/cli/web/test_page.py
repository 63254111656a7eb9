"""The page in a real browser: what a person drops in, sees, slides, downloads; and that nothing leaves the machine."""

import io
import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import pytest
from PIL import Image

from tests.commands import succeed


pytestmark = pytest.mark.slow  # a browser on a busy machine takes minutes

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE = 60_000
"""Milliseconds that a part of the page may take to appear on a busy machine."""


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium without a window."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="the page's tests need playwright: pip install it")
    pytest.importorskip("gradio", reason="the page needs gradio: pip install 'uc_hf[app]'")
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip("the page's tests need a browser: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def page_address(browser: Any, surrogate_folder: str) -> Iterator[str]:
    """Where `uc-hf app` serves its page."""
    from uc_hf.cli.web.serve import start

    page = start(surrogate=surrogate_folder, browser=False)
    yield page.local_url.rstrip("/")
    page.close()


@pytest.fixture
def visit(browser: Any, page_address: str) -> Iterator[Any]:
    """Opens the page in a browser that nobody has used yet, at a width in pixels."""
    contexts = []

    def open_page(width: int = 1280) -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": 844}, is_mobile=width < 600, accept_downloads=True
        )
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.goto(page_address)
        page.wait_for_selector("#files input[type=file]", state="attached")
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def photos_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three small photographs with names that people give, a damaged one, and what is none."""
    folder = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    for number, name in enumerate(("Holiday in Rome.jpg", "été.png", "a & b, 2.jpg")):
        coarse = generator.integers(30, 220, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((160 + 16 * number, 120), Image.Resampling.BICUBIC).save(folder / name)
    (folder / "cut.jpg").write_bytes((folder / "Holiday in Rome.jpg").read_bytes()[:600])
    (folder / "notes.txt").write_text("mine")
    return folder


def drop(page: Any, *files: Path) -> None:
    page.set_input_files("#files input[type=file]", [str(file) for file in files])


def download(page: Any, selector: str, to: Path) -> Path:
    with page.expect_download() as waiting:
        page.click(selector)
    waiting.value.save_as(to)
    return to


def unzip(file: Path, to: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(file) as archive:
        archive.extractall(to)
    return contents(to)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_photos_are_dropped_in_looked_at_protected_and_taken_along(
    visit: Any, photos_folder: Path, surrogate_folder: str, tmp_path: Path
) -> None:
    page = visit()
    hosts: set[str] = set()
    page.on("request", lambda request: hosts.add(request.url.split("/")[2]) if "//" in request.url else None)
    page.wait_for_selector("text=This page runs on your own machine")
    drop(page, *sorted(photos_folder.iterdir()))

    page.wait_for_selector("#preview img")
    said = page.inner_text("#photos")
    assert "3 photos" in said and "2 files were left out" in said and "3 images are few" in said
    assert "cut.jpg" in said and "truncated or damaged" in said and "not a picture" in said
    assert page.locator("#levels img").count() == 4
    page.locator("#levels button").first.click()
    page.wait_for_selector("#preview-said >> text=tint:")
    page.locator("#strength").get_by_text("balanced:").click()
    page.wait_for_selector("#preview-said >> text=balanced:")

    page.click("#protect")
    page.wait_for_selector("#gallery img")
    page.locator("#gallery button").last.click()
    page.wait_for_selector("#pair img")
    slide(page, "#pair")
    took = unzip(download(page, "#package", tmp_path / "protected.zip"), tmp_path / "taken")
    assert set(took) == {"Holiday in Rome.png", "été.png", "a & b, 2.png"}

    assert not page.locator("#key").is_visible()
    page.get_by_label("I will keep it to myself").check()
    page.wait_for_selector("#key")
    key = download(page, "#key", tmp_path / "mine.uckey")

    page.reload()
    page.wait_for_selector("#gallery img")
    assert "3 photos" in page.inner_text("#photos")
    assert not page.locator("#key").is_visible()
    assert hosts == {page.url.split("/")[2]}

    originals = tmp_path / "originals"
    originals.mkdir()
    for name in ("Holiday in Rome.jpg", "été.png", "a & b, 2.jpg"):
        shutil.copy(photos_folder / name, originals)
    succeed("protect", originals, "--out", tmp_path / "fresh", "--surrogate", surrogate_folder)
    assert contents(tmp_path / "fresh") == took
    succeed("protect", originals, "--out", tmp_path / "again", "--protector", key)
    assert contents(tmp_path / "again") == took


def slide(page: Any, slider: str) -> None:
    """Drag the line of an image slider to the left, and see that it moves."""
    line = page.locator(f"{slider} .outer")
    line.scroll_into_view_if_needed()
    box = line.bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, middle)
    page.mouse.down()
    page.mouse.move(box["x"] - 40, middle, steps=4)
    page.mouse.up()
    moved = "([line, left]) => document.querySelector(line).getBoundingClientRect().x < left"
    page.wait_for_function(moved, arg=[f"{slider} .outer", box["x"] - 20])


@pytest.mark.slow
def test_an_old_key_protects_tomorrows_photos_alike_on_a_phone_and_testifies(
    visit: Any, photos_folder: Path, surrogate_folder: str, stranger: Path, tmp_path: Path
) -> None:
    first = tmp_path / "first"
    first.mkdir()
    shutil.copy(photos_folder / "été.png", first)
    succeed("protect", first, "--out", tmp_path / "out", "--surrogate", surrogate_folder, "--seed", "5")
    from uc_hf import open_protector

    open_protector(str(tmp_path / "out.protector")).save_key(tmp_path / "old.uckey")
    page = visit(390)
    page.get_by_text("I have a key from last time").click()
    page.set_input_files("#old-key input[type=file]", str(tmp_path / "old.uckey"))
    archive = tmp_path / "tomorrow.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.write(photos_folder / "Holiday in Rome.jpg", "rome/Holiday in Rome.jpg")
        packed.write(photos_folder / "été.png", "été.png")
        packed.writestr("../<img src=x>.png", (photos_folder / "été.png").read_bytes())
    page.wait_for_selector("#forget")
    drop(page, archive)
    page.wait_for_selector("#preview img")
    assert "outside the zip file" in page.inner_text("#photos") and "<img src=x>" in page.inner_text("#photos")
    assert page.locator("#photos img").count() == 0
    page.click("#protect")
    page.wait_for_selector("#gallery img")
    took = unzip(download(page, "#package", tmp_path / "protected.zip"), tmp_path / "taken")
    assert set(took) == {"rome/Holiday in Rome.png", "été.png"}
    assert took["été.png"] == (tmp_path / "out" / "été.png").read_bytes()

    page.fill("#suspect textarea, #suspect input", str(stranger))
    page.locator("#suspect button").click()
    page.wait_for_selector("#sentence >> text=No evidence that")
    page.wait_for_selector("#curve img")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.click("#forget")
    page.wait_for_selector("#gallery img", state="hidden")
    assert page.inner_text("body").count("photos,") == 0


@pytest.mark.slow
def test_a_folder_of_this_machine_is_protected_in_place_and_tested(
    visit: Any, tiles: Any, tmp_path: Path, surrogate_folder: str
) -> None:
    folder = tmp_path / "my photos"
    for row in range(48):
        place = folder / "ab"[tiles[row]["label"] % 2]
        place.mkdir(parents=True, exist_ok=True)
        tiles[row]["image"].save(place / f"{row}.png")
    page = visit()
    page.get_by_text("A folder on this machine").click()
    page.fill("#path textarea, #path input", str(tmp_path / "no such"))
    page.keyboard.press("Enter")
    page.wait_for_selector("#wrong >> text=is not a folder of photographs")
    page.fill("#path textarea, #path input", str(folder))
    page.keyboard.press("Enter")
    page.wait_for_selector("#preview img")
    page.click("#protect")
    page.wait_for_selector("#place >> text=my photos-protected-balanced")
    assert set(contents(tmp_path / "my photos-protected-balanced")) >= {f"{'ab'[tiles[0]['label'] % 2]}/0.png"}
    page.click("#test")
    page.wait_for_selector("#verdict p", timeout=300_000)
    assert "on the originals it reaches" in page.inner_text("#verdict")


def test_pages_of_other_sites_and_other_files_of_this_machine_are_out_of_reach(
    page_address: str, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.png"
    Image.new("RGB", (20, 20)).save(secret)
    assert status(page_address) == 200
    assert status(page_address, host="evil.example") == 400
    for path in (secret, Path("/etc/passwd"), Path.home() / ".bashrc"):
        assert status(f"{page_address}/gradio_api/file={path}") in (403, 404)


def status(address: str, host: str | None = None) -> int:
    request = Request(address, headers={} if host is None else {"Host": host})
    try:
        with urlopen(request) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code


def test_a_forged_upload_reads_nothing_that_was_not_uploaded(page_address: str, tmp_path: Path) -> None:
    """Who speaks to the page without a browser cannot name a file of this machine as what he has uploaded."""
    secret = tmp_path / "secret.png"
    Image.new("RGB", (20, 20)).save(secret)
    with urlopen(f"{page_address}/config") as answer:
        config = json.load(io.BytesIO(answer.read()))
    upload = next(
        dependency["id"]
        for dependency in config["dependencies"]
        if any(target[1] == "upload" for target in dependency["targets"])
    )
    file = {"path": str(secret), "meta": {"_type": "gradio.FileData"}, "orig_name": "secret.png"}
    body = {"data": ["", None, [file]], "fn_index": upload, "session_hash": "abcdefghij"}
    request = Request(
        f"{page_address}/gradio_api/queue/join",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    urlopen(request).close()
    with urlopen(f"{page_address}/gradio_api/queue/data?session_hash=abcdefghij", timeout=60) as stream:
        for line in stream:
            if b"process_completed" in line:
                break
    assert b'"success":false' in line.replace(b" ", b"")
