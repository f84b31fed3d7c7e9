"""What each attempt was told about its work, in memory, and the comparison with what the database has."""

import enum
from collections.abc import Mapping

import attrs


class Fate(enum.Enum):
    """What an attempt was told."""

    ACKNOWLEDGED = "acknowledged"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


@attrs.frozen
class Entry:
    """One attempt: how many rows it leaves when it takes effect, and its fate; `swallows` when it hides an error from its block."""

    rows: int
    swallows: bool
    fate: Fate


@attrs.frozen(kw_only=True)
class Comparison:
    """How the ledger and the database differ, in attempts.

    Attributes:
        acknowledged: how many were acknowledged.
        lost: acknowledged, and some of the rows are not there.
        lost_swallows: the same, where the block had hidden an error; not in `lost`.
        left_behind: failed or cancelled, and rows are there; partial work of unknown outcome counts too.
        cancelled_but_committed: cancelled, and all of the rows are there.
        unknown: told that nobody knows.
        unknown_committed: of these, how many had taken effect.
        strangers: rows of attempts that never began.
    """

    acknowledged: int
    lost: int
    lost_swallows: int
    left_behind: int
    cancelled_but_committed: int
    unknown: int
    unknown_committed: int
    strangers: int


class Ledger:
    """Every attempt that wrote something."""

    def __init__(self) -> None:
        self._entries: dict[int, Entry] = {}
        self._count = 0

    def number(self) -> int:
        """A number that no attempt has had."""
        self._count += 1
        return self._count

    def enter(self, number: int, entry: Entry) -> None:
        """Write down what an attempt was told."""
        self._entries[number] = entry

    def compare(self, found: Mapping[int, int]) -> Comparison:
        """Compare with the database.

        Args:
            found: for each attempt the number of its rows.
        """
        counts = dict.fromkeys(attrs.fields_dict(Comparison), 0)
        for number, entry in self._entries.items():
            rows = found.get(number, 0)
            match entry.fate:
                case Fate.ACKNOWLEDGED:
                    counts["acknowledged"] += 1
                    counts["lost_swallows" if entry.swallows else "lost"] += rows != entry.rows
                case Fate.UNKNOWN:
                    counts["unknown"] += 1
                    counts["unknown_committed"] += rows == entry.rows
                    counts["left_behind"] += rows not in (0, entry.rows)
                case Fate.FAILED | Fate.CANCELLED:
                    counts["left_behind"] += rows > 0
                    counts["cancelled_but_committed"] += entry.fate is Fate.CANCELLED and rows == entry.rows
        counts["strangers"] = sum(rows for number, rows in found.items() if number not in self._entries)
        return Comparison(**counts)
