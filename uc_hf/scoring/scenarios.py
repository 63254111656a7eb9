"""A scraper's own labels and mixtures: training sets for `score_images` that are made of other sets."""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from uc_hf.errors import DatasetError, SettingError
from uc_hf.fitting.clustering import find_clusters
from uc_hf.scoring.class_names import embed_class_names
from uc_hf.scoring.counter_measures.adaptive import embed
from uc_hf.surrogates.surrogate import Surrogate
from uc_hf.training.labelled import LabelledImages


def super_classes(images: LabelledImages, names: Sequence[str], n: int, surrogate: Surrogate) -> Tensor:
    """Coarser labels: the classes grouped by what they mean or look like (paper, section 4.4).

    If the surrogate has a text tower, as CLIP has, k-means runs on the text embeddings of the class names, otherwise
    on the class means of the normalised image embeddings.

    Args:
        images: clean, with the publisher's labels.
        names: names of the classes, in label order.
        n: number of super-classes, at most the number of classes.
        surrogate: embeds the class names or the images.

    Returns:
        int64 [C], the super-class of each class; equal input gives equal super-classes.

    Raises:
        SettingError: there are more super-classes than classes.
        DatasetError: a class has no image.
        SurrogateError: the text tower cannot be loaded.
    """
    if not 2 <= n <= len(names):
        raise SettingError(f"{n} super-classes of {len(names)} classes: write a number from 2 to {len(names)}.")
    embeddings = embed_class_names(surrogate, names)
    if embeddings is None:
        embeddings = _class_means(images, len(names), surrogate)
    return torch.from_numpy(find_clusters(embeddings.numpy(), n, seed=0).assignment)


def _class_means(images: LabelledImages, n_classes: int, surrogate: Surrogate) -> Tensor:
    sizes = torch.bincount(images.labels, minlength=n_classes)
    if not sizes.all():
        raise DatasetError(f"class {int((sizes == 0).nonzero()[0])} has no image: its super-class cannot be found.")
    embeddings = F.normalize(embed(images.pixels, surrogate), dim=1)
    sums = torch.zeros(n_classes, embeddings.shape[1]).index_add_(0, images.labels, embeddings)
    return sums / sizes[:, None]


def relabelled(images: LabelledImages, super_class: Tensor) -> LabelledImages:
    """The same images, labelled with the super-class of their class, int64 [C]."""
    return LabelledImages(images.pixels, super_class[images.labels])


def mixed(
    clean: LabelledImages, protected: LabelledImages, share: float, seed: int
) -> tuple[LabelledImages, LabelledImages]:
    """A training set in which only some images are protected, and its clean part alone.

    The gain of the mixture over its clean part is what the protected images teach.

    Args:
        clean: the originals.
        protected: the same rows, protected.
        share: share of the rows that are protected, in (0, 1).
        seed: of the choice of these rows.

    Returns:
        all rows, and the clean ones among them.

    Raises:
        SettingError: the share is outside (0, 1), or the sets have different rows.
    """
    if not 0 < share < 1 or len(clean) != len(protected):
        raise SettingError(
            f"share={share} of {len(clean)} clean and {len(protected)} protected rows: write a share above 0 and "
            "below 1, and two sets with the same rows."
        )
    order = torch.randperm(len(clean), generator=Generator().manual_seed(seed))
    chosen = order[: round(share * len(clean))]
    pixels = clean.pixels.clone()
    pixels[chosen] = protected.pixels[chosen]
    left = torch.ones(len(clean), dtype=torch.bool).index_fill_(0, chosen, False)
    return LabelledImages(pixels, clean.labels), clean.select(left)
