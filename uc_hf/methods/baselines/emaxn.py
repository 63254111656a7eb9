"""EMaxN: error-maximising noise (Koh and Liang 2017; as a protection Fowl et al. 2021, untargeted)."""

from torch import Tensor
from torch.nn import functional as F

from uc_hf.methods import register
from uc_hf.methods.source_model import SourceBaseline


@register
class EMaxN(SourceBaseline):
    """Moves each image where a model that was trained on the clean set is most wrong about it."""

    method = "emaxn"
    title = "Error-maximising noise"
    reference = "[Koh and Liang, ICML 2017](https://arxiv.org/abs/1703.04730)"

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Minus the cross entropy."""
        return -F.cross_entropy(scores, labels)
