"""What may be told in public of how a dataset was protected.

No path on the publisher's disk, and nothing that lets anyone derive the noise. The seed is such a thing: some
methods (SynPer, AR, CUDA) draw from it without a look at the pictures, and who knows it can draw their noise again.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from uc_hf.protecting.protector import Protector
from uc_hf.protecting.saving import versions
from uc_hf.surrogates.backbones import BUILT_IN
from uc_hf.surrogates.surrogate import Surrogate


FORMAT = 1
"""Of the mapping `uc_hf:` in a card's YAML."""


class PublicModel(NamedTuple):
    """A surrogate as the public may know it; a commit is its revision on the Hub."""

    name: str
    commit: str | None


def provenance(protector: Protector) -> dict[str, Any]:
    """How a dataset was protected, as JSON values.

    `config_hash` is the SHA-256 of the settings and the surrogate's digest: equal for what was made alike. The seed is
    left out there too, since a hash of few unknown bits is found by trying them.

    Raises:
        NotFittedError: the protector is not fitted.
    """
    settings, learnt = protector.settings, protector.fitted
    public = {name: value for name, value in settings.plain().items() if name != "seed"}
    decisive = {"settings": public, "surrogate": learnt.surrogate_digest}
    models = public_surrogates(protector)
    names, commits = [model.name for model in models], [model.commit for model in models]
    return {
        "format": FORMAT,
        "method": protector.slug,
        "epsilon": protector.limit,
        "n_clusters": len(learnt.sizes),
        "surrogate": names if len(models) > 1 else names[0],
        "surrogate_revision": commits if len(models) > 1 else commits[0],
        "container": settings.container,
        "versions": versions(),
        "config_hash": hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest(),
    }


def public_surrogates(protector: Protector) -> list[PublicModel]:
    """Each surrogate; one that did not come from the Hub stays unnamed."""
    if protector.fitted.surrogate_digest is None:
        return [PublicModel("none", None)]
    spec, revision = protector.settings.surrogate, protector.fitted.surrogate_revision
    members = spec if isinstance(spec, tuple) else (spec,)
    commits = revision if isinstance(revision, list) else [revision]
    names = [member.name if isinstance(member, Surrogate) else member for member in members]
    return [
        PublicModel(name, commit)
        if name is not None and (commit is not None or name == BUILT_IN)
        else PublicModel("the publisher's own", None)
        for name, commit in zip(names, commits, strict=True)
    ]


def public_name(model: str) -> str:
    """A preset or a name on the Hub as it is; of a folder the last part."""
    return Path(model).name if model.count("/") > 1 or model.startswith(("/", ".", "~")) else model
