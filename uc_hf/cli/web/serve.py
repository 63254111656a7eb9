"""Start the page: on this machine for this machine alone, or as a Space."""

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from huggingface_hub import constants

from uc_hf.errors import SettingError


if TYPE_CHECKING:
    import gradio

HOSTS = ("localhost", "127.0.0.1")
HOUR = 3600.0
UPLOAD = "2gb"


def serve(*, surrogate: str, port: int | None = None, browser: bool = True) -> None:
    """Serve the page until it is interrupted; the arguments are those of `start`.

    Raises:
        SettingError: gradio is not installed.
    """
    start(surrogate=surrogate, port=port, browser=browser).block_thread()


def start(*, surrogate: str, port: int | None = None, browser: bool = True) -> "gradio.Blocks":
    """Begin to serve the page.

    Args:
        surrogate: for fitting new keys.
        port: None for the first free one from 7860 on.
        browser: open it in the user's browser.

    Returns:
        the running page, which serves in threads of its own until it is closed; its address is `local_url`.

    Raises:
        SettingError: gradio is not installed.
    """
    space = os.environ.get("SPACE_ID")
    root = Path(constants.HF_HOME) / "uc_hf" / "app"
    os.environ["GRADIO_TEMP_DIR"] = str(root / "shown")
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio  # noqa: F401
    except ModuleNotFoundError as error:
        raise SettingError(
            "the page needs gradio. Write pip install 'uc_hf[app] @ git+https://github.com/uc-hf/uc_hf'."
        ) from error
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from uc_hf.cli.web.looks import CSS, THEME
    from uc_hf.cli.web.page import build
    from uc_hf.cli.web.sessions import Sessions
    from uc_hf.cli.web.uploads import Limits

    limits = Limits() if space is None else Limits(files=500, n_bytes=10**9)
    sessions = Sessions(root / "sessions", surrogate, limits, keep=None if space is None else HOUR)
    page = build(sessions, local=space is None, space=space, secret=_secret(root))
    # Another site cannot reach this page through the browser by giving its own name to this address.
    hosts = ["*"] if space else [*HOSTS]
    page.launch(
        server_name="0.0.0.0" if space else HOSTS[1],
        server_port=port,
        inbrowser=browser and space is None,
        theme=THEME,
        css=CSS,
        max_file_size=UPLOAD,
        allowed_paths=[str(root / "sessions")],
        app_kwargs={"middleware": [Middleware(TrustedHostMiddleware, allowed_hosts=hosts)]},
        footer_links=[],
        ssr_mode=False,
        share=False,
        show_error=True,
        prevent_thread_lock=True,
    )
    return page


def _secret(root: Path) -> str:
    """The key that encrypts what browsers store; kept, so that they find their sessions after a restart."""
    file = root / "secret"
    if not file.is_file():
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        file.touch(mode=0o600)
        file.write_text(secrets.token_urlsafe(32), encoding="utf-8")
    return file.read_text(encoding="utf-8")
