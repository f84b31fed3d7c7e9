"""Quoting names and values as SQL text: the only place where either becomes text.

The contract: every identifier in a statement went through `quote_identifier`. Values do not become text in statements, they are bound;
the exception is DDL, where PostgreSQL takes no bind values, and `quote_literal` serves that alone.

Source: PostgreSQL manual, section 4.1 (lexical structure); `standard_conforming_strings` is on since PostgreSQL 9.1.
"""

from __future__ import annotations

from trioorm.errors import ModelError, QueryError
from trioorm.expression.types import SqlType

MAX_IDENTIFIER_BYTES = 63
"""PostgreSQL cuts longer names off silently, and two long names may then be one."""


def quote_identifier(name: str) -> str:
    """A name as PostgreSQL takes it literally, whatever its characters.

    Raises:
        QueryError: the name is empty, longer than 63 bytes, or holds a character that PostgreSQL has not: NUL, half of a surrogate pair.
    """
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        length = 0
    if not 0 < length <= MAX_IDENTIFIER_BYTES or "\0" in name:
        shown = name if len(name) <= 80 else name[:80] + "..."
        raise QueryError(
            f"{shown!r} cannot be the name of anything in PostgreSQL.\n"
            f"A name has 1 to {MAX_IDENTIFIER_BYTES} bytes in UTF-8 (this one has {length}) and no NUL character.\n"
            "To fix it: choose another name."
        )
    return '"' + name.replace('"', '""') + '"'


def quote_qualified(name: str, schema: str | None) -> str:
    """The name of something that lies in a schema: `"shop"."users"`, or `"users"` where `search_path` decides.

    Raises:
        QueryError: as `quote_identifier`.
    """
    return quote_identifier(name) if schema is None else f"{quote_identifier(schema)}.{quote_identifier(name)}"


def type_text(sql_type: SqlType) -> str:
    """A type as DDL and casts spell it; names of the user's own types are quoted, being identifiers."""
    if sql_type.user_defined:
        return quote_identifier(sql_type.name)
    if sql_type.element is not None:
        return type_text(sql_type.element) + "[]"
    if not sql_type.modifiers:
        return '"bit"' if sql_type.name == "bit" else sql_type.name  # bare, it would be the grammar's word for bit(1)
    return f"{sql_type.name}({', '.join([str(number) for number in sql_type.modifiers])})"


def quote_literal(value: object, sql_type: SqlType | None) -> str:
    """A value as a constant in DDL, with its type where the constant alone would leave it open.

    Raises:
        ModelError: values of this class have no constant, or a string holds a NUL character.
    """
    if value is None:
        return "NULL"
    is_json = sql_type is not None and sql_type.family == "jsonb"
    if isinstance(value, bool) and not is_json:
        return "TRUE" if value else "FALSE"
    if isinstance(value, int) and not isinstance(value, bool) and not is_json:
        return str(int(value)) if value >= 0 else f"({int(value)})"
    from trioorm.expression.text_form import text_form  # few need it

    try:
        text = text_form(value, sql_type)
    except TypeError as error:
        raise ModelError(
            f"A value of class {type(value).__qualname__} cannot stand in a table's definition as a constant.\n"
            "To fix it: write the constant with sql('...')."
        ) from error
    if "\0" in text:
        raise ModelError(
            "A constant in a table's definition holds a NUL character, which PostgreSQL cannot store.\nTo fix it: leave it out."
        )
    quoted = "'" + text.replace("'", "''") + "'"
    return quoted if sql_type is None else f"{quoted}::{type_text(sql_type)}"
