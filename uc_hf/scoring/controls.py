"""Controls: random noise with the same epsilon and the same clusters, which a claim has to beat."""

from collections.abc import Collection, Mapping
from typing import Any

import datasets
import numpy as np
from datasets import Dataset

from uc_hf.data import images
from uc_hf.data.checks import check_dataset, undecoded
from uc_hf.fitting.noise import CanvasNoise, Noise
from uc_hf.methods.baselines.grating import draw_gratings, render
from uc_hf.protecting.protector import Protector


BATCH_SIZE = 64
"""Rows that are embedded and encoded together."""

BLOCK = 8
"""Side in pixels of a block of the blocky control: the pattern of SynPer (Yu et al. 2022)."""


def random_sign_noise(shape: tuple[int, ...], levels: int, seed: int) -> np.ndarray:
    """One pattern of random signs per cluster, a sign for each pixel and channel.

    Args:
        shape: [p, 3, S, S].
        levels: epsilon in 8-bit levels.
        seed: of the signs.

    Returns:
        int8 [p, 3, S, S], every value +levels or -levels.
    """
    signs = np.random.default_rng(seed).integers(0, 2, shape) * 2 - 1
    return (signs * levels).astype(np.int8)


def blocky_noise(shape: tuple[int, ...], levels: int, seed: int) -> np.ndarray:
    """One pattern of random signs per cluster, a sign for each 8 x 8 block and channel (SynPer-style).

    Args:
        shape: [p, 3, S, S].
        levels: epsilon in 8-bit levels.
        seed: of the signs.

    Returns:
        int8 [p, 3, S, S], every value +levels or -levels.
    """
    p, channels, height, width = shape
    blocks = (p, channels, -(-height // BLOCK), -(-width // BLOCK))
    coarse = random_sign_noise(blocks, levels, seed)
    return coarse.repeat(BLOCK, axis=2).repeat(BLOCK, axis=3)[:, :, :height, :width]


def grating_noise(shape: tuple[int, ...], levels: int, seed: int) -> np.ndarray:
    """One random grating per cluster and channel: neither the kind of texture nor the texture is chosen.

    Args:
        shape: [p, 3, S, S].
        levels: epsilon in 8-bit levels.
        seed: of the gratings.

    Returns:
        int8 [p, 3, S, S], every value +levels or -levels.
    """
    gratings = draw_gratings(shape[0], np.random.default_rng(seed))
    return (levels * render(gratings, shape[-1])).numpy().astype(np.int8)


PATTERNS = {"random": random_sign_noise, "blocky": blocky_noise, "grating": grating_noise}

CONTROLS = (*PATTERNS, "family")
"""Random signs, random blocks, random gratings, and the protector's own family drawn at random."""


def with_controls(
    protector: Protector, clean: Dataset, protected: Dataset | None = None, controls: Collection[str] = CONTROLS
) -> dict[str, Dataset]:
    """The training sets of a scorecard, all with one protector's groups of images (clusters) and encoding.

    Args:
        protector: fitted.
        clean: the original rows.
        protected: the protected rows if they exist; None makes them.
        controls: names in `CONTROLS`; "family" is left out where the protector's family cannot be drawn at random.

    Returns:
        "clean" (noise 0, the same encoding), "protected", and "control-NAME" for each control.

    Raises:
        ImageError: images cannot be protected; the message names their rows.
    """
    learnt, levels, seed = protector.fitted, protector.settings.levels, protector.settings.seed
    shape = (len(learnt.sizes), 3, learnt.view_size, learnt.view_size)
    noises: dict[str, Noise | None] = {"clean": CanvasNoise(np.zeros(shape, dtype=np.int8)), "protected": None}
    for name, draw in PATTERNS.items():
        if name in controls:
            noises[f"control-{name}"] = CanvasNoise(draw(shape, levels, seed))
    if "family" in controls and (family := learnt.noise.drawn_at_random(seed)) is not None:
        noises["control-family"] = family
    sets = {} if protected is None else {"protected": protected}
    sets |= _with_noises(protector, clean, {name: noises[name] for name in noises if name not in sets})
    return {name: sets[name] for name in noises}


def _with_noises(protector: Protector, clean: Dataset, noises: Mapping[str, Noise | None]) -> dict[str, Dataset]:
    column = protector.fitted.column
    check_dataset(clean, column, protector.settings.stored_as)
    made = undecoded(clean, *protector.columns).map(
        EveryVariant(protector, noises),
        batched=True,
        batch_size=BATCH_SIZE,
        remove_columns=protector.columns,
        features=datasets.Features(dict.fromkeys(noises, datasets.Image())),
        desc="making training sets",
    )
    others = clean.remove_columns(column)
    sets = {}
    for name in noises:
        pictures = made.select_columns(name).rename_column(name, column)
        sets[name] = datasets.concatenate_datasets([others, pictures], axis=1).select_columns(clean.column_names)
    return sets


class EveryVariant:
    """Several noises on the same groups in one `map`: an image is decoded and embedded once for all of them.

    Args:
        protector: fitted.
        noises: name -> the noise of each group; None for the protector's own noise.
    """

    def __init__(self, protector: Protector, noises: Mapping[str, Noise | None]) -> None:
        self.protector, self.noises = protector, noises

    def __call__(self, examples: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
        """Name -> the images of the batch with that noise, encoded."""
        image, *label = (examples[name] for name in self.protector.columns)
        pictures = [self.protector.as_stored(images.decode(value)) for value in image]
        groups = self.protector.assign(pictures, *label)
        return {
            name: [{"bytes": data, "path": None} for data in self.protector.protect_groups(pictures, groups, noise)]
            for name, noise in self.noises.items()
        }
