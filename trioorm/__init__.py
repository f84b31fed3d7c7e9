"""trioorm: PostgreSQL for structured concurrency, on Trio and asyncio.

    async with open_database("postgresql:///shop") as db:
        async with db.transaction() as tx:
            await tx.insert(User(name="Ada", age=36))

What is named here is the public face, together with the rooms that are useful alone: `trioorm.wire` (psycopg on Trio), `trioorm.pool`,
`trioorm.embedded` (servers of one's own), `trioorm.testing` and `trioorm.errors`.

Models and statements are imported at once. What talks to a server comes when the first of its names is asked for, `open_database` as a
rule, and with it trio and psycopg: a module of models needs neither.
"""

from typing import TYPE_CHECKING, Never

from trioorm.errors import (
    AuthenticationFailed,
    BindError,
    CheckViolation,
    CommitOutcomeUnknown,
    ConnectFailed,
    ConnectionLost,
    DatabaseError,
    DeadlockDetected,
    ForeignKeyViolation,
    ForeignTask,
    IntegrityError,
    LockLost,
    LockNotAvailable,
    ModelError,
    NoRowFound,
    NotNullViolation,
    QueryError,
    RelationNotLoaded,
    RepeatedStatement,
    SerializationFailure,
    StaleObject,
    TooManyRows,
    TransactionAborted,
    TransactionBusy,
    TransactionClosed,
    TransactionId,
    TransactionRolledBack,
    TrioormError,
    UniqueViolation,
    UnknownColumn,
    UnknownMethod,
    attempts_of,
    is_safe_to_retry,
)
from trioorm.expression import (
    BIGINT,
    BIT,
    BOOLEAN,
    BYTEA,
    CALENDAR_INTERVAL,
    CHAR,
    CIDR,
    CITEXT,
    DATE,
    DATEMULTIRANGE,
    DATERANGE,
    DOUBLE,
    HSTORE,
    INET,
    INT4MULTIRANGE,
    INT4RANGE,
    INT8MULTIRANGE,
    INT8RANGE,
    INTEGER,
    INTERVAL,
    JSONB,
    MACADDR,
    MACADDR8,
    NUMERIC,
    NUMMULTIRANGE,
    NUMRANGE,
    REAL,
    SMALLINT,
    TEXT,
    TIME,
    TIMESTAMP,
    TIMESTAMPTZ,
    TIMETZ,
    TSMULTIRANGE,
    TSQUERY,
    TSRANGE,
    TSTZMULTIRANGE,
    TSTZRANGE,
    TSVECTOR,
    UUID,
    VARBIT,
    VARCHAR,
    VECTOR,
    Column,
    Expression,
    Interval,
    IpAddress,
    IpNetwork,
    Json,
    Multirange,
    Ordering,
    Range,
    Selectable,
    SqlType,
    TsQuery,
    TsVector,
    array_of,
    composite_type,
)
from trioorm.expression.printing import install_renderer
from trioorm.expression.shape import Shape
from trioorm.later import given_later
from trioorm.model import (
    UNSET,
    Figure,
    Load,
    Many,
    Model,
    One,
    ToFigure,
    ToMany,
    ToOne,
    Unset,
    aggregate_of,
    belongs_to,
    column,
    count_of,
    evolve,
    has_many,
    has_one,
    many_to_many,
)
from trioorm.model.load import install_aggregates
from trioorm.query import (
    Combined,
    Cte,
    Delete,
    Grouping,
    Insert,
    Query,
    Returning,
    Select,
    SqlText,
    Statement,
    Subquery,
    Table,
    Update,
    alias,
    cube,
    delete,
    excluded,
    grouping,
    grouping_sets,
    insert,
    new,
    old,
    optional,
    rollup,
    select,
    update,
)
from trioorm.query.statement import install_compiler

