"""How the rows of two models belong together: what a relation's declaration says, and which columns follow from it.

The contract: a `Relation` is made with its class and never changes. The other model and the columns are worked out when first asked for,
because they may be declared later; every contradiction is a `ModelError` that names class and attribute.
"""

from __future__ import annotations

import functools
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

import attrs

from trioorm.errors import ModelError
from trioorm.expression.column import Column, ColumnExpression
from trioorm.expression.expression import Expression, Ordering
from trioorm.expression.shape import Source
from trioorm.model.field import FieldInfo
from trioorm.model.info import ModelInfo

Term: TypeAlias = Expression[object] | Ordering
Kind: TypeAlias = Literal["belongs_to", "has_one", "has_many", "many_to_many", "count_of", "aggregate_of"]


class RelationDeclaration(NamedTuple):
    """The arguments of one `belongs_to(...)`, `has_one(...)`, `has_many(...)` or `many_to_many(...)`, as given; or of `count_of(...)` and
    `aggregate_of(...)`, which say `of` what."""

    kind: Kind
    target: Callable[[], type] | None
    foreign_key: tuple[str, ...] = ()
    through: Callable[[], type] | str | None = None
    other_key: tuple[str, ...] = ()
    where: Callable[[], Expression[bool | None]] | None = None
    order_by: Callable[[], Term | tuple[Term, ...]] | None = None
    of: Callable[[], object] | None = None
    aggregate: Callable[[], Expression[object]] | None = None

    @property
    def many(self) -> bool:
        """Whether it leads to a list of objects."""
        return self.kind in ("has_many", "many_to_many")


class Link(NamedTuple):
    """The table between two models.

    Attributes:
        table: the model of the table, or its source where it has none.
        columns: those that refer to the target.
        target: the target's, in the same order.
    """

    table: type | Source
    columns: tuple[ColumnExpression[object], ...]
    target: tuple[FieldInfo, ...]


class Keys(NamedTuple):
    """Which columns hold a relation together.

    Attributes:
        own: the owner's fields whose values are looked for.
        near: the columns in which they are looked for: the target's, or the link's.
        near_fields: the same as the target's fields; empty where there is a link.
        link: the table between, for many to many.
    """

    own: tuple[FieldInfo, ...]
    near: tuple[ColumnExpression[object], ...]
    near_fields: tuple[FieldInfo, ...]
    link: Link | None = None


