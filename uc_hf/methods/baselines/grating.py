"""Class-wise gratings: the textures of Unlearnable Clusters for whoever knows the labels that will be trained on."""

import torch
from torch import Tensor

from uc_hf.methods import register
from uc_hf.methods.labelwise import Baseline, Lesson
from uc_hf.methods.unlearnable_clusters.families.texture import draw_gratings, render, secret_generator


@register
class Grating(Baseline):
    """One random grating for each label. With labels="own" it tells what perfect clusters would give."""

    method = "grating"
    title = "Class-wise gratings"
    reference = "[uc_hf](https://github.com/uc-hf/uc_hf)"

    def learn(self, lesson: Lesson) -> dict[str, Tensor]:
        """Angle, period and phase of each channel of each label's grating: float [C, 3, 3]."""
        generator = secret_generator(self.settings.seed, lesson.images.pixels)
        return {"gratings": draw_gratings(lesson.n_classes, generator)}

    def noise(self, canvases: Tensor, labels: Tensor) -> Tensor:
        """The label's grating, every value at epsilon."""
        present, which = labels.unique(return_inverse=True)
        gratings = torch.from_numpy(self.fitted.tensors["gratings"])[present]
        return self.settings.levels * render(gratings, canvases.shape[-1])[which]
