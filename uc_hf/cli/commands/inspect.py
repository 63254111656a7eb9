"""`uc-hf inspect`: its options and help."""

from pathlib import Path
from typing import Annotated

import typer

from uc_hf.cli.commands.options import Json


EXAMPLES = ("uc-hf inspect photos-protected.protector --picture noise.png",)


def inspect(
    protector: Annotated[str, typer.Argument(help="Folder of a protector, or its name on the Hub.")],
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw the noise of every cluster.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Show a protector's settings, clusters and noise."""
    from uc_hf.cli import console
    from uc_hf.cli import inspect as command
    from uc_hf.methods.registry import open_protector

    console.quiet()
    loaded = open_protector(protector)
    if picture is not None:
        command.draw(loaded, picture)
    facts = command.inspect(loaded)
    if json:
        console.say_json(facts)
    else:
        command.say(facts)