@attrs.frozen(eq=False, repr=False, slots=False)
class Relation:
    """One relation of a model.

    Attributes:
        attribute: its name in Python.
        declaration: what was said of it.
        annotation: what stood in `Many[...]` or `One[...]`: a class, or text that names one.
    """

    attribute: str
    declaration: RelationDeclaration
    annotation: object
    _module: str
    _scope: Mapping[str, object]
    _find_owner: Callable[[], ModelInfo]
    _models_named: Callable[[str], Sequence[type]]

    def __str__(self) -> str:
        return f"{self.owner.model.__name__}.{self.attribute}"

    def __repr__(self) -> str:
        return f"<Relation {self}>"

    @property
    def many(self) -> bool:
        """Whether it leads to a list of objects."""
        return self.declaration.many

    @property
    def is_figure(self) -> bool:
        """Whether it leads to no object, but to a figure of what another relation leads to."""
        return self.declaration.of is not None

    @functools.cached_property
    def _counted(self) -> tuple[Relation, tuple[Expression[bool | None], ...]]:
        """The relation that a figure is of, with the conditions said there."""
        load = typing.cast("typing.Any", _called(self.declaration.of, str(self), "what it is of"))
        counted = getattr(load, "relation", None)
        if not isinstance(counted, Relation) or not counted.many or counted.owner.model is not self.owner.model:
            raise ModelError(
                f"{self} is a figure of {load!r}, which is no list of {self.owner.model.__name__}.\n"
                f"To fix it: {self.declaration.kind}(lambda: {self.owner.model.__name__}.<a has_many or many_to_many>)."
            )
        if load.most is not None or load.order or load.nested:
            raise ModelError(
                f"{self} is a figure of all that {counted} leads to, and that has an order, a limit or something to load below.\n"
                "To fix it: leave that out; where() is what a figure understands."
            )
        return counted, load.conditions

    @functools.cached_property
    def aggregate(self) -> Expression[object] | None:
        """What a figure is; None is the number of objects.

        Raises:
            ModelError: its type is not known.
        """
        said = self.declaration.aggregate
        found = None if said is None else typing.cast("Expression[object]", _called(said, str(self), "the aggregate"))
        if found is not None and found.sql_type is None:
            raise ModelError(f"{self}: PostgreSQL's type of the aggregate is not known.\nTo fix it: say it, func.some(..., returns=int).")
        return found

    @functools.cached_property
    def figure_type(self) -> object:
        """The class of a figure, as its annotation says."""
        return self._evaluated(self.annotation)

    @functools.cached_property
    def owner(self) -> ModelInfo:
        """The model that declares it."""
        return self._find_owner()

    @property
    def target(self) -> ModelInfo:
        """The model that it leads to.

        Raises:
            ModelError: it cannot be found, or the annotation names no model.
        """
        return self._target[0]

    @property
    def optional(self) -> bool:
        """Whether there may be no object: `One[Person | None]`."""
        return self._target[1]

    @functools.cached_property
    def _target(self) -> tuple[ModelInfo, bool]:
        if self.is_figure:
            return self._counted[0].target, True
        found = self._evaluated(self.annotation)
        parts = typing.get_args(found) if typing.get_origin(found) in (typing.Union, types.UnionType) else (found,)
        named = [self._evaluated(part) for part in parts if part is not types.NoneType]
        said = self.declaration.target
        model = _called(said, str(self), "the model") if said is not None else named[0] if len(named) == 1 else None
        return _info_of(model, str(self)), len(named) < len(parts)

    def _evaluated(self, annotation: object) -> object:
        """An annotation as an object; names are looked up in the module, then among all models."""
        text = annotation.__forward_arg__ if isinstance(annotation, typing.ForwardRef) else annotation
        if not isinstance(text, str):
            return annotation
        names = {**vars(sys.modules[self._module]), **self._scope} if self._module in sys.modules else dict(self._scope)
        while True:
            try:
                return typing.cast("object", eval(text, names))
            except NameError as error:
                name = str(error.name)
                models: Sequence[object] = self._models_named(name)
                if self.declaration.target is not None:  # it says which, whatever the name
                    models = [_called(self.declaration.target, str(self), "the model")]
                if len(models) != 1:
                    raise ModelError(
                        f"{self} leads to {name!r}, and there {'are several models' if models else 'is no model'} of that name.\n"
                        f"To fix it, one of:\n  1. import it into the module of {self.owner.model.__name__}\n"
                        f"  2. say it: {self.declaration.kind}(lambda: {name}, ...)"
                    ) from error
                names[name] = models[0]
            except Exception as error:
                raise ModelError(f"{self} is annotated {text!r}, which cannot be looked up: {error}.\nTo fix it: name a model.") from error

    @functools.cached_property
    def keys(self) -> Keys:
        """The columns that hold it together.

        Raises:
            ModelError: there are none, or several that could be meant.
        """
        said, owner, target = self.declaration, self.owner, self.target
        if self.is_figure:
            return self._counted[0].keys
        if said.kind == "belongs_to":
            own, found = self._foreign_key(owner, target, said.foreign_key, "foreign_key")
            nullable = [field.attribute for field in own if field.nullable]
            if nullable and not self.optional:
                raise ModelError(
                    f"{self} is never None by its annotation, and {nullable[0]} may be NULL.\n"
                    f"To fix it: {self.attribute}: One[{target.model.__name__} | None]."
                )
            return Keys(own, tuple(field.column for field in found), found)
        if said.kind in ("has_many", "has_one"):
            found, own = self._foreign_key(target, owner, said.foreign_key, "foreign_key")
            return Keys(own, tuple(field.column for field in found), found)
        if isinstance(said.through, str):
            return self._plain_link(said.through)
        link = _info_of(_called(said.through, str(self), "through") if said.through is not None else None, f"{self}: through")
        near, own = self._foreign_key(link, owner, said.foreign_key, "foreign_key")
        far, far_target = self._foreign_key(link, target, said.other_key, "other_key")
        if near == far:
            raise ModelError(
                f"{self}: {link.model.__name__} leads to both sides by the same columns.\n"
                "To fix it: name them, many_to_many(..., foreign_key=..., other_key=...)."
            )
        columns = tuple(field.column for field in near)
        return Keys(own, columns, (), Link(link.model, tuple(field.column for field in far), far_target))

    def _plain_link(self, name: str) -> Keys:
        """The columns of a link table that has no model; it refers to the primary keys."""
        said, owner, target = self.declaration, self.owner, self.target
        schema, _, table = name.rpartition(".")
        source = Source(table, schema=schema or owner.source.schema)
        for names, info, option in ((said.foreign_key, owner, "foreign_key"), (said.other_key, target, "other_key")):
            if len(names) != len(info.primary_key):
                raise ModelError(
                    f"{self}: the columns of {name!r} that refer to {info.model.__name__} are not known.\n"
                    f"To fix it: many_to_many(through={name!r}, {option}=...), one name for each column of its primary key."
                )
        near, far = (
            tuple(
                Column[object](source, column, field.type, attribute=column, nullable=False)
                for column, field in zip(names, info.primary_key, strict=True)
            )
            for names, info in ((said.foreign_key, owner), (said.other_key, target))
        )
        return Keys(owner.primary_key, near, (), Link(source, far, target.primary_key))

    def _foreign_key(
        self, holder: ModelInfo, referred: ModelInfo, named: tuple[str, ...], option: str
    ) -> tuple[tuple[FieldInfo, ...], tuple[FieldInfo, ...]]:
        """The fields of one model that refer to another, and those that they refer to."""
        unknown = [name for name in named if name not in holder.by_attribute]
        if unknown:
            raise ModelError(
                f"{self}: {holder.model.__name__} has no column {unknown[0]!r}.\n"
                f"Its columns are {', '.join(holder.by_attribute)}.\nTo fix it: {option}= one of these, or a tuple of them."
            )
        fields = tuple(holder.by_attribute[name] for name in named)
        wanted = tuple(field.name for field in fields)
        declared = () if holder.is_view else holder.table.foreign_keys
        fitting = {
            key.columns: key.target_columns
            for key in declared
            if (key.target_table, key.target_schema) == (referred.source.table, referred.source.schema) and wanted in ((), key.columns)
        }
        if len(fitting) == 1:
            ((columns, targets),) = fitting.items()
            return tuple(holder.by_name[name] for name in columns), tuple(referred.by_name[name] for name in targets)
        if named and len(fields) == len(referred.primary_key):
            return fields, referred.primary_key
        if named:
            reason = f"{', '.join(named)} cannot refer to the {len(referred.primary_key)} columns of its primary key"
        else:
            reason = f"{len(fitting)} foreign keys do: {', '.join(map(str, fitting))}" if fitting else "no foreign key does"
        raise ModelError(
            f"{self}: it is not known which columns of {holder.model.__name__} refer to {referred.model.__name__}; {reason}.\n"
            f"To fix it: name them, {self.declaration.kind}(..., {option}=...), or declare column(references=...) there."
        )

    @functools.cached_property
    def conditions(self) -> tuple[Expression[bool | None], ...]:
        """What its declaration demands of all its objects."""
        if self.is_figure:
            counted, conditions = self._counted
            return (*counted.conditions, *conditions)
        said = self.declaration.where
        return () if said is None else (typing.cast("Expression[bool | None]", _called(said, str(self), "where")),)

    @functools.cached_property
    def order(self) -> tuple[Term, ...]:
        """The order that its declaration gives."""
        said = self.declaration.order_by
        if said is None:
            return ()
        found = _called(said, str(self), "order_by")
        return typing.cast("tuple[Term, ...]", found if isinstance(found, tuple) else (found,))


def _called(function: Callable[[], object] | str | None, where: str, option: str) -> object:
    assert callable(function)
    try:
        return function()
    except NameError as error:
        raise ModelError(
            f"{where}: {option} names something that is not there (yet): {error}.\n"
            "To fix it: declare or import it before the relation is used."
        ) from error


def _info_of(model: object, where: str) -> ModelInfo:
    info = getattr(type(model), "__trioorm__", None)
    if isinstance(info, ModelInfo):
        return info
    raise ModelError(f"{where} leads to {model!r}, which is no model with a table.\nTo fix it: name one, as in Many[Order].")
