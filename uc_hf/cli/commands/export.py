"""`uc-hf export`: its options and help."""

from pathlib import Path
from typing import Annotated

import typer

from uc_hf.cli.commands.options import ImageColumn, LabelColumn


EXAMPLES = (
    "uc-hf export me/pets-protected --out pets",
    "uc-hf export pets-protected --out pets-train --split train",
)


def export(
    source: Annotated[
        str, typer.Argument(help="A labelled dataset: saved, in parquet files, or on the Hub; clean or protected.")
    ],
    out: Annotated[Path, typer.Option(help="A new folder.", show_default=False)],
    split: Annotated[
        str | None, typer.Option(help="The split to export.", show_default="all, each in a folder of its own")
    ] = None,
    image_column: ImageColumn = None,
    label_column: LabelColumn = None,
) -> None:
    """Write a labelled dataset as class folders, OUT/CLASS/IMAGE, for trainers that read no parquet.

    Images are copied as they are stored. With several splits the folders are OUT/SPLIT/CLASS/IMAGE.
    """
    from uc_hf.cli import console
    from uc_hf.cli import export as command

    console.quiet()
    console.say_text(command.export(source, out, split, image_column=image_column, label_column=label_column))
