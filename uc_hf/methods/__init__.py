"""Methods by name: Unlearnable Clusters in its folder, and a file in `baselines` for each of the others.

All have one interface. `registry` makes and opens them, `labelwise` is what the baselines share, `label_sources` says
what they take for an image's label, and `source_model` trains the model that some of them attack.
"""

from typing import TYPE_CHECKING, Any, TypeVar

from uc_hf.registry import Registry


if TYPE_CHECKING:
    from uc_hf.protecting.protector import Protector

METHODS: "Registry[type[Protector[Any]]]" = Registry(
    "method", "uc_hf.methods.baselines", {"uc": "uc_hf.methods.unlearnable_clusters.protector"}
)

_Method = TypeVar("_Method", bound="type[Protector[Any]]")


def register(method: _Method) -> _Method:
    """Make a class known by its `method`; a decorator."""
    METHODS[method.method] = method
    return method
