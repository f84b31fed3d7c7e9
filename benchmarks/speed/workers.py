"""The processes in which contenders work, seen from the one that tells them what to do."""

import json
import os
import subprocess
import sys
from types import TracebackType
from typing import Any, Protocol, Self

from attrs import asdict

from benchmarks.speed.contender import Address

MALLOC = {"MALLOC_TRIM_THRESHOLD_": str(128 << 20), "MALLOC_MMAP_THRESHOLD_": str(32 << 20)}
"""glibc's allocator gives memory back to the system at moments that depend on what else is in it, which costs a library that reads into
large buffers 25 µs now and then. With fixed thresholds it never does, for all contenders alike."""

_END_SECONDS = 10.0


class Asked(Protocol):
    """What does what it is told."""

    def ask(self, do: str, workload: str, **more: object) -> Any:
        """Tell it what to do, and wait for the answer."""
        ...


class WorkerError(Exception):
    """A contender failed; its traceback stands on standard error."""


class Worker:
    """One contender at work, for the length of a block."""

    def __init__(self, name: str, where: Address) -> None:
        self._name = name
        self._arguments = [sys.executable, "-m", "benchmarks.speed.worker", name, json.dumps(asdict(where))]

    def __enter__(self) -> Self:
        environment = os.environ | MALLOC | {"PYTHONHASHSEED": "0"}
        self._process = subprocess.Popen(self._arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        return self

    def ask(self, do: str, workload: str, **more: object) -> Any:
        """Tell it what to do, and wait for the answer.

        Raises:
            WorkerError: it ended instead.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, "workload": workload, **more}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise WorkerError(f"{self._name} ended when it was told to {do} {workload}.")
        return json.loads(line)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        try:
            self._process.communicate(timeout=_END_SECONDS)  # ends its input
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
