"""What a schema can hold beyond plain tables: exact SQL, and what a real server says of it afterwards."""

from collections.abc import Iterable

import psycopg
import pytest

from tests.query.shop import unchecked
from tests.schema.house import PARTS, BusyRoom, Room, numbers
from trioorm.compiler import create_schema_statements, drop_schema_statements
from trioorm.errors import ModelError, QueryError
from trioorm.expression import Column, Expression, count
from trioorm.model import Model, column, model_of
from trioorm.query import Select, select
from trioorm.schema import (
    Identity,
    TableConstraint,
    TableIndex,
    exclude,
    extension,
    foreign_key,
    identity,
    index,
    sequence,
    unique,
)

STATEMENTS = """\
CREATE SCHEMA IF NOT EXISTS "canteen"
CREATE SCHEMA IF NOT EXISTS "house"
CREATE EXTENSION IF NOT EXISTS "btree_gist" SCHEMA "house"
CREATE EXTENSION IF NOT EXISTS "pg_trgm"
CREATE SEQUENCE "house"."room numbers" START WITH 100 INCREMENT BY 10 MINVALUE 1 MAXVALUE 1000 CACHE 2 CYCLE
CREATE TABLE "house"."rooms" (
    "id" bigint NOT NULL GENERATED ALWAYS AS IDENTITY (START WITH 7 INCREMENT BY 2),
    "made_at" timestamptz NOT NULL DEFAULT (now()),
    "number" bigint NOT NULL DEFAULT (nextval('"house"."room numbers"'::regclass)),
    "name" text NOT NULL,
    "floor" smallint NOT NULL,
    "width" numeric NOT NULL,
    "length" numeric NOT NULL,
    "area" numeric NOT NULL GENERATED ALWAYS AS ("width" * "length") STORED,
    "label" text NOT NULL GENERATED ALWAYS AS (lower("name")) VIRTUAL,
    "keeper_id" bigint,
    "code" text,
    CONSTRAINT "rooms_pkey" PRIMARY KEY ("id"),
    CONSTRAINT "rooms_number_key" UNIQUE ("number"),
    CONSTRAINT "rooms_floor_code_key" UNIQUE NULLS NOT DISTINCT ("floor", "code"),
    CONSTRAINT "rooms_name_key" UNIQUE ("name") DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT "rooms_floor_check" CHECK ("floor" >= (-3)),
    CONSTRAINT "the longer side is the length" CHECK ("width" <= "length")
)
CREATE TABLE "house"."keepers" (
    "id" bigint NOT NULL GENERATED ALWAYS AS IDENTITY (START WITH 7 INCREMENT BY 2),
    "made_at" timestamptz NOT NULL DEFAULT (now()),
    "name" text NOT NULL,
    "room_id" bigint,
    CONSTRAINT "keepers_pkey" PRIMARY KEY ("id")
)
CREATE TABLE "house"."bookings" (
    "room_id" bigint NOT NULL,
    "begins_at" timestamptz NOT NULL,
    "ends_at" timestamptz NOT NULL,
    "cancelled" boolean NOT NULL,
    "guest" uuid NOT NULL DEFAULT (gen_random_uuid()),
    CONSTRAINT "bookings_pkey" PRIMARY KEY ("room_id", "begins_at"),
    CONSTRAINT "bookings_room_id_expr_excl" EXCLUDE USING gist ("room_id" WITH =, (tstzrange("begins_at", "ends_at")) WITH &&) \
WHERE (NOT "cancelled") DEFERRABLE,
    CONSTRAINT "bookings_room_id_fkey" FOREIGN KEY ("room_id") REFERENCES "house"."rooms" ("id") ON DELETE CASCADE
)
CREATE TABLE "canteen"."meals" (
    "room_id" bigint NOT NULL,
    "begins_at" timestamptz NOT NULL,
    "dish" text NOT NULL,
    CONSTRAINT "meals_pkey" PRIMARY KEY ("room_id", "begins_at", "dish"),
    CONSTRAINT "meals_room_id_begins_at_fkey" FOREIGN KEY ("room_id", "begins_at") \
REFERENCES "house"."bookings" ("room_id", "begins_at") ON DELETE CASCADE ON UPDATE RESTRICT DEFERRABLE INITIALLY DEFERRED
)
ALTER TABLE "house"."rooms" ADD CONSTRAINT "rooms_keeper_id_fkey" FOREIGN KEY ("keeper_id") \
REFERENCES "house"."keepers" ("id") ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED
ALTER TABLE "house"."keepers" ADD CONSTRAINT "keepers_room_id_fkey" FOREIGN KEY ("room_id") REFERENCES "house"."rooms" ("id")
CREATE INDEX "rooms_made_at_idx" ON "house"."rooms" USING brin ("made_at") WITH (pages_per_range = 16)
CREATE INDEX "rooms_floor_number_idx" ON "house"."rooms" ("floor" DESC NULLS LAST, "number") INCLUDE ("name", "area") \
WHERE "code" IS NOT NULL
CREATE UNIQUE INDEX "rooms_expr_key" ON "house"."rooms" ((lower("name"))) WITH (fillfactor = 70)
CREATE INDEX "rooms_by_trigrams" ON "house"."rooms" USING gin ("name" "gin_trgm_ops")
CREATE UNIQUE INDEX "rooms_code_floor_key" ON "house"."rooms" ("code" "text_pattern_ops", "floor") NULLS NOT DISTINCT
CREATE INDEX "rooms_number_idx" ON "house"."rooms" USING hash ("number")
CREATE INDEX "keepers_made_at_idx" ON "house"."keepers" USING brin ("made_at") WITH (pages_per_range = 16)
CREATE VIEW "house"."usage" ("room_id", "name", "bookings") AS
SELECT "rooms"."id", "rooms"."name", count("bookings"."room_id")
FROM "house"."rooms"
LEFT JOIN "house"."bookings" ON "bookings"."room_id" = "rooms"."id" AND "bookings"."cancelled" = ANY ('{"false"}'::boolean[])
WHERE "rooms"."name" <> 'it''s closed'::text
GROUP BY "rooms"."id"
CREATE MATERIALIZED VIEW "house"."busy_rooms" ("room_id", "name", "bookings") AS
SELECT "used"."room_id", "used"."name", "used"."bookings"
FROM "house"."usage" AS "used"
WHERE "used"."bookings" > 1
CREATE UNIQUE INDEX "busy_rooms_room_id_key" ON "house"."busy_rooms" ("room_id")
COMMENT ON TABLE "house"."rooms" IS 'What can be booked; it''s little'
COMMENT ON COLUMN "house"."rooms"."made_at" IS 'by the server''s clock'
COMMENT ON COLUMN "house"."rooms"."area" IS 'in square metres'
COMMENT ON COLUMN "house"."keepers"."made_at" IS 'by the server''s clock'
COMMENT ON VIEW "house"."usage" IS 'How often rooms are booked'
COMMENT ON COLUMN "house"."usage"."bookings" IS 'without cancelled ones'"""

