"""`uc-hf spaces`: what can be written."""

from typing import Annotated

import typer


EXAMPLES = ("uc-hf spaces push me", "uc-hf spaces push me protect-photos")

spaces = typer.Typer(no_args_is_help=True, help="Publish the page and the measurements as Spaces.")


@spaces.callback()
def _spaces() -> None:
    pass


def push(
    user: Annotated[str, typer.Argument(help="Your name on the Hub, or an organisation's.")],
    name: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SPACE]...", help="protect-photos, unlearnability, imperceptibility; all by default."),
    ] = None,
) -> None:
    """Publish Spaces: the page, private, and the measurements for `evaluate.load("USER/unlearnability")`."""
    from uc_hf.cli import spaces as command

    for address in command.push_spaces(user, name or []):
        typer.echo(address)
