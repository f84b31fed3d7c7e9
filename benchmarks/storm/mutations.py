"""`python -m benchmarks.storm.mutations`: break the transaction code on purpose, and see that some test notices. A drill of `make storm`.

The contract: each breakage is one edit of a copy of the package in a folder of its own; the tests named beside it run against that copy and
must fail. First they all run against a copy that nothing was done to, and must pass, so that what catches a breakage is the breakage. An
edit that fits no longer is an error: whoever changes the code adapts the breakage.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from trioorm.embedded import ServerOptions, running_server

_HERE = Path(__file__).resolve().parents[2]
_COPIED = ("trioorm", "tests", "benchmarks", "examples", "pyproject.toml")
_TESTS_FAILED = 1  # pytest's exit status; others say that it could not run them
_LONGEST_SECONDS = 300


@frozen
class Mutation:
    """One breakage.

    Attributes:
        name: what is broken.
        file: of the package, below trioorm/.
        old: what stands there, exactly once.
        new: what stands there instead.
        tests: below tests/; one of them is to fail.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


MUTATIONS = (
    Mutation(
        "no shield: a rollback can be cancelled",
        "wire/interrupt.py",
        "anyio.CancelScope(shield=True)",
        "anyio.CancelScope(shield=False)",
        ("transaction/test_peers_defects.py::test_v2_cancelled_during_rollback_the_connection_is_given_back_clean",),
    ),
    Mutation(
        "the tag of COMMIT is not looked at",
        "transaction/commit.py",
        'if result.command_status != b"COMMIT":',
        "if result.command_status is None:",
        ("transaction/test_peers_defects.py::test_the_tag_of_commit_alone_is_enough",),
    ),
    Mutation(
        "the slot is never freed",
        "transaction/transaction.py",
        "self._pool.take_back(lease, None if self._has_begun else lease.member.idle_since)",
        "pass",
        ("transaction/test_peers_defects.py::test_v1_cancelled_during_begin_the_connection_is_given_back",),
    ),
    Mutation(
        "the slot is freed late: behind a wait that can be cancelled",
        "transaction/leaving.py",
        "            self._give_connection_back()\n            if self._line and self._has_last_turn:",
        "            await checkpoint()\n            self._give_connection_back()\n            if self._line and self._has_last_turn:",
        ("transaction/test_peers_defects.py::test_v9_a_cancelled_transaction_is_rolled_back_and_not_lent_as_it_is",),
    ),
    Mutation(
        "a savepoint does not take the turn",
        "transaction/transaction.py",
        "        await outer.take_turn()\n",
        "",
        ("transaction/test_savepoints.py::test_a_siblings_statement_never_falls_into_it",),
    ),
    Mutation(
        "whether the transaction is in error is a flag of ours, not libpq's status",
        "transaction/leaving.py",
        "return _UNKNOWN if self._connection is None else self._connection.pgconn.transaction_status",
        "return _UNKNOWN if self._connection is None else (0 if self._connection.is_idle else 2)",
        ("transaction/test_outcomes.py::test_a_swallowed_error_is_not_acknowledged_as_a_commit",),
    ),
    Mutation(
        "an open connection counts as an idle one",
        "wire/ready_connection.py",
        "return self.pgconn.transaction_status == _IDLE",
        "return not self.closed",
        ("transaction/test_peers_defects.py::test_v9_what_is_not_idle_is_not_taken_back",),
    ),
    Mutation(
        "no last checkpoint before COMMIT",
        "transaction/leaving.py",
        "            await connection.check_for_cancellation()\n            if self.server_side.limit",
        "            if self.server_side.limit",
        ("transaction/test_cancellation.py::test_a_cancellation_between_the_body_and_the_commit_rolls_back",),
    ),
    Mutation(
        "no last checkpoint before a COMMIT that is sent ahead of the nursery's end",
        "transaction/leaving.py",
        "                await connection.check_for_cancellation()\n"
        "            except BaseException as cancelled:\n                # As if",
        "                pass\n            except BaseException as cancelled:\n                # As if",
        ("transaction/test_cancellation.py::test_a_cancellation_between_the_body_and_the_commit_rolls_back",),
    ),
    Mutation(
        "COMMIT is sent ahead of a deadline that has passed unseen",
        "transaction/leaving.py",
        "            and (self.server_side.limit is NO_LIMIT or not self.server_side.limit.has_passed)\n",
        "",
        ("transaction/test_cancellation.py::test_a_deadline_that_passes_unseen_before_the_commit_rolls_back",),
    ),
    Mutation(
        "COMMIT is sent ahead while children run",
        "transaction/leaving.py",
        "            and not self._has_had_children\n",
        "",
        ("transaction/test_outcomes.py::test_commits_only_when_every_child_has_ended",),
    ),
    Mutation(
        "`committed` is believed without proof",
        "transaction/outcome.py",
        'return "committed" if no_crash_since == b"t" else await _outcome_after_crash(connection, transaction_id)',
        'return "committed"',
        ("transaction/test_settling.py::test_an_id_that_a_crash_lost_and_the_server_issued_again_is_rolled_back",),
    ),
    Mutation(
        "an unknown outcome is reported as a definite failure",
        "transaction/commit.py",
        "return caused(refusals.outcome_unknown(name, transaction_id), lost), held",
        "return caused(refusals.commit_lost(name), lost), held",
        ("transaction/test_settling.py::test_out_of_reach_for_too_long_it_is_unknown_with_its_id",),
    ),
    Mutation(
        "a lost COMMIT is taken for a failure without asking",
        "transaction/commit.py",
        "    if transaction_id is None:\n        return caused(refusals.commit_of_nothing_lost(name), lost), None\n",
        "    if True:\n        return caused(refusals.commit_lost(name), lost), None\n",
        ("transaction/test_settling.py::test_a_commit_whose_answer_is_lost_is_found_committed",),
    ),
    Mutation(
        "the id of a transaction in one flight comes with the answer to its commit, not before",
        "transaction/whole_flight.py",
        "told_after=(len(sent),)",
        "told_after=()",
        ("database/test_flights_that_commit.py::test_lost_during_the_commit_it_is_settled_by_its_id",),
    ),
    Mutation(
        "what commits by itself runs without a block around it",
        "transaction/whole_flight.py",
        "                needs_block = True\n",
        "                pass\n",
        ("database/test_flights_that_commit.py::test_what_commits_by_itself_is_refused_as_in_any_transaction",),
    ),
    Mutation(
        "children are not waited for before COMMIT",
        "transaction/leaving.py",
        "        failure = error\n        sent = None\n",
        "        if error is None and (early := self._send_end()):\n            await connection.arrive(early[0], on_cancel=_FINISH)\n"
        "        failure = error\n        sent = None\n",
        ("transaction/test_outcomes.py::test_commits_only_when_every_child_has_ended",),
    ),
    Mutation(
        "the server is not told the deadline",
        "transaction/deadline.py",
        "        if self.deadline == self._told:\n",
        "        if self._told == _NEVER:\n",
        (
            "transaction/test_server_limits.py::test_the_server_has_the_deadline_and_the_cleanup_budget",
            "transaction/test_server_limits.py::test_the_limit_travels_with_begin_and_costs_no_trip",
        ),
    ),
    Mutation(
        "a moved deadline is not followed",
        "transaction/server_side.py",
        "        if anyio.current_effective_deadline() <= self.limit.deadline:\n            return\n",
        "        if self.limit.deadline < math.inf:\n            return\n",
        ("transaction/test_server_limits.py::test_a_deadline_that_is_moved_later_goes_with_the_next_statement",),
    ),
    Mutation(
        "a task from outside may use the transaction",
        "transaction/scope.py",
        "        if not is_inside(self):\n",
        '        if self._state == "not entered":\n',
        ("transaction/test_ownership.py::test_a_task_from_outside_is_refused_before_anything_is_sent",),
    ),
    Mutation(
        "in a shared flight the error goes to the wrong task",
        "transaction/shared_flight.py",
        "            self._first_error = self._failed(error)\n            passenger.fail(error)\n",
        "            self._first_error = self._failed(error)\n            passenger.fail(self._first_error())\n",
        ("transaction/test_shared_flights.py::test_each_error_goes_to_its_own_task_and_the_others_learn_why",),
    ),
    Mutation(
        "in a shared flight each task gets the first one's rows",
        "transaction/shared_flight.py",
        "passenger.arrive(outcomes[self._start : end])",
        "passenger.arrive(outcomes[: end - self._start])",
        ("transaction/test_shared_flights.py::test_siblings_that_wait_are_sent_together_in_the_order_of_asking",),
    ),
    Mutation(
        "a savepoint that fails is not rolled back",
        "transaction/transaction.py",
        "        if not self._has_begun or connection.is_idle:\n            return None\n",
        "        if connection is not None:\n            return None\n",
        ("transaction/test_savepoints.py::test_rolls_back_alone",),
    ),
    Mutation(
        "hooks of a commit run after a rollback",
        "transaction/leaving.py",
        "self._settle_hooks(self.hooks, took_effect=took_effect)",
        "self._settle_hooks(self.hooks, took_effect=True)",
        ("transaction/test_hooks.py::test_those_of_a_rollback_run_instead_when_it_fails",),
    ),
    Mutation(
        "whoever leaves the line with the turn just handed over keeps it",
        "transaction/turns.py",
        "                self.give_turn()  # handed over in the very moment of leaving: to the next\n",
        "                pass\n",
        ("transaction/test_turns.py::test_the_turn_of_one_that_leaves_goes_to_the_next",),
    ),
)


