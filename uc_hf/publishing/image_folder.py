"""A folder of images -> its protected copy on disk, written so that an interrupted job goes on where it stopped.

A file is complete when it exists: each is written beside its final name and renamed. Datasets: `dataset`.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from uc_hf.data import images
from uc_hf.data.folders import check_folder, folder_images, is_image_file, visible, without_copy
from uc_hf.data.images import Container
from uc_hf.data.progress import Bar
from uc_hf.errors import ImageError, OutputError
from uc_hf.files import write_whole
from uc_hf.protecting.protector import Protector
from uc_hf.publishing.outcome import Outcome, spread


BATCH = 16


def protect_folder(source: Path, out: Path, protector: Protector, *, check: bool = True) -> Outcome:
    """Write the protected copy of a folder: the same tree, the same stems.

    Copies that exist are taken to be done, so that the same call goes on after an interruption, and protects what has
    been added since.

    Args:
        source: a folder of pictures.
        out: made where needed.
        protector: fitted.
        check: look at every picture that has no copy yet before the first is written.

    Raises:
        DatasetError: no picture, or two that would have the same copy.
        ImageError: pictures that cannot be protected, all named before the first is written.
        OutputError: no space left.
    """
    container = Container.parse(protector.settings.container)
    copies = folder_images(source, container)
    ahead = without_copy(copies, out)
    if check:
        check_folder(source, ahead, container)
    already = len(copies) - len(ahead)
    with Bar(total=len(copies), initial=already, desc="protecting", unit="image") as bar:
        for batch in _batches(ahead):
            encoded = protector.protect([_decoded(source, name) for name in batch])
            for name, data in zip(batch, encoded, strict=True):
                _write(out / copies[name], data, bar)
                bar.update()
    ignored = Counter(path.suffix.lower() or path.name for path in visible(source) if not is_image_file(path))
    names = list(copies)
    return Outcome(
        images=len(copies),
        already=already,
        ignored=dict(ignored),
        carried=[],
        bytes_before=sum((source / name).stat().st_size for name in names),
        bytes_after=sum((out / copy).stat().st_size for copy in copies.values()),
        pairs=((source / names[index], out / copies[names[index]]) for index in spread(len(names))),
    )


def _decoded(source: Path, name: Path) -> images.Picture:
    try:
        return images.decode(source / name)
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from error


def _batches(names: Sequence[Path]) -> Iterator[Sequence[Path]]:
    return (names[start : start + BATCH] for start in range(0, len(names), BATCH))


def _write(path: Path, data: bytes, bar: Bar) -> None:
    try:
        write_whole(path, data)
    except OutputError as error:
        raise OutputError(
            f"{error} {bar.n} of {bar.total} images are done and kept: the same command goes on where it stopped."
        ) from error
