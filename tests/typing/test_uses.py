"""What type checkers say of uses of the library: right ones have the right type, wrong ones are refused, by mypy and by pyright.

Each checker runs once, over a module made of the lines below; the line numbers of its errors say which uses it refused.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import trioorm

ROOT = Path(trioorm.__file__).resolve().parent.parent

HEADER = """\
import dataclasses
import datetime
import decimal
import enum
import ipaddress
from typing import NamedTuple, assert_type
from trioorm.expression import *
from trioorm.model import UNSET, as_dict, Many, Model, One, ToMany, ToOne, belongs_to, column, has_many, many_to_many
from trioorm.model import Figure, ToFigure, aggregate_of, count_of
from trioorm.query import *
from collections.abc import Coroutine
from typing import Any
from trioorm import Attempts, Database, FlightResult, Retry, Transaction
from trioorm.schema import exclude, foreign_key, identity, index, sequence
from trioorm.database import CopyBlock, CopyStream, show_progress
from trioorm.database.streaming import RowsBlock

class Status(enum.Enum):
    OPEN = "open"

@dataclasses.dataclass
class Place:
    city: str

class Base(Model, abstract=True):
    id: Column[int] = column(primary_key=True, generated=True)

class User(Base, table="users"):
    name: Column[str]
    age: Column[int] = column(check=lambda age: age >= 0)
    email: Column[str | None] = column(default=None, unique=True)
    created_at: Column[datetime.datetime] = column(server_default=now())

class Order(Model, table="orders"):
    id: Column[int] = column(primary_key=True, generated=True, default=UNSET)
    user_id: Column[int | None] = column(default=None, references=lambda: User.id)
    total: Column[decimal.Decimal] = column(default=decimal.Decimal(0))
    tags: Column[list[str]] = column(default_factory=list)
    status: Column[Status] = column(default=Status.OPEN)
    weight: Column[float] = column(default=1)
    twice: Column[decimal.Decimal] = column(generated_as=lambda: Order.total + Order.total)

class Doc(Model, table="docs"):
    id: Column[int] = column(primary_key=True, generated=True)
    data: Column[Json | None] = column(default=None)
    during: Column[Range[datetime.datetime]]
    free: Column[Multirange[int]]
    ip: Column[IpAddress]
    vector: Column[list[float]] = column(type=VECTOR(3))
    words: Column[TsVector]
    store: Column[dict[str, str | None]] = column(type=HSTORE)
    place: Column[Place] = column(json=True)
    places: Column[list[Place] | None] = column(json=True, default=None)
    day: Column[datetime.date]
    opens: Column[datetime.time]
    span: Column[Interval]

class Pair(NamedTuple):
    age: int
    name: str

class Point(Model, table="points", frozen=True):
    x: Column[int] = column(primary_key=True)
    y: Column[int] = column(primary_key=True)

class Numbered(Model, table="numbered", schema="shop", comment="rows"):
    id: Column[int] = column(primary_key=True, generated=identity(always=True, start=7))
    name: Column[str] = column(comment="its name")
    code: Column[str] = column(generated_as=lambda: lower(Numbered.name), stored=False)

class House(Model, table="houses"):
    id: Column[int] = column(primary_key=True)
    owner_id: Column[int | None] = column(references=lambda: Tenant.id)
    owner: One["Tenant | None"] = belongs_to(foreign_key="owner_id")
    tenants: Many["Tenant"] = has_many(order_by=lambda: Tenant.name)
    friends: Many["Tenant"] = many_to_many(lambda: Tenant, through="friends", foreign_key="house_id", other_key="tenant_id")
    tenant_count: Figure[int] = count_of(lambda: House.tenants)
    last_name: Figure[str | None] = aggregate_of(lambda: House.friends.where(Tenant.id > 1), lambda: max_(Tenant.name))

class Tenant(Model, table="tenants"):
    id: Column[int] = column(primary_key=True)
    name: Column[str]
    house_id: Column[int] = column(references=House.id)
    house: One[House] = belongs_to(foreign_key="house_id")

