"""`insert(Model).values(...)`: new rows.

The contract: rows are objects of the model or mappings. Columns that hold UNSET are left to the server. One row is sent as VALUES; several
as one array for each column (`unnest`), so that the shape, and with it the prepared statement, is the same for any number of rows and
PostgreSQL's limit of 65,535 bind values does not matter. Where that cannot be (expressions, array columns, rows that leave different
columns out), several rows are VALUES too (see `insert_rows.py`).
"""

from __future__ import annotations

import datetime
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Generic, Self, TypeVar, overload

from trioorm.errors import QueryError
from trioorm.expression.column import Column
from trioorm.expression.column_values import kinds_of
from trioorm.expression.expression import Expression
from trioorm.expression.guesses import OF_INSERTS, expect_guesses
from trioorm.expression.identifiers import quote_identifier
from trioorm.expression.interned import remember
from trioorm.expression.shape import ColumnReference, Shape
from trioorm.model.field import FieldInfo
from trioorm.model.info import ModelInfo
from trioorm.model.model import Model, model_of
from trioorm.model.unset import UNSET, UnsetType
from trioorm.query.assignment import counted_up, field_named, kind_decides, kind_of, require_fitting, require_values, value_for
from trioorm.query.cells import check_cell, mapping_reader, row_reader
from trioorm.query.clause import NOTHING, Clause
from trioorm.query.form import STEPS, Form, Grammar, Step, find_step, part
from trioorm.query.formed import stay
from trioorm.query.insert_rows import from_mappings, from_objects, from_tuples, layout_of
from trioorm.query.query import Query
from trioorm.query.shape import Assignment, Conflict, InsertShape, RowValues, UnnestedColumns
from trioorm.query.tables import outputs_of
from trioorm.query.write import Write, begin, returned_into

M = TypeVar("M", bound=Model)
T1 = TypeVar("T1")
T2 = TypeVar("T2")
T3 = TypeVar("T3")
T4 = TypeVar("T4")
T5 = TypeVar("T5")
T6 = TypeVar("T6")
T7 = TypeVar("T7")
T8 = TypeVar("T8")
T9 = TypeVar("T9")
T10 = TypeVar("T10")

_NO_ROWS = RowValues(())


