"""What mkdocs does beyond its plugins: the repository's address, notebooks as pages, links, search from the disk."""

import base64
import json
import posixpath
import re
import tomllib
from pathlib import Path
from typing import Any

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page


ROOT = Path(__file__).parent
SHOWN_IN = "tutorials"
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)\s]*)?\)")


def on_config(config: MkDocsConfig) -> None:
    """The repository's address is that of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    config.repo_url = project["urls"]["Repository"]
    config.repo_name = "/".join(config.repo_url.split("/")[-2:])


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Every notebook becomes a page, with its pictures beside it."""
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for name, content in pages_of(path).items():
            files.append(File.generated(config, f"{SHOWN_IN}/{name}", content=content))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links that leave the documentation lead to a notebook's page, or to the repository."""
    here = posixpath.dirname(page.file.src_uri)
    published = f"{config.repo_url}/blob/main/"
    # A notebook links to the repository, since it is read there, too.
    markdown = re.sub(
        rf"\]\({re.escape(published)}docs/([^)#]+\.md)",
        lambda found: f"]({posixpath.relpath(found[1], here)}",
        markdown,
    )

    def elsewhere(found: re.Match[str]) -> str:
        target, anchor = posixpath.normpath(posixpath.join("docs", here, found[1])), found[2] or ""
        if target.startswith("docs/"):
            return found[0]
        if target.endswith(".ipynb"):
            shown = f"{SHOWN_IN}/{Path(target).stem}.md"
            return f"]({posixpath.relpath(shown, here)}{anchor})"
        return f"]({published}{target}{anchor})"

    return LINK.sub(elsewhere, markdown)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """A page fetches nothing from elsewhere; with this attribute the theme asks GitHub for the repository's stars."""
    if fetched := re.search(r'(?:src|srcset)="(https?:[^"]+)"', output):
        raise PluginError(f"{page.file.src_uri} fetches {fetched[1]}: put a copy of it into docs/images")
    return output.replace(' data-md-component="source"', "")


def on_post_build(config: MkDocsConfig) -> None:
    """A browser starts no worker from a file on the disk: the worker of the search is given to it as text."""
    site = Path(config.site_dir)
    (worker,) = (site / "assets" / "javascripts" / "workers").glob("search.*.js")
    script = site / config.extra["polyfills"][0]
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(
        'if (location.protocol === "file:") {\n'
        f"  const text = new Blob([{json.dumps(worker.read_text())}], {{type: 'text/javascript'}});\n"
        "  const FromText = Worker;\n"
        "  window.Worker = function () { return new FromText(URL.createObjectURL(text)); };\n"
        "}\n"
    )


def pages_of(path: Path) -> dict[str, str | bytes]:
    """A notebook as files by name: a page of Markdown, and the pictures that its cells have drawn."""
    files: dict[str, str | bytes] = {}
    parts = []
    for cell in nbformat.read(path, as_version=4).cells:
        prose = re.sub(r"\]\((\w+)\.ipynb", r"](\1.md", cell.source)
        prose = re.sub(r"!\[([^]]+)\]\(https:[^)]+\)", r"\1", prose)  # Colab's badge, which would be fetched
        parts.append(prose if cell.cell_type == "markdown" else fenced(cell.source, "python"))
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            picture = next((kind for kind in data if kind.startswith("image/")), None)
            if picture:
                name = f"{path.stem}-{len(files)}.{picture.removeprefix('image/')}"
                files[name] = base64.b64decode(data[picture])
                parts.append(f"![What the cell draws]({name})")
            elif "text/html" in data:
                parts.append(data["text/html"])
            else:
                parts.append(fenced(text_of(output), "text"))
    return {f"{path.stem}.md": "\n\n".join(parts) + "\n"} | files


def text_of(output: Any) -> str:
    """What a cell has printed, or the text of what it gives."""
    return output.get("text") or output["data"]["text/plain"]


def fenced(text: str, language: str) -> str:
    """A block of code."""
    return f"```{language}\n{text.strip()}\n```"
