"""Places to publish at: a file each, whose name is the destination's, as `--push-to NAME://PLACE` takes it."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from fsspec import available_protocols

from uc_hf.registry import Registry


if TYPE_CHECKING:
    from uc_hf.publishing.destination import Destination

DESTINATIONS: "Registry[Callable[[str, str | None], Destination]]" = Registry("destination", __name__)
"""Each makes a `Destination` of a place and a token, which is None for the saved one."""

HUB = "hub"
"""The destination of an address without a name."""


def open_destination(address: str, token: str | None = None) -> "Destination":
    """The destination that a user names; nothing is read or written yet.

    Args:
        address: "NAME://PLACE", "USER/NAME" for a dataset on the Hub, or an address of fsspec such as "s3://PLACE".
        token: for the Hub; None for the saved one.

    Raises:
        SettingError: no destination has this name, or what fsspec needs for it is not installed.
    """
    name, separator, place = address.partition("://")
    if separator and name not in DESTINATIONS and name in available_protocols():
        from uc_hf.publishing.remote import RemoteFolder

        return RemoteFolder(address)
    return DESTINATIONS.find(name)(place, token) if separator else DESTINATIONS[HUB](address, token)
