"""Sources that are neither pictures nor datasets, and what to write instead."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from uc_hf.errors import shown


ARCHIVES = frozenset(".7z .bz2 .gz .rar .tar .tgz .xz .zip".split())
FILMS = frozenset(".3gp .avi .m4v .mkv .mov .mp4 .mpeg .mpg .mts .webm .wmv".split())
ON_THE_HUB = "https://huggingface.co/datasets/"


def of_file(file: Path) -> str:
    """What to write in place of a file that is neither a picture nor a table.

    Examples:
        >>> of_file(Path("photos.zip"))
        'photos.zip is an archive. Unpack it, and name the folder.'
    """
    name = shown(file)
    if file.suffix.lower() in ARCHIVES:
        return f"{name} is an archive. Unpack it, and name the folder."
    if file.suffix.lower() in FILMS:
        return f"{name} is a film. {_frames(file)}"
    return (
        f"{name} is neither an image nor a .parquet file. Name a folder of images, images, a folder written by "
        "save_to_disk, parquet files, or a dataset on the Hub."
    )


def of_folder(folder: Path, others: Iterable[Path]) -> str:
    """What to write in place of a folder without pictures and tables.

    Args:
        folder: it.
        others: the files that it holds.
    """
    files = list(others)
    kinds = Counter(shown(file.suffix.lower() or file.name) for file in files)
    held = ", but " + ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(3)) if files else ", nor a file"
    said = f"the folder {shown(folder)} holds neither images, parquet files, nor a dataset written by save_to_disk"
    films = [file for file in files if file.suffix.lower() in FILMS]
    archives = [file for file in files if file.suffix.lower() in ARCHIVES]
    remedy = "Name the folder that does."
    if films:
        remedy = _frames(folder / films[0])
    elif archives:
        remedy = f"Unpack {shown(folder / archives[0])}, and name its folder."
    return f"{said}{held}. {remedy}"


def of_address(address: str) -> str:
    """What to write in place of an address."""
    if address.startswith(ON_THE_HUB):
        name = "/".join(address.removeprefix(ON_THE_HUB).split("/")[:2])
        return f"{shown(address)!r} is an address. Write the dataset's name: {shown(name)}."
    return f"{shown(address)!r} is an address. Download what lies there, and name the file or the folder."


def _frames(film: Path) -> str:
    return (
        f"Protect pictures of it: mkdir frames && ffmpeg -i {shown(film)} frames/%05d.png, and name the folder frames."
    )
