"""What a family of noise is: its settings, what it learns, and what it keeps of its noise.

A family is one file in `families`: a subclass of `Family`, registered under the name of the file.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from accelerate import Accelerator
from torch import Tensor

from uc_hf.errors import SettingError
from uc_hf.fitting.noise import CanvasNoise, Noise
from uc_hf.methods.unlearnable_clusters.families import FAMILIES
from uc_hf.methods.unlearnable_clusters.settings import Settings
from uc_hf.surrogates.surrogate import Embedder


SettingsT = TypeVar("SettingsT", bound=Settings)


@dataclass(frozen=True, kw_only=True)
class ClusterLesson(Generic[SettingsT]):
    """What a family learns from.

    Attributes:
        canvases: uint8 [N, 3, S, S], images of the whole sample: each noise must work on any of them.
        centroids: float [p, d].
        surrogate: frozen, on the accelerator's device.
        settings: of the family.
        accelerator: its device and mixed precision are used.
        checkpoint: a file to go on from when it exists, and to write to; the result has the same bytes either way.
    """

    canvases: Tensor
    centroids: Tensor
    surrogate: Embedder
    settings: SettingsT
    accelerator: Accelerator
    checkpoint: Path


class Family(ABC, Generic[SettingsT]):
    """A family of noise. The first line of its docstring is what the command line and the pages say of it.

    Attributes:
        settings_type: its settings; their `__post_init__` refuses what makes no sense for it.
        noise_type: what it keeps of its noise; by default the pixels of a canvas.
        two_sizes: whether clusters are found with the surrogate `at_two_sizes` where no size is set. It makes better
            clusters; noise that is learnt through the surrogate would take twice the time.
    """

    settings_type: type[SettingsT]
    noise_type: ClassVar[type[Noise]] = CanvasNoise
    two_sizes: ClassVar[bool] = False

    @abstractmethod
    def learn(self, lesson: ClusterLesson[SettingsT]) -> Noise:
        """The noise of each cluster, within epsilon."""

    def goals(self, centroids: np.ndarray, settings: SettingsT) -> np.ndarray | None:
        """The cluster that each one's noise moves images to, int64 [p]; None where it moves them to none.

        Args:
            centroids: float [p, d].
            settings: of the fit.
        """
        return None


def read_settings(values: Mapping[str, Any]) -> Settings:
    """The settings of the family that `parametrisation` names.

    Raises:
        SettingError: no such family, an unknown setting or one of another family, or a value out of its range.
    """
    name = values.get("parametrisation", Settings.parametrisation)
    family = FAMILIES.find(name)
    for setting in values:
        owners = [repr(other) for other in FAMILIES if setting in _names(FAMILIES[other])]
        if owners and repr(name) not in owners:
            raise SettingError(
                f"{setting!r} is a setting of parametrisation={' and '.join(owners)}, not of {name!r}. Leave it out, "
                "or choose another parametrisation."
            )
    return family.settings_type.from_mapping(values)


def _names(family: Family[Any]) -> set[str]:
    return {field.name for field in fields(family.settings_type)}
