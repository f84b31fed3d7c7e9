"""Models: classes whose objects are rows.

The contract: `Model` makes attrs classes with slots; `model_of` gives the record that statements, schema and hydration work from.
"""

from typing import TYPE_CHECKING

from trioorm.later import given_later
from trioorm.model.declaration import ColumnDeclaration, column
from trioorm.model.field import FieldInfo
from trioorm.model.info import ModelInfo
from trioorm.model.load import Load, ToFigure, ToMany, ToOne, check_load
from trioorm.model.metaclass import FETCHED_AT, ModelMeta, unknown_column
from trioorm.model.model import Model, evolve, model_of, relation_value
from trioorm.model.relation import Relation
from trioorm.model.relations import Figure, Many, One, aggregate_of, belongs_to, count_of, has_many, has_one, many_to_many
from trioorm.model.unset import UNSET, Unset, UnsetType

if TYPE_CHECKING:
    from trioorm.model.interchange import as_dict, configure_converter
else:
    __getattr__, __dir__ = given_later(
        __name__,
        {
            "trioorm.model.interchange": "as_dict configure_converter",
        },
    )

__all__ = [
    "FETCHED_AT",
    "UNSET",
    "ColumnDeclaration",
    "FieldInfo",
    "Figure",
    "Load",
    "Many",
    "Model",
    "ModelInfo",
    "ModelMeta",
    "One",
    "Relation",
    "ToFigure",
    "ToMany",
    "ToOne",
    "Unset",
    "UnsetType",
    "aggregate_of",
    "as_dict",
    "belongs_to",
    "check_load",
    "column",
    "configure_converter",
    "count_of",
    "evolve",
    "has_many",
    "has_one",
    "many_to_many",
    "model_of",
    "relation_value",
    "unknown_column",
]
