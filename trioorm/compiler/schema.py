"""Whole schemas: what `create_schema` and `drop_schema` run, from models, sequences and extensions.

The contract: statements in an order in which they can run; running them in one transaction makes all or nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import attrs

from trioorm.compiler.definitions import (
    add_foreign_key,
    comments,
    create_extension,
    create_index,
    create_sequence,
    create_table,
    create_type,
    create_view,
    drop_type,
)
from trioorm.errors import ModelError
from trioorm.expression.identifiers import quote_identifier, quote_literal, quote_qualified
from trioorm.expression.shape import Source
from trioorm.expression.types import SqlType, sibling_of
from trioorm.expression.user_types import CompositeType, DomainType, MultirangeType, RangeType
from trioorm.model.model import Model, model_of
from trioorm.schema.extensions import Extension
from trioorm.schema.order import creation_order, view_order
from trioorm.schema.sequences import NumberSequence
from trioorm.schema.table import Table
from trioorm.schema.view import View

SchemaPart: TypeAlias = type[Model] | NumberSequence | Extension
"""What `create_schema` makes: the table or view of a model, a sequence, an extension."""


@attrs.frozen
class _Parts:
    """A schema's parts, each kind in the order of creation."""

    tables: tuple[Table, ...]
    late: frozenset[tuple[Source, str]]
    views: tuple[View, ...]
    types: tuple[SqlType, ...]
    sequences: tuple[NumberSequence, ...]
    extensions: tuple[Extension, ...]

    @property
    def schemas(self) -> list[str]:
        """The schemas that the parts lie in, those left to `search_path` not among them."""
        said = {part.schema for part in (*self.relations, *self.sequences, *self.extensions)}
        return sorted(schema for schema in said if schema is not None)

    @property
    def relations(self) -> tuple[Table | View, ...]:
        """Tables, then views."""
        return (*self.tables, *self.views)


def create_schema_statements(parts: Sequence[SchemaPart]) -> list[str]:
    """The statements that make these: schemas, extensions, types, sequences, tables, late foreign keys, indexes, views, comments.

    Raises:
        ModelError: two models have one table, two types one name, or a reference leads nowhere.
    """
    found = _sorted(parts)
    return [
        *(f"CREATE SCHEMA IF NOT EXISTS {quote_identifier(schema)}" for schema in found.schemas),
        *(create_extension(extension) for extension in found.extensions),
        *(create_type(kind) for kind in found.types),
        *(create_sequence(sequence) for sequence in found.sequences),
        *(create_table(table, set(found.late)) for table in found.tables),
        *(add_foreign_key(table, key) for table in found.tables for key in table.foreign_keys if (table.source, key.name) in found.late),
        *(create_index(table.source, index) for table in found.tables for index in table.indexes),
        *(text for view in found.views for text in _view_with_indexes(view)),
        *(text for relation in found.relations for text in comments(relation)),
    ]


def drop_schema_statements(parts: Sequence[SchemaPart]) -> list[str]:
    """The statements that remove these, as far as they are there.

    The tables go in one statement, so that foreign keys among them do not matter; something from outside that depends on them is an error
    of the server's. A schema goes when nothing is left in it.
    """
    found = _sorted(parts)
    tables = [quote_qualified(table.name, table.schema) for table in reversed(found.tables)]
    return [
        *(f"DROP {view.kind} IF EXISTS {quote_qualified(view.name, view.schema)}" for view in reversed(found.views)),
        *([f"DROP TABLE IF EXISTS {', '.join(tables)}"] if tables else ()),
        *(f"DROP SEQUENCE IF EXISTS {quote_qualified(sequence.name, sequence.schema)}" for sequence in found.sequences),
        *(drop_type(kind) for kind in reversed(found.types)),
        *(f"DROP EXTENSION IF EXISTS {quote_identifier(extension.name)}" for extension in reversed(found.extensions)),
        *(_drop_empty_schema(schema) for schema in found.schemas),
    ]


def create_index_statement(model: type[Model], name: str) -> tuple[str, bool]:
    """The statement that makes one declared index of a model whose table is there, and whether it must run outside of a transaction.

    Raises:
        ModelError: the model declares no such index.
    """
    relation = model_of(model).relation
    for index in relation.indexes:
        if index.name == name:
            return create_index(relation.source, index, concurrently=index.concurrently), index.concurrently
    names = ", ".join(index.name for index in relation.indexes) or "none"
    raise ModelError(
        f"{model.__qualname__} declares no index {name!r}; its indexes are: {names}.\nTo fix it: declare it in table_indexes()."
    )


