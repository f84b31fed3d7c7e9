"""Which public names of psycopg's asynchronous classes a test exercises; `test_complete.py` holds the whole list against psycopg's own."""

from collections import defaultdict
from collections.abc import Callable
from dis import get_instructions
from inspect import get_annotations, getsource, isfunction
from re import search
from typing import TypeVar

F = TypeVar("F", bound=Callable[..., object])

covered: defaultdict[type, set[str]] = defaultdict(set)


def public_names(owner: type) -> set[str]:
    """The public attributes of a class of psycopg's and of its instances: those annotated, and those that `__init__` sets."""
    names = set(dir(owner))
    for each in owner.__mro__:
        names.update(get_annotations(each))
        if isfunction(made := each.__dict__.get("__init__")):
            names.update(step.argval for step in get_instructions(made) if step.opname == "STORE_ATTR")
    return {name for name in names if not name.startswith("_")}


def covers(owner: type, names: str) -> Callable[[F], F]:
    """Say which names of a class the test uses, and see that its text names each of them.

    Args:
        owner: psycopg's class.
        names: of its public attributes, with spaces between.
    """

    def note(test: F) -> F:
        source = getsource(test)
        for name in names.split():
            assert name in public_names(owner), f"{owner.__name__} has no {name}"
            assert search(rf"(\.|\b){name}\b", source.partition("def test_")[2]), f"{test} does not use {name}"
            covered[owner].add(name)
        return test

    return note
