"""Cards are Markdown: templates filled in, and tables."""

from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import jinja2


def template(name: str) -> str:
    """The text of a template that ships with the package."""
    return (resources.files("uc_hf.reports") / "templates" / name).read_text(encoding="utf-8")


def fill(name: str, **values: Any) -> str:
    """A template with its values; one that it names and does not get is an error."""
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(template(name)).render(values)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table.

    Args:
        rows: at least one, all with the keys of the first, which are the headings.
    """
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines)


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
