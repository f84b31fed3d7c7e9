"""Plans: what a statement's shape was compiled to, kept so that the next statement of that shape only packs its values.

The contract: `PlanCache.plan` walks a statement once for its shape and values; on a miss it compiles. A plan holds no values and no
connection, so one serves all tasks.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import Factory, field, frozen
from psycopg.pq import Format

from trioorm.compiler import Compiled, compile_statement, shape_and_values
from trioorm.database.codecs import MISFITS, Packer, parameter_packer_for
from trioorm.database.hydrate import RowReader
from trioorm.database.known_plans import KnownPlans
from trioorm.database.violations import Violations
from trioorm.errors import QueryError
from trioorm.expression import SqlType
from trioorm.query import Form, Statement
from trioorm.wire import Statement as WireStatement
from trioorm.wire import Step
from trioorm.wire.session_texts import changes_encoding, other_encoding

if TYPE_CHECKING:
    from collections.abc import Hashable

__all__ = ["Plan", "PlanCache"]

Pack: TypeAlias = "Callable[[Any], bytes]"


@frozen(eq=False, repr=False)
class Plan:
    """A compiled statement, ready to run.

    Attributes:
        compiled: text, types and results.
        statement: the same for the wire, with its name.
        packers: one for each parameter.
        formats: of the packed parameters.
        reader: of its rows.
        rows: the hydrated rows of a result, see `RowReader`.
        row: the only one.
        is_write: as of `compiled`.
        gives_rows: whether it gives rows, as far as is known: a `sql()` text of undeclared type may.
    """

    compiled: Compiled
    statement: WireStatement
    packers: tuple[Packer, ...]
    formats: tuple[Format, ...]
    reader: RowReader
    rows: Callable[..., list[Any]] = field(init=False, repr=False, default=Factory(lambda plan: plan.reader.rows, takes_self=True))
    row: Callable[..., Any] = field(init=False, repr=False, default=Factory(lambda plan: plan.reader.row, takes_self=True))
    is_write: bool = field(init=False, repr=False, default=Factory(lambda plan: plan.compiled.is_write, takes_self=True))
    gives_rows: bool = field(init=False, repr=False, default=Factory(lambda plan: bool(plan.compiled.results), takes_self=True))
    _packs: tuple[tuple[type | None, Pack, Pack], ...] = field(
        init=False, repr=False, default=Factory(lambda plan: tuple(map(_packs_of, plan.packers, plan.compiled.bind_types)), takes_self=True)
    )

    @property
    def width(self) -> int | None:
        """How many columns a row has; None when that is not known before it runs."""
        return self.reader.width

    def pack(self, values: Sequence[object]) -> list[bytes | None]:
        """The parameters of one execution, or the first of them, if only their values are given.

        Raises:
            BindError: a value does not fit its type.
        """
        parameters: list[bytes | None] = []
        add = parameters.append
        try:
            # A loop written out, and no `strict=True`: with a comprehension and a keyword it would take twice as long.
            for (kind, pack_own, pack), value in zip(self._packs, values):  # noqa: B905
                if value.__class__ is kind:
                    add(pack_own(value))
                else:
                    add(None if value is None else pack(value))
        except MISFITS:
            from trioorm.database.misfits import misfit  # few need it

            raise misfit(self.packers, values, self.compiled.bind_types, text=self.compiled.text) from None
        return parameters

    def step(self, values: Sequence[object]) -> Step:
        """One execution.

        Raises:
            BindError: a value does not fit its type.
        """
        return Step(self.statement, self.pack(values), self.formats)


def _packs_of(packer: Packer, sql_type: SqlType | None) -> tuple[type | None, Pack, Pack]:
    """The class that `Packer.pack_own` is for, if it is for one; that function; and the one for all values."""
    return sql_type.python if sql_type is not None and sql_type.plain else None, packer.pack_own, packer.pack


class PlanCache:
    """Plans by shape, least recently used first.

    Args:
        limit: how many are kept.
        error_values: whether constraint errors carry values.

    Attributes:
        violations: what explains constraint errors; it learns the models of each statement that is planned.
        known: the plans of the verbs for objects.
        loads: the plans of whole loads, kept here by `loading.py`.
        namespace: of this cache's plans there; another cache's may be of other statements.
    """

    __slots__ = ("_by_form", "_limit", "_plans", "known", "loads", "violations")

    namespace = "all"

    def __init__(self, limit: int = 2000, *, error_values: bool = False) -> None:
        self._limit = limit
        self.violations = Violations(with_values=error_values)
        self._plans: OrderedDict[Hashable, Plan] = OrderedDict()
        self._by_form: dict[Form | None, Plan] = {}
        self.known: KnownPlans[Plan] = KnownPlans()
        self.loads: dict[tuple[object, ...], object] = {}

    def __len__(self) -> int:
        return len(self._plans)

    def plan(self, statement: Statement[Any]) -> tuple[Plan, Sequence[object]]:
        """The plan of a statement, and its values in the order of the parameters.

        Raises:
            QueryError: the statement cannot be compiled; the text says why and how to fix it.
        """
        try:
            known = self._by_form.get(statement.form)
        except (AttributeError, TypeError):
            known = None
        if known is not None:
            values = statement.bind_values
            return known, values if known.compiled.places is None else known.compiled.arranged(values)
        if not isinstance(statement, Statement):  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
            raise QueryError(
                f"a statement was expected, not a {type(statement).__qualname__}.\n"
                'To fix it: build one with select, insert, update or delete; for text of your own, sql("...").'
            )
        shape, given = shape_and_values(statement)
        plan = self._plans.get(shape)
        if plan is None:
            plan = self._plans[shape] = _make_plan(compile_statement(statement))
            self.violations.learn(statement, plan.compiled)
            if len(self._plans) > self._limit:
                self._plans.popitem(last=False)
        form = statement.form
        if len(self._plans) * 2 > self._limit:  # who was used last matters only when some must go; hashing a shape takes 1 µs
            self._plans.move_to_end(shape)
            self._by_form.clear()
        elif form is not None and form.is_kept:
            if len(self._by_form) >= self._limit:
                self._by_form.clear()
            self._by_form[form] = plan
        return plan, plan.compiled.arranged(given)


def _make_plan(compiled: Compiled) -> Plan:
    text = compiled.text.encode()
    if changes_encoding(text):
        raise other_encoding()
    packers = tuple(parameter_packer_for(sql_type) for sql_type in compiled.bind_types)
    reader = RowReader(compiled)
    return Plan(
        compiled=compiled,
        statement=WireStatement(text, tuple(packer.oid for packer in packers), reader.format),
        packers=packers,
        formats=tuple(packer.format for packer in packers),
        reader=reader,
    )
