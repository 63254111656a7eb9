"""`uc-hf merge`: its options and help."""

from pathlib import Path
from typing import Annotated

import typer

from uc_hf.cli.commands.options import Json
from uc_hf.cli.reporting import LEFT_OUT


EXAMPLES = ("uc-hf merge photos-protected --protector photos-protected.protector",)


def merge(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The output that all shards were made for.")],
    protector: Annotated[
        Path | None,
        typer.Option(help="Folder of the protector that made them.", show_default="OUT.protector"),
    ] = None,
    json: Json = False,
) -> None:
    """Join the shards of `uc-hf protect --shard I/N` into one output, as one run would have made it.

    Number, order and digests are checked first, against the originals. If a shard lacks, or a file has changed,
    nothing is joined, and the command that mends it is shown. Then some images are compared with their originals,
    pixel by pixel.
    """
    from uc_hf.cli import console, results
    from uc_hf.cli import merge as command

    console.quiet()
    result = command.merge(out, protector)
    if json:
        console.say_json(result.to_dict())
    else:
        results.say(result)
    if result.outcome.left_out:
        raise typer.Exit(LEFT_OUT)
