"""Things that are found by name: each is registered where it is defined, in a file of its own."""

import pkgutil
from collections.abc import Callable, Iterator, MutableMapping
from importlib import import_module
from typing import TypeVar

from uc_hf.errors import SettingError


T = TypeVar("T")


class Registry(MutableMapping[str, T]):
    """What is registered, by name.

    Examples:
        >>> shapes = Registry[str]("shape")
        >>> shapes["square"] = "four corners"
        >>> shapes.find("square")
        'four corners'

    Args:
        kind: what the things are, as an error calls them.
        folder: the package whose modules register things as they are imported: all of them are before anything is
            listed or missed, so that a new file there is enough.
    """

    def __init__(self, kind: str, folder: str | None = None) -> None:
        self.kind, self.folder = kind, folder
        self._things: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """A decorator that makes what it stands on known."""

        def add(thing: T) -> T:
            self._things[name] = thing
            return thing

        return add

    def find(self, name: str) -> T:
        """The thing of a name.

        Raises:
            SettingError: there is none.
        """
        if name not in self._things and name not in self:
            raise SettingError(f"{self.kind} {name!r} is not known. Write one of {', '.join(map(repr, self))}.")
        return self._things[name]

    def __getitem__(self, name: str) -> T:
        return self._filled()[name]

    def __setitem__(self, name: str, thing: T) -> None:
        self._things[name] = thing

    def __delitem__(self, name: str) -> None:
        del self._things[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._filled())

    def __len__(self) -> int:
        return len(self._filled())

    def _filled(self) -> dict[str, T]:
        if self.folder is not None:
            for module in pkgutil.iter_modules(import_module(self.folder).__path__, f"{self.folder}."):
                import_module(module.name)
        return self._things