class Insert(Write, Generic[M]):
    """New rows of one model. Made by `insert`."""

    __slots__ = ()
    _fields = part[tuple[FieldInfo, ...] | None](None)
    _given = part[tuple[FieldInfo, ...]](())

    # Overloads rather than a union: the key of a mapping is invariant, and a union hides from mypy which one is meant.
    @overload
    def values(self, *rows: M | Mapping[str, object]) -> Insert[M]: ...
    @overload
    def values(self, *rows: Mapping[Expression[object], object]) -> Insert[M]: ...
    def values(self, *rows: M | Mapping[str, object] | Mapping[Expression[object], object], **wrong: object) -> Insert[M]:
        """The rows to insert: objects, or mappings from attribute names (or columns) to values or expressions.

        A column that a mapping leaves out gets its `default` or `default_factory`, as an object would, else what the server puts there.

        Raises:
            QueryError: no rows, an object of another class, an unknown column, or a value whose class does not fit.
            BindError: a moment without a time zone.
        """
        if len(rows) == 1 and not wrong:
            (row,) = rows
            what = row.__class__ if row.__class__ is not dict else (self.form.parts["_info"], *typing.cast("dict[object, object]", row))
            read = _READERS.get(what)
            if read is not None:
                cells = read(row)
                kinds = _kinds(what, cells)
                step = self.form.steps.get(kinds)
                if step is not None:
                    return self._step(step, _without_unset(cells) if UnsetType in kinds else cells)
        if wrong:
            raise QueryError(f"values() takes rows, and got {', '.join(wrong)} by name.\nTo fix it: values({{'name': 'Ada', 'age': 36}}).")
        return self.values_from(rows)

    @overload
    def values_from(self, rows: Iterable[M | Mapping[str, object] | Mapping[Expression[object], object]]) -> Insert[M]: ...
    @overload
    def values_from(self, rows: Iterable[Sequence[object]], *, columns: Sequence[Expression[object]]) -> Insert[M]: ...
    def values_from(self, rows: Iterable[object], *, columns: Sequence[Expression[object]] = ()) -> Insert[M]:
        """As `values`, from anything that can be looped over; or from tuples of plain values, which is the fastest way for many:

            insert(User).values_from([("Ada", 36), ("Grace", 85)], columns=[User.name, User.age])

        Args:
            rows: as `values` takes them, or tuples when `columns` are given.
            columns: of the values in each tuple, in their order.

        Raises:
            QueryError, BindError: as `values`; also for a tuple of another length.
        """
        given = rows if isinstance(rows, (list, tuple)) else list(rows)
        if self._fields is not None:
            raise QueryError("values() was called twice on one insert.\nTo fix it: give all rows at once.")
        if not given:
            raise QueryError("insert() was given no rows.\nTo fix it: leave the statement out when there is nothing to insert.")
        info = self.info
        if columns:
            said, (fields, content, values) = from_tuples(info, given, columns)
            return self._filled(fields, said, content, values)
        if kinds_of(given) != {info.model}:
            said, (fields, content, values) = from_mappings(info, given)
            made = self._filled(fields, said, content, values)
            row: object = given[0]
            if len(given) == 1 and type(row) is dict:
                self._learn_mapping(typing.cast("dict[object, object]", row), made.form, dict(zip(fields, values, strict=False)), said)
            return made
        if len(given) > 1:
            fields, content, values = from_objects(info, typing.cast("Sequence[Model]", given))
            return self._filled(fields, fields, content, values)
        return self._with_object(typing.cast("Model", next(iter(given))), info)

    def _with_object(self, made: Model, info: ModelInfo) -> Self:
        cells = row_reader(info.writable)(made)
        unset = frozenset([place for place, cell in enumerate(cells) if cell is UNSET])
        fields, content, _ = layout_of(info, unset)
        values = _without_unset(cells)
        for field, cell in zip(fields, values, strict=True):
            if type(cell) is not field.type.python or not field.type.plain:
                check_cell(field, cell)
        steps = self.form.steps
        step = steps.get(unset)
        if step is None:
            step = STEPS.remember(steps, unset, self._filled(fields, fields, content, values).form, "_content")
        if all(map(kind_decides, fields, values)):
            remember(_READERS, info.model, row_reader(info.writable))
            STEPS.remember(steps, _kinds(info.model, cells), step[0], "_content")
        return self._step(step, values)

    def _learn_mapping(self, row: dict[object, object], form: Form, cells: Mapping[FieldInfo, object], said: tuple[FieldInfo, ...]) -> None:
        """Remember what a mapping became, where all of these names and kinds of values become the same."""
        names = dict(zip(said, row, strict=False))
        if len(names) != len(row) or any(isinstance(value, Expression) for value in row.values()):
            return  # a column is named twice, or an expression has values of its own
        made_anew = any(field.declaration.default_factory is not None for field in cells if field not in names)
        if not made_anew and all(kind_decides(field, cell) for field, cell in cells.items()):
            what = self.info, *row
            read = remember(_READERS, what, mapping_reader(tuple(cells), names))
            STEPS.remember(self.form.steps, _kinds(what, read(row)), form, "_content")

    def _filled(self, fields: tuple[FieldInfo, ...], given: tuple[FieldInfo, ...], content: Shape, values: tuple[object, ...]) -> Self:
        if not isinstance(content, UnnestedColumns):
            return self._with(_fields=fields, _given=given, _content=Clause((content,), values))
        steps, key = self.form.steps, ("columns", fields, given)  # whose types are those of the fields
        step = steps.get(key)
        if step is None:
            form = self.form.changed({"_fields": fields, "_given": given, "_content": Clause((content,), values)})
            step = STEPS.remember(steps, key, form, "_content")
        return self._step(step, values)

    # fmt: off
    @overload
    def from_select(self, query: Query[object], /) -> Insert[M]: ...
    @overload
    def from_select(self, query: Query[T1], a: Column[T1], /) -> Insert[M]: ...
    @overload
    def from_select(self, query: Query[tuple[T1, T2]], a: Column[T1], b: Column[T2], /) -> Insert[M]: ...
    @overload
    def from_select(self, query: Query[tuple[T1, T2, T3]], a: Column[T1], b: Column[T2], c: Column[T3], /) -> Insert[M]: ...
    @overload
    def from_select(
        self, query: Query[tuple[T1, T2, T3, T4]],
        a: Column[T1], b: Column[T2], c: Column[T3], d: Column[T4],
        /,
    ) -> Insert[M]: ...
    @overload
    def from_select(
        self, query: Query[tuple[T1, T2, T3, T4, T5]],
        a: Column[T1], b: Column[T2], c: Column[T3], d: Column[T4], e: Column[T5],
        /,
    ) -> Insert[M]: ...
    @overload
    def from_select(
        self, query: Query[tuple[T1, T2, T3, T4, T5, T6]],
        a: Column[T1], b: Column[T2], c: Column[T3], d: Column[T4], e: Column[T5], f: Column[T6],
        /,
    ) -> Insert[M]: ...
    @overload
    def from_select(
        self, query: Query[tuple[T1, T2, T3, T4, T5, T6, T7]],
        a: Column[T1], b: Column[T2], c: Column[T3], d: Column[T4], e: Column[T5], f: Column[T6], g: Column[T7],
        /,
    ) -> Insert[M]: ...
    @overload
    def from_select(
        self, query: Query[tuple[T1, T2, T3, T4, T5, T6, T7, T8]],
        a: Column[T1], b: Column[T2], c: Column[T3], d: Column[T4],
        e: Column[T5], f: Column[T6], g: Column[T7], h: Column[T8],
        /,
    ) -> Insert[M]: ...
    @overload
    def from_select(
        self, query: Query[tuple[T1, T2, T3, T4, T5, T6, T7, T8, T9]],
        a: Column[T1], b: Column[T2], c: Column[T3], d: Column[T4], e: Column[T5],
        f: Column[T6], g: Column[T7], h: Column[T8], i: Column[T9],
        /,
    ) -> Insert[M]: ...
    @overload
    def from_select(
        self, query: Query[tuple[T1, T2, T3, T4, T5, T6, T7, T8, T9, T10]],
        a: Column[T1], b: Column[T2], c: Column[T3], d: Column[T4], e: Column[T5],
        f: Column[T6], g: Column[T7], h: Column[T8], i: Column[T9], j: Column[T10],
        /,
    ) -> Insert[M]: ...
    @overload
    def from_select(self, query: Query[Model], /, *columns: Expression[object]) -> Insert[M]: ...
    # fmt: on
    def from_select(self, query: Query[object], /, *columns: object) -> Insert[M]:
        """The rows that a select gives: `insert(Archive).from_select(select(Job.id, Job.name), Archive.id, Archive.name)`.

        Args:
            query: what to insert.
            columns: where its columns go, in order; if none are given, to those of the same names. Type checkers compare up to ten.

        Raises:
            QueryError: another number of columns, a computed one, or one of another type.
        """
        self._refuse_second_content("from_select()")
        outputs = outputs_of(query.items)[0]
        by_name = self.info.by_name
        names = (by_name[output.name].attribute if output.name in by_name else output.name for output in outputs)
        fields = tuple(field_named(self.info, column, "from_select()") for column in columns or names)
        require_fitting(fields, outputs, "from_select()")
        require_values(self.info, fields, "from_select()")
        return self._filled(fields, fields, query.shape, query.bind_values)

    def default_values(self) -> Insert[M]:
        """One row for which the server gives every value."""
        self._refuse_second_content("default_values()")
        return self._with(_fields=())

    def overriding_system_value(self) -> Insert[M]:
        """Take the values given for identity columns that are otherwise always generated."""
        return self._with(_overriding="OVERRIDING SYSTEM VALUE")

    def overriding_user_value(self) -> Insert[M]:
        """Generate identity columns, whatever values are given for them."""
        return self._with(_overriding="OVERRIDING USER VALUE")

    def on_conflict(
        self, *target: Expression[object], constraint: str | None = None, where: Expression[bool | None] | None = None
    ) -> OnConflict[M]:
        """What to do with a row that exists already by these columns or this constraint.

        With neither, any conflict counts; then only `do_nothing` is possible.

        Args:
            target: columns or expressions, as a unique index has them.
            constraint: its name instead.
            where: the condition of a partial index. It is matched with the index's when the statement is planned, so write constants in it
                as `sql()`.
        """
        if constraint is not None and (target or where is not None):
            raise QueryError("on_conflict() was given columns and a constraint.\nTo fix it: keep one.")
        if where is not None and not target:
            raise QueryError(
                "on_conflict(where=...) needs the columns of the partial index.\nTo fix it: on_conflict(User.email, where=...)."
            )
        if constraint is not None:
            quote_identifier(constraint)
        known = (self.form.parts["_info"], target) if where is None and stay(target) else None
        clause = _TARGETS.get(known)
        if clause is None:
            clause = Clause()
            for term in target:
                if isinstance(term, (Column, str)):
                    field = field_named(self.info, term, "on_conflict()")
                    clause = clause.with_(field.column.shape, ())
                else:
                    clause = clause.with_(term.operand(), term.bind_values)
            if known is not None:
                remember(_TARGETS, known, clause)
        condition = NOTHING if where is None else Clause().with_conditions((where,), "on_conflict(where=...)")
        return OnConflict(self, clause, condition, constraint, None if known is None else (target, constraint))

    def _refuse_second_content(self, what: str) -> None:
        if self._fields is not None:
            raise QueryError(f"{what} was called on an insert that has its rows.\nTo fix it: give all rows at once.")

    def with_known_conflict(self, key: object, values: tuple[object, ...]) -> Insert[M] | None:
        """The insert with an ON CONFLICT that was worked out before; called by `OnConflict`."""
        step = find_step(self.form.steps, key)
        return None if step is None else self._step(step, values)

    def with_conflict(self, conflict: Conflict, values: tuple[object, ...], key: object) -> Insert[M]:
        """The insert with its ON CONFLICT, which is remembered if there is a key; called by `OnConflict`."""
        made = self._with(_conflict=Clause((conflict,), values))
        if key is not None:
            STEPS.remember(self.form.steps, key, made.form, "_conflict")
        return made

    @property
    def given_fields(self) -> tuple[FieldInfo, ...]:
        """Those of the inserted fields that the rows name, not those filled by a default."""
        return tuple(field for field in _inserted(self.form) if field in self._given)


