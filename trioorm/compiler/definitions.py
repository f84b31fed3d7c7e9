"""`CREATE ...` for one thing each: a table, an index, a view, a sequence, a type, an extension, a schema; and `COMMENT ON`.

The contract: text from the records of `schema/` alone. Values become constants here, for DDL takes no bind values; they come from the
program's class bodies, and are quoted all the same. Words that a record holds as text (actions, methods) are taken from a list.

Source: PostgreSQL manual, part VI (SQL commands).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from trioorm.compiler.compiled import ModelResult
from trioorm.compiler.expressions import ExpressionRenderer
from trioorm.compiler.statements import compile_shape, render_inner, render_statement
from trioorm.errors import ModelError
from trioorm.expression.expression import Expression, Operation, is_expression
from trioorm.expression.identifiers import quote_identifier, quote_literal, quote_qualified, type_text
from trioorm.expression.shape import Bind, ColumnReference, Keyword, Ordered, Source
from trioorm.expression.types import SqlType, sibling_of
from trioorm.expression.user_types import CompositeType, DomainType, RangeType
from trioorm.model.model import model_of
from trioorm.schema.deferring import Deferral
from trioorm.schema.extensions import Extension
from trioorm.schema.sequences import Counting, NumberSequence
from trioorm.schema.table import Exclusion, ForeignKey, Formula, Index, Table, TableColumn
from trioorm.schema.view import View

W = TypeVar("W", bound=str)

_ACTIONS = frozenset({"cascade", "restrict", "set null", "set default", "no action"})
_METHODS = frozenset({"btree", "hash", "gin", "gist", "spgist", "brin", "hnsw", "ivfflat"})


class _ConstantRenderer(ExpressionRenderer):
    """Writes values as constants."""

    def __init__(self, constants: tuple[object, ...]) -> None:
        super().__init__(render_inner)
        self._constants = constants

    def bind(self, place: Bind) -> str:
        self.taken += 1
        return quote_literal(self._constants[self.taken - 1], place.type)


class _OneTableRenderer(_ConstantRenderer):
    """Writes columns without their table too: there is only one."""

    def column(self, reference: ColumnReference) -> str:
        return quote_identifier(reference.name)


def create_table(table: Table, late: set[tuple[Source, str]]) -> str:
    """`CREATE TABLE`, without the foreign keys that are `late`."""
    parts = [_column(column) for column in table.columns]
    parts.append(f"CONSTRAINT {quote_identifier(table.primary_key_name)} PRIMARY KEY ({_names(table.primary_key)})")
    for unique in table.uniques:
        nulls = "" if unique.nulls_distinct else " NULLS NOT DISTINCT"
        parts.append(f"CONSTRAINT {quote_identifier(unique.name)} UNIQUE{nulls} ({_names(unique.columns)}){_deferral(unique.deferral)}")
    parts.extend(f"CONSTRAINT {quote_identifier(check.name)} CHECK ({_formula(check.condition)})" for check in table.checks)
    parts.extend(_exclusion(exclusion) for exclusion in table.exclusions)
    parts.extend(foreign_key(key) for key in table.foreign_keys if (table.source, key.name) not in late)
    return f"CREATE TABLE {_name(table.source)} (\n    " + ",\n    ".join(parts) + "\n)"


def add_foreign_key(table: Table, key: ForeignKey) -> str:
    """`ALTER TABLE ... ADD CONSTRAINT`, for a key on a circle of tables."""
    return f"ALTER TABLE {_name(table.source)} ADD {foreign_key(key)}"


def foreign_key(key: ForeignKey) -> str:
    """A foreign key as a table's definition spells it."""
    text = (
        f"CONSTRAINT {quote_identifier(key.name)} FOREIGN KEY ({_names(key.columns)}) "
        f"REFERENCES {_name(key.target)} ({_names(key.target_columns)})"
    )
    for event, action in (("DELETE", key.on_delete), ("UPDATE", key.on_update)):
        if _known(action, _ACTIONS, "nothing that a foreign key can do") != "no action":
            text += f" ON {event} {action.upper()}"
    return text + _deferral(key.deferral)