if TYPE_CHECKING:
    from trioorm.compiler import create_schema_statements, drop_schema_statements
    from trioorm.database import (
        Buffers,
        CopyBlock,
        CopyStream,
        Database,
        Flight,
        FlightResult,
        LinkChanges,
        LoadedRelation,
        PlanNode,
        QueryPlan,
        Savepoint,
        Snapshot,
        Transaction,
        Verbs,
        open_database,
        show_progress,
    )
    from trioorm.expression import (
        JsonCodec,
        all_,
        and_,
        any_,
        array,
        arrays,
        avg,
        case,
        cast,
        coalesce,
        count,
        default,
        domain_type,
        enum_type,
        exists,
        extract,
        func,
        greatest,
        hstore,
        jsonb,
        least,
        literal,
        lower,
        max_,
        min_,
        multirange_type,
        networks,
        not_,
        now,
        nullif,
        or_,
        range_type,
        ranges,
        row,
        search,
        sum_,
        trigram,
        upper,
        window,
    )
    from trioorm.model import as_dict, configure_converter
    from trioorm.pool import (
        Gap,
        ListenEvent,
        Notification,
        Overflow,
        PoolClosed,
        PoolDeadlock,
        PoolStatistics,
        PoolTimeout,
        Subscription,
        TooManyRequests,
    )
    from trioorm.query import (
        ColumnRows,
        CreateTableAs,
        FunctionRows,
        Identifier,
        LintFinding,
        LintRule,
        Merge,
        RecordRows,
        Sql,
        TypedSql,
        create_table_as,
        generate_series,
        identifier,
        merge,
        merge_action,
        sql,
        table_function,
        unnest,
        values_table,
    )
    from trioorm.resilience import Attempts, Retry
    from trioorm.schema import (
        OnDelete,
        TableConstraint,
        TableIndex,
        check,
        exclude,
        extension,
        foreign_key,
        identity,
        index,
        sequence,
        unique,
    )


# What the rooms below must not know of those above, handed in from here; programs that do not need it do not load it.


def _readable(shape: Shape) -> str:
    from trioorm.compiler import readable

    return readable(shape)


def _sql_text(statement: Statement[object]) -> SqlText:
    from trioorm.compiler import sql_text

    return sql_text(statement)


def _aggregate_related(load: Load[Never], aggregate: Expression[object]) -> Expression[object]:
    from trioorm.query.loading import aggregate_related

    return aggregate_related(load, aggregate)


install_renderer(_readable)
install_compiler(_sql_text)
install_aggregates(_aggregate_related)

if not TYPE_CHECKING:  # to type checkers a name that is not here must be an error
    __getattr__, __dir__ = given_later(
        __name__,
        {
            "trioorm.compiler": "create_schema_statements drop_schema_statements",
            "trioorm.database": (
                "Buffers CopyBlock CopyStream Database Flight FlightResult LinkChanges LoadedRelation PlanNode QueryPlan Savepoint "
                "Snapshot Transaction Verbs open_database show_progress"
            ),
            "trioorm.expression": (
                "JsonCodec all_ and_ any_ array arrays avg case cast coalesce count default domain_type enum_type exists "
                "extract func greatest hstore jsonb least literal lower max_ min_ multirange_type networks not_ now nullif or_ "
                "range_type ranges row search sum_ trigram upper window"
            ),
            "trioorm.model": "as_dict configure_converter",
            "trioorm.pool": (
                "Gap ListenEvent Notification Overflow PoolClosed PoolDeadlock PoolStatistics PoolTimeout Subscription TooManyRequests"
            ),
            "trioorm.query": (
                "ColumnRows CreateTableAs FunctionRows Identifier LintFinding LintRule Merge RecordRows Sql TypedSql "
                "create_table_as generate_series identifier merge merge_action sql table_function unnest values_table"
            ),
            "trioorm.resilience": "Attempts Retry",
            "trioorm.schema": ("OnDelete TableConstraint TableIndex check exclude extension foreign_key identity index sequence unique"),
        },
    )

