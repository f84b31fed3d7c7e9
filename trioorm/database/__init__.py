"""The hall, where the wings meet: statements are compiled, bound, run and hydrated here, and only here."""

from trioorm.database.database import Database, open_database
from trioorm.database.transaction import Savepoint, Transaction
from trioorm.database.verbs import Verbs

__all__ = ["Database", "Savepoint", "Transaction", "Verbs", "open_database"]
