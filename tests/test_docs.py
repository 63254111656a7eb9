"""What the pages tell a reader to write runs, and what they point to is there."""

import json
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, DatasetDict
from huggingface_hub import HfApi
from typer.main import get_command

from tests.minihub import MiniHub
from tests.surrogates.test_surrogate import FAMILIES
from uc_hf.cli.app import app


ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
GUIDES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "notebooks" / "README.md"]
PAGES = [*GUIDES, *sorted((ROOT / "docs").rglob("*.md"))]
LARGEST_NOTEBOOK = 400_000

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CODE_SPAN = re.compile(r"`([^`]+)`")
ADDRESS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Repository"]
PUBLISHED = re.compile(rf"github(?:\.com)?/{ADDRESS.split('github.com/')[1]}/(?:blob|tree)/main/([\w./-]+)")
PROGRAM = get_command(app)


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[tuple[int, str]]:
    """The fenced blocks of a page in one language, "" for none: line number and text."""
    text = page.read_text()
    found = [match for match in FENCE.finditer(text) if match[1] == language]
    return [(text.count("\n", 0, match.start()) + 2, match[2]) for match in found]


def shown_commands() -> list[str]:
    """Every `uc-hf` line of the pages and the notebooks, a notebook's variables replaced by 1."""
    pages = [text for page in PAGES for _, text in blocks(page, "")]
    lines = [line for text in pages for line in text.replace("\\\n", " ").splitlines()]
    lines += [line.removeprefix("!") for path in NOTEBOOKS for line in source(path).splitlines()]
    return sorted({re.sub(r"{\w+}", "1", line) for line in lines if line.startswith("uc-hf ")})


def source(notebook: Path) -> str:
    return "\n".join("".join(cell["source"]) for cell in json.loads(notebook.read_text())["cells"])


@pytest.fixture(scope="module")
def stocked_hub(hub: MiniHub, tiles: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MiniHub]:
    """A Hub with the pages' dataset and surrogate under their names, both small; forgotten afterwards."""
    before = dict(hub.repos)
    model, processor, _ = FAMILIES["clip_vision"]
    folder = tmp_path_factory.mktemp("clip")
    model().save_pretrained(folder)
    processor().save_pretrained(folder)
    HfApi().create_repo("openai/clip-vit-base-patch32")
    HfApi().upload_folder(repo_id="openai/clip-vit-base-patch32", folder_path=folder)
    DatasetDict(train=tiles, test=tiles.select(range(20))).push_to_hub("timm/oxford-iiit-pet")
    yield hub
    hub.repos.clear()
    hub.repos.update(before)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=named)
def test_the_python_of_a_page_runs_from_top_to_bottom(
    page: Path, stocked_hub: MiniHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for line, text in blocks(page, "python"):
        exec(compile("\n" * (line - 1) + text, str(page), "exec"), names)
    assert "protector" in names


@pytest.mark.parametrize("line", shown_commands())
def test_a_shown_command_has_only_options_and_values_that_exist(line: str) -> None:
    _, *words = shlex.split(line, comments=True)
    command: Any = PROGRAM
    while hasattr(command, "commands"):
        name, *words = words
        command = command.commands[name]
    with command.make_context(name, words) as context:
        assert context.params


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_options_and_make_targets_that_a_page_mentions_exist(page: Path) -> None:
    commands = [PROGRAM, *PROGRAM.commands.values()]
    options = {option for command in commands for parameter in command.params for option in parameter.opts}
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    mentioned = CODE_SPAN.findall(FENCE.sub("", page.read_text()))
    spans = "\n".join(span for span in mentioned if not span.startswith("python "))
    shown = "\n".join([spans, *(text for _, text in blocks(page, ""))])
    assert set(re.findall(r"(?<!\S)(--[a-z-]+)", spans)) <= options
    assert set(re.findall(r"^make ([a-z]+)", shown, re.MULTILINE)) <= targets


@pytest.mark.parametrize("page", [*PAGES, *NOTEBOOKS], ids=named)
def test_files_that_a_page_points_to_exist(page: Path) -> None:
    text = source(page) if page.suffix == ".ipynb" else page.read_text()
    local = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    assert [link for link in local if not (page.parent / link).exists()] == []
    assert [link for link in PUBLISHED.findall(text) if not (ROOT / link).exists()] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=named)
def test_a_notebook_is_stored_as_it_ran_with_its_pictures_and_small(path: Path) -> None:
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert {output["output_type"] for output in outputs} <= {"stream", "display_data", "execute_result"}
    assert any(kind.startswith("image/") for output in outputs for kind in output.get("data", {}))
    assert path.stat().st_size < LARGEST_NOTEBOOK


@pytest.mark.parametrize("path", NOTEBOOKS, ids=named)
def test_what_a_notebook_imports_of_the_library_exists(path: Path) -> None:
    imports = re.findall(r"^ *(from uc_hf.* import .*)$", source(path), re.MULTILINE)
    assert imports
    for line in imports:
        exec(line, {})


@pytest.mark.parametrize("path", NOTEBOOKS, ids=named)
def test_a_notebook_opens_itself_in_colab_and_installs_the_library_first(path: Path) -> None:
    title, first, *_ = ("".join(cell["source"]) for cell in json.loads(path.read_text())["cells"])
    address = ADDRESS.replace("https://github.com", "https://colab.research.google.com/github")
    assert f"]({address}/blob/main/{named(path)})" in title
    assert "%pip install" in first


def test_every_notebook_is_listed_where_readers_look() -> None:
    for page in (ROOT / "notebooks" / "README.md", ROOT / "docs" / "tutorials" / "notebooks.md"):
        assert {path.name for path in NOTEBOOKS} == set(re.findall(r"(\w+\.ipynb)", page.read_text()))


def test_the_repositorys_address_is_everywhere_that_of_pyproject_toml() -> None:
    name = ADDRESS.split("/")[-1]
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    texts = [path for path in map(ROOT.joinpath, files) if path.suffix in (".py", ".md", ".ipynb", ".txt", ".toml")]
    found = {
        address
        for path in texts
        for address in re.findall(rf"github(?:\.com)?/([\w.-]+/{name})\b", path.read_text(encoding="utf-8"))
    }
    assert found == {ADDRESS.removeprefix("https://github.com/")}
