"""Folders of images: one walk finds the image files, the split and class of each, and what is left out.

Everything that reads a folder starts from this walk: the check, the fit, the protected copy, rows on the Hub, a score.
"""

import logging
import os
import stat
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import datasets

from uc_hf.data.checks import Look
from uc_hf.data.container import Container
from uc_hf.data.exif import without_metadata
from uc_hf.data.images import file_bytes
from uc_hf.data.made import is_key, made_here
from uc_hf.data.metadata import NAMES, Metadata, read_metadata
from uc_hf.data.splits import TEST_SPLITS
from uc_hf.errors import BadImage, DatasetError, ImageError, listed, shown


logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset(
    ".apng .avif .bmp .gif .heic .heif .jfif .jp2 .jpe .jpeg .jpg .mpo .pbm .pgm .png .pnm .ppm .tga .tif .tiff "
    ".webp".split()
)
"""Suffixes of images. Files that Pillow cannot read (HEIC) are refused by name instead of skipped."""

UNOPENED_SUFFIXES = frozenset(
    ".3fr .arw .cr2 .cr3 .dng .erf .exr .hdr .hif .iiq .jxl .jxr .kdc .mrw .nef .nrw .orf .pef .psd .raf .raw .rw2 "
    ".sr2 .srw .svg .x3f .xcf".split()
)
"""Images that are left out and reported: camera raw, and formats that need another program."""

_BEGINNINGS = (
    b"\xff\xd8\xff",  # JPEG
    b"\x89PNG\r\n",
    b"GIF8",
    b"II*\0",  # TIFF, and most camera raw
    b"MM\0*",
    b"\xff\x0a",  # JPEG XL, bare and in its container
    b"\0\0\0\x0cJXL ",
)
_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"heif", b"hevc", b"mif1", b"msf1")

BAD = "images that cannot be protected"
DEAD = "links that lead nowhere"
UNREADABLE = "files and folders that cannot be read"
UNENCODABLE = "files and folders whose names are not UTF-8"
UNOPENED = "pictures of kinds that are not opened (convert them to PNG)"
SPECIAL = "pictures by their names that are pipes or devices"
HIDDEN = "hidden files and folders are left aside"
KEYS = "protectors, and the copies that they have made, are left aside"
LISTED = "links to folders that are listed already are not followed"
PIPES = "pipes, sockets and devices are left aside"
OUTSIDE = "links that lead out of the folder are followed"
DESCRIBED = "descriptions of the pictures stay here (--metadata takes them along)"


