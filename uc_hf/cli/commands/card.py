"""`uc-hf card`: its options and help."""

from pathlib import Path
from typing import Annotated

import typer


EXAMPLES = (
    "uc-hf card me/pets-protected --protector pets.protector --source timm/oxford-iiit-pet",
    "uc-hf card me/pets-protected --protector pets.protector --scorecard report/scorecard.json",
)


def card(
    repo: Annotated[str, typer.Argument(metavar="USER/NAME", help="The protected dataset on the Hub.")],
    protector: Annotated[str, typer.Option(help="What it was protected with: a folder, or a name on the Hub.")],
    scorecard: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The scorecard.json that `uc-hf score` wrote.", show_default=False),
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="The originals' name on the Hub; their licence is copied.", show_default=False)
    ] = None,
    split: Annotated[
        list[str] | None,
        typer.Option(help="A protected split; may be repeated.", show_default="all but test and validation splits"),
    ] = None,
) -> None:
    """Write the card of a protected dataset on the Hub; text that a person wrote there stays."""
    from uc_hf.cli import card as command
    from uc_hf.cli import console

    console.quiet()
    typer.echo(command.card(repo, protector=protector, source=source, scorecard=scorecard, splits=split or []))
