"""How commands end that could not do their work: one message and an exit code."""

from typing import Any

import typer
from typer.core import TyperGroup

from uc_hf.errors import UCError


LEFT_OUT = 3
"""Exit code of a job that is done, but for pictures that it could not take."""

INTERRUPTED = 130


class Reporting(TyperGroup):
    """Commands whose mistakes end in one message and an exit code, not in a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command: exit code 1 after an error that the user can mend, 130 after Ctrl-C."""
        try:
            return super().invoke(ctx)
        except UCError as error:
            typer.secho(f"Error: {error}", fg="red", err=True)
            raise typer.Exit(1) from error
        except KeyboardInterrupt as error:
            typer.echo("Interrupted. What was saved is kept: the same command goes on from there.", err=True)
            raise typer.Exit(INTERRUPTED) from error