def create_index(source: Source, index: Index, *, concurrently: bool = False) -> str:
    """`CREATE INDEX` on a table or materialized view."""
    unique = "UNIQUE " if index.unique else ""
    how = " CONCURRENTLY" if concurrently else ""
    terms = ", ".join([_term(term.formula, term.operator_class) for term in index.terms])
    text = f"CREATE {unique}INDEX{how} {quote_identifier(index.name)} ON {_name(source)}{_method(index)} ({terms})"
    if index.include:
        text += f" INCLUDE ({_names(index.include)})"
    if not index.nulls_distinct:
        text += " NULLS NOT DISTINCT"
    if index.options:
        text += f" WITH ({', '.join([f'{name} = {_option(value)}' for name, value in index.options])})"
    return text if index.where is None else f"{text} WHERE {_formula(index.where)}"


def create_view(view: View) -> str:
    """`CREATE VIEW` or `CREATE MATERIALIZED VIEW`.

    Raises:
        ModelError: the query does not give what the view's columns say.
    """
    _check_columns(view)
    query = render_statement(_ConstantRenderer(view.query.constants), view.query.shape)
    return f"CREATE {view.kind} {_name(view.source)} ({_names([column.name for column in view.columns])}) AS\n{query}"


def create_sequence(sequence: NumberSequence) -> str:
    """`CREATE SEQUENCE`."""
    options = _counting(sequence.counting)
    return f"CREATE SEQUENCE {quote_qualified(sequence.name, sequence.schema)}{f' {options}' if options else ''}"


def create_extension(extension: Extension) -> str:
    """`CREATE EXTENSION`, where it is not there yet: it belongs to the whole database."""
    schema = "" if extension.schema is None else f" SCHEMA {quote_identifier(extension.schema)}"
    version = "" if extension.version is None else f" VERSION {quote_literal(extension.version, None)}"
    return f"CREATE EXTENSION IF NOT EXISTS {quote_identifier(extension.name)}{schema}{version}"


def create_type(kind: SqlType) -> str:
    """`CREATE TYPE` of an enum, composite type or range, or `CREATE DOMAIN`."""
    name = type_text(kind)
    if isinstance(kind, CompositeType):
        fields = ", ".join([f"{quote_identifier(field)} {type_text(field_type)}" for field, field_type in kind.fields])
        return f"CREATE TYPE {name} AS ({fields})"
    if isinstance(kind, DomainType):
        return _create_domain(kind)
    if isinstance(kind, RangeType):
        return _create_range(kind)
    labels = ", ".join([quote_literal(label, None) for label in kind.labels])
    return f"CREATE TYPE {name} AS ENUM ({labels})"


def drop_type(kind: SqlType) -> str:
    """The way back of `create_type`."""
    return f"DROP {'DOMAIN' if isinstance(kind, DomainType) else 'TYPE'} IF EXISTS {type_text(kind)}"


def _create_domain(kind: DomainType) -> str:
    text = f"CREATE DOMAIN {type_text(kind)} AS {type_text(kind.beneath)}{' NOT NULL' if kind.not_null else ''}"
    if kind.condition is None:
        return text
    value: Expression[object] = Operation(Keyword("VALUE"), (), kind.beneath)
    condition = kind.condition(value)
    if not is_expression(condition):
        raise ModelError(f"The check of the domain {kind.name} gave {condition!r}.\nTo fix it: check=lambda value: value > 0.")
    return f"{text} CHECK ({_ConstantRenderer(condition.bind_values)(condition.shape)})"


def _create_range(kind: RangeType) -> str:
    assert kind.subtype is not None
    options = [f"SUBTYPE = {type_text(kind.subtype)}"]
    if kind.collation is not None:
        options.append(f"COLLATION = {quote_identifier(kind.collation)}")
    if kind.difference is not None:
        options.append(f"SUBTYPE_DIFF = {quote_identifier(kind.difference)}")
    options.append(f"MULTIRANGE_TYPE_NAME = {type_text(sibling_of(kind))}")
    return f"CREATE TYPE {type_text(kind)} AS RANGE ({', '.join(options)})"


def comments(relation: Table | View) -> Iterator[str]:
    """`COMMENT ON` for a table or view and for its columns."""
    name = _name(relation.source)
    kind = "TABLE" if isinstance(relation, Table) else relation.kind
    if relation.comment is not None:
        yield f"COMMENT ON {kind} {name} IS {quote_literal(relation.comment, None)}"
    for column in relation.columns:
        if column.comment is not None:
            yield f"COMMENT ON COLUMN {name}.{quote_identifier(column.name)} IS {quote_literal(column.comment, None)}"


