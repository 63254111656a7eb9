"""Families of noise: a file each, whose name is the family's, as `parametrisation` takes it."""

from typing import TYPE_CHECKING, Any

from uc_hf.registry import Registry


if TYPE_CHECKING:
    from uc_hf.methods.unlearnable_clusters.family import Family

FAMILIES: "Registry[Family[Any]]" = Registry("parametrisation", __name__)
