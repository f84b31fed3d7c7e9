"""Which statements need a session of their own, by the text alone."""

import pytest

from trioorm.errors import UsageError
from trioorm.wire.session_texts import changes_encoding, refuse_without_session

_ANYWHERE = [
    ("LISTEN news", "listen_address="),
    ("listen news", "listen_address="),
    ("  \n-- hear it\n /* all\nof it */ LISTEN news", "listen_address="),
    ("UNLISTEN *", "listen_address="),
    ("SET search_path = shop", "SET LOCAL"),
    ("set  SESSION search_path TO shop", "SET LOCAL"),
    ("SET ROLE ada", "SET LOCAL"),
    ("SET SESSION AUTHORIZATION ada", "SET LOCAL"),
    ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", "SET LOCAL"),
    ("SET locals.x = 1", "SET LOCAL"),
    ("RESET ALL", "SET LOCAL"),
    ("PREPARE q AS SELECT 1", "under a name"),
    ("DEALLOCATE ALL", "under a name"),
    ("LOAD 'auto_explain'", "session_preload_libraries"),
    ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", "leave WITH HOLD out"),
    ("SELECT 1; LISTEN news", "listen_address="),
    ("BEGIN; INSERT INTO t VALUES ('it''s; fine'); SET search_path = shop; COMMIT", "SET LOCAL"),
    ("/* a /* b */ c */ LISTEN news", "listen_address="),
    ("SELECT $$;$$, $body$;$$;$body$, E'\\';', U&'\\0041;'; RESET ALL", "SET LOCAL"),
    ("SELECT $1; UNLISTEN $2", "listen_address="),
    ("SELECT set_config('search_path', $1, false)", "SET LOCAL"),
    ("WITH new AS (SELECT $1::text AS path) SELECT pg_catalog . set_config('search_path', path, FALSE) FROM new", "SET LOCAL"),
    ("BEGIN; SELECT 1; COMMIT; SELECT pg_advisory_lock(1)", "tx.advisory_lock"),
    ("BEGIN; SAVEPOINT a; ROLLBACK; CREATE TEMP TABLE t (n int)", "ON COMMIT DROP"),
    ('declare "my cursor" no scroll cursor with hold for select 1', "leave WITH HOLD out"),
]
_OUTSIDE = [
    ("CREATE TEMP TABLE t (n int)", "ON COMMIT DROP"),
    ("create local temporary table t (n int)", "ON COMMIT DROP"),
    ("CREATE OR REPLACE TEMPORARY VIEW v AS SELECT 1", "ON COMMIT DROP"),
    ("SELECT pg_advisory_lock(1)", "tx.advisory_lock"),
    ("select pg_try_advisory_lock_shared (1)", "tx.advisory_lock"),
    ("SELECT pg_advisory_unlock_all()", "tx.advisory_lock"),
    ("WITH one AS (SELECT pg_advisory_lock(1)) SELECT * FROM one", "tx.advisory_lock"),
    ("SELECT id, pg_catalog.pg_try_advisory_lock(id) FROM jobs", "tx.advisory_lock"),
    ("(SELECT pg_advisory_lock(1)) UNION ALL (SELECT pg_advisory_lock(2))", "tx.advisory_lock"),
    ("SELECT 1;\n-- ; \nCREATE TEMP TABLE t (n int)", "ON COMMIT DROP"),
]
_FINE = [
    "",
    "SELECT 1",
    "SELECT 'LISTEN news'",
    "INSERT INTO listen VALUES (1)",
    "LISTENERS",
    "SET LOCAL search_path = shop",
    "SET   LOCAL ROLE ada",
    "SET TRANSACTION READ ONLY",
    "SET CONSTRAINTS ALL DEFERRED",
    "SET TimeZone TO 'UTC'",
    "SET SESSION TIME ZONE 'UTC'",
    "RESET application_name",
    "SET NAMES 'utf8'",
    "PREPARE TRANSACTION 'x'",
    "PREPARE  TRANSACTION 'x'",
    "DECLARE c NO SCROLL CURSOR FOR SELECT 'WITH HOLD'",
    "DECLARE c CURSOR WITHOUT HOLD FOR SELECT 1",
    "CREATE TABLE temp (n int)",
    "CREATE TABLE temporary_things (n int)",
    "SELECT pg_advisory_xact_lock(1)",
    "NOTIFY news",
    "DISCARD ALL",
    "SELECT E'a''\\';LISTEN news'",
    "SELECT ';LISTEN news', E'\\';LISTEN news', $$;LISTEN news$$, $a$$$;LISTEN news$a$",
    'SELECT ";LISTEN news", "a""b;LISTEN news" FROM t -- ;LISTEN news',
    "SELECT 1 /* ; /* LISTEN */ ; LISTEN news */",
    "SELECT 'pg_advisory_lock(1)', \"pg_advisory_lock\" (1), mine.pg_advisory_lock(1), my_pg_advisory_lock(1)",
    "SELECT pg_advisory_xact_lock(1), set_config('search_path', $1, true)",
    "SELECT set_config('search_path', $1, $2)",
    "BEGIN; CREATE TEMP TABLE t (n int) ON COMMIT DROP; ROLLBACK TO SAVEPOINT a; SELECT pg_advisory_lock(1); END",
    "COMMENT ON FUNCTION pg_advisory_lock(bigint) IS 'a lock'",
    "CREATE FUNCTION f() RETURNS void LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT pg_advisory_lock(1); END",
    "SELECT 'unfinished; LISTEN news",
    "SELECT $2$1;",
    "WITH held AS MATERIALIZED (SELECT 1) SELECT * FROM held;",
]


