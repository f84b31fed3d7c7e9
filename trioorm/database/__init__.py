"""The hall, where the wings meet: statements are compiled, bound, run and hydrated here, and only here."""

from typing import TYPE_CHECKING

from trioorm.database.database import Database, open_database
from trioorm.database.transaction import Savepoint, Transaction
from trioorm.database.verbs import Verbs
from trioorm.later import given_later

if TYPE_CHECKING:
    from trioorm.database.copying_out import CopyBlock, CopyStream
    from trioorm.database.explaining import LoadedRelation, QueryPlan
    from trioorm.database.flight import Flight, FlightResult
    from trioorm.database.graph_writing import LinkChanges
    from trioorm.database.plan_nodes import Buffers, PlanNode
    from trioorm.database.progress import show_progress
    from trioorm.database.snapshot import Snapshot
else:
    __getattr__, __dir__ = given_later(
        __name__,
        {
            "trioorm.database.copying_out": "CopyBlock CopyStream",
            "trioorm.database.explaining": "LoadedRelation QueryPlan",
            "trioorm.database.flight": "Flight FlightResult",
            "trioorm.database.graph_writing": "LinkChanges",
            "trioorm.database.plan_nodes": "Buffers PlanNode",
            "trioorm.database.progress": "show_progress",
            "trioorm.database.snapshot": "Snapshot",
        },
    )

__all__ = [
    "Buffers",
    "CopyBlock",
    "CopyStream",
    "Database",
    "Flight",
    "FlightResult",
    "LinkChanges",
    "LoadedRelation",
    "PlanNode",
    "QueryPlan",
    "Savepoint",
    "Snapshot",
    "Transaction",
    "Verbs",
    "open_database",
    "show_progress",
]