@dataclass(frozen=True)
class Folder:
    """The files in a folder at any depth; every path is relative to it, and sorted.

    Attributes:
        root: the folder.
        pictures: files that are pictures by their suffix.
        others: files that are none.
        left_out: why pictures, or folders that may hold some, are not among `pictures` -> their paths (of `BAD` with
            the reason).
        noted: what else there is to know -> the paths; no picture is missing for it.
        linked: what the links lead to that are followed, absolute.
        only: the pictures that have copies here, where others are another job's; None for all.
    """

    root: Path
    pictures: Sequence[Path]
    others: Sequence[Path]
    left_out: Mapping[str, Sequence[Path | str]]
    noted: Mapping[str, Sequence[Path]]
    linked: Sequence[Path]
    only: Collection[Path] | None = None

    @cached_property
    def splits(self) -> dict[str, list[Path]]:
        """The images of each split: only "train", unless all lie in train/ and test/ or validation/."""
        tops = {path.parts[0] for path in self.pictures if len(path.parts) > 1}
        names = {top: top.lower() for top in sorted(tops)}
        test_names = set(names.values()) - {"train"}
        alone = all(len(path.parts) > 1 for path in self.pictures) and len(set(names.values())) == len(names)
        if not (alone and test_names and "train" in names.values() and test_names <= set(TEST_SPLITS)):
            return {"train": list(self.pictures)}
        order = sorted(names, key=lambda top: names[top] != "train")
        return {names[top]: [path for path in self.pictures if path.parts[0] == top] for top in order}

    def warn(self) -> None:
        """Say what is left out, where nobody reads it from `left_out`."""
        for kind, paths in self.left_out.items():
            logger.warning("Left out of %s: %s: %s.", self.root, kind, summary(paths))

    def without(self, bad: Sequence[BadImage]) -> "Folder":
        """The folder with some of its pictures left out."""
        places = {image.place for image in bad}
        pictures = [path for path in self.pictures if path not in places]
        return replace(self, pictures=pictures, left_out={**self.left_out, BAD: [str(image) for image in bad]})

    def copies(self, container: Container, clean: Sequence[str] = ()) -> dict[Path, Path]:
        """The path of the copy of each image.

        Args:
            container: determines the suffix.
            clean: splits whose images keep their suffix.

        Raises:
            DatasetError: there is no image, or two images would have the same copy.
        """
        copies = self._named(container, clean)
        if twins := self.twins(container, clean):
            raise DatasetError(_too_many(twins))
        if not copies:
            raise DatasetError(f"the folder {self.root} holds no images: there is nothing to protect.")
        return copies if self.only is None else {path: copies[path] for path in copies if path in self.only}

    def twins(self, container: Container, clean: Sequence[str] = ()) -> dict[Path, list[Path]]:
        """The copies that several images would have, and these images; arguments as of `copies`."""
        originals: dict[Path, list[Path]] = defaultdict(list)
        for path, copy in self._named(container, clean).items():
            originals[copy].append(path)
        return {copy: paths for copy, paths in originals.items() if len(paths) > 1}

    def _named(self, container: Container, clean: Sequence[str]) -> dict[Path, Path]:
        keep = {path for split, paths in self.splits.items() if split in clean for path in paths}
        return {path: path if path in keep else path.with_suffix(container.suffix) for path in self.pictures}

    @cached_property
    def classes(self) -> tuple[list[str], dict[Path, int | None]]:
        """The names of the class folders, if there are two or more, and the class of each image.

        An image that lies directly in the folder of its split has no class.
        """
        above = 2 if len(self.splits) > 1 else 1
        folders = {path: path.parent.name if len(path.parts) > above else None for path in self.pictures}
        names = sorted({name for name in folders.values() if name is not None})
        if len(names) < 2:
            return [], {}
        return names, {path: None if name is None else names.index(name) for path, name in folders.items()}

    @property
    def ignored(self) -> dict[str, int]:
        """The number of files that are no pictures, by suffix."""
        return dict(Counter(path.suffix.lower() or path.name for path in self.others))

    @property
    def described(self) -> Sequence[Path]:
        """The files of `metadata.NAMES`."""
        return self.noted.get(DESCRIBED, [])

    def metadata(self) -> Metadata | None:
        """What is said of the pictures in files of `metadata.NAMES`.

        Raises:
            DatasetError: one of them cannot be read.
        """
        return read_metadata(self.root, self.described, self.pictures) if self.described else None

    def rows(self, metadata: Metadata | None = None, files: Mapping[Path, Path] | None = None) -> datasets.DatasetDict:
        """The pictures as rows: "image", "label" where there are classes, and the columns of the metadata.

        Args:
            metadata: of the pictures; its "label" takes the place of the classes.
            files: where each picture is read instead of here.
        """
        names, classes = self.classes
        said = datasets.Features() if metadata is None else metadata.features
        features = datasets.Features({"image": datasets.Image()})
        if names and "label" not in said:
            features["label"] = datasets.ClassLabel(names=names)
        rows = datasets.DatasetDict()
        for split, paths in self.splits.items():
            places = [self.root / path if files is None else files[path] for path in paths]
            columns: dict[str, list[Any]] = {"image": [str(place.absolute()) for place in places]}
            if "label" in features:
                columns["label"] = [classes[path] for path in paths]
            table = datasets.Dataset.from_dict(columns, features=features).data.table
            if metadata is not None:
                for name, column in zip(said, metadata.of(paths).columns, strict=True):
                    table = table.append_column(name, column)
            schema = datasets.Features({**features, **said}).arrow_schema
            rows[split] = datasets.Dataset(table.cast(schema), split=datasets.NamedSplit(split))
        return rows