DROPS = """\
DROP MATERIALIZED VIEW IF EXISTS "house"."busy_rooms"
DROP VIEW IF EXISTS "house"."usage"
DROP TABLE IF EXISTS "canteen"."meals", "house"."bookings", "house"."keepers", "house"."rooms"
DROP SEQUENCE IF EXISTS "house"."room numbers"
DROP EXTENSION IF EXISTS "pg_trgm"
DROP EXTENSION IF EXISTS "btree_gist"
DO 'BEGIN EXECUTE ''DROP SCHEMA IF EXISTS "canteen"''; EXCEPTION WHEN dependent_objects_still_exist THEN NULL; END'
DO 'BEGIN EXECUTE ''DROP SCHEMA IF EXISTS "house"''; EXCEPTION WHEN dependent_objects_still_exist THEN NULL; END'"""

OBJECTS = """
SELECT array_agg(n.nspname || '.' || c.relname || ' ' || c.relkind::text ORDER BY c.relname) FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname IN ('house', 'canteen') AND c.relname !~ '_(pkey|id_seq)$'
"""


def run_all(dsn: str, statements: list[str]) -> None:
    with psycopg.connect(dsn) as connection:
        for text in statements:
            connection.execute(text.encode())


def test_everything_is_made_in_order_and_removed_again(dsn: str) -> None:
    assert "\n".join(create_schema_statements(PARTS)) == STATEMENTS
    assert create_schema_statements([*PARTS[5::-1], *PARTS[6:]]) == create_schema_statements(PARTS)
    assert "\n".join(drop_schema_statements(PARTS)) == DROPS
    run_all(dsn, create_schema_statements(PARTS))
    with psycopg.connect(dsn) as connection:
        found = connection.execute(OBJECTS).fetchone()
        deferred = connection.execute("SELECT array_agg(conname ORDER BY conname) FROM pg_constraint WHERE condeferred").fetchone()
        comment = connection.execute("""SELECT obj_description('house.rooms'::regclass)""").fetchone()
        with pytest.raises(psycopg.errors.DependentObjectsStillExist):  # the default knows the sequence itself
            connection.execute('DROP SEQUENCE "house"."room numbers"')
    assert found is not None
    assert {"house.busy_rooms m", "house.usage v", "house.room numbers S", "canteen.meals r", "house.rooms_by_trigrams i"} <= set(found[0])
    assert deferred == (["meals_room_id_begins_at_fkey", "rooms_keeper_id_fkey", "rooms_name_key"],)
    assert comment == ("What can be booked; it's little",)
    run_all(dsn, drop_schema_statements(PARTS) * 2)
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT count(*) FROM pg_namespace WHERE nspname IN ('house', 'canteen')").fetchone() == (0,)
    run_all(dsn, create_schema_statements(PARTS))


