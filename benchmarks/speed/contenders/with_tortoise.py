"""Tortoise ORM on asyncpg."""

from collections.abc import Callable, Sequence
from typing import Any

from tortoise import Tortoise, fields
from tortoise.models import Model
from tortoise.query_utils import Prefetch
from tortoise.transactions import in_transaction

from benchmarks.speed.contender import Address, Contender, GuestRow, Opening, VisitRow


class Person(Model):
    id = fields.BigIntField(primary_key=True, generated=False)
    name = fields.TextField()
    age = fields.BigIntField()

    class Meta:
        table = "person"


class Reading(Model):
    id = fields.BigIntField(primary_key=True, generated=False)
    device = fields.TextField()
    taken_at = fields.DatetimeField()
    amount = fields.DecimalField(max_digits=20, decimal_places=2)
    ratio = fields.FloatField()
    is_valid = fields.BooleanField()
    kind = fields.BigIntField()
    token = fields.UUIDField()
    note = fields.TextField(null=True)
    details: Any = fields.JSONField()

    class Meta:
        table = "reading"


class Artist(Model):
    id = fields.BigIntField(primary_key=True, generated=False)
    name = fields.TextField()

    class Meta:
        table = "artist"


class Film(Model):
    id = fields.BigIntField(primary_key=True, generated=False)
    title = fields.TextField()
    year = fields.BigIntField()
    rating = fields.BigIntField()

    class Meta:
        table = "film"


class Credit(Model):
    id = fields.BigIntField(primary_key=True, generated=False)
    film: Any = fields.ForeignKeyField("models.Film", related_name="credits")
    artist: Any = fields.ForeignKeyField("models.Artist", related_name="credits")
    role = fields.TextField()
    place = fields.BigIntField()

    class Meta:
        table = "credit"


class Review(Model):
    id = fields.BigIntField(primary_key=True, generated=False)
    film: Any = fields.ForeignKeyField("models.Film", related_name="reviews")
    stars = fields.BigIntField()
    body = fields.TextField()

    class Meta:
        table = "review"


class Guest(Model):
    id = fields.BigIntField(primary_key=True)
    name = fields.TextField()
    age = fields.BigIntField()

    class Meta:
        table = "guest"


class Visit(Model):
    id = fields.BigIntField(primary_key=True, generated=False)
    person_id = fields.BigIntField()
    page = fields.TextField()
    at = fields.DatetimeField()
    seconds = fields.FloatField()

    class Meta:
        table = "visit"


class Account(Model):
    id = fields.BigIntField(primary_key=True, generated=False)
    owner = fields.TextField()
    balance = fields.BigIntField()

    class Meta:
        table = "account"


class Entry(Model):
    id = fields.BigIntField(primary_key=True)
    account_id = fields.BigIntField()
    amount = fields.BigIntField()

    class Meta:
        table = "entry"


class TortoiseOrm(Contender):
    async def open(self, where: Address, opening: Opening, size: int) -> None:
        credentials = {
            "host": where.host,
            "port": where.port,
            "user": where.user,
            "password": where.password,
            "database": where.database,
            "minsize": size,
            "maxsize": size,
        }
        await Tortoise.init(
            config={
                "connections": {"default": {"engine": "tortoise.backends.asyncpg", "credentials": credentials}},
                "apps": {"models": {"models": [__name__], "default_connection": "default"}},
                "use_tz": True,
                "timezone": "UTC",
            }
        )

    async def close(self) -> None:
        await Tortoise.close_connections()

    async def get(self, key: int) -> object:
        return await Person.get(id=key)

    async def filter(self, age: int) -> Sequence[object]:
        return await Person.filter(age=age).order_by("id")

    async def fetch_wide(self, after: int) -> Sequence[object]:
        return await Reading.filter(id__gt=after, id__lte=after + 1000).order_by("id")

    async def stream(self, take: Callable[[object], object]) -> None:
        last = 0  # pages by key, since its iteration reads everything at once
        while page := await Reading.filter(id__gt=last).order_by("id").limit(1000):
            for reading in page:
                take(reading)
            last = page[-1].id

    async def film(self, key: int) -> object:
        credits = Credit.all().select_related("artist").order_by("place")
        return await Film.get(id=key).prefetch_related(
            Prefetch("credits", queryset=credits.filter(role="director"), to_attr="director_credits"),
            Prefetch("credits", queryset=credits.filter(role="cast"), to_attr="cast_credits"),
            Prefetch("reviews", queryset=Review.all().order_by("id"), to_attr="reviews_in_order"),
        )

    async def insert(self, name: str, age: int) -> int:
        return (await Guest.create(name=name, age=age)).id

    async def insert_many(self, guests: Sequence[GuestRow]) -> list[int]:
        async with in_transaction():  # one by one, since `bulk_create` leaves the keys unset
            return [(await Guest.create(name=name, age=age)).id for name, age in guests]

    async def insert_objects(self, guests: Sequence[GuestRow]) -> list[int]:
        return await self.insert_many(guests)

    async def load(self, visits: Sequence[VisitRow]) -> None:
        await Visit.bulk_create([Visit(id=id, person_id=person, page=page, at=at, seconds=secs) for id, person, page, at, secs in visits])

    async def update(self, key: int, balance: int) -> None:
        async with in_transaction():
            await Account.filter(id=key).update(balance=balance)

    async def update_many(self, balances: Sequence[tuple[int, int]]) -> None:
        accounts = [Account(id=key, balance=balance) for key, balance in balances]
        async with in_transaction():
            await Account.bulk_update(accounts, fields=["balance"])

    async def transfer(self, key: int, amount: int) -> None:
        async with in_transaction():
            account = await Account.select_for_update().get(id=key)
            account.balance -= amount
            await account.save(update_fields=["balance"])
            await Entry.create(account_id=key, amount=amount)

    async def pooled_get(self, key: int) -> object:
        return await Person.get(id=key)

    def build(self, year: int) -> tuple[str, Sequence[object]]:
        query = (
            Credit.filter(film__year=year, film__rating__gte=5, role="cast", place__gt=5)
            .select_related("film", "artist")
            .order_by("-id")
            .limit(20)
        )
        query._make_query()  # what awaiting it does before it calls the driver
        text, values = query.query.get_parameterized_sql()
        return text, values

    def plain_film(self, film: Any) -> list[object]:
        return [
            film.title,
            [credit.artist.name for credit in film.director_credits],
            [credit.artist.name for credit in film.cast_credits],
            [[review.stars, review.body] for review in film.reviews_in_order],
        ]
