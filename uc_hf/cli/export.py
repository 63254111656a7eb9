"""`uc-hf export`: a labelled dataset as class folders, whole or not at all."""

from pathlib import Path

from uc_hf.data.sources import open_dataset
from uc_hf.data.splits import choose_splits
from uc_hf.errors import OutputError
from uc_hf.files import whole
from uc_hf.publishing.export import export_folders


def export(source: str, out: Path, split: str | None, *, image_column: str | None, label_column: str | None) -> str:
    """Export one split, or all; return what was written, in a sentence.

    Args:
        source: what `open_dataset` takes.
        out: a new folder.
        split: None for all; each has a folder of its own, unless there is only one.
        image_column: None for the only image column.
        label_column: None for the only ClassLabel, or a usual name.

    Raises:
        UCError: of any kind, with the remedy.
    """
    splits = open_dataset(source)
    chosen = list(splits) if split is None else choose_splits(splits, [split])
    if out.exists():
        raise OutputError(f"{out} exists. Remove it, or name another.")
    with whole(out) as partial:
        for name in chosen:
            folder = partial if len(chosen) == 1 else partial / name
            export_folders(splits[name], folder, image_column=image_column, label_column=label_column)
    images = sum(len(splits[name]) for name in chosen)
    return f"Exported {images:,} images ({', '.join(chosen)}): {out}"
