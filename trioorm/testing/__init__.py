"""Tools for testing code that must survive cancellations and broken networks: sweeps, a fault proxy, checks of the pool and the server.

Public names are those listed in `__all__`; how to use them is told in docs/testing.md.
"""

from trioorm.testing.cancellation import Cancellation, available_cancellations
from trioorm.testing.cut_sweep import CutReport, CutRun, CutSweepFailed, Effect, cut_sweep
from trioorm.testing.proxy import Cut, Direction, FaultProxy, ProxyStatistics, running_proxy
from trioorm.testing.quiet import PoolFigures, pool_is_whole, server_is_quiet
from trioorm.testing.report import InvariantBroken, Outcome, SweepFailed, SweepReport, SweepRun
from trioorm.testing.suspension import Frame, Place
from trioorm.testing.sweep import count_suspensions, sweep

__all__ = [
    "Cancellation",
    "Cut",
    "CutReport",
    "CutRun",
    "CutSweepFailed",
    "Direction",
    "Effect",
    "FaultProxy",
    "Frame",
    "InvariantBroken",
    "Outcome",
    "Place",
    "PoolFigures",
    "ProxyStatistics",
    "SweepFailed",
    "SweepReport",
    "SweepRun",
    "available_cancellations",
    "count_suspensions",
    "cut_sweep",
    "pool_is_whole",
    "running_proxy",
    "server_is_quiet",
    "sweep",
]
