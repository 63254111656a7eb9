"""Folders of pictures: which files are meant, what their copies are called, and a look at each of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from uc_hf.data.checks import check_all
from uc_hf.data.images import Container
from uc_hf.errors import DatasetError


IMAGE_SUFFIXES = frozenset(
    ".avif .bmp .gif .heic .heif .jfif .jp2 .jpe .jpeg .jpg .pbm .pgm .png .ppm .tga .tif .tiff .webp".split()
)
"""Files that a person calls a picture; those that Pillow cannot read (HEIC) are refused by name, not passed over."""


def is_image_file(path: Path) -> bool:
    """Whether a file's name is that of a picture."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def visible(folder: Path) -> list[Path]:
    """The files of a folder at any depth, sorted, without those hidden or in hidden folders."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in files if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def folder_images(source: Path, container: Container) -> dict[Path, Path]:
    """The pictures of a folder, at any depth, and what each one's protected copy is called.

    Args:
        source: hidden files, and files that are not pictures by their suffix, are left out.
        container: decides the suffix of the copies.

    Returns:
        path -> path of the copy, both relative to their folder.

    Raises:
        DatasetError: no picture, or two that would have the same copy.
    """
    copies: dict[Path, Path] = {}
    originals: dict[Path, Path] = {}
    for path in filter(is_image_file, visible(source)):
        name = path.relative_to(source)
        copy = name.with_suffix(container.suffix)
        if copy in originals:
            raise DatasetError(f"{originals[copy]} and {name} would both become {copy}. Rename one of them.")
        copies[name], originals[copy] = copy, name
    if not copies:
        raise DatasetError(f"the folder {source} holds no images: there is nothing to protect.")
    return copies


def without_copy(copies: Mapping[Path, Path], out: Path) -> list[Path]:
    """Those of `folder_images` whose copy is not in the output yet."""
    return [name for name, copy in copies.items() if not (out / copy).exists()]


def check_folder(source: Path, names: Sequence[Path], container: Container) -> None:
    """Look at every picture of a folder before time is spent on any.

    Raises:
        ImageError: pictures that cannot be protected, named by their path.
    """
    check_all(((str(name), source / name) for name in names), len(names), container)