def list_folder(root: Path) -> Folder:
    """Walk a folder. Links to files and folders are followed, each folder once; no file is opened.

    Raises:
        DatasetError: the folder itself cannot be read, or is a protector's.
    """
    if is_key(root):
        raise DatasetError(f"{shown(root)} is a protector: its pictures show the noise. Name the originals.")
    walk = _Walk(root)
    walk.run()
    found = {kind: sorted(paths) for kind, paths in sorted(walk.found.items())}
    pictures, others = found.pop("pictures", []), found.pop("others", [])
    noted = {kind: found.pop(kind) for kind in (HIDDEN, KEYS, LISTED, PIPES, OUTSIDE, DESCRIBED) if kind in found}
    return Folder(root, pictures, others, left_out=found, noted=noted, linked=walk.linked)


def pick(files: Sequence[Path]) -> Folder:
    """Pictures that are named one by one, as a folder that holds nothing else: the one in which all of them lie.

    Raises:
        DatasetError: one is not there, is no picture by its name, or shows a protector's noise.
    """
    for file in files:
        if not file.is_file():
            kind = "is a folder: name it alone" if file.is_dir() else "is not there"
            raise DatasetError(f"{shown(file)} {kind}. Several sources are files of pictures, each of them.")
        if not is_image_file(file):
            raise DatasetError(f"{shown(file)} is no picture by its name. Several sources are files of pictures.")
        if is_key(file.parent):
            raise DatasetError(f"{shown(file)} lies in a protector and shows its noise. Name originals.")
    places = sorted({file.parent.resolve() / file.name for file in files})
    root = Path(os.path.commonpath([place.parent for place in places]))
    return Folder(root, [place.relative_to(root) for place in places], [], left_out={}, noted={}, linked=[])


class _Walk:
    """One walk, and what it has found by kind."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.found: dict[str, list[Path]] = defaultdict(list)
        self.linked: list[Path] = []
        self._links: list[Path] = []
        self._seen: set[str] = set()

    def run(self) -> None:
        """Visit folders before the targets of links, so that a folder is listed under its own name if possible."""
        if not os.access(self.root, os.R_OK | os.X_OK):
            raise DatasetError(f"the folder {self.root} cannot be read. Change its rights.")
        self._visit(Path())
        while self._links:
            link = self._links.pop(0)
            target = Path(os.path.realpath(self.root / link))
            around = (self.root, (self.root / link).parent)
            if str(target) in self._seen or any(Path(os.path.realpath(at)).is_relative_to(target) for at in around):
                self.found[LISTED].append(link)
            else:
                self._follow(link, target)
                self._visit(link)

    def _follow(self, link: Path, target: Path) -> None:
        self.linked.append(target)
        if not target.is_relative_to(os.path.realpath(self.root)):
            self.found[OUTSIDE].append(link)

    def _visit(self, top: Path) -> None:
        pending = [top]
        while pending:
            folder = pending.pop()
            real = os.path.realpath(self.root / folder)
            if real in self._seen:
                self.found[LISTED].append(folder)
                continue
            self._seen.add(real)
            try:
                entries = sorted(os.scandir(self.root / folder), key=lambda entry: entry.name)
            except OSError:
                self.found[UNREADABLE].append(folder)
                continue
            if made := made_here(entries):
                self.found[KEYS] += [folder / entry.name for entry in entries if entry.name in made]
                entries = [entry for entry in entries if entry.name not in made]
            pending += [path for entry in entries if (path := self._enter(entry, folder / entry.name)) is not None]

    def _enter(self, entry: "os.DirEntry[str]", path: Path) -> Path | None:
        """Record an entry; return a folder that is not a link, to be visited."""
        mode = _mode(entry)
        if entry.name.startswith("."):
            self.found[HIDDEN].append(path)
        elif not _encodable(entry.name) and (stat.S_ISDIR(mode) or is_image_file(path)):
            self.found[UNENCODABLE].append(path)
        elif stat.S_ISREG(mode):
            kind = _kind(self.root / path)
            self.found[kind].append(path)
            if kind == "pictures" and entry.is_symlink():
                self._follow(path, Path(os.path.realpath(entry.path)))
        elif stat.S_ISDIR(mode) and entry.is_symlink():
            self._links.append(path)
        elif stat.S_ISDIR(mode):
            return path
        elif not mode:
            self.found[DEAD if entry.is_symlink() else UNREADABLE].append(path)
        else:
            self.found[SPECIAL if is_image_file(path) else PIPES].append(path)
        return None


def is_image_file(path: Path) -> bool:
    """Whether a file is an image by its suffix."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def check_folder(
    root: Path,
    names: Sequence[Path],
    container: Container,
    clean: Collection[Path] = (),
    *,
    keep_exif: bool = False,
) -> None:
    """Check every image of a folder before time is spent on any; arguments as of `look_at`.

    Raises:
        BadImages: some images cannot be protected, or not be copied.
    """
    look = Look(container)
    look_at(look, root, names, clean, keep_exif=keep_exif)
    look.end()


