"""Options that several commands share."""

from typing import Annotated

import typer


WHERE, STRENGTH, METHOD, TRAINED, EXPERT = "Where", "How strong", "Method", "What is trained", "Expert"
"""Panels of the help."""

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, and nothing else, on stdout.")]
ImageColumn = Annotated[
    str | None, typer.Option(help="Column of images.", show_default="the only one", rich_help_panel=WHERE)
]
LabelColumn = Annotated[
    str | None,
    typer.Option(help="Column of labels.", show_default="the ClassLabel, or a usual name", rich_help_panel=WHERE),
]
