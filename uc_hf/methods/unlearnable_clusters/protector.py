"""UCProtector: Unlearnable Clusters, fitted on a dataset and applied to any image."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self, Unpack

import datasets
import numpy as np
import torch

from uc_hf.data.images import Picture
from uc_hf.errors import SettingError
from uc_hf.fitting.clustering import nearest
from uc_hf.fitting.noise import CanvasNoise
from uc_hf.fitting.record import FitOptions
from uc_hf.fitting.settings import SurrogateSpec
from uc_hf.methods import register
from uc_hf.methods.unlearnable_clusters.families import FAMILIES
from uc_hf.methods.unlearnable_clusters.family import read_settings
from uc_hf.methods.unlearnable_clusters.fit import ClusterFit, fit
from uc_hf.methods.unlearnable_clusters.keywords import Keywords
from uc_hf.methods.unlearnable_clusters.settings import Settings
from uc_hf.protecting.protector import Protector
from uc_hf.surrogates.surrogate import Embedder, Revision, load_surrogate


GONE = {"parametrisation": "tile", "distance": "cosine", "shaped": True}
"""What version 0.1 could do."""

UNSET = ("shaped", "learning_rate")
"""Settings that version 0.1 saved even where they had no meaning."""


OF_TEXTURES = ("distance", "goal", "steps", "epochs", "eot_scale", "canvas_size")
"""Settings by which version 0.1 searched for gratings."""


@register
class UCProtector(Protector[ClusterFit], tags=["unlearnable", "unlearnable-clusters", "data-protection"]):
    """Adds a bounded, cluster-wise noise to images, from which models trained on them learn less about clean images.

    Examples:
        >>> from uc_hf.data.generated import generated_dataset
        >>> ds = generated_dataset(n_train=100, n_test=10)["train"]
        >>> protector = UCProtector("uc_hf/tiny", epsilon=8 / 255)
        >>> protected = ds.map(protector.fit(ds), batched=True)
        >>> protected.features == ds.features
        True

    Args:
        surrogate: the network in whose embeddings clusters are found: a name on the Hub, a folder, "uc_hf/tiny" (built
            in, needs no network), a `Surrogate` of your own, or a tuple of these.
        fit_to: fit at once to this dataset, so that `ds.map(UCProtector(fit_to=ds))` is one line.
        device: where networks work, as `to`.
        **settings: above all `epsilon`, the largest change of a pixel (16 / 255); `look`, how visible the noise is
            ("tint", "quiet", "balanced", "strong"); `n_clusters`; `seed`.
            `uc_hf.methods.unlearnable_clusters.settings.Settings` lists every one with its default; a family of noise
            may have more.

    Raises:
        SettingError: an unknown setting, or a value out of its range.
    """

    method = "uc"
    title = "Unlearnable Clusters"
    reference = "[Zhang et al., CVPR 2023](https://arxiv.org/abs/2301.01217)"
    settings_type = Settings
    fit_type = ClusterFit
    settings: Settings

    def __init__(
        self,
        surrogate: SurrogateSpec = Settings.surrogate,
        *,
        fit_to: Any = None,
        device: str | torch.device | None = None,
        **settings: Unpack[Keywords],
    ) -> None:
        super().__init__(surrogate, fit_to=fit_to, device=device, **settings)

    @classmethod
    def paper(cls, surrogate: SurrogateSpec = "microsoft/resnet-50", **settings: Unpack[Keywords]) -> Self:
        """The published recipe (section 4.1 and the reference code's defaults), for comparison.

        k-means, one ResNet generator per cluster, all at full strength, KL divergence on raw embeddings, the next
        centroid as goal, 50 epochs over the whole set in batches of 256, no EOT. It costs 500 surrogate passes per
        image.
        """
        recipe: Keywords = {
            "clustering": "kmeans",
            "parametrisation": "generator",
            "distance": "kl",
            "goal": "next",
            "normalise": False,
            "epochs": 50.0,
            "batch_size": 256,
            "quiet_cluster": False,
            "eot_scale": None,
            "max_fit_images": None,
        }
        return cls(surrogate, **(recipe | settings))

    @classmethod
    def read_settings(cls, values: Mapping[str, Any]) -> Settings:
        """Settings from keywords, those of the family that they name among them."""
        return read_settings(values)

    def _fit_to(self, dataset: datasets.Dataset | datasets.IterableDataset, options: FitOptions) -> ClusterFit:
        """Centroids and noise; labels are not looked at."""
        settings = self.settings
        surrogate = load_surrogate(
            settings.surrogate,
            revision=settings.surrogate_revision,
            size=settings.surrogate_size,
            two_sizes=FAMILIES.find(settings.parametrisation).two_sizes,
        ).to(options.accelerator.device)
        self._surrogate = surrogate
        return fit(dataset, surrogate, settings, options)

    def assign(self, pictures: Sequence[Picture], labels: Sequence[Any] | None = None) -> np.ndarray:
        """The cluster of each picture: the nearest centroid of its embedding, int64 [N]; labels are not looked at."""
        return nearest(self.embed(pictures), self.fitted.centroids)

    def with_noise(self, noise: np.ndarray) -> Self:
        """A protector with the same clusters and container and another noise: how controls are made.

        Args:
            noise: int8 [p, 3, S, S] in 8-bit levels, within epsilon; zeros give the matched clean baseline.

        Raises:
            SettingError: another shape or dtype, or beyond epsilon.
        """
        learnt = self.fitted
        p, side = len(learnt.sizes), noise.shape[-1]
        if noise.dtype != np.int8 or noise.shape != (p, 3, side, side):
            raise SettingError(
                f"noise is {noise.dtype} {noise.shape}; write int8 [{p}, 3, S, S] in 8-bit levels, a square for each "
                "cluster."
            )
        if np.abs(noise.astype(int)).max() > self.settings.levels:
            raise SettingError(f"noise exceeds {self.settings.levels}/255, this protector's epsilon.")
        return self.restored(self.settings, replace(learnt, noise=CanvasNoise(noise)), self._surrogate)

    def check_fitted(self) -> None:
        """As `Shared.check_fitted`."""
        super().check_fitted()
        if self.settings.n_clusters not in (None, len(self.fitted.sizes)):
            raise SettingError(f"settings.n_clusters={self.settings.n_clusters}, and it has {len(self.fitted.sizes)}.")

    def with_look(self, look: str) -> Self:
        """A protector with the same clusters and another look, as a fit with it would give, without a new fit.

        Args:
            look: as the setting of waves, a name in `LOOKS`.

        Raises:
            SettingError: there is no such look, or this protector's noise has none.
        """
        from uc_hf.methods.unlearnable_clusters.families.wave import WaveNoise, WaveSettings, drawn_anew

        learnt, settings = self.fitted, self.settings
        if not isinstance(settings, WaveSettings) or not isinstance(learnt.noise, WaveNoise):
            raise SettingError("this protector's noise is of a family that has no looks: fit a new one.")
        if look == settings.look:
            return self  # as it was made, perhaps by an earlier algorithm
        other = settings.changed(look=look)
        noise = drawn_anew(learnt.noise, settings, other, learnt.centroids)
        return self.restored(other, replace(learnt, noise=noise), self._surrogate)

    @classmethod
    def upgrade_settings(cls, saved: Mapping[str, Any]) -> dict[str, Any]:
        """Without the settings that version 0.1 had and this one has not, where they were at their defaults."""
        for name, value in GONE.items():
            if saved.get(name) == value:
                raise SettingError(f"it has {name}={value!r}, which is no longer there. Load it with that version.")
        if saved.get("parametrisation") == "texture":
            # Its noise lies on a canvas, which `restore_fit` finds; waves of these colours are what came after it.
            saved = {name: value for name, value in saved.items() if name not in OF_TEXTURES}
            saved |= {"parametrisation": "wave", "look": "strong"}
        return {name: value for name, value in saved.items() if name not in UNSET or value}

    def restore_fit(self, arrays: Mapping[str, Any], facts: Mapping[str, Any]) -> ClusterFit:
        """With the noise as its family keeps it, or on a canvas where `with_noise` has put it there."""
        family = FAMILIES.find(self.settings.parametrisation)
        return ClusterFit.restore(arrays, facts, CanvasNoise if "noise" in arrays else family.noise_type)

    def _load_surrogate(self, revision: Revision) -> Embedder:
        size = self.settings.surrogate_size or self.fitted.surrogate_sizes
        return load_surrogate(self.settings.surrogate, revision=revision, size=size)