def look_at(
    look: Look, root: Path, names: Sequence[Path], clean: Collection[Path] = (), *, keep_exif: bool = False
) -> None:
    """Check images of a folder, with others that the look has seen.

    Args:
        look: for the format in which they will be stored.
        root: the folder.
        names: names of its images.
        clean: images that will be copied without protection and without their EXIF.
        keep_exif: whether the EXIF of copied images stays.
    """
    protected = [name for name in names if name not in clean]
    look.at(((BadImage(name, shown(name), ""), root / name) for name in protected), len(protected))
    for name in (name for name in names if name in clean and not keep_exif):
        try:
            without_metadata(file_bytes(root / name))
        except ImageError as error:
            look.bad.append(BadImage(name, shown(name), str(error)))


def _too_many(twins: Mapping[Path, Sequence[Path]]) -> str:
    """What is wrong with images that would have the same copies."""
    said = [
        f"{', '.join(map(shown, paths[:-1]))} and {shown(paths[-1])} would {'both' if len(paths) == 2 else 'all'} "
        f"become {shown(copy)}"
        for copy, paths in twins.items()
    ]
    if len(said) == 1:
        return f"{said[0]}. Rename one of them."
    return f"{len(said):,} copies would be those of several images each:\n{listed(said)}\nRename all but one of each."


def summary(paths: Sequence[Path | str]) -> str:
    """The number of paths and the first of them: "3 (the first: holiday/a.jxl)"."""
    return f"{len(paths):,} ({'the first: ' if len(paths) > 1 else ''}{shown(paths[0])})"


def _mode(entry: "os.DirEntry[str]") -> int:
    """The mode of an entry or of its link's target; 0 if it cannot be read."""
    try:
        return entry.stat().st_mode
    except OSError:
        return 0


def _encodable(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _kind(file: Path) -> str:
    if is_image_file(file):
        return "pictures"
    if file.name in NAMES:
        return DESCRIBED
    return UNOPENED if file.suffix.lower() in UNOPENED_SUFFIXES or _begins_like_a_picture(file) else "others"


def _begins_like_a_picture(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            start = opened.read(12)
    except OSError:
        return False
    boxed = start[4:8] == b"ftyp" and start[8:12] in _BRANDS
    return start.startswith(_BEGINNINGS) or boxed or (start[:4] == b"RIFF" and start[8:12] == b"WEBP")
