"""`uc-hf app`: its options and help."""

from typing import Annotated

import typer


EXAMPLES = ("uc-hf app", "uc-hf app --surrogate openai/clip-vit-base-patch32")


def app(
    surrogate: Annotated[
        str, typer.Option(help="Vision backbone: a name on the Hub, a folder, or uc_hf/tiny (built in).")
    ] = "uc_hf/tiny",
    port: Annotated[
        int | None, typer.Option(help="Port of the page.", show_default="7860, or the next free one")
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open the page in your browser.")] = True,
) -> None:
    r"""Open a page in your browser on which you protect photos: drop them in, compare, download.

    It runs on this machine and can only be reached from it. Needs gradio: pip install 'uc_hf\[app] @ git+https://github.com/uc-hf/uc_hf'.
    """
    from uc_hf.cli import console
    from uc_hf.cli.web.serve import serve

    console.quiet()
    serve(surrogate=surrogate, port=port, browser=browser)
