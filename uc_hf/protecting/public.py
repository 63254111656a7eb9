"""What may be told of a protector's surrogates: those of the Hub by name, those on their owner's disk not at all."""

from typing import NamedTuple

from uc_hf.fitting.record import Fit
from uc_hf.fitting.settings import CommonSettings
from uc_hf.surrogates.backbones import BUILT_IN, UNNAMED
from uc_hf.surrogates.surrogate import Surrogate


class PublicModel(NamedTuple):
    """Public name of a surrogate, and its commit on the Hub."""

    name: str
    commit: str | None


def public_surrogates(settings: CommonSettings, learnt: Fit) -> list[PublicModel]:
    """The surrogates; one that did not come from the Hub is not named."""
    if learnt.surrogate_digest is None:
        return [PublicModel("none", None)]
    revision = learnt.surrogate_revision
    commits = revision if isinstance(revision, list) else [revision]
    names = [member.name if isinstance(member, Surrogate) else member for member in settings.surrogates]
    return [
        PublicModel(name, commit)
        if name is not None and (commit is not None or name == BUILT_IN)
        else PublicModel(UNNAMED, None)
        for name, commit in zip(names, commits, strict=True)
    ]


def public_settings(settings: CommonSettings, learnt: Fit) -> CommonSettings:
    """The settings with the surrogates' public names; that of a method that asked none becomes the default."""
    if learnt.surrogate_digest is None:
        return settings.changed(surrogate=CommonSettings.surrogate)
    named = tuple(
        member if isinstance(member, Surrogate) else model.name
        for member, model in zip(settings.surrogates, public_surrogates(settings, learnt), strict=True)
    )
    return settings.changed(surrogate=named if isinstance(settings.surrogate, tuple) else named[0])
