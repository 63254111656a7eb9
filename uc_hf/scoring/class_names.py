"""Class names -> embeddings of a surrogate's text tower, if it has one (CLIP and SigLIP)."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel, AutoTokenizer

from uc_hf.errors import SurrogateError
from uc_hf.surrogates.backbones import BUILT_IN, explained
from uc_hf.surrogates.surrogate import Surrogate


PROMPT = "a photo of a {}"
"""The prompt for a class name (Radford et al. 2021, section 3.1.4, without the full stop)."""

TWO_TOWERS = ("clip", "siglip")
"""Model types whose checkpoints embed texts beside images."""


@torch.inference_mode()
def embed_class_names(surrogate: Surrogate, names: Sequence[str]) -> Tensor | None:
    """Embeddings of the prompts of class names.

    Args:
        surrogate: its name and revision identify the checkpoint, whose text tower and tokenizer are loaded.
        names: class names; underscores are read as spaces.

    Returns:
        float32 [C, d] of length 1; None for a surrogate without a text tower.

    Raises:
        SurrogateError: the text tower cannot be loaded, or there is no tokenizer.
    """
    if surrogate.name is None or surrogate.name == BUILT_IN:
        return None
    source, commit = surrogate.name, surrogate.revision
    with explained(f"{source}: the model's config cannot be read"):
        config = AutoConfig.from_pretrained(source, revision=commit, trust_remote_code=False)
    if config.model_type not in TWO_TOWERS:
        return None
    with explained(f"{source} has a text tower that cannot be loaded with its tokenizer: save both in one folder"):
        tokenizer = AutoTokenizer.from_pretrained(source, revision=commit, trust_remote_code=False)
        model = AutoModel.from_pretrained(
            source, revision=commit, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
        ).eval()
    # Padded to the full length, as in SigLIP's training; CLIP gives the same with any padding.
    tokens = tokenizer(
        [PROMPT.format(name.replace("_", " ")) for name in names],
        padding="max_length",
        truncation=True,
        max_length=config.text_config.max_position_embeddings,
        return_tensors="pt",
    )
    # If the tokenizer's files are missing, transformers makes a CLIP tokenizer with an empty vocabulary.
    if set(tokens["input_ids"].flatten().tolist()) <= set(tokenizer.all_special_ids):
        raise SurrogateError(f"{source} has no vocabulary for its text tower: save its tokenizer in the same folder.")
    inputs = {name: tokens[name] for name in ("input_ids", "attention_mask") if name in tokens}
    return F.normalize(model.get_text_features(**inputs).pooler_output, dim=1)