@pytest.mark.parametrize(("text", "way_out"), _ANYWHERE)
@pytest.mark.parametrize("in_transaction", [False, True])
def test_what_a_pooler_would_lose_is_refused_with_a_way_out(text: str, way_out: str, in_transaction: bool) -> None:
    with pytest.raises(UsageError, match="needs a session of its own") as refusal:
        refuse_without_session(text.encode(), in_transaction=in_transaction)
    assert way_out in str(refusal.value)
    assert not refusal.value.safe_to_retry


@pytest.mark.parametrize(("text", "way_out"), _OUTSIDE)
def test_what_a_transaction_can_undo_is_refused_outside_of_one(text: str, way_out: str) -> None:
    refuse_without_session(text.encode(), in_transaction=True)
    with pytest.raises(UsageError, match="needs a session of its own") as refusal:
        refuse_without_session(text.encode(), in_transaction=False)
    assert way_out in str(refusal.value)


@pytest.mark.parametrize("text", _FINE)
def test_nothing_else_is_refused(text: str) -> None:
    refuse_without_session(text.encode(), in_transaction=False)
    refuse_without_session(text.encode(), in_transaction=True)


def test_what_a_refused_statement_quotes_is_not_shown() -> None:
    """psycopg's client cursors write values into the text."""
    with pytest.raises(UsageError, match=r"set_config\('...', '...', false\)") as refusal:
        refuse_without_session(b"SELECT 1; SELECT set_config('app.token', 'swordfish', false)", in_transaction=False)
    assert "swordfish" not in str(refusal.value)


def test_a_long_text_is_shown_by_its_beginning() -> None:
    with pytest.raises(UsageError) as refusal:
        refuse_without_session(b"SET search_path = " + b"x" * 1000, in_transaction=False)
    assert len(str(refusal.value)) < 800


@pytest.mark.parametrize(
    "text",
    [
        "SET client_encoding TO latin1",
        "set  client_encoding='LATIN1'",
        "SET LOCAL client_encoding TO 'LATIN1'",
        "-- for the old files\nSET SESSION client_encoding = win1252",
        "SET NAMES 'latin1'",
        "/* now */ SET NAMES latin1",
        "SELECT pg_catalog.set_config('client_encoding', 'latin1', true)",
        "SELECT set_config ( 'client_encoding' , $1, false)",
    ],
)
def test_a_text_that_changes_the_encoding_is_known(text: str) -> None:
    assert changes_encoding(text.encode())


@pytest.mark.parametrize(
    "text",
    [
        "SET client_encoding = 'UTF8'",
        "SET client_encoding TO utf8",
        "SET NAMES 'utf-8'",
        "SET client_encoding TO Unicode",
        "SET client_encoding TO DEFAULT",
        "SHOW client_encoding",
        "RESET client_encoding",
        "SELECT set_config('client_encoding', 'UTF8', false)",
        "SELECT current_setting('client_encoding'), set_config('search_path', 'latin1', true)",
        "SELECT 'SET client_encoding TO latin1'",
        "ALTER ROLE ada SET client_encoding TO latin1",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql SET client_encoding TO latin1 AS 'SELECT 1'",
        "SET search_path TO names",
    ],
)
def test_nothing_else_is_taken_for_it(text: str) -> None:
    assert not changes_encoding(text.encode())
