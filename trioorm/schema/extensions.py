"""Extensions of the server that a schema needs, such as `vector` or `pg_trgm`."""

from __future__ import annotations

import attrs

from trioorm.expression.identifiers import quote_identifier


@attrs.frozen
class Extension:
    """An extension. Made by `extension`; give it to `create_schema` beside the models.

    Attributes:
        schema: where its functions and types go; None leaves it to PostgreSQL.
        version: None is the newest that the server has.
    """

    name: str
    schema: str | None = None
    version: str | None = None


def extension(name: str, *, schema: str | None = None, version: str | None = None) -> Extension:
    """An extension that must be there: `await db.create_schema(extension("pg_trgm"), Film)`.

    Raises:
        QueryError: nothing in PostgreSQL can have this name.
    """
    quote_identifier(name)
    return Extension(name, schema, version)
