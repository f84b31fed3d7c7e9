"""What is there without having been imported beforehand (PEP 562): `import trioorm` shall not load what few programs need.

The contract: the module of such a name is imported when somebody asks for one. Type checkers see the names by the imports that stand beside
under `TYPE_CHECKING`. No such name is also that of a module of its room: the import system would put the module in its place.

An import needs files, and they may be what a process has run out of. So what it runs when something goes wrong that is no mistake of its
code is not given later, or does without (`pool/refusals.py`). What explains a mistake, such as a value that does not fit, may be.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module

__all__ = ["given_later", "module_later"]


def given_later(room: str, names: Mapping[str, str]) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a room.

    Args:
        room: its `__name__`.
        names: by the module that has them, with blanks between; those by the room itself are modules of it.
    """
    places = {name: module for module, listed in names.items() for name in listed.split()}

    def get(name: str) -> object:
        place = places.get(name)
        if place is None:
            raise AttributeError(f"module {room!r} has no attribute {name!r}")
        found: object = import_module(f"{room}.{name}") if place == room else getattr(import_module(place), name)
        setattr(sys.modules[room], name, found)  # so that it comes here once
        return found

    return get, lambda: sorted({*vars(sys.modules[room]), *places})


class _LaterModule:
    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> object:
        found: object = getattr(import_module(self._name), name)
        setattr(self, name, found)  # so that it comes here once
        return found


def module_later(name: str) -> _LaterModule:
    """A module that is imported when the first of its names is asked for.

    For what is called again and again: an `import` inside a function takes half a microsecond each time.
    """
    return _LaterModule(name)
