"""Models: classes whose objects are rows.

The contract: `Model` makes attrs classes with slots; `model_of` gives the record that statements, schema and hydration work from.
"""

from trioorm.model.declaration import ColumnDeclaration, column
from trioorm.model.field import FieldInfo
from trioorm.model.info import ModelInfo
from trioorm.model.metaclass import ModelMeta, unknown_column
from trioorm.model.model import Model, evolve, model_of
from trioorm.model.unset import UNSET, Unset, UnsetType

__all__ = [
    "UNSET",
    "ColumnDeclaration",
    "FieldInfo",
    "Model",
    "ModelInfo",
    "ModelMeta",
    "Unset",
    "UnsetType",
    "column",
    "evolve",
    "model_of",
    "unknown_column",
]
