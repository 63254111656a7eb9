"""`uc-hf trace`: its options and help."""

from pathlib import Path
from typing import Annotated

import typer

from uc_hf.cli.commands.options import WHERE, ImageColumn, Json, LabelColumn


EXAMPLES = (
    "uc-hf trace them/classifier --protector pets.protector --originals timm/oxford-iiit-pet",
    "uc-hf trace ./suspect --protector out.protector --originals ./photos --published out --out evidence",
    "uc-hf trace https://api.example.com/classify --protector out.protector --originals ./photos --stop-at 0.001",
)


def trace(
    model: Annotated[
        str,
        typer.Argument(help="An image classifier: a name on the Hub, a folder, or the address of an HTTP endpoint."),
    ],
    protector: Annotated[
        str,
        typer.Option(help="The key that the set was protected with: a folder, or a Hub name.", rich_help_panel=WHERE),
    ],
    originals: Annotated[
        str, typer.Option(help="The pictures as they were before protection.", rich_help_panel=WHERE)
    ],
    published: Annotated[
        str | None,
        typer.Option(
            help="The protected set: only pictures that are in it are asked about, and its card is read for the "
            "commitment to the key.",
            show_default=False,
            rich_help_panel=WHERE,
        ),
    ] = None,
    unseen: Annotated[
        str | None,
        typer.Option(
            help="Pictures that nobody trained on: the textures are applied to them, for a second test.",
            show_default="the originals' test split",
            rich_help_panel=WHERE,
        ),
    ] = None,
    reference: Annotated[
        list[str] | None,
        typer.Option(
            help="A model that was not trained on the protected set, at best your own, trained on the originals. Its "
            "answers are subtracted, so that weaker traces show. May be repeated.",
            show_default=False,
            rich_help_panel=WHERE,
        ),
    ] = None,
    split: Annotated[
        list[str] | None,
        typer.Option(
            help="A protected split; may be repeated.",
            show_default="all but test and validation splits",
            rich_help_panel=WHERE,
        ),
    ] = None,
    budget: Annotated[int, typer.Option(min=1, help="Largest number of questions, each about one picture.")] = 20_000,
    stop_at: Annotated[
        float | None,
        typer.Option(metavar="P", help="End as soon as the p-value is at or below this.", show_default=False),
    ] = None,
    image_column: ImageColumn = None,
    label_column: LabelColumn = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for answers.jsonl, trace.json and trace.png; a question whose answer it holds is not asked "
            "again.",
            show_default=False,
            rich_help_panel=WHERE,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Find out whether a model was trained on the protected set.

    The test is exact and needs no other model. The suspect is shown each published picture and the copy that your key
    could equally have made, and its answers are compared. An endpoint's token is read from UC_HF_TRACE_TOKEN.
    """
    from uc_hf.cli import console
    from uc_hf.cli import trace as command

    console.quiet()
    evidence = command.trace(
        model,
        protector=protector,
        originals=originals,
        published=published,
        unseen=unseen,
        references=reference or [],
        splits=split or [],
        budget=budget,
        stop_at=stop_at,
        image=image_column,
        label=label_column,
        out=out,
    )
    if json:
        console.say_json(evidence.to_dict())
    else:
        command.say(evidence, out)
