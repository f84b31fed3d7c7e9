"""A run as a record: figures, and what they were measured with. Kept as JSON, from which tables and plots are drawn."""

import datetime
import json
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any, cast

from attrs import asdict, frozen

from benchmarks.speed.imports import Imports
from benchmarks.speed.measuring import Figures

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"


@frozen(kw_only=True)
class Record:
    """A whole run.

    Attributes:
        figures: by the name of the network.
        machine: what it ran on.
        versions: of everything that took part.
        settings: how it was measured.
    """

    date: str
    commit: str
    command: str
    machine: dict[str, Any]
    versions: dict[str, str]
    settings: dict[str, Any]
    figures: dict[str, Figures]
    imports: Imports

    @classmethod
    def read(cls, path: Path) -> "Record":
        """Read one from a file."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))


def save(record: Any, path: Path) -> None:
    """Write a record to a file; figures with four digits, those of one contender in one line, so that a new run is a change to read."""
    path.parent.mkdir(exist_ok=True)
    text = json.dumps(rounded(asdict(record)), indent=1, ensure_ascii=False)
    lines = re.sub(r"\[\s+([^\[\]{}]*?)\s+\]", lambda found: f"[{' '.join(found[1].split())}]", text)
    path.write_text(lines + "\n", encoding="utf-8")


def rounded(value: Any) -> Any:
    """Figures with four digits, wherever they stand."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in cast("dict[str, object]", value).items()}
    return [rounded(each) for each in cast("list[object]", value)] if isinstance(value, list) else value


def today() -> str:
    """The date, in UTC."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def commit() -> str:
    """The state of the code; empty where it is in no repository."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def machine() -> dict[str, Any]:
    """What this ran on."""
    model = next(
        (line.partition(":")[2].strip() for line in _cpuinfo().splitlines() if line.startswith("model name")), platform.processor()
    )
    return {"system": platform.platform(), "processor": model, "cores": os.cpu_count()}


def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""


def load() -> float | None:
    """How many processes wanted to run in the last minute, on average; None where that is not known."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None
