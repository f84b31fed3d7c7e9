"""The verbs for objects: by primary key, whole rows, and graphs of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

from psycopg.pq.abc import PGresult

from trioorm.database.answers import inserted_rows, not_one, not_patched, not_written
from trioorm.database.known_plans import ObjectVerb
from trioorm.database.object_plans import learn_by_key, learn_for_object, plan_for_object
from trioorm.database.objects import (
    changes_of,
    delete_object,
    in_order,
    insert_object,
    insert_objects,
    key_of,
    must_be_object,
    patch_by_key,
    patch_cells,
    select_by_key,
    update_object,
    update_objects,
    upsert_object,
)
from trioorm.database.plan import Plan, PlanCache
from trioorm.database.repeats import OPEN_SCOPES, note_objects
from trioorm.errors import IntegrityError
from trioorm.expression import Column
from trioorm.model import Load, Model, ToMany, check_load, evolve, model_of
from trioorm.query import Statement
from trioorm.transaction import Runner

if TYPE_CHECKING:
    from trioorm.database.graph_writing import LinkChanges

__all__ = ["ObjectVerbs"]

T = TypeVar("T")
M = TypeVar("M", bound=Model)


class ObjectVerbs:
    """The verbs for objects; part of `Verbs`."""

    _runner: Runner
    _plans: PlanCache

    async def get(self, model: type[M], *key: object) -> M:
        """The object with a primary key.

        Args:
            model: its class.
            key: the key's values, in the order of its columns.

        Raises:
            NoRowFound: there is no such row.
            QueryError: another number of values than the key has columns. Nothing was sent.
            Others: as `fetch_all`.

        Checkpoint: always.
        """
        if OPEN_SCOPES:
            note_objects(self._plans, "get", model)
        plan, parameters = self._plans.known.find_by_key(model, key)
        if plan is None or parameters is None:
            plan, parameters = learn_by_key(self._plans, model, key)
        result = await self._runner.run_one(plan.statement, parameters, plan.formats, is_write=False)
        if result.ntuples != 1:
            raise not_one(result.ntuples, select_by_key(model, key))
        row: M = plan.row(result)  # `cast` would be a call
        return row

    async def insert(self, made: M, *, with_: Sequence[Load[M]] = ()) -> M:
        """Insert one object, and those that its relations hold.

            film = await tx.insert(film, with_=[Film.credits.load(Credit.person), Film.genres])

        With relations, everything takes effect or nothing: outside of a transaction in one of its own. Each object goes after those whose
        keys it needs, and gets them; rows of a table in between are written. What `belongs_to` and `many_to_many` lead to is inserted
        where its primary key has no value yet, and taken to be stored otherwise.

        Args:
            made: the object.
            with_: the relations, as for `load`; they must be set.

        Returns:
            The row as the server has it, with generated and default values, and a new object for each that was inserted, in the relations
            that were named. The objects given are left as they were.

        Raises:
            IntegrityError: a constraint was violated; the subclass says which kind.
            QueryError: a relation that is not set, an object that is not complete, or that needs the key of one that needs its own. Nothing
                was sent.
            Others: as `fetch_all`; with relations, and outside of a transaction, as a transaction's block.

        Checkpoint: always.
        """
        if OPEN_SCOPES:
            note_objects(self._plans, "insert", type(made))
        if with_:
            return (await self._insert_graph([made], with_, "insert"))[0]
        plan, parameters = self._plans.known.find("insert", made)
        if plan is None or parameters is None:
            plan, parameters = learn_for_object(self._plans, "insert", made, insert_object)
        try:  # as `_run_packed`, without a coroutine of its own
            result = await self._runner.run_one(plan.statement, parameters, plan.formats, is_write=True)
        except IntegrityError as error:
            self._plans.violations.explain(error, (made,))
            raise
        if result.ntuples != 1:
            raise not_one(result.ntuples, insert_object(made))  # a trigger has kept it out
        row: M = plan.row(result)
        return row

    async def insert_many(self, objects: Iterable[M], *, with_: Sequence[Load[M]] = ()) -> list[M]:
        """Insert objects of one class, all or none, and those that their relations hold.

        Args:
            objects: of one class.
            with_: as `insert`; the number of statements does not depend on the number of objects.

        Returns:
            The rows as the server has them, in the order given.

        Raises:
            NoRowFound: a trigger or a rule of the table left some out. The others are written, unless a transaction around it rolls back.
            Others: as `insert`.

        Checkpoint: always, except for no objects at all.
        """
        batch = list(objects)
        if not batch:
            return []
        if OPEN_SCOPES:
            note_objects(self._plans, "insert_many", type(batch[0]))
        if with_:
            return await self._insert_graph(batch, with_, "insert_many")
        statements = insert_objects(batch)
        prepared = [self._plans.plan(statement) for statement in statements]
        steps = [plan.step(values) for plan, values in prepared]
        try:
            results = await self._runner.run(steps, is_write=True)
        except IntegrityError as error:
            self._plans.violations.explain(error, batch)
            raise
        return inserted_rows(batch, [plan for plan, _ in prepared], results)

    async def update(self, changed: M, *, since: M | None = None) -> M:
        """Write every column of an object to the row with its primary key, or those alone that have changed.

            film = await tx.update(evolve(film, title="Alien"), since=film)

        Args:
            changed: the object.
            since: what it was: the columns in which the two differ are written. If there are none, nothing is sent.

        Returns:
            The row as the server has it now; if nothing was sent, a copy of the object. The object given is left as it was.

        Raises:
            NoRowFound: there is no row with this key.
            StaleObject: the model has a version, and the row another than the object. Safe to retry in a transaction that fetches it.
            QueryError: the key is not set, or `since` is of another class or key. Nothing was sent.
            Others: as `insert`.

        Checkpoint: always, except when nothing has changed.
        """
        if since is None:
            if OPEN_SCOPES:
                note_objects(self._plans, "update", type(must_be_object(changed, "update")))
            plan, result = await self._run_known("update", changed, update_object)
            if not result.ntuples:
                raise not_written(changed, update_object(changed), "update", in_transaction=self._runner.in_transaction)
            written: M = plan.row(result)
            return written
        values = changes_of(must_be_object(changed, "update"), since)
        if values is None:
            return evolve(changed)
        if OPEN_SCOPES:
            note_objects(self._plans, "update", type(changed))
        model, key = type(changed), key_of(since)
        row = await self._patch(model, key, values, changed)
        if row is None:
            raise not_written(changed, patch_by_key(model, key, values), "update", in_transaction=self._runner.in_transaction)
        return row

    async def update_many(self, objects: Iterable[M]) -> list[M]:
        """Write every column of objects of one class to the rows with their primary keys, all or none, in one statement.

        Outside a transaction it has one of its own, inside one a savepoint: where a row is missing, no other is changed either.

        Returns:
            The rows as the server has them now, in the order given. The objects given are left as they were.

        Raises:
            NoRowFound: some keys have no row; the text names the first of them. Nothing was written.
            StaleObject: as `update`. Nothing was written.
            QueryError: as `update`; also for two objects of one key. Nothing was sent.
            Others: as `insert_many`; outside of a transaction as its block.

        Checkpoint: always, except for no objects at all.
        """
        batch = [must_be_object(each, "update_many") for each in objects]
        if not batch:
            return []
        if OPEN_SCOPES:
            note_objects(self._plans, "update_many", type(batch[0]))
        prepared = [self._plans.plan(statement) for statement in update_objects(batch)]
        steps = [plan.step(values) for plan, values in prepared]
        try:
            async with self._own_transaction() as runner:
                results = await runner.run(steps, is_write=True)
                found = [row for (plan, _), result in zip(prepared, results, strict=True) for row in plan.rows(result)]
                return in_order(batch, found, in_transaction=self._runner.in_transaction)
        except IntegrityError as error:
            self._plans.violations.explain(error, batch)
            raise

    async def patch(self, model: type[M], /, *key: object, **values: object) -> M:
        """Write some columns of the row with a primary key: `patch(User, 7, name="Ada")`.

        No column but those named is touched, so tasks that change different columns of a row do not overwrite each other. If the model has
        a version and that is named, it is not written: it is what the row must have.

        Args:
            model: its class.
            key: the key's values, in the order of its columns.
            values: by the attributes' names; expressions too, such as `visits=User.visits + 1`.

        Returns:
            The row as the server has it now.

        Raises:
            NoRowFound: there is no row with this key.
            StaleObject: there is none of this version.
            QueryError: no values, no such column, or another number of key values. Nothing was sent.
            Others: as `insert`.

        Checkpoint: always.
        """
        if OPEN_SCOPES:
            note_objects(self._plans, "patch", model)
        row = await self._patch(model, key, values)
        if row is None:
            raise not_patched(model, key, values, patch_by_key(model, key, values), in_transaction=self._runner.in_transaction)
        return row

    async def _patch(self, model: type[M], key: tuple[object, ...], values: Mapping[str, object], *written: M) -> M | None:
        known, what = self._plans.known, ("patch", *values)
        cells, names = patch_cells(model, key, values)
        plan, parameters = known.find_for_cells(what, model, cells)
        if plan is None or parameters is None:
            plan, given = self._plans.plan(patch_by_key(model, key, values))
            fields = model_of(model).by_attribute
            known.learn_for_cells(what, model, cells, [fields[name].type for name in names], plan, given)
            parameters = plan.pack(given)
        result = await self._run_packed(plan, parameters, written)
        if result.ntuples > 1:
            raise not_one(result.ntuples, patch_by_key(model, key, values))
        row: M | None = plan.row(result) if result.ntuples else None
        return row

    async def delete(self, gone: Model) -> None:
        """Delete the row with an object's primary key.

        Raises:
            NoRowFound: there is no row with this key.
            StaleObject: as `update`.
            QueryError: the key is not set. Nothing was sent.
            Others: as `fetch_all`.

        Checkpoint: always.
        """
        if OPEN_SCOPES:
            note_objects(self._plans, "delete", type(must_be_object(gone, "delete")))
        _, result = await self._run_known("delete", gone, delete_object)
        if not result.command_tuples:
            raise not_written(gone, delete_object(gone), "delete", in_transaction=self._runner.in_transaction)

    async def upsert(self, made: M, *, on: Column[Any] | Sequence[Column[Any]] = ()) -> M:
        """Insert an object, or, if a row with the same key exists, write its columns to that row.

        If the model has a version and the object too, a row that exists must be of this version. A new object has none: it overwrites.

        Args:
            made: the object.
            on: the columns whose unique constraint decides; the primary key when none are given.

        Returns:
            The row as the server has it now.

        Raises:
            StaleObject: as `update`.
            Others: as `insert`.

        Checkpoint: always.
        """
        columns = (on,) if isinstance(on, Column) else tuple(on)
        if OPEN_SCOPES:
            note_objects(self._plans, "upsert", type(must_be_object(made, "upsert")))
        plan, result = await self._run_known("upsert", made, partial(upsert_object, on=columns), columns)
        if result.ntuples != 1:
            raise not_written(made, upsert_object(made, columns), "upsert", in_transaction=self._runner.in_transaction)
        row: M = plan.row(result)
        return row

    async def replace_links(self, owner: M, relation: ToMany[M, T], targets: Iterable[T]) -> LinkChanges:
        """Make the rows between an object and others exactly these: `await tx.replace_links(film, Film.genres, genres)`.

        Rows that are there and wanted stay, with all their columns; no statement is sent for what does not change. Those who replace the
        same object's links wait for each other. Everything takes effect or nothing: outside of a transaction in one of its own. What the
        object itself holds is left as it was.

        Args:
            owner: an object that is stored.
            relation: many to many, without a condition. Where a model lies between, its other columns must have defaults.
            targets: objects that are stored; one that is given twice counts once.

        Returns:
            How many rows were added and removed.

        Raises:
            NoRowFound: the object's row is not there.
            QueryError: another relation, or an object that is not stored. Nothing was sent.
            Others: as `insert` with relations.

        Checkpoint: always.
        """
        from trioorm.database.graph_writing import links_of, replace_links  # few need it

        check_load(relation, type(must_be_object(owner, "replace_links")), "replace_links()")
        links = links_of(owner, relation, targets)
        if OPEN_SCOPES:
            note_objects(self._plans, "replace_links", type(owner))
        return await self._in_transaction(lambda runner: replace_links(runner, self._plans, links))

    async def _insert_graph(self, objects: Sequence[M], loads: Sequence[Load[M]], verb: str) -> list[M]:
        from trioorm.database.graph_order import graph_of  # few need it
        from trioorm.database.graph_writing import insert_graph

        for each in objects:
            must_be_object(each, verb)
            for load in loads:
                check_load(load, type(each), f"{verb}(with_=...)")
        graph = graph_of(objects, loads, verb)
        made = await self._in_transaction(lambda runner: insert_graph(runner, self._plans, graph))
        return cast("list[M]", made)

    async def _in_transaction(self, write: Callable[[Runner], Awaitable[T]]) -> T:
        """Run what takes several flights, in a transaction of its own where there is none."""
        if self._runner.in_transaction:
            return await write(self._runner)
        try:
            async with self._own_transaction() as runner:
                written = await write(runner)
        except IntegrityError as error:
            self._plans.violations.explain(error)
            raise
        return written

    async def _run_known(
        self, verb: ObjectVerb, held: M, build: Callable[[M], Statement[Any]], how: object = None
    ) -> tuple[Plan, PGresult]:
        """Run the statement of a verb for an object."""
        plan, parameters = plan_for_object(self._plans, verb, held, build, how)
        return plan, await self._run_packed(plan, parameters, (held,))

    async def _run_packed(self, plan: Plan, parameters: Sequence[bytes | None], written: Sequence[Model]) -> PGresult:
        try:
            return await self._runner.run_one(plan.statement, parameters, plan.formats, is_write=plan.is_write)
        except IntegrityError as error:
            self._plans.violations.explain(error, written)
            raise

    def _own_transaction(self) -> AbstractAsyncContextManager[Runner]:
        """A transaction for a verb that needs several flights; inside one, a savepoint."""
        raise NotImplementedError