def _inserted(form: Form) -> tuple[FieldInfo, ...]:
    """The fields that the rows give."""
    fields: tuple[FieldInfo, ...] | None = form.parts.get("_fields")
    if fields is None:
        name = typing.cast("ModelInfo", form.parts["_info"]).model.__name__
        raise QueryError(f"insert({name}) has no rows.\nTo fix it: insert({name}).values(...).")
    return fields


def _insert_shape(form: Form) -> Shape:
    parts = form.parts
    columns = tuple([field.name for field in _inserted(form)])
    content = next(iter(form.shapes("_content")), _NO_ROWS)
    conflict = next(iter(form.shapes("_conflict")), None)
    overriding = parts.get("_overriding", "")
    shape = InsertShape(form.shapes("_ctes"), parts["_source"], columns, overriding, content, conflict, form.shapes("_returning"))
    return returned_into(form, shape)


_INSERT: typing.Final = Grammar(("_ctes", "_content", "_conflict", "_returning"), _insert_shape)
_INSERTS: typing.Final[dict[object, Step]] = {}
"""The steps that begin one, by the model."""
_READERS: typing.Final[dict[object, Callable[[typing.Any], tuple[object, ...]]]] = {}
"""What reads the cells of rows like some that were inserted before: of objects by their class, of mappings by the model and their names."""