class Names(Model, view="names"):
    name: Column[str]

    @classmethod
    def view_query(cls) -> Select[str]:
        return select(Numbered.name)

class Page(Model, table="pages"):
    id: Column[int] = column(primary_key=True)
    house_id: Column[int] = column(references=House.id, default=UNSET)
    version: Column[int] = column(version=True)

class Draft(Model, table="drafts"):
    id: Column[int] = column(primary_key=True)
    xmin: Column[int] = column(version="xmin", comment="the server's")

user = User(name="Ada", age=36)
db: Database = next(iter([]))
tx: Transaction = next(iter([]))

async def pay(tx: Transaction, amount: int) -> str: return ""
async def mail(address: str) -> None: ...
house = House(id=1, owner_id=None)
tenant = Tenant(id=1, name="Ada", house_id=1)
ip = ipaddress.ip_address("10.0.0.1")
day = datetime.date(2020, 1, 1)
hour = datetime.time(1)
span = Interval()
"""

RIGHT = """\
assert_type(House.tenants, ToMany[House, Tenant])
assert_type(Tenant.house, ToOne[Tenant, House])
assert_type(house.tenants, list[Tenant])
assert_type(House.tenant_count, ToFigure[House, int])
assert_type(house.tenant_count, int)
assert_type(tenant.house.last_name, str | None)
house.tenant_count = 3
assert_type(select(House).load(House.tenant_count, House.last_name.where(Tenant.id > 1)), Select[House])
assert_type(select(Tenant).load(Tenant.house.load(House.tenant_count)), Select[Tenant])
assert_type(house.owner, Tenant | None)
assert_type(tenant.house.tenants[0].house, House)
house.tenants = [tenant]
house.owner = None
assert_type(select(House).load(House.tenants, House.owner).where(House.id > 1), Select[House])
assert_type(select(House).load(House.owner.load(Tenant.house.load(House.friends))), Select[House])
assert_type(select(House).load(House.tenants.where(Tenant.name > "x").order_by(Tenant.id.desc()).limit(3)), Select[House])
assert_type(select(House, count()).load(House.tenants), Select[tuple[House, int]])
assert_type(select(House, Tenant).load(House.tenants, Tenant.house).with_total(), Select[tuple[House, Tenant, int]])
assert_type(select(House).load(House.tenants).with_total(), Select[tuple[House, int]])
assert_type(House.tenants.count(), Expression[int])
assert_type(House.tenants.aggregate(max_(Tenant.name)), Expression[str | None])
assert_type(select(House, House.tenants.aggregate(max_(Tenant.id))).load(House.owner), Select[tuple[House, int | None]])
select(House).where(House.tenants.count() > 3)
User(name="Ada", age=36, email="ada@x")
Order(id=5)
Order()
hash(Point(x=1, y=2))
assert_type(user.age, int)
assert_type(Numbered(name="x").id, int)
assert_type(select(Names), Select[Names])
assert_type(sequence("numbers").next_value(), Expression[int])
index(lower(Numbered.name), Numbered.id.desc(), unique=True, include=(Numbered.code,), operator_class=("text_ops", None))
index(Numbered.name, options={"fillfactor": 70})
exclude((Numbered.id, "="), (Numbered.name, "&&"), where=Numbered.id > 3)
foreign_key(Numbered.id, references=User.id, deferrable=True, initially_deferred=True)
assert_type(select(User).lint(), tuple[LintFinding, ...])
assert_type(user.email, str | None)
assert_type(user.id, int)
assert_type(User.age, Column[int])
assert_type(User.age > 18, Expression[bool])
assert_type(User.age == 18, Expression[bool])
assert_type(User.email == "x", Expression[bool])
assert_type(User.id == Order.user_id, Expression[bool])
assert_type(Order.user_id == User.id, Expression[bool])
assert_type((User.age > 18) & ~(User.name == "x") | User.email.is_null(), Expression[bool])
assert_type(User.age.in_([1, 2]), Expression[bool])
assert_type(User.age.in_(select(User.age)), Expression[bool])
assert_type(User.id.in_(select(Order.user_id)), Expression[bool])
assert_type(User.age > select(User.age), Expression[bool])
assert_type(Order.status == Status.OPEN, Expression[bool])
assert_type(Order.weight > 1, Expression[bool])
assert_type(Order.tags.has("x"), Expression[bool])
assert_type(Order.tags.contains(["x"]), Expression[bool])
assert_type(User.age + 1, Expression[int])
assert_type(1 + User.age, Expression[int])
assert_type(Order.user_id + 1, Expression[int | None])
assert_type(User.age + Order.user_id, Expression[int | None])
assert_type(Order.total * User.age, Expression[decimal.Decimal])
assert_type(Order.total * 2, Expression[decimal.Decimal])
assert_type(now() - datetime.timedelta(days=1), Expression[datetime.datetime])
assert_type(now() - User.created_at, Expression[datetime.timedelta])
assert_type(count(), Expression[int])
assert_type(sum_(User.age), Expression[int | None])
assert_type(sum_(Order.total), Expression[decimal.Decimal | None])
assert_type(avg(User.age), Expression[decimal.Decimal | None])
assert_type(avg(Order.weight), Expression[float | None])
assert_type(max_(User.name), Expression[str | None])
assert_type(min_(Order.user_id), Expression[int | None])
assert_type(coalesce(User.email, "none"), Expression[str])
assert_type(coalesce(User.email, User.name), Expression[str])
assert_type(lower(User.email), Expression[str | None])
assert_type(func.length(User.name, returns=int), Expression[int])
assert_type(cast(User.age, str), Expression[str])
assert_type(literal(5), Expression[int])
assert_type(User.age.as_("years"), Expression[int])
assert_type(select(User), Select[User])
assert_type(select(User).where(User.age > 1).order_by(User.age.desc()).limit(1), Select[User])
assert_type(select(User.id), Select[int])
assert_type(select(User.id, User.email), Select[tuple[int, str | None]])
assert_type(select(User, optional(Order)), Select[tuple[User, Order | None]])
assert_type(select(User.id, optional(Order.total)), Select[tuple[int, decimal.Decimal | None]])
ten = select(User, Order, User.id, User.name, User.age, User.email, Order.id, Order.tags, count(), now())
assert_type(ten, Select[tuple[User, Order, int, str, int, str | None, int, list[str], int, datetime.datetime]])
assert_type(alias(User, "u").age, Column[int])
assert_type(select(alias(User, "u")), Select[User])
assert_type(insert(User), Insert[User])
assert_type(insert(User).values(user).returning(User), Returning[User])
assert_type(insert(User).values({"name": "x"}).returning(User.id, User.name), Returning[tuple[int, str]])
assert_type(insert(User).values(user).on_conflict(User.email).do_nothing(), Insert[User])
insert(User).values(user).on_conflict(User.email).do_update(set={User.age: excluded(User).age})
assert_type(update(User).set(User.age, User.age + 1).where(User.id == 1), Update[User])
update(Order).set(Order.user_id, None)
update(Order).set(Order.user_id, User.id)
update(User).set(User.created_at, now())
update(User).set({User.age: 3, User.name: "x"}).set({"email": None})
assert_type(update(User).set(User.age, 1).everywhere().returning(User.age), Returning[int])
assert_type(delete(User).where(User.id == 1), Delete[User])
assert_type(sql("SELECT 1").returns(int), TypedSql[int])
assert_type(sql("SELECT 1").returns(User), TypedSql[User])
assert_type(sql("SELECT 1").returns(int, str), TypedSql[tuple[int, str]])
select(User).where(sql("age > {x}", x=1))
sub = select(User, Order.total, count().as_("n")).join(Order, Order.user_id == User.id).subquery("sub")
assert_type(sub[Order.total], ColumnExpression[decimal.Decimal])
assert_type(sub[User], type[User])
assert_type(sub[User].age, Column[int])
assert_type(sub.column("n", int), ColumnExpression[int])
assert_type(select(sub[User], sub[Order.total]), Select[tuple[User, decimal.Decimal]])
outer = select(User.name, optional(sub[Order.total])).left_join(sub, sub[User].id == User.id)
assert_type(outer, Select[tuple[str, decimal.Decimal | None]])
assert_type(select(User.id).lateral("l").alias("m"), Subquery)
assert_type(select(User).cte("c")[User].name, Column[str])
assert_type(select(User.id).recursive_cte("t", lambda t: select(User.id).join(t, User.id == t[User.id])), Cte)
assert_type(delete(User).everywhere().returning(User.id).cte("gone")[User.id], ColumnExpression[int])
assert_type(select(User.id).union(select(User.age)), Combined[int])
assert_type(select(User.id).union(select(User.age)).order_by(User.id).limit(1).except_(select(User.id)), Combined[int])
assert_type(unnest([1, 2], name="n").value, ColumnExpression[int])
assert_type(unnest([1], ["a"], name="n").columns, tuple[ColumnExpression[int], ColumnExpression[str]])
assert_type(unnest(Order.tags, name="n").with_ordinality().ordinality, ColumnExpression[int])
assert_type(generate_series(1, 3, name="n").value, ColumnExpression[int])
assert_type(table_function(func.jsonb_array_elements(Order.tags, returns=str), "n").value, ColumnExpression[str])
assert_type(table_function(func.jsonb_to_recordset("[]"), "n", columns=User), type[User])
assert_type(table_function(func.jsonb_to_recordset("[]"), "n", columns={"id": int}).column("id", int), ColumnExpression[int])
assert_type(select(User).with_total(), Select[tuple[User, int]])
assert_type(select(User.name, User.age).with_total(), Select[tuple[str, int, int]])
assert_type(select(User).order_by(User.age, User.id).after(user), Select[User])
select(User).order_by(User.age, User.id).after({User.age: 3, User.id: 4})
assert_type(select(User.age, User.name).into(Pair), Select[Pair])
assert_type(delete(User).everywhere().returning(User.age, User.name).into(Pair), Returning[Pair])
select(User.age).group_by(rollup(User.age, (User.name, User.id)), grouping_sets(User.age, ()))
assert_type(grouping(User.age), Expression[int])
assert_type(insert(User).from_select(select(User.name)).returning(optional(old(User)), new(User).age), Returning[tuple[User | None, int]])
assert_type(create_table_as("made", select(User.name, User.age), temporary=True).table[User.age], ColumnExpression[int])
insert(User).from_select(select(User.name, User.age), User.name, User.age)
insert(User).from_select(select(User.name, User.name), User.name, User.email)
insert(User).from_select(select(User.id), User.age)
insert(User).from_select(select(User), User.id, User.name, User.age, User.email, User.created_at)
insert(User).from_select(select(User))
assert_type(update(User).set((User.name, User.age), select(User.name, User.age).where(User.id == 1)).everywhere(), Update[User])
update(User).set((User.email, User.age), select(User.name, User.age)).everywhere()
assert_type(update(User).set_each([{"id": 1}]).where(User.id > 0), Update[User])
assert_type(update(User).set_each([user], User.age), Update[User])
assert_type(update(User).set(User.age, 1).from_(Order).join(sub, sub[User].id == User.id).everywhere(), Update[User])
assert_type(merge(User).using(sub, on=sub[User].id == User.id).when_matched().update({User.age: 1}), Merge[User])
merged = merge(User).using(Order, on=Order.user_id == User.id).when_not_matched().insert({"age": 1})
assert_type(merged.returning(merge_action()), Returning[str])
assert_type(User.id.in_(select(User.id).union(select(User.age))), Expression[bool])
assert_type(select(User).sql().values, tuple[object, ...])
sql("SELECT {x} FROM {y}", x=identifier("x"), y=sub)
user.age = 3
user.email = None
paid = db.run_in_transaction(pay, 3, isolation="serializable", retry=Retry(max_attempts=3))
same: Coroutine[Any, Any, str] = paid
assert_type(db.attempts(read_only=True, settings={"app.user": 1}), Attempts[Transaction])
tx.on_commit(mail, "ada")
done = tx.settings(role="clerk", timeout=3)
assert_type(Page(id=1).version, int)
assert_type(Page(id=1, house_id=3).house_id, int)
assert_type(Page.version == 3, Expression[bool])
async def flown() -> None:
    async with tx.flight() as flight:
        assert_type(flight.fetch_all(select(User)), FlightResult[list[User]])
        assert_type(flight.fetch_optional(select(User.id, User.email)).value, tuple[int, str | None] | None)
        assert_type(flight.insert(user).value, User)
        assert_type(flight.delete(user).value, None)
    async with db.flight(commit=True, isolation="serializable") as whole:
        assert_type(whole.execute(delete(User).everywhere()).value, int)
    assert_type(await db.fetch_many(select(User), select(User.age)), tuple[list[User], list[int]])
    assert_type(await tx.fetch_many(*[select(User.age)] * 9), tuple[list[int], ...])
