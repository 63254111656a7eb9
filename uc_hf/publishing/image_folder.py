"""A folder of images -> its protected copy on disk, written so that an interrupted job goes on where it stopped.

A file is complete when it exists: each is written beside its final name and renamed. Datasets: `dataset`.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from uc_hf.data import images
from uc_hf.data.exif import without_metadata
from uc_hf.data.folders import Folder, check_folder, list_folder, without_copy
from uc_hf.data.progress import Bar
from uc_hf.data.splits import choose_splits
from uc_hf.errors import ImageError, OutputError, shown
from uc_hf.files import read_file, write_whole
from uc_hf.protecting.protector import Protector
from uc_hf.publishing.outcome import Outcome, spread


BATCH = 16


def protect_folder(
    source: Path | Folder, out: Path, protector: Protector, *, splits: Sequence[str] = (), check: bool = True
) -> Outcome:
    """Write the protected copy of a folder: the same tree, the same stems.

    Copies that exist are taken to be done, so that the same call goes on after an interruption, and protects what has
    been added since.

    Args:
        source: a folder of pictures, or what `list_folder` has found in it.
        out: made where needed.
        protector: fitted.
        splits: those to protect; none for all but those with a test split's name. The pictures of the others are
            carried over clean, without their EXIF unless the protector keeps it.
        check: look at every picture that has no copy yet before the first is written.

    Raises:
        DatasetError: no picture, or two that would have the same copy; an unknown split.
        ImageError: pictures that cannot be protected, all named before the first is written.
        OutputError: no space left.
    """
    folder = list_folder(source) if isinstance(source, Path) else source
    container = protector.settings.stored_as
    parts = folder.splits
    carried = [split for split in parts if split not in choose_splits(parts, splits)]
    clean = {name for split in carried for name in parts[split]}
    copies = folder.copies(container, carried)
    ahead = without_copy(copies, out)
    if check:
        check_folder(folder.root, [name for name in ahead if name not in clean], container)
    done = {name: copy for name, copy in copies.items() if name not in clean}
    coming = [name for name in ahead if name not in clean]
    already = len(done) - len(coming)
    with Bar(total=len(done), initial=already, desc="protecting", unit="image") as bar:
        for batch in _batches(coming):
            for name, data in zip(batch, _protected(folder, batch, protector), strict=True):
                _write(out / copies[name], data, bar)
                bar.update()
        for name in (name for name in ahead if name in clean):
            _write(out / copies[name], clean_copy(folder.root, name, protector.settings.keep_exif), bar)
    names = list(done)
    return Outcome(
        images=len(done),
        already=already,
        ignored=dict(Counter(path.suffix.lower() or path.name for path in folder.others)),
        left_out=folder.left_out,
        noted=folder.noted,
        carried=carried,
        bytes_before=sum((folder.root / name).stat().st_size for name in names),
        bytes_after=sum((out / copy).stat().st_size for copy in done.values()),
        pairs=((folder.root / names[index], out / done[names[index]]) for index in spread(len(names))),
    )


def _protected(folder: Folder, names: Sequence[Path], protector: Protector) -> list[bytes]:
    _, classes = folder.classes
    pictures = [protector.as_stored(_decoded(folder.root, name)) for name in names]
    groups = protector.assign(pictures, [classes.get(name) for name in names] if classes else None)
    return protector.protect(pictures, groups)


def clean_copy(root: Path, name: Path, keep_exif: bool) -> bytes:
    """The bytes of a picture that is carried over clean.

    Raises:
        ImageError: it is damaged, so that its EXIF cannot be taken out.
    """
    data = read_file(root / name)
    try:
        return data if keep_exif else without_metadata(data)
    except ImageError as error:
        raise ImageError(f"{shown(name)}: {error}") from error


def _decoded(root: Path, name: Path) -> images.Picture:
    try:
        return images.decode(root / name)
    except ImageError as error:
        raise ImageError(f"{shown(name)}: {error}") from error


def _batches(names: Sequence[Path]) -> Iterator[Sequence[Path]]:
    return (names[start : start + BATCH] for start in range(0, len(names), BATCH))


def _write(path: Path, data: bytes, bar: Bar) -> None:
    try:
        write_whole(path, data)
    except OutputError as error:
        raise OutputError(
            f"{error} {bar.n} of {bar.total} images are done and kept: the same command goes on where it stopped."
        ) from error