_TARGETS: typing.Final[dict[object, Clause]] = {}
"""What ON CONFLICT looks at, by the model and the columns."""

expect_guesses(Insert, OF_INSERTS)


class OnConflict(Generic[M]):
    """The first half of ON CONFLICT; choose `do_nothing` or `do_update`."""

    __slots__ = ("_constraint", "_insert", "_known", "_target", "_target_where")

    def __init__(self, insert: Insert[M], target: Clause, target_where: Clause, constraint: str | None, known: object) -> None:
        self._insert = insert
        self._target = target
        self._target_where = target_where
        self._constraint = constraint
        self._known = known  # all that the target depends on; None where that is more than can be told at first sight

    def do_nothing(self) -> Insert[M]:
        """Leave the row that exists as it is. It is not among the rows returned."""
        key = None if self._known is None else ("do nothing", self._known)
        made = None if key is None else self._insert.with_known_conflict(key, ())
        return made or self._then((), (), NOTHING, key)

    def _then(self, assignments: tuple[Assignment, ...], values: tuple[object, ...], condition: Clause, key: object) -> Insert[M]:
        conflict = Conflict(self._target.shapes, self._target_where.shapes, self._constraint, assignments, condition.shapes)
        before = self._target.bind_values + self._target_where.bind_values
        return self._insert.with_conflict(conflict, before + values + condition.bind_values, key)

    @overload
    def do_update(
        self, *columns: Expression[object], set: Mapping[str, object] = ..., where: Expression[bool | None] | None = ...
    ) -> Insert[M]: ...
    @overload
    def do_update(
        self, *columns: Expression[object], set: Mapping[Expression[object], object], where: Expression[bool | None] | None = ...
    ) -> Insert[M]: ...
    def do_update(
        self,
        *columns: Expression[object],
        set: Mapping[str, object] | Mapping[Expression[object], object] | None = None,
        where: Expression[bool | None] | None = None,
    ) -> Insert[M]:
        """Change the row that exists.

        Args:
            columns: set these to the values that were to be inserted; if neither these nor `set` are given, all inserted columns but
                the key.
            set: further columns with values or expressions; `excluded(Model).column` is the value that was to be inserted.
            where: only if this holds for the row that exists.

        Raises:
            QueryError: no target was named, or there is nothing to set.
        """
        given = typing.cast("Mapping[object, object]", set or {})
        key = None
        if where is None and self._known is not None:
            kinds = tuple([(column, kind_of(value)) for column, value in given.items()])
            key = "do update", self._known, columns, kinds
            values = tuple(
                [each for value in given.values() for each in (value.bind_values if isinstance(value, Expression) else (value,))]
            )
            made = self._insert.with_known_conflict(key, values)
            if made is not None:
                return made
        info = self._insert.info
        if any(isinstance(column, Mapping) for column in typing.cast("tuple[object, ...]", columns)):
            raise QueryError("do_update() was given values where columns stand.\nTo fix it: do_update(set={User.age: excluded(User).age}).")
        if not self._target.shapes and self._constraint is None:
            raise QueryError("do_update() needs to know which conflict is meant.\nTo fix it: on_conflict(User.email).do_update(...).")
        fields = [field_named(info, column, "do_update()") for column in columns]
        if not columns and not given:
            target = {shape.name for shape in self._target.shapes if isinstance(shape, ColumnReference)}
            kept = (field for field in self._insert.given_fields if not (field.primary_key or field.version))
            fields = [field for field in kept if field.name not in target]
        excluded = info.source._replace(alias="excluded")
        assignments = [Assignment(field.name, field.column.of(excluded).shape) for field in fields]
        values = ()
        for column, value in given.items():
            field = field_named(info, column, "do_update(set=...)")
            shape, more = value_for(field, value)
            assignments.append(Assignment(field.name, shape))
            values += more
            if not (kind_decides(field, value) and (column is field.column or column.__class__ is str)):
                key = None
        if not assignments:
            raise QueryError("do_update() has nothing to set besides the key.\nTo fix it: use do_nothing(), or name the columns.")
        condition = NOTHING if where is None else Clause().with_conditions((where,), "do_update(where=...)")
        return self._then(counted_up(info, info.source, tuple(assignments)), values, condition, key if stay(columns) else None)


def insert(model: type[M]) -> Insert[M]:
    """New rows of a model: `insert(User).values(User(name="Ada", age=36)).returning(User.id)`."""
    made: Insert[M] = Insert()
    made.form, _ = find_step(_INSERTS, model) or begin(_INSERTS, _INSERT, model_of(model).model)
    made.bind_values = ()
    return made


def _kinds(what: object, cells: tuple[object, ...]) -> tuple[object, ...]:
    """What decides, as a rule, whether a row may be inserted: see `kind_of`."""
    kinds = (what, *map(type, cells))
    if datetime.datetime not in kinds:
        return kinds
    return kinds + tuple([cell.tzinfo is None for cell in cells if type(cell) is datetime.datetime])


def _without_unset(cells: tuple[object, ...]) -> tuple[object, ...]:
    return tuple([cell for cell in cells if cell is not UNSET])
