"""The driver hands everything through untouched, and a place is found through every kind of awaitable."""

from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from types import coroutine
from typing import Any

import anyio
import pytest

from trioorm.testing.suspension import Driver, place_of


@coroutine
def ask(question: object) -> Generator[object, object, object]:
    return (yield question)


async def ask_twice(log: list[object]) -> str:
    log.append(await ask("first"))
    try:
        await ask("second")
    except LookupError as error:
        log.append(error)
    await ask("third")
    return "answer"


class Recorder:
    def __init__(self, replacement: BaseException | None = None) -> None:
        self.events: list[object] = []
        self.replacement = replacement

    def suspended(self, coroutine: object, yielded: object) -> None:
        self.events.append(("suspended", yielded))

    def waking(self, coroutine: object, outcome_or_error: object) -> BaseException | None:
        self.events.append(("waking", outcome_or_error))
        return self.replacement


async def awaiting(driver: Driver[str]) -> str:
    return await driver


def test_driver_hands_values_and_errors_through_and_tells_of_them() -> None:
    log: list[object] = []
    recorder = Recorder()
    run = awaiting(Driver(ask_twice(log), recorder))
    error = LookupError()
    assert run.send(None) == "first"
    assert run.send(1) == "second"
    assert run.throw(error) == "third"
    with pytest.raises(StopIteration) as stop:
        run.send(3)
    assert stop.value.value == "answer"
    assert log == [1, error]
    assert recorder.events == [
        ("suspended", "first"),
        ("waking", 1),
        ("suspended", "second"),
        ("waking", error),
        ("suspended", "third"),
        ("waking", 3),
    ]


def test_driver_raises_what_the_coroutine_raises_without_adding_context() -> None:
    async def failing() -> str:
        try:
            await ask("question")
        except LookupError:
            pass
        raise ZeroDivisionError

    run = awaiting(Driver(failing(), Recorder()))
    run.send(None)
    with pytest.raises(ZeroDivisionError) as caught:
        run.throw(LookupError())
    assert caught.value.__context__ is None


def test_driver_throws_what_the_observer_puts_in_place() -> None:
    log: list[object] = []
    replacement = LookupError()
    recorder = Recorder()
    run = awaiting(Driver(ask_twice(log), recorder))
    run.send(None)
    run.send(1)
    recorder.replacement = replacement
    assert run.send(2) == "third"
    assert log == [1, replacement]


def test_closing_the_driver_closes_the_coroutine() -> None:
    closed: list[str] = []

    async def waiting() -> str:
        try:
            await ask("question")
        finally:
            closed.append("closed")
        return ""

    run = awaiting(Driver(waiting(), Recorder()))
    run.send(None)
    run.close()
    assert closed == ["closed"]


async def innermost() -> None:
    await ask("innermost")


async def generate() -> AsyncGenerator[int, None]:
    await innermost()
    yield 1


class Wrapper:
    """An awaitable that hands on the coroutine's own iterator."""

    def __await__(self) -> Generator[Any, Any, None]:
        return innermost().__await__()


class Delegate:
    """An awaitable written as a generator."""

    def __await__(self) -> Generator[Any, Any, None]:
        yield from innermost().__await__()


async def through_generator() -> None:
    async for _ in generate():
        pass


async def through_throw() -> None:
    generator = generate_and_catch()
    await anext(generator)
    await generator.athrow(LookupError())


async def generate_and_catch() -> AsyncGenerator[int, None]:
    try:
        yield 1
    except LookupError:
        await innermost()
    yield 2


async def through_wrapper() -> None:
    await Wrapper()


async def through_delegate() -> None:
    await Delegate()


@pytest.mark.parametrize(
    ("outer", "between"),
    [
        (through_generator, ["generate"]),
        (through_throw, ["generate_and_catch"]),
        (through_wrapper, []),
        (through_delegate, ["Delegate.__await__"]),
    ],
)
def test_place_is_found_through(outer: Callable[[], Coroutine[Any, Any, None]], between: list[str]) -> None:
    run = outer()
    assert run.send(None) == "innermost"
    place = place_of(run, "the task")
    run.close()
    assert [frame.function for frame in place.frames] == [outer.__name__, *between, "innermost", "ask"]
    assert place.frames[-2].line == innermost.__code__.co_firstlineno + 1
    assert place.frame == place.frames[-1]
    assert f"test_suspension.py:{place.frames[-2].line} in innermost" in str(place)


async def test_place_names_the_code_under_test_and_not_the_event_loop() -> None:
    run = anyio.sleep(1)
    run.send(None)
    place = place_of(run, "the task")
    run.close()
    assert all(frame.is_machinery for frame in place.frames)
    assert place.frame == place.frames[-1]