def refresh_statement(model: type[Model], *, concurrently: bool, with_data: bool) -> str:
    """`REFRESH MATERIALIZED VIEW`.

    Raises:
        ModelError: the model is no materialized view, or is to be emptied while it can be read.
    """
    view = model_of(model).relation
    if not isinstance(view, View) or not view.materialized:
        raise ModelError(
            f"{model.__qualname__} is no materialized view, so there is nothing to refresh.\n"
            f"To fix it: class {model.__qualname__}(Model, materialized_view=...)."
        )
    if concurrently and not with_data:
        raise ModelError("A materialized view cannot be emptied concurrently.\nTo fix it: leave out concurrently=True or with_data=False.")
    how = "CONCURRENTLY " if concurrently else ""
    return f"REFRESH MATERIALIZED VIEW {how}{quote_qualified(view.name, view.schema)}{'' if with_data else ' WITH NO DATA'}"


def _view_with_indexes(view: View) -> Iterator[str]:
    yield create_view(view)
    for index in view.indexes:
        yield create_index(view.source, index)


def _drop_empty_schema(schema: str) -> str:
    # Others may keep tables in it, so it is tried, and let be when something is left.
    command = quote_literal(f"DROP SCHEMA IF EXISTS {quote_identifier(schema)}", None)
    return f"DO 'BEGIN EXECUTE {command.replace(chr(39), chr(39) * 2)}; EXCEPTION WHEN dependent_objects_still_exist THEN NULL; END'"


def _sorted(parts: Sequence[SchemaPart]) -> _Parts:
    owners: dict[Source, type] = {}
    tables: list[Table] = []
    views: list[View] = []
    sequences: list[NumberSequence] = []
    extensions: list[Extension] = []
    for part in parts:
        if isinstance(part, NumberSequence):
            sequences.append(part)
        elif isinstance(part, Extension):
            extensions.append(part)
        else:
            info = model_of(part)
            other = owners.setdefault(info.source, part)
            if other is not part:
                raise ModelError(
                    f"{other.__qualname__} and {part.__qualname__} both have the table {info.table_name!r}.\n"
                    f"To fix it: rename one, or leave one out."
                )
            relation = info.relation
            if isinstance(relation, View):
                views.append(relation)
            else:
                tables.append(relation)
    order = creation_order(tables)
    late = frozenset((table.source, key.name) for table, key in order.late)
    unique_sequences = tuple(dict.fromkeys(sequences))
    return _Parts(order.tables, late, view_order(views), _types(tables), unique_sequences, tuple(dict.fromkeys(extensions)))


def _types(tables: Sequence[Table]) -> tuple[SqlType, ...]:
    """The types of the user's that columns have, those that others are made of before them."""
    found: dict[str, SqlType] = {}
    for kind in sorted((column.type for table in tables for column in table.columns), key=lambda kind: kind.name):
        _add_types(kind, found)
    return tuple(found.values())


def _add_types(kind: SqlType, found: dict[str, SqlType]) -> None:
    if not kind.user_defined:
        if kind.element is not None:
            _add_types(kind.element, found)
        return
    for inner in _made_of(kind):
        _add_types(inner, found)
    if isinstance(kind, MultirangeType):  # comes and goes with its range
        return
    other = found.setdefault(kind.name, kind)
    if other is kind or (kind.enum is not None and other.enum is not None and tuple(other.labels) == tuple(kind.labels)):
        return
    if kind.enum is not None and other.enum is not None:
        raise ModelError(
            f"Two enums have the name {kind.name!r} and different labels: {', '.join(other.labels)} and {', '.join(kind.labels)}.\n"
            "To fix it: column(type=enum_type(Members, name='another_name'))."
        )
    raise ModelError(f"Two types have the name {kind.name!r}.\nTo fix it: give one of them another name, or make it once and use it twice.")


def _made_of(kind: SqlType) -> tuple[SqlType, ...]:
    if isinstance(kind, CompositeType):
        return tuple(field for _, field in kind.fields)
    if isinstance(kind, MultirangeType):
        return (sibling_of(kind),)
    if isinstance(kind, RangeType):
        return (kind.subtype,) if kind.subtype is not None else ()
    return (kind.beneath,) if isinstance(kind, DomainType) else ()
