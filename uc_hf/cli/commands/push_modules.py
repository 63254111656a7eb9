"""`uc-hf push-modules`: what can be written."""

from typing import Annotated

import typer


EXAMPLES = ("uc-hf push-modules me",)


def push_modules(
    user: Annotated[str, typer.Argument(help="Your name on the Hub, or an organisation's.")],
) -> None:
    """Publish the measurements as Spaces, for `evaluate.load("USER/unlearnability")`."""
    from uc_hf.cli import push_modules as command

    for address in command.push_modules(user):
        typer.echo(address)
