"""`uc-hf protect`: its options and help."""

import time
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import typer

from uc_hf.cli.commands.options import EXPERT, METHOD, STRENGTH, WHERE, ImageColumn, Json, LabelColumn
from uc_hf.cli.reporting import LEFT_OUT
from uc_hf.data.container import CONTAINERS
from uc_hf.errors import BadImages
from uc_hf.methods import METHODS
from uc_hf.methods.unlearnable_clusters.families import FAMILIES
from uc_hf.methods.unlearnable_clusters.looks import LOOKS
from uc_hf.publishing.destinations import DESTINATIONS, HUB


EXAMPLES = (
    "uc-hf protect photo.jpg",
    "uc-hf protect ./photos --out ./photos-protected",
    "uc-hf protect timm/oxford-iiit-pet --push-to me/pets-protected",
    "uc-hf protect data.parquet --out out --surrogate uc_hf/tiny --epsilon 8/255 --container webp",
    "uc-hf protect uoft-cs/cifar10 --out out --method emin --epsilon 8/255",
)


def _fraction(text: str) -> float | str:
    try:
        return float(Fraction(text))
    except (ValueError, ZeroDivisionError):
        return text  # the settings say what to write instead, as of every other wrong epsilon


def _sources(words: list[str]) -> str | list[Path]:
    """One source as it is written; files of pictures as such."""
    from uc_hf.data.folders import is_image_file

    if len(words) == 1 and not (Path(words[0]).is_file() and is_image_file(Path(words[0]))):
        return words[0]
    return [Path(word) for word in words]


