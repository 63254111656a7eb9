"""Things that are found by name: each in a file of that name, or registered from outside."""

import pkgutil
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from importlib import import_module
from importlib.util import find_spec
from typing import TypeVar

from uc_hf.errors import SettingError


T = TypeVar("T")


class Registry(MutableMapping[str, T]):
    """What is registered, by name.

    A file in `folder` registers one thing under the file's own name as it is imported. So the names are known without
    an import, and only what is asked for is imported.

    Examples:
        >>> shapes = Registry[str]("shape")
        >>> shapes["square"] = "four corners"
        >>> shapes.find("square")
        'four corners'

    Args:
        kind: what the things are, as an error calls them.
        folder: the package whose files register them.
        elsewhere: name -> module, for things that have a folder of their own.
    """

    def __init__(self, kind: str, folder: str | None = None, elsewhere: Mapping[str, str] | None = None) -> None:
        self.kind, self.folder, self.elsewhere = kind, folder, dict(elsewhere or {})
        self._registered: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """A decorator that registers what it stands on."""

        def add(thing: T) -> T:
            self[name] = thing
            return thing

        return add

    def find(self, name: str) -> T:
        """The thing of a name.

        Raises:
            SettingError: there is none.
        """
        if name not in self:
            raise SettingError(f"{self.kind} {name!r} is not known. Write one of {', '.join(map(repr, self))}.")
        return self[name]

    def __getitem__(self, name: str) -> T:
        if name not in self._registered:
            import_module(self._modules()[name])
        return self._registered[name]

    def __setitem__(self, name: str, thing: T) -> None:
        self._registered[name] = thing

    def __delitem__(self, name: str) -> None:
        del self._registered[name]

    def __contains__(self, name: object) -> bool:
        return name in self._modules() or name in self._registered

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules() | self._registered)

    def __len__(self) -> int:
        return len(self._modules() | self._registered)

    def _modules(self) -> dict[str, str]:
        """Name -> the module that registers it."""
        if self.folder is None:
            return self.elsewhere
        spec = find_spec(self.folder)
        places = spec.submodule_search_locations if spec is not None else None
        return self.elsewhere | {file.name: f"{self.folder}.{file.name}" for file in pkgutil.iter_modules(places)}
