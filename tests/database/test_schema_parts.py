"""Tables in schemas of their own, views, sequences and concurrent indexes, by the verbs of a database."""

import datetime
import decimal
from collections.abc import Iterator

import pytest

from tests.schema.house import PARTS, Booking, BusyRoom, Keeper, Meal, Room, Usage, numbers
from tests.wire.witness import Witness
from trioorm import (
    VECTOR,
    Column,
    DatabaseError,
    ForeignKeyViolation,
    IntegrityError,
    Model,
    ModelError,
    QueryError,
    Select,
    TableIndex,
    UniqueViolation,
    alias,
    column,
    create_table_as,
    extension,
    generate_series,
    index,
    open_database,
    select,
    update,
)
from trioorm.errors import UndefinedTable

DAY = datetime.datetime(2026, 11, 21, tzinfo=datetime.UTC)


def room(name: str, **values: object) -> Room:
    return Room(name=name, floor=1, width=decimal.Decimal(2), length=decimal.Decimal(3), **values)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - values of several classes


async def test_rows_go_into_tables_of_several_schemas_and_come_back(dsn: str) -> None:
    async with open_database(dsn) as db:
        await db.create_schema(*PARTS)
        first, second = await db.insert_many([room("Red"), room("Blue", code="b")])
        assert (first.id, first.number, first.area, first.label) == (7, 100, decimal.Decimal(6), "red")
        assert (second.id, second.number) == (9, 110)
        assert await db.get(Room, 7) == first
        await db.copy_in(Keeper, [Keeper(name="Ada", room_id=9)])
        await db.execute(update(Room).set(Room.name, "Green").where(Room.id == 9))
        other = alias(Room, "other")
        rows = await db.fetch_all(select(Room.name, other.name).join(other, other.id > Room.id))
        assert rows == [("Red", "Green")]
        assert await db.fetch_value(select(numbers.next_value())) == 120
        with pytest.raises(UniqueViolation):
            await db.insert(room("Grey"))  # the same floor, and again no code
        with pytest.raises(DatabaseError, match="room_id"):
            await db.insert(Keeper(name="Eve", room_id=99))
        await db.drop_schema(*PARTS)


async def test_deferred_keys_are_checked_at_commit(dsn: str) -> None:
    async with open_database(dsn) as db:
        await db.create_schema(*PARTS)
        kept = await db.insert(room("Red"))
        async with db.transaction() as tx:
            await tx.insert(Meal(room_id=kept.id, begins_at=DAY, dish="soup"))
            await tx.insert(Booking(room_id=kept.id, begins_at=DAY, ends_at=DAY + datetime.timedelta(hours=1)))
        with pytest.raises(ForeignKeyViolation):
            async with db.transaction() as tx:
                await tx.insert(Meal(room_id=kept.id, begins_at=DAY.replace(year=2000), dish="soup"))
        with pytest.raises(IntegrityError, match="bookings_room_id_expr_excl"):
            await db.insert(Booking(room_id=kept.id, begins_at=DAY + datetime.timedelta(minutes=9), ends_at=DAY.replace(day=22)))
        await db.drop_schema(*PARTS)


async def test_views_are_read_like_tables_and_refreshed(dsn: str) -> None:
    async with open_database(dsn) as db:
        await db.create_schema(*PARTS)
        kept = await db.insert(room("Red"))
        for hour in range(2):
            begins_at = DAY.replace(hour=hour)
            await db.insert(Booking(room_id=kept.id, begins_at=begins_at, ends_at=begins_at + datetime.timedelta(minutes=5)))
        assert await db.fetch_all(select(Usage)) == [Usage(room_id=kept.id, name="Red", bookings=2)]
        assert await db.get(Usage, kept.id) == Usage(room_id=kept.id, name="Red", bookings=2)
        assert await db.fetch_all(select(BusyRoom)) == []
        await db.refresh(BusyRoom)
        assert await db.fetch_all(select(BusyRoom.name)) == ["Red"]
        await db.execute(update(Booking).set(Booking.cancelled, True).everywhere())
        async with db.transaction() as tx:
            await tx.refresh(BusyRoom, concurrently=True)
        assert await db.fetch_all(select(BusyRoom)) == []
        await db.refresh(BusyRoom, with_data=False)
        with pytest.raises(DatabaseError, match="has not been populated"):
            await db.fetch_all(select(BusyRoom))
        for wrong in (Usage, Room):
            with pytest.raises(ModelError, match="no materialized view"):
                await db.refresh(wrong)
        with pytest.raises(ModelError, match="emptied concurrently"):
            await db.refresh(BusyRoom, concurrently=True, with_data=False)
        await db.drop_schema(*PARTS)