def protect(
    source: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="A folder of images, one or more files of images, a saved dataset, parquet files (also at s3:// and "
            "other addresses of fsspec), or a dataset on the Hub.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="A new or empty folder for the protected copy.",
            show_default="NAME-protected, beside images on this machine",
            rich_help_panel=WHERE,
        ),
    ] = None,
    push_to: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(
                ("USER/NAME", "s3://PLACE", *(f"{name}://PLACE" for name in DESTINATIONS if name != HUB))
            ),
            help="Push the protected copy to this dataset on the Hub, or to an address of fsspec; without --out piece "
            "by piece, and nothing but the protector stays on this machine. A new one on the Hub is as public as your "
            "account's default.",
            show_default=False,
            rich_help_panel=WHERE,
        ),
    ] = None,
    protector: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the protector, or a key in one file: what removes the noise. Loaded where it exists.",
            show_default="OUT.protector, else ./NAME.protector",
            rich_help_panel=WHERE,
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Protect the I-th of N even shares, from 1/N to N/N; needs --protector. Several may run at once, on "
            "machines that see the same disk; then `uc-hf merge OUT`.",
            show_default="all",
            rich_help_panel=EXPERT,
        ),
    ] = None,
    split: Annotated[
        list[str] | None,
        typer.Option(
            help="Split to protect; may be repeated.",
            show_default="all but test and validation splits",
            rich_help_panel=WHERE,
        ),
    ] = None,
    container: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(CONTAINERS),
            help="Format of the protected images; png and webp are lossless.",
            show_default="png",
            rich_help_panel=WHERE,
        ),
    ] = None,
    look: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(LOOKS),
            help="; ".join(f"{name}: {look.summary}" for name, look in LOOKS.items()) + ".",
            show_default="balanced",
            rich_help_panel=STRENGTH,
        ),
    ] = None,
    epsilon: Annotated[
        float | None,
        typer.Option(
            parser=_fraction,
            metavar="N/255",
            help="Largest change of a pixel; 255/255 is white minus black.",
            show_default="16/255",
            rich_help_panel=STRENGTH,
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            metavar="METHOD",
            help=f"Unlearnable Clusters (uc), or a baseline: {', '.join(name for name in METHODS if name != 'uc')}.",
            show_default="uc",
            rich_help_panel=METHOD,
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="own|predicted|clusters",
            help="Labels for a baseline: the dataset's own, predictions of --surrogate (a classifier), or clusters.",
            show_default="own",
            rich_help_panel=METHOD,
        ),
    ] = None,
    surrogate: Annotated[
        str | None,
        typer.Option(
            help="Vision backbone: a name on the Hub (openai/clip-vit-base-patch32 unless said otherwise), a folder, "
            "or uc_hf/tiny (built in).",
            show_default=False,
            rich_help_panel=METHOD,
        ),
    ] = None,
    surrogate_size: Annotated[
        list[int] | None,
        typer.Option(
            help="Side in pixels at which the surrogate looks; may be repeated.",
            show_default="its own; if that is 128 px or more, also a smaller one",
            rich_help_panel=EXPERT,
        ),
    ] = None,
    n_clusters: Annotated[
        int | None,
        typer.Option(
            help="Number of clusters.", show_default="10; of fewer than 100 images fewer", rich_help_panel=METHOD
        ),
    ] = None,
    parametrisation: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(FAMILIES),
            help="Family of the noise; generator is the paper's.",
            show_default="wave",
            rich_help_panel=EXPERT,
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            help="Optimiser steps of the families that learn their noise.",
            show_default="400",
            rich_help_panel=EXPERT,
        ),
    ] = None,
    max_fit_images: Annotated[
        int | None,
        typer.Option(help="Fit on a sample of at most so many images.", show_default="5000", rich_help_panel=EXPERT),
    ] = None,
    canvas_size: Annotated[
        int | None,
        typer.Option(
            help="Side in pixels of the square on which baselines and the families other than wave learn their noise.",
            show_default="the surrogate's, or the images'",
            rich_help_panel=EXPERT,
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of everything random.", show_default="0", rich_help_panel=EXPERT)
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            help="Where networks run: cpu, cuda, cuda:1, mps.",
            show_default="a GPU if there is one",
            rich_help_panel=EXPERT,
        ),
    ] = None,
    num_proc: Annotated[
        int,
        typer.Option(min=1, help="Processes that decode, add noise and encode, side by side.", rich_help_panel=EXPERT),
    ] = 1,
    batch_size: Annotated[
        int,
        typer.Option(min=1, help="Images that the surrogate is shown at once while fitting.", rich_help_panel=EXPERT),
    ] = 64,
    keep_exif: Annotated[
        bool, typer.Option("--keep-exif", help="Keep EXIF: camera, time, place.", rich_help_panel=WHERE)
    ] = False,
    image_column: ImageColumn = None,
    keep_clean: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help="A further column of images that may be published unchanged; may be repeated.",
            show_default=False,
            rich_help_panel=WHERE,
        ),
    ] = None,
    label_column: LabelColumn = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Read all files of an earlier run again, instead of trusting their sizes and times.",
            rich_help_panel=WHERE,
        ),
    ] = False,
    metadata: Annotated[
        bool,
        typer.Option(
            "--metadata",
            help="Also publish what metadata.csv, .jsonl or .parquet says about the images of a folder.",
            rich_help_panel=WHERE,
        ),
    ] = False,
    skip_bad: Annotated[
        bool,
        typer.Option(
            "--skip-bad",
            help="Leave out images that cannot be protected, list them, and exit with 3.",
            rich_help_panel=WHERE,
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Look at all images, say what would be done, and write nothing.", rich_help_panel=WHERE
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Protect a folder of images or a dataset.

    Every image keeps its size, name and place. After an interruption run the same command again: it continues where it
    stopped. Exit code 3: done, except for images that were left out, which are named.
    """
    started = time.monotonic()
    from uc_hf.cli import console, results
    from uc_hf.cli import protect as command

    console.quiet()
    settings = {
        "labels": labels,
        "label_column": label_column,
        "surrogate": surrogate,
        "surrogate_size": surrogate_size or None,
        "n_clusters": n_clusters,
        "epsilon": epsilon,
        "look": look,
        "parametrisation": parametrisation,
        "steps": steps,
        "max_fit_images": max_fit_images,
        "canvas_size": canvas_size,
        "seed": seed,
        "container": container,
        "keep_exif": keep_exif or None,
        "image_column": image_column,
    }
    try:
        result = command.protect(
            _sources(source),
            out,
            method=method,
            given={name: value for name, value in settings.items() if value is not None},
            splits=split or [],
            keep_clean=keep_clean or [],
            key=protector,
            shard=shard,
            push_to=push_to,
            verify=verify,
            skip_bad=skip_bad,
            metadata=metadata,
            dry_run=dry_run,
            device=device,
            batch_size=batch_size,
            num_proc=num_proc,
            started=started,
        )
    except BadImages as error:
        if json:
            console.say_json({"error": str(error), "bad_images": error.to_list()})
        raise
    if json:
        console.say_json(result.to_dict())
    elif isinstance(result, results.Rehearsal):
        results.say_rehearsal(result)
    else:
        results.say(result)
    if isinstance(result, results.Result) and result.outcome.left_out:
        raise typer.Exit(LEFT_OUT)
