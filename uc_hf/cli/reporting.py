"""Errors of the commands: one message and an exit code."""

import errno
import os
from typing import Any

import typer
from typer.core import TyperGroup

from uc_hf.errors import UCError, first_line, printable, shown


LEFT_OUT = 3
"""Exit code of a finished job that left out images which could not be protected."""

INTERRUPTED = 130

KEPT = "What was saved is kept: the same command goes on from there."


class Reporting(TyperGroup):
    """Commands whose errors end in one message and an exit code instead of a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command: exit code 1 after an error that the user can mend, 130 after Ctrl-C."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            typer.echo(f"Interrupted. {KEPT}", err=True)
            raise typer.Exit(INTERRUPTED) from error
        except (UCError, OSError, MemoryError, RuntimeError) as error:
            message = _message(error)
            if message is None:
                raise
            typer.secho(f"Error: {printable(message)}", fg="red", err=True)
            raise typer.Exit(1) from error


def _message(error: Exception) -> str | None:
    """The message of an error that the user can mend; None for a defect of the program, which ends in a traceback."""
    if isinstance(error, UCError):
        return str(error)
    if _is_lack_of_memory(error):
        return (
            f"there is not enough memory ({first_line(error)}). Close other programs, or write a smaller --surrogate "
            f"or --max-fit-images. {KEPT}"
        )
    if not isinstance(error, OSError) or error.errno == errno.EPIPE:  # the reader of our output has closed it
        return None
    if error.filename is None:
        return f"{first_line(error)}. {KEPT}"
    path = os.fsdecode(error.filename)
    remedy = "Mend that, or choose another place."
    if (home := os.environ.get("HF_HOME")) and path.startswith(home):
        remedy = "Set HF_HOME to a folder with room that you may write to."
    return f"{shown(path)}: {error.strerror}. {remedy} {KEPT}"


def _is_lack_of_memory(error: Exception) -> bool:
    # torch has an error of its own for a GPU, and none for the CPU.
    of_torch = "OutOfMemory" in type(error).__name__ or "DefaultCPUAllocator" in str(error)
    return of_torch or isinstance(error, MemoryError)
