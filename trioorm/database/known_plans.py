"""The plans of the verbs for objects, found by the model and the classes of the values, so that nothing is built to be looked up.

What `get(User, 7)` or `insert(user)` makes of its values depends on nothing but their classes, as long as each is exactly the class of its
column and that class needs no further look (`SqlType.plain`), or what packs it looks (at a moment's time zone): then the plan that was
found by building the statement once is the plan of the next call. Anything else (an expression, a subclass, a value that does not fit) is
built anew each time, and told what is wrong with it there.

A combination of classes that comes again gets a function of its own, made as code as those that fill objects are (`filling.py`): a loop
over the cells takes twice as long.

The contract: cells are handed over in the order of the statement's bind values. A plan is learned only when these were the cells
themselves, so a cell is never packed for another place.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from datetime import datetime
from operator import attrgetter
from types import CodeType, FunctionType
from typing import Any, Final, Generic, Literal, Protocol, TypeAlias, TypeVar, cast

from trioorm.database.codecs import MISFITS, Packer
from trioorm.expression import SqlType
from trioorm.model import UNSET, FieldInfo, Model, model_of

__all__ = ["KnownPlan", "KnownPlans", "ObjectVerb"]

_MOST: Final = 10_000

ObjectVerb: TypeAlias = Literal["insert", "upsert", "update", "delete"]
Pack: TypeAlias = Callable[[Any], bytes | None]
Take: TypeAlias = Callable[[object], list[bytes | None] | None]


class _HasPackers(Protocol):
    @property
    def packers(self) -> tuple[Packer, ...]: ...


P = TypeVar("P", bound=_HasPackers)


class KnownPlan(Generic[P]):
    """A plan, and how the cells of an object or a key become its parameters.

    Attributes:
        plan: the plan.
        cells: the class of each cell, and what makes a parameter of it; nothing for those that are left out.
        take: the parameters of an object, or None when its cells are of other classes; made when the plan is found again.
    """

    __slots__ = ("cells", "plan", "take")

    def __init__(self, plan: P, cells: Sequence[tuple[type, Pack | None]]) -> None:
        self.plan = plan
        self.cells = cells
        self.take: Take | None = None

    def parameters(self, cells: Sequence[object]) -> Sequence[bytes | None] | None:
        """Of cells of these classes; None when one does not fit, which building the statement will explain."""
        try:
            return [pack(cell) for cell, (_, pack) in zip(cells, self.cells, strict=True) if pack is not None]
        except MISFITS:
            return None


class _Cells(Generic[P]):
    """How a verb takes the cells from an object of one model, in the order of the statement's bind values.

    Attributes:
        names: the attributes that hold them.
        read: takes them.
        types: of them.
        by_classes: the plans, by the classes of the cells.
        last: the plan that was found last, which is nearly always the next one's too.
    """

    __slots__ = ("by_classes", "last", "names", "read", "types")

    def __init__(self, fields: Sequence[FieldInfo]) -> None:
        self.names = names = [field.attribute for field in fields]
        read = attrgetter(*names)
        self.types = [field.type for field in fields]
        self.read: Callable[[object], tuple[object, ...]] = read if len(names) > 1 else lambda each: (read(each),)
        self.by_classes: dict[tuple[type, ...], KnownPlan[P]] = {}
        self.last: tuple[KnownPlan[P], Take] | None = None


class KnownPlans(Generic[P]):
    """What was learned."""

    __slots__ = ("_by_classes", "_by_single_key", "_cells", "_count")

    def __init__(self) -> None:
        # By what is done, the model, and the classes of the cells.
        self._by_classes: dict[tuple[object, ...], KnownPlan[P]] = {}
        # By the verb, the model, and how it is done.
        self._cells: dict[tuple[ObjectVerb, type, object], _Cells[P]] = {}
        self._by_single_key: dict[type, tuple[P, type, Pack]] = {}
        self._count = 0

    def find_by_key(self, model: type, key: Sequence[object]) -> tuple[P | None, Sequence[bytes | None] | None]:
        """The plan of `get` and its parameters; None where they are not known."""
        try:
            plan, kind, pack = self._by_single_key[model]
            (value,) = key
            if value.__class__ is kind:
                return plan, (pack(value),)
        except MISFITS:  # another number of values and a model that is not known among them
            pass
        return self.find_for_cells("get", model, key)

    def find(self, verb: ObjectVerb, held: Model, how: object = None) -> tuple[P | None, Sequence[bytes | None] | None]:
        """The plan of a verb for an object, and its parameters; None where they are not known.

        Args:
            verb: which.
            held: the object.
            how: what else the statement depends on.
        """
        taken = self._cells.get((verb, held.__class__, how))
        if taken is None:
            return None, None
        if taken.last is not None:
            known, take = taken.last
            try:
                parameters = take(held)
            except MISFITS:
                return known.plan, None
            if parameters is not None:
                return known.plan, parameters
        cells = taken.read(held)
        found = taken.by_classes.get(tuple(map(type, cells)))
        if found is None:
            return None, None
        if found.take is None:
            found.take = _taker(taken.names, found.cells)
        taken.last = found, found.take
        return found.plan, found.parameters(cells)

    def find_for_cells(self, what: object, model: type, cells: Sequence[object]) -> tuple[P | None, Sequence[bytes | None] | None]:
        """The same where the cells are no object's."""
        known = self._by_classes.get((what, model, *map(type, cells)))
        return (None, None) if known is None else (known.plan, known.parameters(cells))

    def learn_key(self, model: type, key: Sequence[object], plan: P, values: Sequence[object]) -> None:
        """Remember the plan of `get`, if it can be."""
        types = [field.type for field in model_of(model).primary_key]
        known = self.learn_for_cells("get", model, key, types, plan, values)
        if known is not None and len(key) == 1:
            kind, pack = known.cells[0]
            self._by_single_key[model] = plan, kind, pack or _null

    def learn(self, verb: ObjectVerb, held: Model, how: object, plan: P, values: Sequence[object]) -> None:
        """Remember the plan of a verb for an object, if it can be.

        Args:
            verb: which.
            held: the object.
            how: what else the statement depends on.
            plan: of the statement that was built for it.
            values: the statement's bind values.
        """
        model = type(held)
        taken = self._cells.get((verb, model, how)) or _Cells[P](_fields_of(verb, model))
        cells = taken.read(held)
        known = _known_plan(cells, taken.types, plan, values)
        if known is not None:
            self._make_room()
            self._cells[verb, model, how] = taken
            taken.by_classes[tuple(map(type, cells))] = known

    def learn_for_cells(
        self, what: object, model: type, cells: Sequence[object], types: Sequence[SqlType], plan: P, values: Sequence[object]
    ) -> KnownPlan[P] | None:
        """The same where the cells are no object's."""
        known = _known_plan(cells, types, plan, values)
        if known is not None:
            self._make_room()
            self._by_classes[what, model, *map(type, cells)] = known
        return known

    def _make_room(self) -> None:
        if self._count >= _MOST:
            self._by_classes.clear()
            self._cells.clear()
            self._count = 0
        self._count += 1