def test_a_schema_in_which_others_keep_something_stays(dsn: str) -> None:
    run_all(dsn, [*create_schema_statements([numbers]), "CREATE TABLE house.mine (id int)", *drop_schema_statements([numbers])])
    with psycopg.connect(dsn) as connection:
        assert connection.execute(OBJECTS).fetchone() == (["house.mine r"],)


def test_records_are_compared_by_value() -> None:
    class Other(Model, table="rooms"):
        id: Column[int] = column(primary_key=True, generated=identity(always=True, start=7, increment=2))
        name: Column[str] = column(unique=True)

        @classmethod
        def table_indexes(cls) -> Iterable[TableIndex]:
            yield index(cls.name, where=cls.id > 3, concurrently=True)

    class Same(Model, table="rooms"):
        id: Column[int] = column(primary_key=True, generated=identity(always=True, start=7, increment=2))
        name: Column[str] = column(unique=True)

        @classmethod
        def table_indexes(cls) -> Iterable[TableIndex]:
            yield index(cls.name, where=cls.id > 3)

    assert model_of(Other).relation == model_of(Same).relation
    assert model_of(Other).relation != model_of(Room).relation
    assert model_of(Room).table.columns[0].identity == identity(always=True, start=7, increment=2) != Identity()


def test_what_a_schema_cannot_hold_is_refused_where_it_is_said() -> None:
    for wrong, message in (
        (lambda: identity(increment=0), "increment other than 0"),
        (lambda: sequence("x", min_value=5, max_value=5), "from 5 to 5"),
        (lambda: sequence("x", min_value=5, start=1), "start at 1"),
        (lambda: unchecked(column)(stored=False), "about a computed column"),
        (lambda: unchecked(column)(deferrable=True), "about a reference"),
        (lambda: unchecked(column)(references="a.b", initially_deferred=True), "needs deferrable"),
        (lambda: unique(Room.name, initially_deferred=True), "needs deferrable"),
        (lambda: foreign_key(Room.id, references=Room.id, initially_deferred=True), "needs deferrable"),
        (exclude, "nothing to compare"),
        (lambda: exclude((Room.id, "=); DROP TABLE rooms")), "no operator"),
        (lambda: exclude((Room.id, "=--")), "no operator"),
        (lambda: index(Room.id, nulls_distinct=False), "without unique=True"),
        (lambda: index(Room.id, operator_class=("a", "b")), "1 terms and 2 operator classes"),
        (lambda: index(Room.id, options={"m = 1); DROP": 1}), "no option"),
        (lambda: index(Room.id, include=Room.id + 1), "takes columns"),
    ):
        with pytest.raises(ModelError, match=message) as caught:
            wrong()
        assert "To fix it" in str(caught.value)
    for unnamed in (lambda: sequence(""), lambda: extension("x" * 64), lambda: sequence("x", schema="\0")):
        with pytest.raises(QueryError, match="cannot be the name"):
            unnamed()


def test_names_and_words_reach_the_text_quoted(dsn: str) -> None:
    hostile = 'a"; DROP TABLE x; --'

    class Odd(Model, table=hostile, schema=hostile, comment="'; DROP"):
        id: Column[int] = column(primary_key=True, comment="'; DROP")

        @classmethod
        def table_indexes(cls) -> Iterable[TableIndex]:
            yield index(cls.id, options={"fillfactor": unchecked("70); DROP TABLE x; --")})
            yield index(cls.id, operator_class='int8_ops"); DROP TABLE x; --')

    made = sequence(f"{hostile}s", schema=hostile)
    texts = create_schema_statements([Odd, made])
    assert texts[3].endswith("WITH (fillfactor = '70); DROP TABLE x; --')")
    assert texts[4].endswith('("id" "int8_ops""); DROP TABLE x; --")')
    run_all(dsn, [*texts[:3], *texts[5:]])
    with psycopg.connect(dsn) as connection:
        assert connection.execute(
            "SELECT obj_description(oid) FROM pg_class WHERE relname = %s AND relkind = 'r'", [hostile]
        ).fetchone() == ("'; DROP",)
    run_all(dsn, drop_schema_statements([Odd, made]))


