"""A process that has no file left, with which a class could be imported, is refused as any other."""

import subprocess
import sys

import pytest

_PROGRAM = """
import os, resource, anyio
from trioorm import open_database, sql

async def main():
    async with anyio.create_task_group() as nursery, open_database({dsn!r}, max_size=1, lanes=0, {options}) as db:
        await db.execute(sql("SELECT 1"))
        came, refused = anyio.Event(), anyio.Event()

        async def come():
            came.set()
            try:
                await db.execute(sql("SELECT 1"))
            except Exception as error:
                print(type(error).__name__, error.safe_to_retry, str(error))
                refused.set()

        async with db.transaction() as tx:
            await tx.execute(sql("SELECT 1"))
            _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (50, most))
            try:
                while True:
                    os.dup(0)
            except OSError:
                pass
            {use}

anyio.run(main, backend={backend!r})
"""


@pytest.mark.parametrize(
    ("options", "use", "said"),
    [
        (
            "timeout_seconds=0.05",
            "nursery.start_soon(come); await refused.wait()",
            "DatabaseUnavailable True no connection came free within ",
        ),
        (
            "max_waiting=1",
            "nursery.start_soon(come); await came.wait(); nursery.start_soon(come); await refused.wait()",
            "DatabaseUnavailable True 1 tasks wait for a connection already",
        ),
        ("timeout_seconds=60", "await come()", "UsageError False this task asks for another connection inside a block"),
    ],
    ids=["timeout", "full line", "deadlock"],
)
@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_who_is_refused_is_told_why(dsn: str, backend: str, options: str, use: str, said: str) -> None:
    program = _PROGRAM.format(dsn=dsn, options=options, use=use, backend=backend)
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=60)
    assert not done.returncode, done.stderr
    assert done.stdout.startswith(said)
