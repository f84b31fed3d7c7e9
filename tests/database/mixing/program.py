"""Programs made of ways, and how they run.

A step may be cancelled at its k-th suspension: outside of a transaction, where it is whole by itself, in every way that the event loop
has; inside by a scope, and then it runs in a savepoint, as it does where it is to fail, so that the transaction goes on.
"""

from collections.abc import Sequence
from itertools import count
from typing import TypeAlias

import anyio
import pytest
from attrs import define, evolve, frozen

from tests.database.mixing.failures import FAILURES
from tests.database.mixing.psycopg_ways import PSYCOPG_WAYS
from tests.database.mixing.reads import READS
from tests.database.mixing.shop import Asked, Book, Shop
from tests.database.mixing.writes import WRITES
from trioorm import ConnectionLost, Database, DatabaseError, Savepoint, Transaction, TransactionRolledBack, delete, sql
from trioorm.pool import Pool
from trioorm.testing.attempt import attempt
from trioorm.testing.cancellation import available_cancellations
from trioorm.testing.suspension import Driver
from trioorm.transaction import Isolation

WAYS = {**READS.named, **WRITES.named}

# A statement whose plan does not fit any more fails once in a transaction, and a flight has several.
_STALE, _MOST_STALE = "0A000", 10

_PATIENCE_SECONDS = 60.0
_MOST_BOOKS = 100


@frozen
class Ask:
    """One way, perhaps cancelled."""

    way: str
    number: int
    cancelled_at: int | None = None


@frozen
class Fail:
    """One way that fails, perhaps cancelled before it can."""

    way: str
    number: int
    cancelled_at: int | None = None


@frozen
class Block:
    """Steps in a transaction, or, inside one, in a savepoint."""

    steps: "tuple[Step, ...]"
    ending: str
    isolation: Isolation | None = None
    cancelled_at: int | None = None


@frozen
class Borrow:
    """A connection on loan, and what psycopg does with it."""

    steps: tuple[Ask, ...]
    cancelled_at: int | None = None


@frozen
class Outside:
    """Something that happens on the server between two steps."""

    event: str
    number: int


Step: TypeAlias = Ask | Fail | Block | Borrow | Outside
ENDINGS = ("commit", "fail", "cancel", "kill")
OUTSIDE = ("add a column", "change a type", "kill all")


class _OwnError(Exception):
    """The program's own."""


@define
class _CancelAt:
    """Cancels a scope at the k-th suspension of what it drives."""

    scope: anyio.CancelScope
    left: int

    def suspended(self, coroutine: object, yielded: object) -> None:
        self.left -= 1
        if self.left == 0:
            self.scope.cancel()

    def waking(self, coroutine: object, outcome_or_error: object) -> BaseException | None:
        return None


def numbered(step: Step, number: int) -> Step:
    """The same with another number."""
    match step:
        case Ask() | Fail():
            return evolve(step, number=number)
        case Borrow(steps):
            return evolve(step, steps=tuple(evolve(each, number=number) for each in steps))
        case _:
            return step


