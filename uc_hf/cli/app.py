"""The command `uc-hf`: what can be written on the command line; the work is in `uc_hf.cli`."""

from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from uc_hf.cli.reporting import LEFT_OUT, Reporting
from uc_hf.data.container import CONTAINERS
from uc_hf.fitting.epsilon import EPSILONS, describe_presets
from uc_hf.methods import METHODS
from uc_hf.methods.unlearnable_clusters.families import FAMILIES


app = typer.Typer(
    cls=Reporting,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Make an image dataset unlearnable before you publish it "
    "([link=https://arxiv.org/abs/2301.01217]Unlearnable Clusters[/link]).",
)


def main() -> None:
    """The entry point of `uc-hf`."""
    app(prog_name="uc-hf")


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"uc_hf {version('uc_hf')}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def _fraction(text: str) -> float | str:
    try:
        return float(Fraction(text))
    except (ValueError, ZeroDivisionError):
        return text  # the settings say what to write instead, as of every other wrong epsilon


def _examples(*commands: str) -> str:
    return "[bold]Examples[/bold]\n\n" + "\n\n".join(f"  {command}" for command in commands)


Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, and nothing else, on stdout.")]
ImageColumn = Annotated[str | None, typer.Option(help="Column of images.", show_default="the only one")]
LabelColumn = Annotated[
    str | None, typer.Option(help="Column of labels.", show_default="the ClassLabel, or a usual name")
]


@app.command(
    epilog=_examples(
        "uc-hf protect ./photos --out ./photos-protected",
        "uc-hf protect timm/oxford-iiit-pet --push-to me/pets-protected",
        "uc-hf protect data.parquet --out out --surrogate uc_hf/tiny --epsilon 8/255 --container webp",
        "uc-hf protect uoft-cs/cifar10 --out out --method emin --epsilon 8/255",
    )
)
def protect(
    source: Annotated[
        str, typer.Argument(help="A folder of images, a saved dataset, parquet files, or a dataset on the Hub.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="A new or empty folder for the protected copy.", show_default=False)
    ] = None,
    push_to: Annotated[
        str | None,
        typer.Option(
            metavar="USER/NAME",
            help="Push the protected copy to this dataset on the Hub; without --out piece by piece, and nothing but "
            "the protector stays on this machine. A new one is as public as your account's default.",
            show_default=False,
        ),
    ] = None,
    protector: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the protector: the key that removes the noise. Loaded where it exists.",
            show_default="OUT.protector, else ./NAME.protector",
        ),
    ] = None,
    split: Annotated[
        list[str] | None,
        typer.Option(help="Split to protect; may be repeated.", show_default="all but test and validation splits"),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            metavar="METHOD",
            help=f"Unlearnable Clusters (uc), or a baseline: {', '.join(name for name in METHODS if name != 'uc')}.",
            show_default="uc",
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="own|predicted|clusters",
            help="Of a baseline: the dataset's own, the guesses of --surrogate (a classifier), or its clusters.",
            show_default="own",
        ),
    ] = None,
    surrogate: Annotated[
        str | None,
        typer.Option(
            help="Vision backbone: a name on the Hub (openai/clip-vit-base-patch32 unless said otherwise), a folder, "
            "or uc_hf/tiny (built in).",
            show_default=False,
        ),
    ] = None,
    surrogate_size: Annotated[
        list[int] | None,
        typer.Option(
            help="Side in pixels at which the surrogate looks; may be repeated: of photos two can tell more.",
            show_default="its own",
        ),
    ] = None,
    n_clusters: Annotated[int | None, typer.Option(help="Number of clusters.", show_default="10")] = None,
    epsilon: Annotated[
        float | None,
        typer.Option(
            parser=_fraction,
            metavar="|".join((*EPSILONS, "N/255")),
            help=f"Largest change of a pixel: {describe_presets()}, or any number; 255/255 is white minus black.",
            show_default="16/255",
        ),
    ] = None,
    parametrisation: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(FAMILIES),
            help="Family of the noise.",
            show_default="texture",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            help="Textures that are tried, or steps of learning.", show_default="10 per cluster, 1 of photos; 400"
        ),
    ] = None,
    max_fit_images: Annotated[
        int | None, typer.Option(help="Fit on a sample of at most so many images.", show_default="5000")
    ] = None,
    canvas_size: Annotated[
        int | None,
        typer.Option(
            help="Side in pixels of the noise, which a network that is trained at less than half of it does not see.",
            show_default="the surrogate's, or the images'",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything random.", show_default="0")] = None,
    container: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(CONTAINERS),
            help="How protected images are stored; png and webp are lossless.",
            show_default="png",
        ),
    ] = None,
    keep_exif: Annotated[bool, typer.Option("--keep-exif", help="Keep EXIF: camera, time, place.")] = False,
    image_column: ImageColumn = None,
    keep_clean: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help="A further column of images that may be published as it is; may be repeated.",
            show_default=False,
        ),
    ] = None,
    label_column: LabelColumn = None,
    json: Json = False,
) -> None:
    """Protect a folder of images or a dataset.

    Every image keeps its size, name and place. Run the same command again after an interruption: it goes on where it
    stopped. Exit code 3: done, but for pictures that were left out, which are named.
    """
    from uc_hf.cli import console
    from uc_hf.cli import protect as command

    console.quiet()
    settings = {
        "labels": labels,
        "label_column": label_column,
        "surrogate": surrogate,
        "surrogate_size": surrogate_size or None,
        "n_clusters": n_clusters,
        "epsilon": epsilon,
        "parametrisation": parametrisation,
        "steps": steps,
        "max_fit_images": max_fit_images,
        "canvas_size": canvas_size,
        "seed": seed,
        "container": container,
        "keep_exif": keep_exif or None,
        "image_column": image_column,
    }
    result = command.protect(
        source,
        out,
        method=method,
        given={name: value for name, value in settings.items() if value is not None},
        splits=split or [],
        keep_clean=keep_clean or [],
        key=protector,
        push_to=push_to,
    )
    if json:
        console.say_json(result.to_dict())
    else:
        command.say(result)
    if result.outcome.left_out:
        raise typer.Exit(LEFT_OUT)


