"""The public description of how a dataset was protected.

It contains no path on the publisher's disk and nothing from which the noise can be derived. The seed would be such a
thing: the noise of some methods (SynPer, AR, CUDA) depends on it alone, so whoever knows the seed can make it again.
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
"""Version of the mapping `uc_hf:` in a card's YAML."""


class PublicModel(NamedTuple):
    """Public name of a surrogate, and its commit on the Hub."""

    name: str
    commit: str | None


def provenance(protector: Protector) -> dict[str, Any]:
    """How a dataset was protected, as JSON values.

    `config_hash` is the SHA-256 of the settings and the surrogate's digest, so that equal settings can be recognised.
    It also leaves out the seed, since a hash of few unknown bits can be inverted by trying all.

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
    """The surrogates; one that did not come from the Hub is not named."""
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
    """A preset or a name on the Hub unchanged; the last part of a folder's path."""
    return Path(model).name if model.count("/") > 1 or model.startswith(("/", ".", "~")) else model
