"""A folder of images -> its protected copy on disk; an interrupted job continues where it stopped.

A copy is finished if the manifest lists it and neither it nor its original has changed since. Datasets: `dataset`.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from uc_hf.data import images
from uc_hf.data.batches import in_batches
from uc_hf.data.checks import Look
from uc_hf.data.exif import without_metadata
from uc_hf.data.folders import Folder, look_at
from uc_hf.data.made import Seen, State
from uc_hf.data.progress import Bar
from uc_hf.data.splits import choose_splits
from uc_hf.errors import ImageError, OutputError, naming, shown
from uc_hf.files import check_writable, write_whole
from uc_hf.fitting.settings import CommonSettings
from uc_hf.protecting.protector import Protector
from uc_hf.publishing.manifest import Manifest, digest_of
from uc_hf.publishing.outcome import Outcome, spread


def protect_folder(
    folder: Folder,
    out: Path,
    protector: Protector,
    manifest: Manifest,
    *,
    splits: Sequence[str] = (),
) -> Outcome:
    """Write the protected copy of a folder that `check_copies` has passed: the same tree with the same stems.

    The same call continues after an interruption, protects images that were added or edited since, and replaces
    damaged copies.

    Args:
        folder: the originals.
        out: the output folder; created if it does not exist.
        protector: a fitted protector.
        manifest: the finished files of `out`.
        splits: the splits to protect; empty for all without the name of a test split. Images of the others are copied
            clean, without their EXIF unless the protector keeps it.

    Raises:
        DatasetError: there is no image, two images would have the same copy, or a split is unknown.
        ImageError: an image cannot be protected.
        OutputError: no space is left.
    """
    parts = folder.splits
    carried = [split for split in parts if split not in choose_splits(parts, splits)]
    clean = {name for split in carried for name in parts[split]}
    copies = folder.copies(protector.settings.stored_as, carried)
    ahead = unfinished(folder, carried, copies, out, manifest)
    done = {name: copy for name, copy in copies.items() if name not in clean}
    coming = [name for name in ahead if name not in clean]
    already = len(done) - len(coming)
    with manifest, Bar(total=len(done), initial=already, desc="protecting", unit="image") as bar:
        files = ((name, *_read(folder.root, name, manifest)) for name in coming)
        for batch in in_batches(files, lambda file: file[2]):
            made = _protected(folder, {name: data for name, _, data in batch}, protector)
            for (name, original, _), data in zip(batch, made, strict=True):
                _write(out / copies[name], data, bar)
                manifest.add(str(copies[name]), out / copies[name], digest_of(data), original)
                bar.update()
            manifest.sync()
        for name in (name for name in ahead if name in clean):
            original, data = _read(folder.root, name, manifest)
            with naming(shown(name)):
                data = data if protector.settings.keep_exif else without_metadata(data)
            _write(out / copies[name], data, bar)
            manifest.add(str(copies[name]), out / copies[name], digest_of(data), original, protected=False)
    names = list(done)
    return Outcome(
        images=len(done),
        already=already,
        again=len(manifest.changed.intersection(str(copies[name]) for name in coming)),
        orphans=_orphans(copies, out, manifest),
        ignored=folder.ignored,
        left_out=folder.left_out,
        noted=folder.noted,
        carried=carried,
        bytes_before=sum((folder.root / name).stat().st_size for name in names),
        bytes_after=sum((out / copy).stat().st_size for copy in done.values()),
        pairs=((folder.root / names[index], out / done[names[index]]) for index in spread(len(names))),
    )


def check_copies(
    folder: Folder,
    chosen: Sequence[str],
    settings: CommonSettings,
    out: Path | None,
    manifest: Manifest | None,
    *,
    verify: bool = False,
    skip_bad: bool = False,
) -> None:
    """Check every image that has no finished copy, before the first is written.

    Args:
        folder: the originals.
        chosen: splits that are protected; the others are copied clean.
        settings: the protector's.
        out: the folder of the copies; None if they are only pushed.
        manifest: the finished files of an earlier run in `out`; None if there was none.
        verify: read all finished files, even if sizes and times are unchanged.
        skip_bad: of images that would have the same copy, those that cannot be protected count for none.

    Raises:
        DatasetError: there is no image, or two images would have the same copy.
        BadImages: images that cannot be protected, named by their path.
    """
    container, look = settings.stored_as, Look(settings.stored_as)

    def carried() -> list[str]:
        return [split for split in folder.splits if split not in chosen]

    clean = {name for split in carried() for name in folder.splits[split]}

    def check(names: Sequence[Path]) -> None:
        look_at(look, folder.root, names, clean, keep_exif=settings.keep_exif)

    alike = folder.twins(container, carried()) if skip_bad else {}
    twins = {name for names in alike.values() for name in names}
    if twins:
        check(sorted(twins))
        folder = folder.without(look.bad)
    copies = folder.copies(container, carried())
    ahead = list(copies)
    if out is not None:
        check_writable(out, max((copy.name for copy in copies.values()), key=lambda name: len(os.fsencode(name))))
    if out is not None and manifest is not None:
        ahead = unfinished(folder, carried(), copies, out, manifest, verify=verify)
    check([name for name in ahead if name not in twins])
    look.end()


def unfinished(
    folder: Folder,
    clean: Sequence[str],
    copies: Mapping[Path, Path],
    out: Path,
    manifest: Manifest,
    *,
    verify: bool = False,
) -> list[Path]:
    """The images of a folder without a finished copy, or with a change in the original or the copy.

    Args:
        folder: the originals.
        clean: splits that are copied clean.
        copies: path of the copy of each image.
        out: folder of the copies.
        manifest: its finished files.
        verify: read every original and copy, even if size and times are unchanged.
    """
    carried = {name for split in clean for name in folder.splits[split]}

    def holds(name: Path, copy: Path) -> bool:
        protected = name not in carried
        return manifest.holds(str(copy), out / copy, folder.root / name, protected=protected, verify=verify)

    return [name for name, copy in copies.items() if not holds(name, copy)]


def _orphans(copies: Mapping[Path, Path], out: Path, manifest: Manifest) -> list[str]:
    without = set(manifest.names).difference(map(str, copies.values()))
    return sorted(name for name in without if (out / name).exists())


def _read(root: Path, name: Path, manifest: Manifest) -> tuple[Seen, bytes]:
    try:
        state = State.of(root / name)  # before reading, so that a change in between is noticed next time
        data = images.file_bytes(root / name)
    except (ImageError, OSError) as error:
        raise ImageError(f"{shown(name)}: {error}") from error
    return manifest.seen(root / name, data, state), data


def _protected(folder: Folder, files: Mapping[Path, bytes], protector: Protector) -> list[bytes]:
    _, classes = folder.classes
    pictures = []
    for name, data in files.items():
        with naming(shown(name)):
            pictures.append(images.decode(data))
    return protector.protect(pictures, [classes.get(name) for name in files] if classes else None)


def _write(path: Path, data: bytes, bar: Bar) -> None:
    try:
        write_whole(path, data)
    except OutputError as error:
        raise OutputError(
            f"{error} {bar.n} of {bar.total} images are done and kept: the same command goes on where it stopped."
        ) from error