def _column(column: TableColumn) -> str:
    text = f"{quote_identifier(column.name)} {type_text(column.type)}"
    if not column.nullable:
        text += " NOT NULL"
    if column.identity is not None:
        options = _counting(column.identity.counting)
        text += f" GENERATED {'ALWAYS' if column.identity.always else 'BY DEFAULT'} AS IDENTITY{f' ({options})' if options else ''}"
    elif column.generated_as is not None:
        text += f" GENERATED ALWAYS AS ({_formula(column.generated_as)}) {'STORED' if column.stored else 'VIRTUAL'}"
    elif column.server_default is not None:
        text += f" DEFAULT {_default(column.server_default)}"
    return text


def _default(formula: Formula) -> str:
    text = _formula(formula)
    return text if isinstance(formula.shape, Bind) else f"({text})"


def _counting(counting: Counting) -> str:
    numbers = {
        "START WITH": counting.start,
        "INCREMENT BY": counting.increment,
        "MINVALUE": counting.min_value,
        "MAXVALUE": counting.max_value,
        "CACHE": counting.cache,
    }
    return " ".join([*(f"{word} {int(number)}" for word, number in numbers.items() if number is not None), *(["CYCLE"] * counting.cycle)])


def _deferral(deferral: Deferral) -> str:
    return " DEFERRABLE" * deferral.deferrable + " INITIALLY DEFERRED" * deferral.initially


def _exclusion(exclusion: Exclusion) -> str:
    terms = ", ".join([f"{_term(formula, None)} WITH {operator}" for formula, operator in exclusion.terms])
    method = _known(exclusion.method, _METHODS, "no kind of index")
    where = "" if exclusion.where is None else f" WHERE ({_formula(exclusion.where)})"
    return f"CONSTRAINT {quote_identifier(exclusion.name)} EXCLUDE USING {method} ({terms}){where}{_deferral(exclusion.deferral)}"


def _method(index: Index) -> str:
    method = _known(index.method, _METHODS, "no kind of index")
    return "" if method == "btree" else f" USING {method}"


def _option(value: object) -> str:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else quote_literal(value, None)


def _known(word: W, words: frozenset[str], what: str) -> W:
    if word not in words:
        raise ModelError(f"{word!r} is {what}.\nTo fix it: one of {', '.join(sorted(words))}.")
    return word


def _term(formula: Formula, operator_class: str | None) -> str:
    """An index's term: columns bare, expressions in parentheses, with operator class and direction outside of them."""
    shape = formula.shape
    if isinstance(shape, Ordered):
        inner = _term(Formula(shape.operand, formula.constants), operator_class)
        return f"{inner} {shape.direction}{f' NULLS {shape.nulls}' if shape.nulls else ''}"
    text = quote_identifier(shape.name) if isinstance(shape, ColumnReference) else f"({_formula(formula)})"
    return text if operator_class is None else f"{text} {'.'.join([quote_identifier(part) for part in operator_class.split('.')])}"


def _check_columns(view: View) -> None:
    given: list[SqlType | None] = []
    for result in compile_shape(view.query.shape).results:
        if isinstance(result, ModelResult):
            given.extend(field.type for field in model_of(result.model).fields)
        else:
            given.append(getattr(result, "type", None))
    if len(given) != len(view.columns):
        raise ModelError(
            f"The query of the view {view.name!r} gives {len(given)} columns, and the view has {len(view.columns)}: "
            f"{', '.join([column.name for column in view.columns])}.\nTo fix it: select one item for each column, in their order."
        )
    for column, kind in zip(view.columns, given, strict=True):
        if kind is not None and kind is not column.type and (kind.family != column.type.family or kind.python is not column.type.python):
            raise ModelError(
                f"The column {column.name!r} of the view {view.name!r} is {column.type.name}, and its query gives {kind.name}.\n"
                "To fix it: annotate the column with that type, or cast() the item."
            )


def _formula(formula: Formula) -> str:
    return _OneTableRenderer(formula.constants)(formula.shape)


def _name(source: Source) -> str:
    return quote_qualified(source.table, source.schema)


def _names(columns: Sequence[str]) -> str:
    return ", ".join([quote_identifier(column) for column in columns])
