"""`uc-hf demo`: its options and help."""

from pathlib import Path
from typing import Annotated, Any

import typer

from uc_hf.cli.commands.options import Json


EXAMPLES = (
    "uc-hf demo",
    "uc-hf demo --dataset uoft-cs/cifar10 --surrogate openai/clip-vit-base-patch32",
)


def demo(
    dataset: Annotated[
        str | None,
        typer.Option(
            help="A Hub name or local path with the splits train and test.", show_default="a set generated in code"
        ),
    ] = None,
    surrogate: Annotated[
        str | None, typer.Option(help="As in uc-hf protect.", show_default="uc_hf/tiny, built in")
    ] = None,
    surrogate_size: Annotated[
        int | None, typer.Option(help="Input size of the surrogate in pixels.", show_default="its own")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Trainings on each set.", show_default="3")] = None,
    out: Annotated[Path, typer.Option(help="Folder for report, scorecard and protector.")] = Path("demo"),
    json: Json = False,
) -> None:
    """Protect a small set, score it beside controls, and write a report with pictures."""
    from uc_hf.cli import console
    from uc_hf.cli import demo as command
    from uc_hf.cli import score as score_command

    console.quiet()
    given: dict[str, Any] = {
        "dataset": dataset,
        "surrogate": surrogate,
        "surrogate_size": surrogate_size,
        "seeds": seeds,
    }
    card = command.run(command.Demo(**{name: value for name, value in given.items() if value is not None}), out)
    if json:
        console.say_json(card.to_dict())
    else:
        score_command.say(card)
        typer.echo(f"\nPictures: {out / 'report.html'}")
