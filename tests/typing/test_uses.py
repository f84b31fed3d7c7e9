"""What type checkers say of uses of the library: right ones have the right type, wrong ones are refused, by mypy and by pyright.

Each checker runs once, over a module made of the lines below; the line numbers of its errors say which uses it refused.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import trioorm
from tests.typing.right_uses import RIGHT

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
update(User).set_each([(1, 37)])
insert(User).values_from([("Ada", 36)])
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
