"""A protector's folder as one file, to be put away: the arrays as safetensors, the config in the file's metadata."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from huggingface_hub.constants import CONFIG_NAME
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from uc_hf.errors import SettingError
from uc_hf.files import whole
from uc_hf.protecting.saving import MODEL


SUFFIX = ".uckey"
CONFIG = "uc_hf"
"""The config's name in the file's metadata."""


def pack_key(folder: Path, file: Path) -> None:
    """Write the key that a saved protector's folder holds into one file, whole or not at all.

    Args:
        folder: as `save_pretrained` wrote it.
        file: by custom with the suffix `SUFFIX`. Whoever has it can remove the noise.
    """
    config = json.dumps(json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8")))
    with whole(file) as partial:
        save_file(load_file(folder / MODEL), partial, metadata={CONFIG: config})


@contextmanager
def unpacked_key(file: Path) -> Iterator[Path]:
    """A key's file as a protector's folder, for as long as it is needed.

    Raises:
        SettingError: it is no such file, or a damaged one.
    """
    try:
        with safe_open(file, framework="numpy") as opened:
            config = (opened.metadata() or {}).get(CONFIG)
    except (OSError, SafetensorError) as error:
        raise SettingError(f"{file} is no key, or a damaged one: {error}. Copy it again.") from error
    if config is None:
        raise SettingError(f"{file} is no key: it was not written by uc_hf.")
    with TemporaryDirectory() as place:
        folder = Path(place) / file.stem
        folder.mkdir()
        (folder / CONFIG_NAME).write_text(config, encoding="utf-8")
        shutil.copyfile(file, folder / MODEL)
        yield folder
