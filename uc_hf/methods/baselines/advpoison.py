"""AdvPoison: adversarial examples for the next class, with the labels left as they are (Fowl et al. 2021)."""

from torch import Tensor
from torch.nn import functional as F

from uc_hf.methods import register
from uc_hf.methods.source_model import SourceBaseline


@register
class AdvPoison(SourceBaseline):
    """Gives each image the features of another class, always the same one for a label (section 3, class targeted)."""

    method = "advpoison"
    title = "Adversarial poisons"
    reference = "[Fowl et al., NeurIPS 2021](https://arxiv.org/abs/2106.10807)"

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """The cross entropy to the next label."""
        return F.cross_entropy(scores, (labels + 1) % scores.shape[1])
