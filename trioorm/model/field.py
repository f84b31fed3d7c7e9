"""A model's field: one column with its Python attribute."""

from __future__ import annotations

import attrs

from trioorm.expression.column import ColumnExpression
from trioorm.expression.types import SqlType
from trioorm.model.declaration import ColumnDeclaration
from trioorm.model.unset import UNSET


@attrs.frozen(eq=False, repr=False)
class FieldInfo:
    """One field of a model.

    Attributes:
        attribute: the name in Python.
        name: the column's name in PostgreSQL.
        column: the expression that the class gives for the attribute.
        type: the PostgreSQL type.
        annotation: what stood in `Column[...]`.
        nullable: the column may be NULL.
        declaration: the arguments of `column(...)`.
    """

    attribute: str
    name: str
    column: ColumnExpression[object]
    type: SqlType
    annotation: object
    nullable: bool
    declaration: ColumnDeclaration

    @property
    def primary_key(self) -> bool:
        """Part of the primary key."""
        return self.declaration.primary_key

    @property
    def generated(self) -> bool:
        """Numbered by the server (an identity column)."""
        return self.declaration.generated is not False

    @property
    def computed(self) -> bool:
        """Computed by the server, from other columns or as `xmin`; it cannot be written."""
        return self.declaration.generated_as is not None or self.of_the_system

    @property
    def version(self) -> bool:
        """Tells whether a row was changed since an object was fetched."""
        return self.declaration.version is not False

    @property
    def of_the_system(self) -> bool:
        """A column that every table has of itself."""
        return self.declaration.version == "xmin"

    @property
    def has_server_default(self) -> bool:
        """The server has a value of its own for it."""
        return self.declaration.server_default is not UNSET

    @property
    def filled_by_server(self) -> bool:
        """An object may lack it until it is stored."""
        return self.generated or self.computed or self.has_server_default or self.version

    def __repr__(self) -> str:
        return f"<FieldInfo {self.attribute}: {self.type.name}{' | None' if self.nullable else ''}>"