@app.command(
    epilog=_examples(
        "uc-hf score pets-protected --clean timm/oxford-iiit-pet --out report",
        "uc-hf score out --clean ./flowers --test test --protector out.protector --seeds 1 --epochs 5",
        "uc-hf score out --clean data.parquet --test other.parquet --target resnet-18 --target microsoft/resnet-50",
        "uc-hf score out --clean ./flowers --out report --counter-measure none --counter-measure jpeg-75",
        "uc-hf score out --clean ./flowers --out report --target uc_hf/tiny --protocol linear-probe",
    )
)
def score(
    protected: Annotated[str, typer.Argument(help="The protected dataset, with labels.")],
    clean: Annotated[str, typer.Option(help="The originals, with labels.")],
    test: Annotated[
        str | None,
        typer.Option(
            help="Clean images to test on: a split of the clean set, or another dataset.",
            show_default="the clean set's test split",
        ),
    ] = None,
    protector: Annotated[
        str | None,
        typer.Option(help="Adds controls: random noise of the same strength on the protector's clusters."),
    ] = None,
    preset: Annotated[
        str, typer.Option(metavar="quick|paper|full", help="Recipe, targets, protocols and counter-measures.")
    ] = "quick",
    target: Annotated[
        list[str] | None,
        typer.Option(
            help="Model to train: resnet-small, resnet-18, efficientnet-b1, regnetx-1.6gf, convnext-tiny, vit-small, "
            "a name on the Hub or a folder; may be repeated.",
            show_default="the preset's",
        ),
    ] = None,
    protocol: Annotated[
        list[str] | None,
        typer.Option(
            metavar="from-scratch|finetune|linear-probe", help="May be repeated.", show_default="the preset's"
        ),
    ] = None,
    counter_measure: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[-N]",
            help="What a scraper does against the noise: none, jpeg-75, gray, mixup, pgd-2, averaging, leaked-1, "
            "gray+mixup, ...; may be repeated.",
            show_default="the preset's",
        ),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Trainings of each cell.", show_default="the preset's: 3")
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            help="Passes over the training set.",
            show_default="quick: until the accuracy on the originals settles, 40 at most (120 on a GPU); paper: 90",
        ),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Images per step.", show_default="quick: 128, paper: 512")
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(
            help="Side in pixels at which images are trained on.",
            show_default="quick: their short side, 128 at most (224 on a GPU); paper: 256",
        ),
    ] = None,
    augmentation: Annotated[
        str | None,
        typer.Option(metavar="resized-crop|pad-crop|crop", show_default="quick: resized-crop, paper: crop"),
    ] = None,
    image_column: ImageColumn = None,
    label_column: LabelColumn = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for scorecard.json and scorecard.html; what it holds is not trained again.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Train models on the clean and the protected set, and test them on clean images.

    Run the same command again with --out after an interruption: finished trainings stay. Another target, protocol or
    counter-measure adds to the same scorecard.
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


