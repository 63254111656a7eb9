"""Names on the Hub, and its refusals and failures in our words."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError
from huggingface_hub.utils import validate_repo_id

from uc_hf.errors import OutputError, UCError, first_line


HTTPError: type[Exception] = HfHubHTTPError.__bases__[0]
FAILURES = (HTTPError, OSError)
"""What a request raises that the Hub refuses, or does not answer: the base is that of the library it is spoken to by,
httpx in huggingface_hub 1 and httpx2 in 2."""

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
"""USER/NAME: neither an address nor a path that leaves the folder of the program."""


def name_on_hub(source: str | None) -> str | None:
    """The source if it is a name on the Hub; None for a path, which may reveal something about its owner."""
    if source is None or Path(source).exists():
        return None
    try:
        validate_repo_id(source)
    except HFValidationError:
        return None
    return source


@contextmanager
def in_our_words(repo_id: str) -> Iterator[None]:
    """The Hub's refusals and failures as an error with a remedy.

    Raises:
        OutputError: not a name, nobody is logged in, or the Hub has refused or failed.
    """
    try:
        yield
    except UCError:
        raise
    except HFValidationError as error:
        raise OutputError(f"{repo_id!r} is not a name of a repository. Write USER/NAME.") from error
    except LocalTokenNotFoundError as error:
        raise OutputError(
            f"{repo_id} cannot be written to: you are not logged in to the Hub. Run `hf auth login`."
        ) from error
    except (*FAILURES, RuntimeError) as error:
        # A failed upload is a RuntimeError that names the file; the reason is its cause.
        reason = first_line((isinstance(error, RuntimeError) and error.__cause__) or error)
        raise OutputError(
            f"{repo_id} on the Hub: {reason}.\nCheck your token, its rights and the connection. What was pushed is "
            "kept: the same command goes on where it stopped."
        ) from error