async def updated() -> None: assert_type(await tx.update(house, since=House(id=1, owner_id=2)), House)
async def patched() -> None: assert_type(await tx.patch(Page, 1, house_id=3, version=4), Page)
async def graph() -> None: assert_type(await tx.insert(house, with_=[House.tenants.load(Tenant.house), House.owner]), House)
async def graphs() -> None: assert_type(await db.insert_many([house], with_=[House.tenants]), list[House])
async def links() -> None: assert_type((await tx.replace_links(house, House.friends, [tenant])).added, int)
assert_type(as_dict(house, House.tenants.load(Tenant.house), House.owner), dict[str, object])
if user.id is UNSET: print("not stored yet")
assert_type(Order.total > 5, Expression[bool])
assert_type(Order.total == 5, Expression[bool])
assert_type(Order.total.between(1, 5), Expression[bool])
assert_type(User.created_at + datetime.timedelta(days=1), Expression[datetime.datetime])
assert_type(User.created_at + Interval.of(months=1), Expression[datetime.datetime])
assert_type(User.created_at - User.created_at, Expression[datetime.timedelta])
assert_type(Doc.day + 1, Expression[datetime.date])
assert_type(Doc.day - Doc.day, Expression[int])
assert_type(Doc.day + datetime.time(1), Expression[datetime.datetime])
assert_type(Doc.opens + datetime.timedelta(hours=1), Expression[datetime.time])
assert_type(User.created_at.at_time_zone("Europe/Rome"), Expression[datetime.datetime])
assert_type(Doc.data["a"]["b"], Expression[Json | None])
assert_type(Doc.data["a"].as_int(), Expression[int | None])
assert_type(Doc.data["a"].as_value(decimal.Decimal), Expression[decimal.Decimal | None])
assert_type(Doc.place["city"].as_text(), Expression[str | None])
assert_type(Doc.place.contains({"city": "Rome"}), Expression[bool])
assert_type(Doc.place == Place("Rome"), Expression[bool])
doc = Doc(during=Range(), free=Multirange(), ip=ip, vector=[1], words=TsVector(), store={}, place=Place(""), day=day, opens=hour, span=span)
assert_type(doc.place, Place)
assert_type(Doc.store["k"], Expression[str | None])
assert_type(Order.tags[1], Expression[str | None])
assert_type(Order.tags[1:2], Expression[list[str] | None])
assert_type(Doc.during.contains(datetime.datetime.now(datetime.UTC)), Expression[bool])
assert_type(Doc.during.contains(User.created_at), Expression[bool])
assert_type(Doc.during.overlaps(Range(datetime.datetime.now(datetime.UTC), None)), Expression[bool])
assert_type(ranges.lower(Doc.during), Expression[datetime.datetime | None])
assert_type(Doc.free.contains(3), Expression[bool])
assert_type(Doc.vector.cosine_distance([1, 2, 3]), Expression[float])
assert_type(search.matches(Doc.words, search.websearch_to_tsquery("x")), Expression[bool])
assert_type(networks.host(Doc.ip), Expression[str])
assert_type(trigram.similarity(User.name, "x"), Expression[float])
assert_type(case((User.age < 18, "minor"), else_="adult"), Expression[str])
assert_type(case((User.age < 18, User.name), else_="adult"), Expression[str])
assert_type(case((User.age < 18, 1)), Expression[int | None])
assert_type(row(User.name, User.age), Expression[tuple[str, int]])
assert_type(row(User.name, User.age) > ("Ada", 36), Expression[bool])
assert_type(row(User.name, User.age).in_([("Ada", 36)]), Expression[bool])
assert_type(User.age > any_([1, 2]), Expression[bool])
assert_type(User.name == any_(Order.tags), Expression[bool])
assert_type(User.age >= all_(select(User.age)), Expression[bool])
assert_type(array([User.name, lower(User.name)]), Expression[list[str]])
assert_type(User.name.op("<->")("x", returns=float), Expression[float])
assert_type(nullif(User.age, 0), Expression[int | None])
assert_type(greatest(User.age, 3), Expression[int])
assert_type(func.length(User.name), Expression[int])
assert_type(func.length(User.email), Expression[int | None])
assert_type(func.round(Order.total, 2), Expression[decimal.Decimal])
assert_type(func.array_agg(User.name, order_by=User.age), Expression[list[str] | None])
assert_type(func.string_agg(User.name, ", "), Expression[str | None])
assert_type(func.percentile_cont(0.5, within_group=Order.weight), Expression[float | None])
assert_type(func.rank().over(partition_by=User.name, order_by=User.age.desc()), Expression[int])
assert_type(func.lag(User.age).over(order_by=User.id), Expression[int | None])
assert_type(func.lag(User.age, 1, 0).over(order_by=User.id), Expression[int])
assert_type(sum_(User.age).over(order_by=User.id, rows=(None, 0)), Expression[int | None])
assert_type(func.date_trunc("month", User.created_at), Expression[datetime.datetime])
assert_type(db.copy_out(User), RowsBlock[User])
assert_type(tx.copy_out(select(User.id, User.email)), RowsBlock[tuple[int, str | None]])
assert_type(tx.copy_out(sql("SELECT 1").returns(int)), RowsBlock[int])
assert_type(db.copy_out(User, format="csv", header=True), CopyBlock)
assert_type(db.copy_out(select(User.id), format="binary"), CopyBlock)
async def copied_out() -> None: assert_type([block async for block in await db.copy_out(User, format="text").__aenter__()], list[bytes])
_ = db.copy_in(User, [user], on_progress=show_progress(1))
_ = db.copy_in(User, (user for _ in "ab"), on_conflict="do_update", on=[User.email])
_ = db.copy_in(User, [("Ada", 36)], columns=[User.name, User.age])
_ = db.copy_in(identifier("shop", "events"), [(1, "x")], columns=["id", "name"])
_ = tx.copy_in(identifier("events"), [(1, "x")], columns=("id", "name"), on_conflict="do_update", on="id")
"""

WRONG = """\
select(House).load(Tenant.house)
select(House).load(House.id)
select(House).load(House.tenants.load(House.owner))
select(House).load(House.owner.load(House.tenants))
House(id=1, owner_id=1, tenants=[])
house.tenants = None
tenant.house = None
tenant.house = tenant
House.tenants.limit("x")
Page(id=1, version=3)
Draft(id=1, xmin=3)
wrong_version: Column[str] = column(version=True)
column(version="xmax")
column(version=True, primary_key=True)
column(version=True, default=1)
_ = tx.insert(house, with_=[Tenant.house])
_ = tx.insert(house, with_=[House.id])
_ = tx.insert(house, with_=[House.tenants.load(House.tenants)])
_ = tx.insert_many([tenant], with_=[House.tenants])
_ = tx.replace_links(house, House.friends, [house])
_ = tx.replace_links(tenant, House.friends, [tenant])
_ = tx.replace_links(house, House.owner, [tenant])
as_dict(house, Tenant.house)
async def mixed_up() -> House: return await tx.update(house, since=tenant)
House.tenants.where(True)
House.owner.limit(1)
house.tenants.load(Tenant.house)
wrong_kind: One[User] = has_many(lambda: User)
wrong_figure: Figure[str] = count_of(lambda: House.tenants)
wrong_aggregate: Figure[str] = aggregate_of(lambda: House.tenants, lambda: max_(Tenant.id))
select(Tenant).load(House.tenant_count)
select(Tenant).load(Tenant.house.load(Tenant.house, House.tenant_count))
House.tenant_count.limit(3)
House.tenant_count > 3
house.tenant_count = "many"
User(name="Ada", age="x")
Numbered(name="x", code="y")
column(stored=False)
column(generated="always")
index(Numbered.name, method="btre")
index("name")
exclude((Numbered.id,))
foreign_key(Numbered.id, references=User.id, on_delete="nothing")
sequence("numbers").next_value() + "x"
User(name="Ada")
User("Ada", 36)
wrong: Coroutine[Any, Any, int] = paid
refused = db.run_in_transaction(pay)
refused = db.run_in_transaction(pay, "3")
refused = db.run_in_transaction(mail, "ada")
refused = db.run_in_transaction(pay, 3, isolation="chaos")
db.attempts(attempts=3)
tx.on_commit(mail, 3)
tx.on_commit(print, 3)
refused = tx.settings(user=None)
db.advisory_lock(1.5)
db.flight(commit=True, isolation="chaos")
tx.flight(commit=True)
tx.flight().insert(User)
tx.flight().fetch_all("SELECT 1")
User(name="Ada", age=36, agee=1)
User(name=None, age=36)
Point(x=1, y=2).x = 3
user.age = "x"
user.name = None
user.nmae
User.agee
alias(User, "u").agee
User.age > "x"
select(User).where(User.age == "x")
select(User).where(User.email == None)
select(User).where(User.age == None)
User.id == User.name
User.age > User.name
User.age > select(User.name)
User.age.in_(["x"])
User.age.in_(select(User.name))
User.age.between("a", "b")
User.age.like("x")
User.age + "x"
User.age & User.age
~User.age
User.name.has("x")
Order.tags.has(1)
Order.status == "open" or select(User).where(Order.status == "open")
select(User).where(User.age)
select(User).where(True)
select(User).where(user.age > 3)
select(User).order_by("age")
select(user)
select()
select(User).limit("x")
select(User).join(Order)
select(User).left_join("orders", User.id == 1)
update(User).set(User.age, "x")
update(User).set(User.age, None)
update(User).set(User.age, User.email)
insert(User).values(Order())
insert(int)
alias(Order(), "o")
sum_("x")
select(User.id).union(select(User.name))
select(User).union(select(Order))
select(User.id).recursive_cte("t", lambda t: select(User.name))
sub_wrong: Expression[str] = select(User.id).subquery("s")[User.id]
select(User.id).subquery("s")["id"]
select(User.id).subquery("s").column("id", str) > 3
select(User).join(select(Order), User.id == 1)
select(User).after("x")
select(User).with_total().after(user)
select(User).into(3)
select(User).tablesample(3, method="all")
select(User).for_share(of=user)
unnest([1], name="n").value > "x"
values_table("v", [1, 2])
table_function("x", "n")
rollup("age")
merge(User).using(Order)
merge(User).using(Order, on=User.id == 1).when_not_matched().delete()
merge(User).using(Order, on=User.id == 1).when_matched().insert({User.age: 1})
insert(User).from_select(User)
create_table_as("made", insert(User))
insert(User).values(name="Ada", age=36)
update(User).set(age=37)
select(User).filter(User.age > 1)
User.age.cast(str)
insert(User).from_select(select(User.name, User.age), User.age, User.name)
insert(User).from_select(select(User.email, User.age), User.name, User.age)
insert(User).from_select(select(User.name), User.name, User.age)
insert(User).from_select(select(User.name), User.age)
update(User).set((User.name, User.age), select(User.age, User.name))
update(User).set((User.name, User.age), select(User.email, User.age))
update(User).set((User.name, User.age), ("Ada", 36))
update(User).set_each([Order()])
update(User).from_("orders")
sub_text: int = select(User.id).sql().text
sub_total: Select[tuple[User, str]] = select(User).with_total()
Status.OPEN > User.age
default_wrong: Column[int] = column(default="x")
check_wrong: Column[int] = column(check=lambda age: age > "x")
Point(x=UNSET, y=1)
Order.total > 1.5
Order.total > "5"
Doc.day - "x"
Doc.during.contains(5)
Doc.during.overlaps(Range(1, 2))
Doc.free.contains("x")
Doc.vector.l2_distance("x")
User.name.l2_distance([1, 2])
User.name.at_time_zone("UTC")
search.matches(User.name, search.websearch_to_tsquery("x"))
search.matches(Doc.words, "x")
row(User.name, User.age) > ("Ada", "x")
row(User.name, User.age).in_([("Ada", "x")])
User.age > any_(["x"])
case((User.age, "x"), else_="y")
func.length(User.age)
func.string_agg(User.age, ", ")
func.percentile_cont("x", within_group=Order.weight)
User.name.op("<->")("x", returns=5)
networks.within(User.name, ip)
func.rank().over(order_by="age")
func.rank().over(order_by=User.age, exclude="nobody")
db.copy_out(user)
db.copy_out("users", format="csv")
db.copy_out(User, format="xml")
db.copy_out(User, format="text", header=True)
db.copy_out(User, header=True)
_ = db.copy_in(User, ["x"])
_ = db.copy_in(User, [user], columns=["name"])
_ = db.copy_in(User, [user], on_conflict="ignore")
_ = db.copy_in(identifier("events"), [(1, "x")])
_ = db.copy_in(identifier("events"), [user], columns=["id"])
_ = db.copy_in(identifier("events"), [(1,)], columns=[User.id])
_ = db.copy_in("events", [(1,)], columns=["id"])
"""


def _module() -> tuple[str, range, range]:
    """The module, and the line numbers of its right and of its wrong uses."""
    first = HEADER.count("\n") + 1
    middle = first + RIGHT.count("\n")
    return HEADER + RIGHT + WRONG, range(first, middle), range(middle, middle + WRONG.count("\n"))


def _assert_refused(errors: dict[int, str]) -> None:
    """Errors stand on all wrong lines and on no others."""
    text, _, wrong = _module()
    lines = text.split("\n")
    accepted = [lines[number - 1] for number in wrong if number not in errors]
    assert not accepted, "wrong uses that were accepted:\n" + "\n".join(accepted)
    refused = [f"{lines[number - 1]}\n    {message}" for number, message in sorted(errors.items()) if number not in wrong]
    assert not refused, "right uses that were refused:\n" + "\n".join(refused)


def test_mypy_accepts_right_uses_and_refuses_wrong_ones(tmp_path: Path) -> None:
    path = tmp_path / "uses.py"
    path.write_text(_module()[0])
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-pretty", "--cache-dir", str(tmp_path / "cache"), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "MYPYPATH": str(ROOT)}, check=False)
    errors: dict[int, str] = {}
    for line in done.stdout.splitlines():
        file, _, rest = line.partition(":")
        number, _, message = rest.partition(": ")
        if file == "uses.py" and message.startswith("error:") and number.isdigit():
            errors.setdefault(int(number), message)
    assert done.returncode == 1, done.stdout + done.stderr
    _assert_refused(errors)


def test_pyright_accepts_right_uses_and_refuses_wrong_ones(tmp_path: Path) -> None:
    (tmp_path / "uses.py").write_text(_module()[0])
    # Expressions whose value is unused, and wildcard imports, are this test's own way of writing.
    own_way = {"reportUnusedExpression": False, "reportWildcardImportFromLibrary": False, "reportUnusedCoroutine": False}
    settings = {"include": ["uses.py"], "extraPaths": [str(ROOT)], "typeCheckingMode": "standard", **own_way}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "-p", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    report = json.loads(done.stdout)
    found = [item for item in report["generalDiagnostics"] if item["severity"] == "error"]
    _assert_refused({item["range"]["start"]["line"] + 1: item["message"] for item in found})
