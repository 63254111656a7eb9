"""The command `uc-hf`: options and help are in `uc_hf.cli.commands`, the work is in the modules beside this one."""

from importlib.metadata import version
from typing import Annotated

import typer

from uc_hf.cli.commands import card, demo, export, inspect, merge, page, protect, score, spaces, trace
from uc_hf.cli.reporting import Reporting
from uc_hf.training.memory import keep_freed_memory


app = typer.Typer(
    cls=Reporting,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Make an image dataset unlearnable before you publish it "
    "([link=https://arxiv.org/abs/2301.01217]Unlearnable Clusters[/link]).",
)


def main() -> None:
    """The entry point of `uc-hf`."""
    keep_freed_memory()
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


def _examples(commands: tuple[str, ...]) -> str:
    return "[bold]Examples[/bold]\n\n" + "\n\n".join(f"  {command}" for command in commands)


app.command(epilog=_examples(protect.EXAMPLES))(protect.protect)
app.command(epilog=_examples(merge.EXAMPLES))(merge.merge)
app.command(epilog=_examples(score.EXAMPLES))(score.score)
app.command(epilog=_examples(trace.EXAMPLES))(trace.trace)
app.command(name="app", epilog=_examples(page.EXAMPLES))(page.app)
app.command(epilog=_examples(inspect.EXAMPLES))(inspect.inspect)
app.command(epilog=_examples(card.EXAMPLES))(card.card)
app.command(epilog=_examples(export.EXAMPLES))(export.export)
spaces.spaces.command(epilog=_examples(spaces.EXAMPLES))(spaces.push)
app.add_typer(spaces.spaces, name="spaces")
app.command(epilog=_examples(demo.EXAMPLES))(demo.demo)