class Keyless(Model, view="keyless"):
    name: Column[str]

    @classmethod
    def view_query(cls) -> Select[str]:
        return select(Room.name)


async def test_a_row_of_a_view_without_a_key_is_never_meant_by_key(dsn: str) -> None:
    async with open_database(dsn) as db:
        made = Keyless(name="x")
        for asked in (lambda: db.get(Keyless), lambda: db.update(made), lambda: db.delete(made), lambda: db.upsert(made)):
            with pytest.raises(QueryError, match="without a primary key"):
                await asked()


class Note(Model, table="notes"):
    id: Column[int] = column(primary_key=True, generated=True)
    text: Column[str]

    @classmethod
    def table_indexes(cls) -> list[TableIndex]:
        return [index(cls.text, unique=True, concurrently=True), index(cls.text, method="hash")]


INVALID = "SELECT count(*) FROM pg_index WHERE NOT indisvalid"


async def test_an_index_is_made_concurrently_and_an_invalid_one_replaced(dsn: str, witness: Witness) -> None:
    async with open_database(dsn) as db:
        witness.run("CREATE TABLE notes (id bigint PRIMARY KEY GENERATED BY DEFAULT AS IDENTITY, text text NOT NULL)")
        await db.insert_many([Note(text="same"), Note(text="same")])
        with pytest.raises(UniqueViolation):
            await db.create_index(Note, "notes_text_key")
        assert witness.value(INVALID) == 1
        await db.execute(update(Note).set(Note.text, "other").where(Note.id == 1))
        await db.create_index(Note, "notes_text_key")
        assert witness.value(INVALID) == 0
        with pytest.raises(DatabaseError, match="already exists"):
            await db.create_index(Note, "notes_text_key")
        with pytest.raises(ModelError, match="its indexes are: notes_text_key, notes_text_idx"):
            await db.create_index(Note, "text_idx")
        async with db.transaction() as tx:
            await tx.create_index(Note, "notes_text_idx")
            with pytest.raises(QueryError, match="inside a transaction"):
                await tx.create_index(Note, "notes_text_key")
        assert witness.value("SELECT count(*) FROM pg_indexes WHERE tablename = 'notes'") == 3


async def test_a_temporary_table_is_gone_with_its_transaction(dsn: str) -> None:
    series = generate_series(1, 5, name="series")
    made = create_table_as("made", select(series.value, (series.value * 2).as_("twice")).where(series.value > 2), temporary=True)
    async with open_database(dsn, max_size=1) as db:
        for _ in range(2):  # the second time on the same connection, by a prepared statement
            async with db.transaction() as tx:
                assert await tx.execute(made) == 3
                assert await tx.fetch_all(select(made.table.column("twice", int)).order_by(made.table[series.value])) == [6, 8, 10]
        with pytest.raises(UndefinedTable):
            await db.fetch_all(select(made.table[series.value]))


class Picture(Model, table="pictures"):
    id: Column[int] = column(primary_key=True)
    near: Column[list[float]] = column(type=VECTOR(2))

    @classmethod
    def table_indexes(cls) -> Iterator[TableIndex]:
        yield index(cls.near, method="hnsw", operator_class="vector_l2_ops", options={"m": 8}, name="by_hnsw")
        yield index(cls.near, method="ivfflat", operator_class="vector_cosine_ops", options={"lists": 1}, name="by_ivfflat")


@pytest.mark.parametrize("way", ["by_hnsw", "by_ivfflat"])
async def test_the_nearest_vectors_are_found_by_an_index(dsn: str, way: str) -> None:
    origin = [0.0, 1.0]
    distance = Picture.near.l2_distance(origin) if way == "by_hnsw" else Picture.near.cosine_distance(origin)
    nearest = select(Picture.id).order_by(distance).limit(2)
    async with open_database(dsn, max_size=1) as db:
        await db.create_schema(extension("vector"), Picture)
        await db.insert_many([Picture(id=number, near=[float(number), 1.0]) for number in range(1, 50)])
        async with db.transaction(settings={"enable_seqscan": "off"}) as tx:
            plan = await tx.explain(nearest)
            assert f"using {way}" in str(plan)
            assert await tx.fetch_all(nearest) == [1, 2]