def test_classes_that_contradict_themselves_are_refused_when_they_are_made() -> None:
    with pytest.raises(ModelError, match="says table and view"):

        class Both(Model, table="a", view="b"):  # pyright: ignore[reportUnusedClass] - making it is what fails
            id: Column[int] = column(primary_key=True)

    with pytest.raises(ModelError, match="has no query"):

        class Bare(Model, view="b"):  # pyright: ignore[reportUnusedClass] - making it is what fails
            id: Column[int]

    with pytest.raises(ModelError, match="column of a view"):

        class Numbered(Model, view="b"):  # pyright: ignore[reportUnusedClass] - making it is what fails
            id: Column[int] = column(primary_key=True, generated=True)

            @classmethod
            def view_query(cls) -> Select[int]:
                return select(Room.id)

    with pytest.raises(ModelError, match="is abstract and has view='b'"):

        class Lent(Model, view="b", abstract=True):  # pyright: ignore[reportUnusedClass] - making it is what fails
            id: Column[int]

    with pytest.raises(ModelError, match="is abstract and has comment"):

        class Told(Model, comment="b", abstract=True):  # pyright: ignore[reportUnusedClass] - making it is what fails
            id: Column[int]

    with pytest.raises(ModelError, match="cannot be the name"):

        class Nameless(Model, table="b", schema=""):  # pyright: ignore[reportUnusedClass] - making it is what fails
            id: Column[int] = column(primary_key=True)


class Narrow(Model, view="narrow"):
    id: Column[int]
    name: Column[str]

    @classmethod
    def view_query(cls) -> Select[int]:
        return select(Room.id)


class Mistaken(Model, view="mistaken"):
    id: Column[str]

    @classmethod
    def view_query(cls) -> Select[int]:
        return select(Room.id)


class Unasked(Model, view="unasked"):
    id: Column[int]

    @classmethod
    def view_query(cls) -> Expression[int]:
        return Room.id + 1


class Indexed(Model, view="indexed"):
    id: Column[int]

    @classmethod
    def view_query(cls) -> Select[int]:
        return select(Room.id)

    @classmethod
    def table_indexes(cls) -> Iterable[TableIndex]:
        yield index(cls.id)


class Constrained(Model, materialized_view="constrained"):
    id: Column[int]

    @classmethod
    def view_query(cls) -> Select[int]:
        return select(Room.id)

    @classmethod
    def table_constraints(cls) -> Iterable[TableConstraint]:
        yield unique(cls.id)


class Here(Model, view="here"):
    id: Column[int]

    @classmethod
    def view_query(cls) -> Select[int]:
        return select(There.id)


class There(Model, view="there"):
    id: Column[int]

    @classmethod
    def view_query(cls) -> Select[int]:
        return select(Here.id)


class Decades(Model, view="decades"):
    decade: Column[int]
    rooms: Column[int]
    share: Column[int]

    @classmethod
    def view_query(cls) -> Select[tuple[int, int, int]]:
        recent = select(Room.number).where(Room.number > 3).cte("recent")
        again = recent.alias("again")
        decade = (recent[Room.number] / 10).as_("decade")
        total = select(count() + 5).from_(again)
        return select(decade, count(), total).from_(recent).group_by(decade).order_by(decade).limit(7)


def test_each_constant_of_a_view_stands_where_it_is_meant(dsn: str) -> None:
    (view,) = create_schema_statements([Decades])
    assert (
        view
        == """\
CREATE VIEW "decades" ("decade", "rooms", "share") AS
WITH "recent" AS (
    SELECT "rooms"."number"
    FROM "house"."rooms"
    WHERE "rooms"."number" > 3
)
SELECT "recent"."number" / 10 AS "decade", count(*), (
    SELECT count(*) + 5
    FROM "recent" AS "again"
)
FROM "recent"
GROUP BY 1
ORDER BY "decade"
LIMIT 7"""
    )
    run_all(dsn, [*create_schema_statements(PARTS), view, *drop_schema_statements([Decades, *PARTS])])


@pytest.mark.parametrize(
    ("view", "message"),
    [
        (Narrow, "gives 1 columns, and the view has 2"),
        (Mistaken, "is text, and its query gives bigint"),
        (Unasked, "no select"),
        (Indexed, "declares indexes"),
        (Constrained, "declares constraints"),
    ],
)
def test_views_that_do_not_fit_their_query_are_refused(view: type[Model], message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        create_schema_statements([view])
    assert "To fix it" in str(caught.value)


def test_views_that_read_each_other_are_refused() -> None:
    with pytest.raises(ModelError, match=r"in a circle: (here -> there|there -> here)"):
        create_schema_statements([Here, There])


def test_a_view_is_no_table() -> None:
    with pytest.raises(ModelError, match="is a view and no table"):
        str(model_of(BusyRoom).table)
    with pytest.raises(ModelError, match="is no view"):
        Room.view_query()
