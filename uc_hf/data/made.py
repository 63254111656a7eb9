"""What protectors have made: their own folders, whose pictures show the noise, and the copies beside them."""

import os
from collections.abc import Sequence
from pathlib import Path


KEY_SUFFIX = ".protector"
"""Of the folder with the protector, beside the output that is named as it is without."""


def is_key(folder: Path) -> bool:
    """Whether a folder is a saved protector, whatever it is called."""
    files = ["config.json"] if folder.name.endswith(KEY_SUFFIX) else ["config.json", "model.safetensors"]
    return all(os.access(folder / name, os.F_OK) for name in files)  # False also where it may not be looked at


def made_here(entries: Sequence["os.DirEntry[str]"]) -> set[str]:
    """The names of protectors' folders, and of the outputs that they lie beside."""
    folders = (entry for entry in entries if not entry.is_file(follow_symlinks=False))
    keys = [entry.name for entry in folders if is_key(Path(entry.path))]
    return {*keys, *(key.removesuffix(KEY_SUFFIX) for key in keys)}
