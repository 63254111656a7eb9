"""The public description of how a dataset was protected.

It contains no path on the publisher's disk and nothing from which the noise can be derived. The seed would be such a
thing: the noise of some methods (SynPer, AR, CUDA) depends on it alone, so whoever knows the seed can make it again.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from uc_hf.protecting.protector import Protector
from uc_hf.protecting.public import public_surrogates
from uc_hf.protecting.saving import versions


FORMAT = 1
"""Version of the mapping `uc_hf:` in a card's YAML."""


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
    models = public_surrogates(settings, learnt)
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


def public_name(model: str) -> str:
    """A preset or a name on the Hub unchanged; the last part of a folder's path."""
    return Path(model).name if model.count("/") > 1 or model.startswith(("/", ".", "~")) else model
