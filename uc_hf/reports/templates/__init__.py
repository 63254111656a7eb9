"""Templates that ship with the package. They escape every value that they are filled with."""

from importlib import resources
from typing import Any

import jinja2

from uc_hf.reports import markdown


_plain: dict[str, Any] = {"trim_blocks": True, "lstrip_blocks": True, "undefined": jinja2.StrictUndefined}
_loader = jinja2.FunctionLoader(lambda name: text(name))
_html = jinja2.Environment(loader=_loader, autoescape=True, **_plain)
_markdown = jinja2.Environment(loader=_loader, finalize=markdown.plain, **_plain)


def text(name: str) -> str:
    """A template as it is stored."""
    return resources.files(__name__).joinpath(name).read_text(encoding="utf-8")


def fill(name: str, **values: Any) -> str:
    """A template with its values; one that it names and does not get is an error."""
    return (_html if name.endswith(".html") else _markdown).get_template(name).render(values)
