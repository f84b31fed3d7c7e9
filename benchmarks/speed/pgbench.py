"""pgbench, PostgreSQL's own: what a client in C with prepared statements takes, as the limit that none can pass.

It gives no rows, so it is timed and not compared. Its CPU time is that of the process, less that of one that does next to nothing.
"""

import os
import re
import resource
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from attrs import frozen

from benchmarks.speed.contender import Address
from benchmarks.speed.workers import WorkerError
from benchmarks.speed.workloads import POOL_SIZE, WORKLOADS
from trioorm.embedded.binaries import find_binaries
from trioorm.errors import EmbeddedServerError

_IN_A_PIPELINE = 100  # statements, for `tasks_lanes`

_GET = "SELECT id, name, age FROM person WHERE id = :key;"
_UPDATE = "BEGIN;\nUPDATE account SET balance = 5 WHERE id = :key;\nCOMMIT;"
_ARTISTS = (
    "SELECT a.id, a.name FROM artist a JOIN credit c ON c.artist_id = a.id WHERE c.film_id = :film AND c.role = '{}' ORDER BY c.place;"
)
SCRIPTS = {
    "get": _GET,
    "filter": "SELECT id, name, age FROM person WHERE age = :age ORDER BY id;",
    "wide": "SELECT * FROM reading WHERE id > :key AND id <= :key + 1000 ORDER BY id;",
    "film": "\n".join(
        (
            "\\startpipeline",
            "SELECT id, title, year, rating FROM film WHERE id = :film;",
            _ARTISTS.format("director"),
            _ARTISTS.format("cast"),
            "SELECT id, film_id, stars, body FROM review WHERE film_id = :film ORDER BY id;",
            "\\endpipeline",
        )
    ),
    "insert": "INSERT INTO guest (name, age) VALUES ('somebody', :age) RETURNING id;",
    "update": _UPDATE,
    "update_flight": f"\\startpipeline\n{_UPDATE}\n\\endpipeline",
    "transfer": "BEGIN;\nSELECT id, owner, balance FROM account WHERE id = :key FOR UPDATE;\n"
    "UPDATE account SET balance = 5 WHERE id = :key;\nINSERT INTO entry (account_id, amount) VALUES (:key, 5);\nCOMMIT;",
    "tasks": _GET,
    "tasks_lanes": "\n".join(("\\startpipeline", *[_GET] * _IN_A_PIPELINE, "\\endpipeline")),
}
_VALUES = "\\set key random(1, 1000)\n\\set age random(0, 49)\n\\set film random(1, 100)\n"


def program() -> Path | None:
    """Where it is; None where PostgreSQL came without it."""
    try:
        found = find_binaries().directory / "pgbench"
    except EmbeddedServerError:
        return None
    return found if found.exists() else None


@frozen
class _Run:
    """What one run took, in seconds: the wall time without connecting, the CPU time with everything."""

    wall: float
    cpu: float
    statements: int


class PgbenchWorker:
    """pgbench, told what to do as the other workers are, for the length of a block."""

    def __init__(self, where: Address) -> None:
        self._where = where
        self._begins: dict[str, float] = {}

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory()
        for name, script in SCRIPTS.items():
            (Path(self._folder.name) / name).write_text(_VALUES + script + "\n")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._folder.cleanup()

    def ask(self, do: str, workload: str, **more: Any) -> Any:
        """As `Worker.ask`, for `calibrate` and `time`."""
        parts = WORKLOADS[workload].parts
        if workload not in self._begins:
            self._begins[workload] = min(self._run(workload, 1).cpu for _ in range(3))
        if do == "calibrate":
            trial = self._run(workload, 2_000)
            return max(1, int(more["seconds"] / trial.wall * trial.statements / parts))
        count = more["operations"] * parts
        run = self._run(workload, count)
        cpu = max(run.cpu - self._begins[workload], 0.0)
        return {"wall": run.wall * count / run.statements, "cpu": cpu * count / run.statements}

    def _run(self, workload: str, count: int) -> "_Run":
        found = program()
        assert found is not None
        clients = POOL_SIZE if workload == "tasks" else 1
        each = _IN_A_PIPELINE if workload == "tasks_lanes" else 1
        where = self._where
        times = max(1, count // clients // each)
        command = [str(found), "-n", "-M", "prepared", "-c", str(clients), "-t", str(times), "-f", f"{self._folder.name}/{workload}"]
        command += ["-h", where.host, "-p", str(where.port), "-U", where.user, where.database]
        environment = os.environ | ({} if where.password is None else {"PGPASSWORD": where.password})
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        rate = re.search(r"tps = ([\d.]+)", done.stdout)
        if done.returncode or rate is None:
            raise WorkerError(f"pgbench failed: {done.stderr}")
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return _Run(wall=times * clients / float(rate.group(1)), cpu=cpu, statements=times * clients * each)
