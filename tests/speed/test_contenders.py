"""The contenders of the benchmark do the same, one operation of each workload; and one that does not is found out."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from benchmarks.speed import tables
from benchmarks.speed.contender import Address
from benchmarks.speed.entrants import ENTRANTS
from benchmarks.speed.figures import compared, median
from benchmarks.speed.measuring import Different, Plan, check, measure
from benchmarks.speed.workers import Asked, Worker, WorkerError
from benchmarks.speed.workloads import WORKLOADS

ALWAYS = ("psycopg", "trioorm on Trio", "trioorm on asyncio")


@pytest.fixture
def direct(dsn: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        tables.create(connection, readings=2_000)
        yield connection


@pytest.fixture
def where(dsn: str) -> Address:
    parts = {name: str(value) for name, value in conninfo_to_dict(dsn).items()}
    return Address(parts["host"], int(parts["port"]), parts["user"], parts["dbname"], parts.get("password"))


def plan(entrants: Sequence[str], *workloads: str) -> Plan:
    return Plan([ENTRANTS[name] for name in entrants], [WORKLOADS[name] for name in workloads], rounds=1, batch_seconds=0.0)


def ignore(_text: str) -> None:
    pass


def test_contenders_give_equal_rows_leave_equal_tables_and_are_timed(where: Address, direct: psycopg.Connection) -> None:
    steps: list[str] = []
    chosen = plan(ALWAYS, *WORKLOADS)
    figures = measure(chosen, where, direct, steps.append)
    assert len(steps) == chosen.steps()
    for name, workload in WORKLOADS.items():
        for contender in ALWAYS if workload.like is None and name != "build" else ():
            assert median(figures, name, contender, "cpu") is not None
            assert len(figures[name][contender]["wall"]) == 1
            assert min(figures[name][contender]["wall"]) > 0
    ratio = compared(figures, "get", "psycopg", "psycopg")
    assert ratio is not None
    assert (ratio.low, ratio.median, ratio.high) == (1, 1, 1)


GET = [[1, "person 1", 1], [2, "person 2", 3], [18, "person 18", 18]]


class Changed:
    """A contender whose answers, or what it leaves behind, were changed."""

    def __init__(self, worker: Asked, direct: psycopg.Connection, answer: list[object] | None, leaves: str) -> None:
        self._worker = worker
        self._direct = direct
        self._answer = answer
        self._leaves = leaves

    def ask(self, do: str, workload: str, **more: object) -> Any:  # noqa: ANN401 - as the protocol has it
        """As the worker, but changed."""
        answer = self._worker.ask(do, workload, **more)
        self._direct.execute(self._leaves.encode())
        return answer if self._answer is None else self._answer


@pytest.mark.parametrize(
    ("workload", "answer", "leaves", "line"),
    [
        ("get", GET, "SELECT", "[2, 'person 2', 3]"),
        ("insert", None, "INSERT INTO guest (name, age) VALUES ('one more', 1)", "4 rows"),
        ("update", None, "UPDATE account SET owner = 'somebody' WHERE id = 1000", "(1000,somebody,1000)"),
        ("transfer", None, "DELETE FROM entry WHERE id = 2", "2 rows"),
    ],
)
def test_a_contender_that_does_something_else_stops_the_run(
    where: Address, direct: psycopg.Connection, workload: str, answer: list[object] | None, leaves: str, line: str
) -> None:
    chosen = plan(["psycopg", "trioorm on Trio"], workload)
    with ExitStack() as stack:
        workers: dict[str, Asked] = {each.name: stack.enter_context(Worker(each.name, where)) for each in chosen.entrants}
        check(chosen, workers, direct, ignore)
        workers["trioorm on Trio"] = Changed(workers["trioorm on Trio"], direct, answer, leaves)
        with pytest.raises(Different, match="trioorm on Trio") as raised:
            check(chosen, workers, direct, ignore)
    added = [each for each in str(raised.value).splitlines() if each.startswith("+")]
    assert any(line in each for each in added)


def test_a_contender_that_fails_stops_the_run(direct: psycopg.Connection, where: Address, capfd: pytest.CaptureFixture[str]) -> None:
    direct.execute("DROP TABLE person CASCADE")
    with pytest.raises(WorkerError, match="psycopg ended when it was told to answer get"):
        measure(plan(["psycopg"], "get"), where, direct, ignore)
    assert "UndefinedTable" in capfd.readouterr().err