def edited(text: str, mutation: Mutation) -> str:
    """The file's text with the breakage in it.

    Raises:
        LookupError: what is to be replaced does not stand there exactly once.
    """
    if (count := text.count(mutation.old)) != 1:
        raise LookupError(
            f"{mutation.name}: what it replaces stands {count} times in trioorm/{mutation.file}, not once.\n"
            "To fix it: adapt the breakage to the code as it is now."
        )
    return text.replace(mutation.old, mutation.new)


def _copy(to: Path) -> None:
    to.mkdir()
    for name in _COPIED:
        source = _HERE / name
        if source.is_dir():
            shutil.copytree(source, to / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, to / name)


def _run(folder: Path, tests: Sequence[str], server: str) -> tuple[int, str]:
    """Run tests in a copy; pytest's exit status and what it printed."""
    # The address of the package in front, so that the copy is tested and not what is installed.
    environment = {**os.environ, "PYTHONPATH": str(folder), "TRIOORM_TEST_DSN": server, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--no-header", "--tb=line", "-p", "no:cacheprovider", "--timeout=60"]
    try:
        done = subprocess.run(
            [*command, *(f"tests/{test}" for test in tests)],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_LONGEST_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        raise SystemExit(f"the tests did not end within {_LONGEST_SECONDS} s: {' '.join(tests)}") from late
    return done.returncode, done.stdout


def _catcher(printed: str) -> str:
    """The test that failed, by pytest's summary."""
    found = re.search(r"^(?:FAILED|ERROR) tests/(\S+)", printed, re.MULTILINE)
    return found[1] if found else "?"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run them; the exit status is 0 when every breakage was caught, else 1."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.storm.mutations", description=__doc__)
    parser.add_argument("only", nargs="*", help="words of the names of those to run (default: all)")
    words = parser.parse_args(arguments).only
    chosen = [mutation for mutation in MUTATIONS if not words or any(word in mutation.name for word in words)]
    survivors = 0
    options = ServerOptions(max_connections=200, settings={"max_prepared_transactions": 10})
    with tempfile.TemporaryDirectory(prefix="trioorm-mutations-") as place, running_server(options=options) as server:
        whole = Path(place) / "whole"
        _copy(whole)
        status, printed = _run(whole, sorted({test for mutation in chosen for test in mutation.tests}), server.conninfo())
        if status:
            print(printed)
            print("the tests fail although nothing is broken, so they prove nothing")
            return 1
        for mutation in chosen:
            broken = Path(place) / "broken"
            shutil.copytree(whole, broken, ignore=shutil.ignore_patterns("__pycache__"))
            target = broken / "trioorm" / mutation.file
            target.write_text(edited(target.read_text(), mutation))
            started_at = time.monotonic()
            status, printed = _run(broken, mutation.tests, server.conninfo())
            shutil.rmtree(broken)
            caught = status == _TESTS_FAILED
            survivors += not caught
            by = _catcher(printed) if caught else f"NOTHING (pytest ended with status {status})"
            print(f"{'ok' if caught else 'SURVIVED':8}  {mutation.name}\n          caught by {by}, {time.monotonic() - started_at:.1f} s")
    print(f"{len(chosen) - survivors} of {len(chosen)} breakages caught")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
