"""`uc-hf push-modules`: the evaluate modules as Spaces, where `evaluate.load("user/imperceptibility")` finds them."""

from huggingface_hub import HfApi, constants

import uc_hf
from uc_hf.data.hub import in_our_words


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
    for name in MODULES:
        repo = f"{user}/{name}"
        with in_our_words(repo):
            api.create_repo(repo, repo_type="space", space_sdk="gradio", exist_ok=True)
            api.upload_folder(
                repo_id=repo,
                repo_type="space",
                folder_path=uc_hf.module_path(name),
                ignore_patterns=["__pycache__/*"],
                commit_message=f"uc_hf {uc_hf.__version__}",
            )
    return [f"{constants.ENDPOINT}/spaces/{user}/{name}" for name in MODULES]