__all__ = [
    "BIGINT", "BIT", "BOOLEAN", "BYTEA", "CALENDAR_INTERVAL", "CHAR", "CIDR", "CITEXT", "DATE", "DATEMULTIRANGE", "DATERANGE", "DOUBLE",
    "HSTORE", "INET", "INT4MULTIRANGE", "INT4RANGE", "INT8MULTIRANGE", "INT8RANGE", "INTEGER", "INTERVAL", "JSONB", "MACADDR", "MACADDR8",
    "NUMERIC", "NUMMULTIRANGE", "NUMRANGE", "REAL", "SMALLINT", "TEXT", "TIME", "TIMESTAMP", "TIMESTAMPTZ", "TIMETZ", "TSMULTIRANGE",
    "TSQUERY", "TSRANGE", "TSTZMULTIRANGE", "TSTZRANGE", "TSVECTOR", "UNSET", "UUID", "VARBIT", "VARCHAR", "VECTOR", "Attempts",
    "AuthenticationFailed", "BindError", "Buffers", "CheckViolation", "Column", "ColumnRows", "Combined", "CommitOutcomeUnknown",
    "ConnectFailed", "ConnectionLost", "CopyBlock", "CopyStream", "CreateTableAs", "Cte", "Database", "DatabaseError", "DeadlockDetected",
    "Delete", "Expression", "Figure", "Flight", "FlightResult", "ForeignKeyViolation", "ForeignTask", "FunctionRows", "Gap", "Grouping",
    "Identifier", "Insert", "IntegrityError", "Interval", "IpAddress", "IpNetwork", "Json", "JsonCodec", "LinkChanges", "LintFinding",
    "LintRule", "ListenEvent", "Load", "LoadedRelation", "LockLost", "LockNotAvailable", "Many", "Merge", "Model", "ModelError",
    "Multirange", "NoRowFound", "NotNullViolation", "Notification", "OnDelete", "One", "Ordering", "Overflow", "PlanNode", "PoolClosed",
    "PoolDeadlock", "PoolStatistics", "PoolTimeout", "Query", "QueryError", "QueryPlan", "Range", "RecordRows", "RelationNotLoaded",
    "RepeatedStatement", "Retry", "Returning", "Savepoint", "Select", "Selectable", "SerializationFailure", "Snapshot", "Sql", "SqlText",
    "SqlType", "StaleObject", "Statement", "Subquery", "Subscription", "Table", "TableConstraint", "TableIndex", "ToFigure", "ToMany",
    "ToOne", "TooManyRequests", "TooManyRows", "Transaction", "TransactionAborted", "TransactionBusy", "TransactionClosed",
    "TransactionId", "TransactionRolledBack", "TrioormError", "TsQuery", "TsVector", "TypedSql", "UniqueViolation", "UnknownColumn",
    "UnknownMethod", "Unset", "Update", "Verbs", "aggregate_of", "alias", "all_", "and_", "any_", "array", "array_of", "arrays",
    "as_dict", "attempts_of", "avg", "belongs_to", "case", "cast", "check", "coalesce", "column", "composite_type", "configure_converter",
    "count", "count_of", "create_schema_statements", "create_table_as", "cube", "default", "delete", "domain_type",
    "drop_schema_statements", "enum_type", "evolve", "exclude", "excluded", "exists", "extension", "extract", "foreign_key", "func",
    "generate_series", "greatest", "grouping", "grouping_sets", "has_many", "has_one", "hstore", "identifier", "identity", "index",
    "insert", "is_safe_to_retry", "jsonb", "least", "literal", "lower", "many_to_many", "max_", "merge", "merge_action", "min_",
    "multirange_type", "networks", "new", "not_", "now", "nullif", "old", "open_database", "optional", "or_", "range_type", "ranges",
    "rollup", "row", "search", "select", "sequence", "show_progress", "sql", "sum_", "table_function", "trigram", "unique", "unnest",
    "update", "upper", "values_table", "window",
]  # fmt: skip
