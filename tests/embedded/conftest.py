"""Owners in processes of their own, and folders for their servers."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.embedded.owners import OWNER_PROGRAM, Owner, StartOwner


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """An empty folder that every account reaches, with a path short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.fixture
def start_owner() -> Iterator[StartOwner]:
    """Start owners; those that are left are killed after the test."""
    owners: list[Owner] = []

    def start(
        *arguments: object, program: str = OWNER_PROGRAM, temporary: Path | None = None, account: tuple[int, int] | None = None
    ) -> Owner:
        environment = {} if temporary is None else {"TMPDIR": str(temporary)}
        owners.append(Owner(program, [str(argument) for argument in arguments], environment, account))
        return owners[-1]

    yield start
    for owner in owners:
        owner.close()
