"""What the rest of the library knows of a model class: its table or view, fields and key, as records.

The contract: `ModelInfo` is made with the class and never changes. `relation` is worked out when first asked for, because foreign keys may
name models that are declared later.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

import attrs

from trioorm.errors import ModelError
from trioorm.expression.shape import Source
from trioorm.model.field import FieldInfo

if TYPE_CHECKING:
    from trioorm.schema.table import Table
    from trioorm.schema.view import View


@attrs.frozen(eq=False, repr=False, slots=False)
class ModelInfo:
    """A model class as records.

    Attributes:
        model: the class.
        source: the table (or view) as statements name it when there is no alias.
        fields: in the order of declaration, those of abstract bases first.
        primary_key: the fields of the primary key, in the same order.
        by_attribute: fields by their name in Python.
        by_name: fields by their column's name.
        is_view: the rows come from a view's query, materialized or not.
        relation: the table with all its constraints and indexes, or the view.
    """

    model: type
    source: Source
    fields: tuple[FieldInfo, ...]
    primary_key: tuple[FieldInfo, ...]
    by_attribute: Mapping[str, FieldInfo]
    by_name: Mapping[str, FieldInfo]
    frozen: bool
    is_view: bool
    make_relation: Callable[[], Table | View]

    @property
    def table_name(self) -> str:
        """The table's name in PostgreSQL, without its schema."""
        return self.source.table

    @functools.cached_property
    def relation(self) -> Table | View:
        """Worked out when first asked for; see the attributes.

        Raises:
            ModelError: a reference leads nowhere.
        """
        return self.make_relation()

    @property
    def table(self) -> Table:
        """The table.

        Raises:
            ModelError: it is a view, or a reference leads nowhere.
        """
        if not self.is_view:
            return cast("Table", self.relation)
        raise ModelError(f"{self.model.__qualname__} is a view and no table.\nTo fix it: name the model of a table.")

    @functools.cached_property
    def writable(self) -> tuple[FieldInfo, ...]:
        """The fields that an insert may give."""
        return tuple(field for field in self.fields if not field.computed)

    @functools.cached_property
    def changeable(self) -> tuple[FieldInfo, ...]:
        """The fields that an update of an object writes."""
        return tuple(field for field in self.writable if not (field.primary_key or field.version))

    @functools.cached_property
    def version(self) -> FieldInfo | None:
        """The field that tells whether a row was changed since an object was fetched, where there is one."""
        return next((field for field in self.fields if field.version), None)

    def __repr__(self) -> str:
        return f"<ModelInfo {self.model.__qualname__} on {self.table_name!r}, {len(self.fields)} columns>"
