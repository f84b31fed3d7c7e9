"""trioorm and its peers in the same storm, side by side in a Markdown table."""

import logging
from collections.abc import Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import cast

from attrs import evolve
from rich.console import Console
from rich.text import Text

from benchmarks.storm.bars import Bar
from benchmarks.storm.blowing import WAYS_IN_WORDS, blow
from benchmarks.storm.blowing import console as new_console
from benchmarks.storm.contender import Contender
from benchmarks.storm.ours import Trioorm
from benchmarks.storm.storm import StormSettings

_DRILLS_SECONDS = 240.0


def compare(console: Console, settings: StormSettings, peers: Sequence[str]) -> int:
    """The same storm for trioorm and its peers on asyncio, by each way of cancelling, in one Markdown table; only ours must hold."""
    columns = [(name, ways) for name in ("trioorm", *peers) for ways in ("native", "scopes")]
    found = [_blow_in_child(evolve(settings, ways=ways), name) for name, ways in columns]
    heads = [f"{_contender(name).name}, {WAYS_IN_WORDS[ways]}" for name, ways in columns]
    lines = [f"| # | promise | bar | {' | '.join(heads)} |", f"|---|---|---|{'---|' * len(heads)}"]
    ended = [judged for judged in found if not isinstance(judged, str)]
    for at, promise in enumerate(ended[0] if ended else []):
        cells = [f"**{judged}**" if isinstance(judged, str) else _cell(judged[at]) for judged in found]
        lines.append(f"| {promise.number} | {promise.promise} | {promise.bar} | {' | '.join(cells)} |")
    console.print(Text("\n".join(lines)), soft_wrap=True)
    ours = [judged for (name, _), judged in zip(columns, found, strict=True) if name == "trioorm"]
    return 0 if all(not isinstance(judged, str) and all(bar.held for bar in judged) for judged in ours) else 1


def _cell(bar: Bar) -> str:
    return bar.figure if bar.held else f"**{bar.figure}**"


def _blow_in_child(settings: StormSettings, name: str) -> list[Bar] | str:
    """One storm in a process of its own, since a task that no cancel ends would never let this one end; what happened, when it was so."""
    spawning = get_context("spawn")
    receiving, sending = spawning.Pipe(duplex=False)
    child = spawning.Process(target=_send_bars, args=(sending, settings, name))
    child.start()
    sending.close()
    try:
        if receiving.poll(settings.limit_seconds + _DRILLS_SECONDS):
            return cast("list[Bar]", receiving.recv())
    except EOFError:
        return "fell with an error"
    finally:
        child.kill()
        child.join()
    return "did not end"


def _send_bars(sending: Connection, settings: StormSettings, name: str) -> None:
    logging.disable()  # what the peers log of their trouble is counted here
    sending.send(blow(new_console(), settings, _contender(name), "asyncio").bars)


def _contender(name: str) -> Contender:
    if name == "asyncpg":
        from benchmarks.storm.peer_asyncpg import AsyncpgPool

        return AsyncpgPool()
    if name == "psycopg_pool":
        from benchmarks.storm.peer_psycopg_pool import PsycopgPool

        return PsycopgPool()
    return Trioorm()
