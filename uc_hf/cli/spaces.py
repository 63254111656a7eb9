"""`uc-hf spaces push`: the page and the evaluate modules as Spaces."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from huggingface_hub import HfApi, constants

import uc_hf
from uc_hf.data.hub import in_our_words
from uc_hf.errors import SettingError


SPACES: Mapping[str, Path] = {
    "unlearnability": Path(uc_hf.module_path("unlearnability")),
    "imperceptibility": Path(uc_hf.module_path("imperceptibility")),
    "protect-photos": Path(__file__).parent / "web" / "space",
}
"""Each Space's name, and the folder that it is made from."""

PRIVATE = ("protect-photos",)
"""Spaces that are made private: people would upload their originals to a public one."""


def push_spaces(user: str, names: Sequence[str] = ()) -> list[str]:
    """Create Spaces, or update them.

    Args:
        user: of the Hub, or an organisation.
        names: those of `SPACES` to push; none for all.

    Returns:
        their addresses.

    Raises:
        SettingError: there is no such Space.
        OutputError: not logged in, not allowed, or the Hub is not in reach.
    """
    api, chosen = HfApi(), list(names or SPACES)
    for name in chosen:
        if name not in SPACES:
            raise SettingError(f"there is no Space {name!r}. Write one of {', '.join(SPACES)}.")
    for name in chosen:
        repo = f"{user}/{name}"
        with in_our_words(repo):
            api.create_repo(
                repo, repo_type="space", space_sdk="gradio", exist_ok=True, private=True if name in PRIVATE else None
            )
            api.upload_folder(
                repo_id=repo,
                repo_type="space",
                folder_path=SPACES[name],
                ignore_patterns=["__pycache__/*"],
                commit_message=f"uc_hf {uc_hf.__version__}",
            )
    return [f"{constants.ENDPOINT}/spaces/{user}/{name}" for name in chosen]
