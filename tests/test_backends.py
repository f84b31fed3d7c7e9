"""Each async test really runs on the event loop that its name says, below Hypothesis too, and leaked sessions are found."""

import asyncio
from pathlib import Path

import anyio.lowlevel
import hypothesis
import psycopg
import pytest
import sniffio
import trio
from hypothesis import strategies as st

pytest_plugins = ["pytester"]


def _running_loop() -> str:
    """Ask the event loops themselves, not a library that may have been told."""
    try:
        trio.lowlevel.current_task()
    except RuntimeError:
        asyncio.get_running_loop()
        return "asyncio"
    return "trio"


async def test_runs_on_the_loop_it_is_named_for(backend: str, request: pytest.FixtureRequest) -> None:
    assert _running_loop() == backend
    assert sniffio.current_async_library() == backend
    assert request.node.name.endswith(f"[{backend}]")


@hypothesis.settings(max_examples=5)
@hypothesis.given(number=st.integers())
async def test_hypothesis_runs_on_the_loop_it_is_named_for(backend: str, number: int) -> None:
    await anyio.lowlevel.checkpoint()
    assert isinstance(number, int)
    assert _running_loop() == backend


@hypothesis.settings(max_examples=5)
@hypothesis.given(number=st.integers())
@pytest.mark.parametrize("word", ["a", "b"])
async def test_hypothesis_with_parameters_runs_on_the_loop_it_is_named_for(backend: str, word: str, number: int) -> None:
    assert word in "ab"
    assert _running_loop() == backend


@pytest.fixture
def inner_run(pytester: pytest.Pytester, server_dsn: str, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A test run inside this one, with our own conftest.py and the same server."""
    monkeypatch.setenv("TRIOORM_TEST_DSN", server_dsn)
    pytester.makeconftest((Path(__file__).parent / "conftest.py").read_text(encoding="utf-8"))
    pytester.makepyprojecttoml("[tool.pytest.ini_options]\nfilterwarnings = ['error']\nxfail_strict = true\n")
    return pytester


def test_hypothesis_bodies_are_executed_on_both_loops(inner_run: pytest.Pytester) -> None:
    inner_run.makepyfile(
        """
        import pathlib, hypothesis, sniffio
        from hypothesis import strategies as st

        @hypothesis.settings(max_examples=7, database=None)
        @hypothesis.given(number=st.integers())
        async def test_notes_its_loop(number):
            with pathlib.Path("loops").open("a") as file:
                print(sniffio.current_async_library(), file=file)
        """
    )
    inner_run.runpytest_subprocess().assert_outcomes(passed=2)
    noted = (inner_run.path / "loops").read_text().split()
    assert {loop: noted.count(loop) for loop in noted} == {"trio": 7, "asyncio": 7}


def test_a_failure_below_hypothesis_fails_on_both_loops(inner_run: pytest.Pytester) -> None:
    inner_run.makepyfile(
        """
        import hypothesis
        from hypothesis import strategies as st

        @hypothesis.settings(database=None)
        @hypothesis.given(number=st.integers())
        async def test_fails(number):
            assert number < 10
        """
    )
    inner_run.runpytest_subprocess().assert_outcomes(failed=2)


def test_a_leaked_session_fails_its_test(inner_run: pytest.Pytester) -> None:
    inner_run.makepyfile(
        """
        import psycopg

        leaked = []

        async def test_leaks(dsn):
            leaked.append(psycopg.connect(dsn, application_name="the leak"))
        """
    )
    result = inner_run.runpytest_subprocess()
    result.assert_outcomes(passed=2, errors=2)
    result.stdout.fnmatch_lines(["*1 session(s) of the test's database*", "*(the leak), idle*"])


def test_a_leak_that_was_collected_as_garbage_fails_its_test(inner_run: pytest.Pytester) -> None:
    inner_run.makepyfile(
        """
        import psycopg

        async def test_leaks(dsn):
            psycopg.connect(dsn)
        """
    )
    assert inner_run.runpytest_subprocess().parseoutcomes()["failed"] == 2


def test_the_backend_fixture_is_refused_in_a_synchronous_test(inner_run: pytest.Pytester) -> None:
    inner_run.makepyfile("def test_wants_a_loop(backend): pass")
    result = inner_run.runpytest_subprocess()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*belongs to async tests*"])


async def test_each_test_has_a_database_of_its_own(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE TABLE only_here (id int)")


async def test_each_test_has_a_fresh_database(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE TABLE only_here (id int)")