def _known_plan(cells: Sequence[object], types: Sequence[SqlType], plan: P, values: Sequence[object]) -> KnownPlan[P] | None:
    """The plan, if these cells, and whatever else is of their classes, are what it binds."""
    packs: list[tuple[type, Pack | None]] = []
    bound = 0
    for cell, sql_type in zip(cells, types, strict=True):
        if cell is UNSET:
            packs.append((type(cell), None))
            continue
        if cell is not None and not (type(cell) is sql_type.python and (sql_type.plain or sql_type.python is datetime)):
            return None
        if bound == len(values) or values[bound] is not cell:
            return None
        packs.append((type(cell), _null if cell is None else plan.packers[bound].pack_own))
        bound += 1
    return KnownPlan(plan, packs) if bound and bound == len(values) else None


def _fields_of(verb: ObjectVerb, model: type[Model]) -> Sequence[FieldInfo]:
    """The fields whose cells a verb binds, in order; those that are UNSET an insert leaves out."""
    info = model_of(model)
    if verb in ("insert", "upsert"):
        return info.writable
    row = info.primary_key if info.version is None else (*info.primary_key, info.version)
    return row if verb == "delete" else (*info.changeable, *row)


def _taker(names: Sequence[str], cells: Sequence[tuple[type, Pack | None]]) -> Take:
    """What takes the cells of these classes from an object, and packs them. No name of the user's is ever read as source, see `filling.py`:
    in the text `a3` stands for the name of attribute 3, `v3` is its cell, `k3` the class and `p3` what packs it."""
    globals_: dict[str, object] = {}
    packed: list[str] = []
    for number, (kind, pack) in enumerate(cells):
        globals_[f"k{number}"] = kind
        globals_[f"p{number}"] = pack
        if pack is not None:
            packed.append("None" if pack is _null else f"p{number}(v{number})")
    numbers = range(len(cells))
    text = "\n    ".join(
        [
            "def take(held):",
            *[f"v{number} = held.a{number}" for number in numbers],
            f"if {' and '.join([f'v{number}.__class__ is k{number}' for number in numbers])}:",
            f"    return [{', '.join(packed)}]",
        ]
    )
    tree = ast.parse(text)
    own = {f"a{number}": name for number, name in enumerate(names)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            node.attr = own.get(node.attr, node.attr)
    module = compile(tree, "<trioorm: taking cells>", "exec")
    code = next(constant for constant in cast("Sequence[object]", module.co_consts) if isinstance(constant, CodeType))
    return FunctionType(code, globals_)


def _null(_cell: object) -> None:
    return None
