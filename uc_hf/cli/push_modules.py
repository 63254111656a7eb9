"""`uc-hf push-modules`: the evaluate modules as Spaces, where `evaluate.load("user/imperceptibility")` finds them."""

from httpx2 import HTTPError
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import HFValidationError, LocalTokenNotFoundError

import uc_hf
from uc_hf.errors import OutputError, first_line


MODULES = ("unlearnability", "imperceptibility")


def push_modules(user: str) -> list[str]:
    """Create or update one Space for each module.

    Args:
        user: of the Hub, or an organisation.

    Returns:
        their addresses.

    Raises:
        OutputError: not logged in, not allowed, or the Hub is not in reach.
    """
    api = HfApi()
    try:
        for name in MODULES:
            repo = f"{user}/{name}"
            api.create_repo(repo, repo_type="space", space_sdk="gradio", exist_ok=True)
            api.upload_folder(
                repo_id=repo,
                repo_type="space",
                folder_path=uc_hf.module_path(name),
                ignore_patterns=["__pycache__/*"],
                commit_message=f"uc_hf {uc_hf.__version__}",
            )
    except HFValidationError as error:
        raise OutputError(f"{user!r} is not the name of a user or an organisation on the Hub.") from error
    except LocalTokenNotFoundError as error:
        raise OutputError("you are not logged in to the Hub. Run `hf auth login`.") from error
    except (HTTPError, OSError) as error:
        raise OutputError(f"the Space {repo} could not be pushed: {first_line(error)}") from error
    return [f"{constants.ENDPOINT}/spaces/{user}/{name}" for name in MODULES]
