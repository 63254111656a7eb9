"""Output of the commands: results on stdout, everything else on stderr."""

import json
import logging
import math
from typing import Any

import datasets
import transformers
import typer
from rich.text import Text

from uc_hf.errors import printable, shown


_UNITS = ("bytes", "kB", "MB", "GB", "TB")


def quiet() -> None:
    """Silence messages that mean nothing to a user, such as unused weights and short progress bars.

    Warnings are printed on stderr, with escapes as in `say_text`.
    """
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    handler, logger = logging.StreamHandler(), logging.getLogger("uc_hf")
    handler.setFormatter(_Printable())
    logger.handlers = [other for other in logger.handlers if not isinstance(other.formatter, _Printable)] + [handler]


class _Printable(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """The message, with control characters escaped."""
        return printable(super().format(record))


def say_text(text: str, **style: Any) -> None:
    """Print text for a person, with control characters escaped."""
    typer.secho(printable(text), **style)


def say_json(result: Any) -> None:
    """Print a result as JSON; infinity and NaN become null."""
    typer.echo(json.dumps(_finite(result), indent=2))


def say_lines(lines: dict[str, str]) -> None:
    """Print named facts line by line, aligned."""
    width = max(map(len, lines)) + 2
    for name, fact in lines.items():
        typer.echo(f"  {shown(name):<{width}}{shown(fact)}")


def cell(value: Any) -> Text:
    """A value of a table as plain text: nothing in it acts as markup."""
    return Text(shown(value))


def size(n_bytes: int) -> str:
    """Bytes as a person writes them: "27.3 MB"."""
    power = min(len(_UNITS) - 1, int(math.log10(max(n_bytes, 1)) / 3))
    amount = n_bytes / 1000**power
    return f"{amount:.1f} {_UNITS[power]}" if power and amount < 100 else f"{amount:.0f} {_UNITS[power]}"


def duration(seconds: float) -> str:
    """Seconds as a person writes them: "1 h 12 min", "3 min 20 s", "4.2 s"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