@frozen
class Program:
    """What runs steps.

    Attributes:
        shop: the tables.
        pool: the pool of the database.
    """

    shop: Shop
    pool: Pool

    async def run(self, db: Database, steps: list[Step]) -> None:
        """Run the steps, and look at the tables from outside after each."""
        for step in steps:
            with anyio.fail_after(_PATIENCE_SECONDS):  # and so the server has a limit for each transaction
                await self._step(db, step)
            assert self.shop.seen() == self.shop.books, f"after {step}"

    async def run_pairs(self, asked: Asked, steps: Sequence[Step]) -> None:
        """Run each step right behind each other, with a new number each time; outside of a transaction, something happens in between."""
        numbers = count(1)
        for position, first in enumerate(steps):
            await self._step(asked, Outside(OUTSIDE[position % len(OUTSIDE)], position))
            for second in steps[position:]:
                for step in (second, first):
                    try:
                        with anyio.fail_after(_PATIENCE_SECONDS):
                            await self._step(asked, numbered(step, next(numbers)))
                    except Exception as error:
                        error.add_note(f"{second}, {first}: {step} was under way")
                        raise
            if len(gone := [book for book in self.shop.books if book > _MOST_BOOKS]) > _MOST_BOOKS:
                assert await asked.execute(delete(Book).where(Book.id > _MOST_BOOKS)) == len(gone)
                for book in gone:
                    del self.shop.books[book]

    async def _step(self, asked: Asked, step: Step) -> None:
        if isinstance(step, Outside):
            if isinstance(asked, Database):
                self._outside(step)
            return
        if step.cancelled_at is None:
            await self._act(asked, step)
            return
        before = dict(self.shop.books)
        if not isinstance(asked, Database):
            with anyio.CancelScope() as scope:
                await Driver(self._in_savepoint(asked, step), _CancelAt(scope, step.cancelled_at))
            if scope.cancelled_caught:
                self.shop.books = before
            return
        kinds = available_cancellations()
        kind = kinds[step.cancelled_at % len(kinds)]
        seen = await attempt(self._act(asked, step), kind, step.cancelled_at, include_children=True, patience_seconds=_PATIENCE_SECONDS)
        assert not seen.hung, f"{step} hangs: {seen.hung}"
        if isinstance(seen.error, anyio.get_cancelled_exc_class()) and seen.requests:
            if isinstance(step, Borrow):
                before = self.shop.seen()
                assert before in (self.shop.books, self.shop.maybe)
            self.shop.books = before
        elif seen.error is not None:
            raise seen.error
        self.shop.maybe = None

    async def _in_savepoint(self, asked: Transaction | Savepoint, step: Ask | Fail | Block | Borrow) -> None:
        async with asked.savepoint() as sp:
            await self._act(sp, step)

    async def _act(self, asked: Asked, step: Ask | Fail | Block | Borrow) -> None:
        match step:
            case Ask(way, number):
                await self._ask(asked, way, number)
                self.shop.came.append(way)
            case Fail(way, number):
                await self._fail(asked, way, number)
                self.shop.came.append(way)
            case Block():
                await self._block(asked, step)
            case Borrow(steps):
                if isinstance(asked, Database):
                    await self._borrow(steps)

    async def _ask(self, asked: Asked, way: str, number: int) -> None:
        """Run a way; in a transaction again where a plan did not fit any more."""
        shop = self.shop
        if not shop.altered or isinstance(asked, Database):
            await WAYS[way](shop, asked, number)
            return
        for again in range(_MOST_STALE):
            before = dict(shop.books)
            try:
                async with asked.savepoint() as sp:
                    await WAYS[way](shop, sp, number)
                return
            except DatabaseError as error:
                if error.sqlstate != _STALE or again == _MOST_STALE - 1:
                    raise
                shop.books = before

    async def _fail(self, asked: Asked, way: str, number: int) -> None:
        failing = FAILURES[way]
        before = dict(self.shop.books)
        with pytest.raises(failing.error):
            if isinstance(asked, Database):
                await failing.way(self.shop, asked, number)
            else:
                async with asked.savepoint() as sp:
                    await failing.way(self.shop, sp, number)
        assert self.shop.books == before, "what fails notes nothing"

    async def _block(self, asked: Asked, step: Block) -> None:
        before = dict(self.shop.books)
        errors: tuple[type[Exception], ...] = ()
        try:
            async with asked.transaction(isolation=step.isolation) if isinstance(asked, Database) else asked.savepoint() as block:
                for each in step.steps:
                    await self._step(block, each)
                match step.ending:
                    case "fail":
                        errors = (_OwnError,)
                        raise _OwnError
                    case "cancel":
                        errors = (TransactionRolledBack,)
                        block.cancel_scope.cancel()
                        await anyio.lowlevel.checkpoint()
                    case "kill" if isinstance(asked, Database):
                        errors = (ConnectionLost,)
                        self.shop.witness.terminate(await block.fetch_value(sql("SELECT pg_backend_pid()").returns(int)))
                        await WAYS["fetch_many"](self.shop, block, 1)
                    case _:
                        pass
            assert not errors, f"ended well, and not by {errors}"
        except Exception as error:
            if not isinstance(error, errors):
                raise
            self.shop.books = before

    async def _borrow(self, steps: tuple[Ask, ...]) -> None:
        async with self.pool.connection() as connection:
            for each in steps:
                self.shop.maybe = None
                await PSYCOPG_WAYS[each.way](self.shop, connection, each.number)
                self.shop.came.append(f"psycopg's {each.way}")

    def _outside(self, step: Outside) -> None:
        shop, witness = self.shop, self.shop.witness
        match step.event:
            case "add a column":
                witness.connection.execute(f"ALTER TABLE books ADD COLUMN more_{shop.columns} int DEFAULT 7".encode())
                shop.columns += 1
            case "change a type":
                witness.run(
                    "ALTER TABLE books ALTER COLUMN mark TYPE int USING 1"
                    if step.number % 2
                    else "ALTER TABLE books ALTER COLUMN mark TYPE text"
                )
            case _:
                witness.run(
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database()"
                    " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
                )
                return
        shop.altered = True
