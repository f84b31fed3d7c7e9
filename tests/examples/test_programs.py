"""The examples as a user runs them: as programs of their own, with what they print, and with the errors of a user who mistypes."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from examples.films.__main__ import main as films_main

PROJECT = Path(__file__).parents[2]
PROMISES = [
    "the server has 234,372 credits",
    "all 8 screenings are committed",
    "nothing was written: 16 screenings seen inside, 8 afterwards, as before",
    "the server runs no leftover query: 0",
    "10,000 of 10,000 films read were as written",
]


def run(module: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "FORCE_COLOR", "NO_COLOR")}
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=PROJECT,
        env=inherited | environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=280,
        check=False,
    )


def relations(dsn: str) -> list[tuple[str, str]]:
    """Schema and name of everything that is in a database beside PostgreSQL's own."""
    with psycopg.connect(dsn) as connection:
        return connection.execute(
            "SELECT nspname, coalesce(relname, '') FROM pg_namespace LEFT JOIN pg_class ON relnamespace = pg_namespace.oid"
            " WHERE nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema' ORDER BY 1, 2"
        ).fetchall()


def test_quickstart_prints_the_same_under_both_loops() -> None:
    ended = run("examples.quickstart")
    assert (ended.returncode, ended.stderr) == (0, "")
    once = ["Ada got the id 1", "Adults: Ada, Grace", "Ada is 37", "Grace is 86", "Linus is 12"]
    assert ended.stdout.splitlines() == once * 2


def test_timeouts_leave_nothing_behind_under_both_loops() -> None:
    ended = run("examples.timeouts")
    assert (ended.returncode, ended.stderr) == (0, "")
    lines = ended.stdout.splitlines()
    assert len(lines) == 8
    for first in (0, 4):
        assert re.fullmatch(r"The query of 60 s was given up after 0\.\d s", lines[first])
        assert lines[first + 1 : first + 4] == [
            "The transaction timed out: True",
            "Notes written: 0",
            "Connections on loan: 0; queries still running: 0",
        ]


def test_transfer_loses_no_money_under_both_loops() -> None:
    ended = run("examples.transfer")
    assert (ended.returncode, ended.stderr) == (0, "")
    once = [
        "80 transfers asked for, some refused",
        "Money before: 400, afterwards: 400",
        "Each that was done is written down once: True",
    ]
    assert ended.stdout.splitlines() == once * 2


def test_listening_packs_every_order_under_both_loops() -> None:
    ended = run("examples.listening")
    assert ended.returncode == 0
    packed = ["Packed tea", "Packed milk", "The connection of the listeners breaks", "Gap(): looking for what was missed", "Packed sugar"]
    assert ended.stdout.splitlines() == packed * 2
    logged = [line.partition(":")[0] for line in ended.stderr.splitlines()]
    assert logged == ["the connection for notifications was lost, opening another"] * 2


def test_plain_psycopg_converts_every_reading_under_both_loops() -> None:
    ended = run("examples.plain_psycopg")
    assert (ended.returncode, ended.stderr) == (0, "")
    once = ["1000 readings, up to 102.2 F", "Connections on loan: 0; statements still running: 0"]
    assert ended.stdout.splitlines() == once * 2


@pytest.mark.timeout(300)  # 20 s on two idle cores; they may be busy
def test_films_runs_from_beginning_to_end_under_both_loops() -> None:
    ended = run("examples.films")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "\x1b" not in ended.stdout
    assert "NOT" not in ended.stdout
    trio_part, asyncio_part = ended.stdout.split("== Films under asyncio ==")
    assert "== Films under trio ==" in trio_part
    for part in (trio_part, asyncio_part):
        for promise in PROMISES:
            assert f"  ok  {promise}" in part
        assert re.search(r"Steven Spielberg +23 +\$9,090,303,780", part)
        assert re.search(r"2014  The Grand Budapest Hotel +Adventure, Comedy, Crime, Drama, Romance", part)
        assert re.search(r"Brian Doyle-Murray +6$", part, re.MULTILINE)
        assert re.search(r"  ok  the pool is whole: (\d+) open, \1 idle, 0 on loan, 0 waiting", part)
        assert re.search(r"[\d,]+ rows loaded a second; [\d,]+ films read by key a second", part)
    assert re.search(r"^  trio .*\n  asyncio ", asyncio_part, re.MULTILINE)


def test_films_takes_the_address_from_the_environment() -> None:
    ended = run("examples.films", "--loop", "trio", DATABASE_URL="host=127.0.0.1 port=1 dbname=nowhere")
    assert ended.returncode == 1
    assert 'connection to server at "127.0.0.1", port 1 failed' in ended.stderr


@pytest.mark.parametrize("loop", ["trio", "asyncio"])
@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("postgresql://ada:s3cret@127.0.0.1:1/shop", "ConnectFailed"),
        ("host=/nowhere password=s3cret", "ConnectFailed"),
        ("postgresql://ada:s3cret@[127.0.0.1/shop", "MalformedAddress"),
        ("password=s3cret colour=blue", "MalformedAddress"),
    ],
)
def test_films_says_what_is_wrong_with_an_address(loop: str, address: str, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert films_main(["--dsn", address, "--loop", loop]) == 1
    written = capfd.readouterr()
    assert written.err.startswith(f"{name}: ")
    assert "To fix it: " in written.err
    assert "Traceback" not in written.err
    assert "s3cret" not in written.err + written.out


def test_films_says_that_a_database_is_not_there(dsn: str) -> None:
    ended = run("examples.films", "--loop", "trio", "--dsn", make_conninfo(dsn, dbname="no_such_database"))
    assert ended.returncode == 1
    assert 'database "no_such_database" does not exist' in ended.stderr
    assert "Traceback" not in ended.stderr


def test_films_says_that_the_role_may_not_create_a_schema(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS films_visitor; CREATE ROLE films_visitor LOGIN")
        try:
            ended = run("examples.films", "--loop", "trio", "--dsn", make_conninfo(dsn, user="films_visitor"))
        finally:
            connection.execute("DROP ROLE films_visitor")
    assert ended.returncode == 1
    assert ended.stderr.startswith("InsufficientPrivilege: ")
    assert "Traceback" not in ended.stderr


def test_films_refuses_a_loop_that_it_does_not_know() -> None:
    ended = run("examples.films", "--loop", "twisted")
    assert ended.returncode == 2
    assert "invalid choice: 'twisted'" in ended.stderr


def test_an_ascii_pipe_shows_what_it_can() -> None:
    ended = run("examples.films", "--help", PYTHONIOENCODING="ascii")
    assert ended.returncode == 0
    program = "from examples.films.console import open_report; open_report().line('\u017delary')"
    shown = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, env=os.environ | {"PYTHONIOENCODING": "ascii"}, capture_output=True, check=True
    )
    assert shown.stdout == b"?elary\n"


@pytest.mark.parametrize("loop", ["trio", "asyncio"])
def test_films_that_is_interrupted_leaves_the_server_as_it_was(loop: str, dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE TABLE films (title text); INSERT INTO films VALUES ('mine')")
    before = relations(dsn)
    command = [sys.executable, "-m", "examples.films", "--loop", loop, "--dsn", dsn]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8") as program:
        assert program.stdout is not None
        while "Loading" not in program.stdout.readline():
            assert program.poll() is None
        assert relations(dsn) != before
        program.send_signal(signal.SIGINT)
        _, errors = program.communicate(timeout=30)
    assert (program.returncode, errors) == (130, "Interrupted; nothing is left on the server.\n")
    assert relations(dsn) == before
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT title FROM films").fetchall() == [("mine",)]
