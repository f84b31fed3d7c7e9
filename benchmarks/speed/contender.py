"""What a contender does: one method for each workload, so that the files of the contenders can be read side by side.

The contract: a method does what the library's own users would write for the task, at the library's best settings, and returns what the
library gives them: objects of a model from an ORM, rows from a driver. Nothing is converted inside of it. `plain` and `plain_film` turn a
result into plain values afterwards, outside of what is timed, for the comparison between contenders.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

from attrs import frozen

GuestRow = tuple[str, int]
"""A name and an age."""

VisitRow = tuple[Any, ...]
"""A row of the table `visit`, as `tables.visits` makes it."""


@frozen
class Address:
    """Where the server is.

    Attributes:
        host: a name, or the folder of a unix socket.
        is_far: a trip there takes long, so a user would save trips even where that costs some CPU.
    """

    host: str
    port: int
    user: str
    database: str
    password: str | None = None
    is_far: bool = False


class Opening(Enum):
    """How a contender is opened for a workload."""

    SINGLE = "one connection"
    POOL = "a pool of connections"
    BARE_POOL = "a pool that does not clean connections up between users"
    LANES = "connections shared by pipelining"


class Contender(ABC):
    """One library at work."""

    openings = frozenset({Opening.SINGLE, Opening.POOL})
    """Which ways of opening it there are."""

    # Opening. What is opened is used by one task at a time, except for `pooled_get`.

    @abstractmethod
    async def open(self, where: Address, opening: Opening, size: int) -> None: ...

    @abstractmethod
    async def close(self) -> None: ...

    # What a contender cannot do it leaves as it is.

    # Reading.

    async def get(self, key: int) -> object:
        """A person by primary key."""
        raise NotImplementedError

    async def filter(self, age: int) -> Sequence[object]:
        """The twenty people of an age, by key."""
        raise NotImplementedError

    async def fetch_wide(self, after: int) -> Sequence[object]:
        """The thousand readings that follow a key, ten columns of mixed types each, one of them jsonb, which comes decoded."""
        raise NotImplementedError

    async def stream(self, take: Callable[[object], object]) -> None:
        """Hand over all readings by key, one by one, holding a thousand at a time."""
        raise NotImplementedError

    async def film(self, key: int) -> object:
        """A film with its directors, its cast (both in order) and its reviews (by key)."""
        raise NotImplementedError

    # Writing.

    async def insert(self, name: str, age: int) -> int:
        """One guest more; returns the key."""
        raise NotImplementedError

    async def insert_many(self, guests: Sequence[GuestRow]) -> list[int]:
        """Many guests at once; returns their keys in order."""
        raise NotImplementedError

    async def load(self, visits: Sequence[VisitRow]) -> None:
        """Very many visits by the fastest way that the library has; no keys come back."""
        raise NotImplementedError

    async def update(self, key: int, balance: int) -> None:
        """Change an account in a transaction of its own, written as a block."""
        raise NotImplementedError

    async def update_many(self, balances: Sequence[tuple[int, int]]) -> None:
        """Change accounts, each to a balance of its own, all or none: keys and balances."""
        raise NotImplementedError

    async def transfer(self, key: int, amount: int) -> None:
        """In a transaction: lock an account and read it, write its new balance, note that in `entry`."""
        raise NotImplementedError

    # Many tasks, each of which reads point by point.

    async def pooled_get(self, key: int) -> object:
        """A person by primary key, on a connection of a pool; called by many tasks at once."""
        raise NotImplementedError

    # What few can do.

    async def insert_objects(self, guests: Sequence[GuestRow]) -> list[int]:
        """As `insert_many`, from objects of the model, which are made in it, to objects that have their keys."""
        raise NotImplementedError

    async def update_flight(self, key: int, balance: int) -> None:
        """As `update`, with the whole transaction in one trip."""
        raise NotImplementedError

    def build(self, year: int) -> tuple[str, Sequence[object]]:
        """The text and the values of a statement, built anew and ready to send, where a text like it was made before.

        Credits of the cast, below the fifth place, in films of a year whose rating is at least 5: the key of the credit first, latest key
        first, at most twenty.
        """
        raise NotImplementedError

    # Comparing.

    def plain(self, row: Any, names: Sequence[str]) -> list[object]:
        """The values of a row."""
        return [getattr(row, name) for name in names]

    def plain_film(self, film: Any) -> list[object]:
        """A film's title, then its directors' names, its cast's names, and its reviews as pairs of stars and text."""
        return [
            film.title,
            [person.name for person in film.directors],
            [person.name for person in film.cast],
            [[review.stars, review.body] for review in film.reviews],
        ]


def offers(contender: type[Contender], method: str, opening: Opening) -> bool:
    """Whether a contender can do what not all can."""
    return opening in contender.openings and getattr(contender, method) is not getattr(Contender, method)
