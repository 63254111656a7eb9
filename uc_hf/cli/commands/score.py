"""`uc-hf score`: its options and help."""

from pathlib import Path
from typing import Annotated

import typer

from uc_hf.cli.commands.options import EXPERT, TRAINED, WHERE, ImageColumn, Json, LabelColumn


EXAMPLES = (
    "uc-hf score pets-protected --clean timm/oxford-iiit-pet --out report",
    "uc-hf score out --clean ./flowers --test test --protector out.protector --seeds 1 --epochs 5",
    "uc-hf score out --clean data.parquet --test other.parquet --target resnet-18 --target microsoft/resnet-50",
    "uc-hf score out --clean ./flowers --out report --counter-measure none --counter-measure jpeg-75",
    "uc-hf score out --clean ./flowers --out report --target uc_hf/tiny --protocol linear-probe",
)


def score(
    protected: Annotated[str, typer.Argument(help="The protected dataset, with labels.")],
    clean: Annotated[str, typer.Option(help="The originals, with labels.", rich_help_panel=WHERE)],
    test: Annotated[
        str | None,
        typer.Option(
            help="Clean images to test on: a split of the clean set, or another dataset.",
            show_default="the clean set's test split",
            rich_help_panel=WHERE,
        ),
    ] = None,
    protector: Annotated[
        str | None,
        typer.Option(
            help="The protector: adds controls, random noise of the same strength on its clusters.",
            rich_help_panel=WHERE,
        ),
    ] = None,
    preset: Annotated[
        str,
        typer.Option(
            metavar="quick|paper|full",
            help="Recipe, targets, protocols and counter-measures.",
            rich_help_panel=TRAINED,
        ),
    ] = "quick",
    target: Annotated[
        list[str] | None,
        typer.Option(
            help="Model to train: resnet-small, resnet-18, efficientnet-b1, regnetx-1.6gf, convnext-tiny, vit-small, "
            "a name on the Hub or a folder; may be repeated.",
            show_default="the preset's",
            rich_help_panel=TRAINED,
        ),
    ] = None,
    protocol: Annotated[
        list[str] | None,
        typer.Option(
            metavar="from-scratch|finetune|linear-probe",
            help="May be repeated.",
            show_default="the preset's",
            rich_help_panel=TRAINED,
        ),
    ] = None,
    counter_measure: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[-N]",
            help="What a scraper does against the noise: none, jpeg-75, gray, mixup, pgd-2, averaging, leaked-1, "
            "gray+mixup, ...; may be repeated.",
            show_default="the preset's",
            rich_help_panel=TRAINED,
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of trainings of each combination.",
            show_default="the preset's: 3",
            rich_help_panel=TRAINED,
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            help="Passes over the training set.",
            show_default="quick: until the accuracy on the originals settles, 40 at most (120 on a GPU); paper: 90",
            rich_help_panel=EXPERT,
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(help="Images per step.", show_default="quick: 128, paper: 512", rich_help_panel=EXPERT),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(
            help="Side in pixels at which images are trained on.",
            show_default="quick: their short side, 128 at most (224 on a GPU); paper: 256",
            rich_help_panel=EXPERT,
        ),
    ] = None,
    augmentation: Annotated[
        str | None,
        typer.Option(
            metavar="resized-crop|pad-crop|crop",
            show_default="quick: resized-crop, paper: crop",
            rich_help_panel=EXPERT,
        ),
    ] = None,
    image_column: ImageColumn = None,
    label_column: LabelColumn = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for scorecard.json and scorecard.html; trainings that it holds are not repeated.",
            show_default=False,
            rich_help_panel=WHERE,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Train models on the clean and the protected set, and test them on clean images.

    After an interruption run the same command with --out again: finished trainings are kept. Another target, protocol
    or counter-measure is added to the same scorecard.
    """
    from uc_hf.cli import console
    from uc_hf.cli import score as command

    console.quiet()
    recipe = {"epochs": epochs, "batch_size": batch_size, "image_size": image_size, "augmentation": augmentation}
    cells = {"targets": target, "protocols": protocol, "counter_measures": counter_measure, "seeds": seeds}
    card = command.score_sets(
        protected,
        clean,
        test=test,
        protector=protector,
        preset=command.find_preset(preset).changed(recipe, cells),
        image_column=image_column,
        label_column=label_column,
        out=out,
    )
    if json:
        console.say_json(command.facts(card))
    else:
        command.say(card)
