"""One storm: a server, a database with its pool, the load, the faults and the witness, and the comparison afterwards.

The contract: the same settings with the same seed draw the same operations, ways of cancelling and faults; how they fall together is up
to the machine.
"""

import contextlib
from collections.abc import Callable
from random import Random

import anyio
import anyio.to_thread
import attrs
import psycopg
from psycopg.conninfo import make_conninfo

from benchmarks.storm.contender import TABLE, Contender
from benchmarks.storm.drills import DrillFigures, drill
from benchmarks.storm.faults import APPLICATION, Faults
from benchmarks.storm.figures import Figures
from benchmarks.storm.ledger import Comparison, Ledger
from benchmarks.storm.load import Load
from benchmarks.storm.ours import Trioorm
from benchmarks.storm.witness import Witness
from trioorm.embedded import open_server
from trioorm.testing import InvariantBroken, server_is_quiet

_PROGRESS_EVERY_SECONDS = 0.1
_QUIET_WITHIN_SECONDS = 10.0


@attrs.frozen(kw_only=True)
class StormSettings:
    """How hard it blows.

    Attributes:
        seed: of all that is drawn.
        cancellations: how many attempts are cancelled while they run, before the storm ends.
        crashes, freezes, terminations: faults, spread over the cancellations.
        ways: how: "scopes", "native" or "all"; see `WAYS`.
        limit_seconds: how long it may blow; what has not ended then never will.
        tasks: how many work at the same time.
        pool_size: connections.
        lanes: how many of them single reads may share; None for the library's default.
        longest_scope_seconds: scopes time out, and cancellations come, between 0 and this after the start.
        idle_rounds: how often idle sessions are terminated, afterwards.
        cleanup_timeout_seconds, commit_timeout_seconds: of the database.
    """

    seed: int
    cancellations: int = 100_000
    ways: str = "scopes"
    limit_seconds: float = 7200.0
    crashes: int = 20
    freezes: int = 10
    terminations: int = 50
    tasks: int = 20
    pool_size: int = 5
    lanes: int | None = None
    longest_scope_seconds: float = 0.02
    idle_rounds: int = 20
    cleanup_timeout_seconds: float = 1.0
    commit_timeout_seconds: float = 5.0


@attrs.frozen(kw_only=True)
class StormResult:
    """What a storm left behind.

    Attributes:
        finished: whether all tasks came to an end.
        seconds: how long it blew.
        left_on_loan, left_waiting: the pool's figures at the moment when the last task had ended.
        reads_on_lanes: how many came by connections that reads share.
        forbidden_rows: rows that stood in a savepoint which was rolled back.
    """

    settings: StormSettings
    finished: bool
    seconds: float
    figures: Figures
    comparison: Comparison
    drills: DrillFigures
    left_on_loan: int
    left_waiting: int
    reads_on_lanes: int
    forbidden_rows: int


async def storm(
    settings: StormSettings, on_progress: Callable[[int], None] = lambda done: None, contender: Contender | None = None
) -> StormResult:
    """Let it blow.

    Args:
        on_progress: called now and then with the number of cancellations so far.
        contender: who goes through it; trioorm when None.
    """
    random, figures, ledger = Random(settings.seed), Figures(), Ledger()
    contender = contender or Trioorm(settings.lanes)
    async with open_server() as server:
        address = make_conninfo(server.conninfo(), application_name=APPLICATION)
        await anyio.to_thread.run_sync(_create_table, server.conninfo())
        async with contender.open(
            address,
            size=settings.pool_size,
            cleanup_timeout_seconds=settings.cleanup_timeout_seconds,
            commit_timeout_seconds=settings.commit_timeout_seconds,
        ) as client:
            counts = client.counts()
            started_at = ended_at = anyio.current_time()
            finished = False
            async with anyio.create_task_group() as background:
                load = Load(
                    contender,
                    client,
                    ledger,
                    figures,
                    background,
                    ways=settings.ways,
                    longest_scope_seconds=settings.longest_scope_seconds,
                )
                faults = Faults(server, load, client, figures, random, size=settings.pool_size)
                watching = Witness(server.conninfo(), client, figures, size=settings.pool_size)
                background.start_soon(watching.watch)
                background.start_soon(figures.scheduling.beat)
                background.start_soon(_tell, figures, on_progress)
                with anyio.move_on_after(settings.limit_seconds):
                    async with anyio.create_task_group() as workers:
                        for _ in range(settings.tasks):
                            workers.start_soon(load.work, random.randrange(2**32))
                        await faults.blow(
                            settings.cancellations,
                            crashes=settings.crashes,
                            freezes=settings.freezes,
                            terminations=settings.terminations,
                        )
                        load.stopping = True
                    finished = True
                counts = client.counts()
                ended_at = anyio.current_time()
                with contextlib.suppress(InvariantBroken):  # what is left is among the witness's figures
                    await server_is_quiet(server.conninfo(), application_name=APPLICATION, within_seconds=_QUIET_WITHIN_SECONDS)
                background.cancel_scope.cancel()
            found, forbidden = await anyio.to_thread.run_sync(_rows, server.conninfo())
            drills = await drill(
                contender,
                client,
                address,
                server,
                random,
                size=settings.pool_size,
                rounds=settings.idle_rounds,
                commit_timeout_seconds=settings.commit_timeout_seconds,
            )
    on_progress(settings.cancellations)
    return StormResult(
        settings=settings,
        finished=finished,
        seconds=ended_at - started_at,
        figures=figures,
        comparison=ledger.compare(found),
        drills=drills,
        left_on_loan=counts.on_loan,
        left_waiting=counts.waiting,
        reads_on_lanes=counts.reads_on_lanes,
        forbidden_rows=forbidden,
    )


def _create_table(address: str) -> None:
    with psycopg.connect(address) as connection:
        connection.execute(TABLE)


async def _tell(figures: Figures, on_progress: Callable[[int], None]) -> None:
    while True:
        on_progress(figures.cancellations)
        await anyio.sleep(_PROGRESS_EVERY_SECONDS)


def _rows(address: str) -> tuple[dict[int, int], int]:
    """For each attempt the number of its rows, and how many rows stood in savepoints that were rolled back."""
    with psycopg.connect(address) as connection:
        counts = connection.execute("SELECT attempt, count(*) FROM storm_rows WHERE part < 100 GROUP BY attempt").fetchall()
        forbidden = connection.execute("SELECT count(*) FROM storm_rows WHERE part >= 100").fetchone()
        assert forbidden is not None
        return dict(counts), int(forbidden[0])
