"""Templates that ship with the package. HTML ones escape every value that they are filled with."""

from importlib import resources
from typing import Any

import jinja2


_environment = jinja2.Environment(
    loader=jinja2.FunctionLoader(lambda name: text(name)),
    autoescape=jinja2.select_autoescape(["html"]),
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)


def text(name: str) -> str:
    """A template as it is stored."""
    return resources.files(__name__).joinpath(name).read_text(encoding="utf-8")


def fill(name: str, **values: Any) -> str:
    """A template with its values; one that it names and does not get is an error."""
    return _environment.get_template(name).render(values)