@app.command(epilog=_examples("uc-hf inspect photos-protected.protector --picture noise.png"))
def inspect(
    protector: Annotated[str, typer.Argument(help="Folder of a protector, or its name on the Hub.")],
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw the noise of every cluster.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Show what a protector is and has learnt."""
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


@app.command(
    epilog=_examples(
        "uc-hf card me/pets-protected --protector pets.protector --source timm/oxford-iiit-pet",
        "uc-hf card me/pets-protected --protector pets.protector --scorecard report/scorecard.json",
    )
)
def card(
    repo: Annotated[str, typer.Argument(metavar="USER/NAME", help="The protected dataset on the Hub.")],
    protector: Annotated[str, typer.Option(help="What it was protected with: a folder, or a name on the Hub.")],
    scorecard: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The scorecard.json that `uc-hf score` wrote.", show_default=False),
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="The originals' name on the Hub: their licence is told.", show_default=False)
    ] = None,
    split: Annotated[
        list[str] | None,
        typer.Option(help="A protected split; may be repeated.", show_default="all but test and validation splits"),
    ] = None,
) -> None:
    """Write the card of a protected dataset on the Hub; what a person wrote there stays."""
    from uc_hf.cli import card as command
    from uc_hf.cli import console

    console.quiet()
    typer.echo(command.card(repo, protector=protector, source=source, scorecard=scorecard, splits=split or []))


@app.command(epilog=_examples("uc-hf push-modules me"))
def push_modules(
    user: Annotated[str, typer.Argument(help="Your name on the Hub, or an organisation's.")],
) -> None:
    """Publish the measurements as Spaces, for `evaluate.load("USER/unlearnability")`."""
    from uc_hf.cli import push_modules as command

    for address in command.push_modules(user):
        typer.echo(address)


@app.command(
    epilog=_examples(
        "uc-hf demo",
        "uc-hf demo --dataset uoft-cs/cifar10 --surrogate openai/clip-vit-base-patch32",
    )
)
def demo(
    dataset: Annotated[
        str | None,
        typer.Option(
            help="A Hub name or local path with the splits train and test.", show_default="a set generated in code"
        ),
    ] = None,
    surrogate: Annotated[str | None, typer.Option(help="As of protect.", show_default="uc_hf/tiny, built in")] = None,
    surrogate_size: Annotated[
        int | None, typer.Option(help="Side in pixels at which the surrogate looks.", show_default="its own")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Textures that are tried.", show_default="10 per cluster, 1 of photos")
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
        "steps": steps,
        "seeds": seeds,
    }
    card = command.run(command.Demo(**{name: value for name, value in given.items() if value is not None}), out)
    if json:
        console.say_json(card.to_dict())
    else:
        score_command.say(card)
        typer.echo(f"\nPictures: {out / 'report.html'}")
