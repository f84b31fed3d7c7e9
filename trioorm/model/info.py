"""What the rest of the library knows of a model class: its table, fields and key, as records.

The contract: `ModelInfo` is made with the class and never changes. `table` is worked out when first asked for, because foreign keys may
name models that are declared later.
"""

import functools
from collections.abc import Callable, Mapping

import attrs

from trioorm.expression.shape import Source
from trioorm.model.field import FieldInfo
from trioorm.schema.table import Table


@attrs.frozen(eq=False, repr=False, slots=False)
class ModelInfo:
    """A model class as records.

    Attributes:
        model: the class.
        source: the table as statements name it when there is no alias.
        fields: in the order of declaration, those of abstract bases first.
        primary_key: the fields of the primary key, in the same order.
        by_attribute: fields by their name in Python.
        by_name: fields by their column's name.
        table: the table with all its constraints and indexes.
    """

    model: type
    source: Source
    fields: tuple[FieldInfo, ...]
    primary_key: tuple[FieldInfo, ...]
    by_attribute: Mapping[str, FieldInfo]
    by_name: Mapping[str, FieldInfo]
    frozen: bool
    make_table: Callable[[], Table]

    @property
    def table_name(self) -> str:
        """The table's name in PostgreSQL, without its schema."""
        return self.source.table

    @functools.cached_property
    def table(self) -> Table:
        """Worked out when first asked for; see the attributes.

        Raises:
            ModelError: a reference leads nowhere.
        """
        return self.make_table()

    @functools.cached_property
    def writable(self) -> tuple[FieldInfo, ...]:
        """The fields that an insert may give."""
        return tuple(field for field in self.fields if not field.computed)

    def __repr__(self) -> str:
        return f"<ModelInfo {self.model.__qualname__} on {self.table_name!r}, {len(self.fields)} columns>"
