"""Where a coroutine is suspended, and a driver that sees every suspension of one.

The contract: a suspension is one real yield to the event loop. An `await` that finishes without one does not count, since no cancellation
can arrive there. The driver hands everything through untouched in both directions, so that the coroutine behaves as it would when awaited.

Source: the walk through `await` frames follows `trio.lowlevel.Task.iter_await_frames`, which also has the way through async generators.
"""

import gc
from collections.abc import Coroutine, Generator, Iterator
from typing import Any, Generic, Protocol, TypeVar

import attrs

T = TypeVar("T")

_ATTRIBUTES = (("cr_frame", "cr_await"), ("gi_frame", "gi_yieldfrom"), ("ag_frame", "ag_await"))
# Awaitables that hide the coroutine or generator they drive; only the garbage collector can look into them (cpython issue 76991).
_OPAQUE = frozenset({"coroutine_wrapper", "async_generator_asend", "async_generator_athrow"})
_MACHINERY = ("trio", "anyio", "asyncio", "uvloop", "trioorm.testing")


@attrs.frozen
class Frame:
    """One function on the way from a task to the point where it is suspended."""

    file: str
    line: int
    function: str
    module: str

    @property
    def is_machinery(self) -> bool:
        """Whether the function belongs to an event loop or to this tool, not to the code under test."""
        return any(self.module == name or self.module.startswith(name + ".") for name in _MACHINERY)

    def __str__(self) -> str:
        return f"{self.file}:{self.line} in {self.function}"


@attrs.frozen
class Place:
    """Where a task is suspended: its frames, outermost first."""

    task: str
    frames: tuple[Frame, ...]

    @property
    def frame(self) -> Frame | None:
        """The innermost frame of the code under test; inside the event loop's own functions when there is none."""
        own = tuple(frame for frame in self.frames if not frame.is_machinery)
        return next(reversed(own or self.frames), None)

    @property
    def short(self) -> str:
        """The innermost frame of the code under test with the last two parts of its path, for a table."""
        if self.frame is None:
            return "(no Python frame)"
        return f"{'/'.join(self.frame.file.split('/')[-2:])}:{self.frame.line} {self.frame.function}"

    def __str__(self) -> str:
        lines = "\n".join(f"    {frame}" for frame in self.frames) or "    (no Python frame)"
        return f"task {self.task!r}, innermost frame last:\n{lines}"


def place_of(coroutine: object, task: str) -> Place:
    """Where a suspended coroutine stands.

    Args:
        coroutine: a coroutine, generator or async generator that is suspended now.
        task: the name of the task that runs it.
    """
    return Place(task=task, frames=tuple(_frames_of(coroutine)))


def _frames_of(awaitable: object) -> Iterator[Frame]:
    while awaitable is not None:
        for frame_attribute, next_attribute in _ATTRIBUTES:
            frame = getattr(awaitable, frame_attribute, None)
            if frame is not None:
                yield Frame(
                    file=frame.f_code.co_filename,
                    line=frame.f_lineno or 0,
                    function=frame.f_code.co_qualname,
                    module=frame.f_globals.get("__name__", ""),
                )
                awaitable = getattr(awaitable, next_attribute)
                break
        else:
            awaitable = _hidden_in(awaitable) if type(awaitable).__name__ in _OPAQUE else None


def _hidden_in(awaitable: object) -> object:
    for referent in gc.get_referents(awaitable):
        if any(hasattr(referent, next_attribute) for _, next_attribute in _ATTRIBUTES):
            return referent
    return None


class SuspensionObserver(Protocol):
    """What a driver tells of; called inside the task that runs the coroutine."""

    def suspended(self, coroutine: object, yielded: object) -> None:
        """The coroutine has yielded and is now suspended; the event loop is about to see what it yielded."""
        ...

    def waking(self, coroutine: object, outcome_or_error: object) -> BaseException | None:
        """The event loop resumes the coroutine with this value or exception.

        Returns:
            An exception to throw in instead, or None to hand the outcome through.
        """
        ...


@attrs.frozen
class Driver(Generic[T]):
    """An awaitable that runs a coroutine by hand and reports each of its suspensions."""

    coroutine: Coroutine[Any, Any, T]
    observer: SuspensionObserver

    def __await__(self) -> Generator[Any, Any, T]:
        coroutine = self.coroutine
        try:
            yielded = coroutine.send(None)
            while True:
                self.observer.suspended(coroutine, yielded)
                error: BaseException | None = None
                value: object = None
                try:
                    value = yield yielded
                except GeneratorExit:
                    coroutine.close()
                    raise
                except BaseException as thrown:  # every kind is handed through to the coroutine
                    error = thrown
                error = self.observer.waking(coroutine, value if error is None else error) or error
                # Thrown outside the `except` above: inside it, later errors of the coroutine would get `thrown` as their context.
                yielded = coroutine.send(value) if error is None else coroutine.throw(error)
        except StopIteration as stop:
            result: T = stop.value
            return result
