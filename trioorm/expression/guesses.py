"""Names from SQL or from other libraries that are spelt otherwise here: reading one tells the right spelling.

The contract: to type checkers and to `hasattr` these names are not there. They are descriptors rather than a `__getattr__`, which would
slow down every read of every attribute.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NoReturn

from trioorm.errors import UnknownMethod


class Guess:
    """A name that somebody may try."""

    __slots__ = ("_name", "_right")

    def __init__(self, name: str, right: str) -> None:
        self._name = name
        self._right = right

    def __get__(self, instance: object, owner: type) -> NoReturn:
        raise UnknownMethod(f"{owner.__name__} has no {self._name!r}; it is spelt otherwise here.\nTo fix it: {self._right}")


def expect_guesses(owner: type, guesses: Mapping[str, str]) -> None:
    """Put guesses on a class.

    Args:
        owner: where somebody may look for them; not one has a meaning there.
        guesses: the right spelling, by the names with spaces between that stand for it.
    """
    for name, right in _each(guesses):
        assert all(isinstance(vars(above).get(name, Guess), Guess | type) for above in owner.__mro__), f"{name} has a meaning"
        setattr(owner, name, Guess(name, right))


def guess_of_model(name: str) -> str | None:
    """The right spelling of what somebody looks for on a model's class."""
    return dict(_each(_OF_MODELS)).get(name)


def _each(guesses: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    return ((name, right) for names, right in guesses.items() for name in names.split())


_OF_MODELS = {
    "alias as_ aliased": 'alias(User, "manager")',
    "select query objects filter filter_by where find join order_by": "select(User).where(...)",
    "all get first one find_by get_or_none": "await db.fetch_all(select(User)), await db.get(User, key)",
    "insert create bulk_create": "await db.insert(User(...)), or insert(User).values(...)",
    "update": "update(User).set(...)",
    "delete": "delete(User).where(...)",
    "count": "select(count()).from_(User)",
}
"""Model classes have no methods that ask the database."""

OF_EXPRESSIONS = {
    "cast astype": "cast(User.age, str)",
    "label alias": 'User.age.as_("name")',
    "filter": "count(User.id, where=User.active), func.array_agg(User.name, where=User.active)",
    "within_group": "func.percentile_cont(0.5, within_group=User.age)",
    "distinct": "count(User.age, distinct=True)",
    "order_by": 'func.string_agg(User.name, ", ", order_by=User.name)',
    "is_ isnot is_not isnull notnull is_none": "User.email.is_null(), is_not_null(), is_distinct_from(value), is_not_distinct_from(value)",
    "is_true is_false": "User.active.is_not_distinct_from(True); User.active and ~User.active are conditions themselves",
    "isin": "User.age.in_([1, 2])",
    "notin_ notin": "User.age.not_in([1, 2])",
    "notlike": 'User.name.not_like("a%")',
    "notilike": 'User.name.not_ilike("a%")',
    "startswith": 'User.name.starts_with("a")',
    "endswith ends_with": 'User.name.like("%a")',
    "icontains": 'User.name.ilike("%a%")',
    "regexp_match rlike matches_regex": 'User.name.regex("^a")',
    "match matches": 'search.matches(search.to_tsvector(User.name), search.websearch_to_tsquery("a"))',
    "concat": "User.name + User.email, or func.concat(User.name, User.email)",
    "as_str astext as_string": 'User.data["key"].as_text()',
    "any": "value == any_(User.tags), or User.tags.has(value)",
    "nulls_first nulls_last nullsfirst nullslast": 'User.age.desc(nulls="last")',
}

OF_ORDERINGS = {"nulls_first nulls_last nullsfirst nullslast": 'User.age.desc(nulls="last")'}

OF_SELECTS = {
    "filter filter_by": "select(User).where(User.age > 18)",
    "select_from": "select(count()).from_(User)",
    "distinct_on": "select(User).distinct(User.age)",
    "inner_join": "select(User).join(Order, Order.user_id == User.id)",
    "outer_join outerjoin left_outer_join": "select(User).left_join(Order, Order.user_id == User.id)",
    "right_outer_join": "select(User).right_join(Order, Order.user_id == User.id)",
    "full_outer_join": "select(User).full_join(Order, Order.user_id == User.id)",
    "join_lateral cross_join_lateral left_join_lateral": 'select(User).join(select(...).lateral("name"))',
    "fetch fetch_first": "select(User).order_by(User.id).limit(5, with_ties=True)",
    "top take": "select(User).limit(5)",
    "skip": "select(User).offset(5)",
    "with_for_update": "select(User).for_update()",
    "minus difference": "select(...).except_(select(...))",
    "alias": 'select(User).subquery("name")',
    "all first one scalar execute fetch_all fetch_one": "await db.fetch_all(select(User)), db.fetch_one, db.fetch_optional",
    "count": "select(count()).from_(User), or select(User).with_total()",
    "options selectinload joinedload prefetch_related select_related": "select(User).load(User.orders)",
}

OF_INSERTS = {
    "on_conflict_do_nothing": "insert(User).values(...).on_conflict(User.email).do_nothing()",
    "on_conflict_do_update on_duplicate_key_update": "insert(User).values(...).on_conflict(User.email).do_update(User.age)",
    "select": "insert(User).from_select(select(...), User.name, User.age)",
    "default": "insert(User).default_values()",
}

OF_UPDATES = {
    "values": "update(User).set(User.age, 37)",
    "filter filter_by": "update(User).set(...).where(User.age > 18)",
}

OF_DELETES = {
    "from_": "delete(User).using(Order).where(Order.user_id == User.id)",
    "filter filter_by": "delete(User).where(User.age > 18)",
}

OF_VERBS = {
    "fetch fetchall all scalars": "await db.fetch_all(statement)",
    "fetchrow fetchone first one one_or_none": "await db.fetch_one(statement), or fetch_optional if there may be none",
    "fetchval scalar": "await db.fetch_value(statement)",
    "add save create": "await db.insert(obj)",
    "add_all bulk_create executemany": "await db.insert_many(objects)",
    "merge": "await db.upsert(obj)",
    "query": "await db.fetch_all(select(User))",
    "cursor": "async with db.stream(statement) as rows: async for row in rows: ...",
    "copy copy_from copy_records_to_table": "await db.copy_in(User, objects)",
}

OF_DATABASES = {"begin session": "async with db.transaction() as tx: ...", "acquire connection": "async with db.transaction() as tx: ..."}

OF_BLOCKS = {
    "commit": "let the block end: `async with db.transaction() as tx:` commits behind its last line",
    "rollback abort": "raise an exception in the block, or tx.cancel_scope.cancel(); for a part of it `async with tx.savepoint() as sp:`",
    "begin begin_nested nested transaction": "async with tx.savepoint() as sp: ...",
}
