"""What is said of a value that cannot be packed. Packers are trusted; only when one fails is it found out which value it was."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import cast

from trioorm.database.codecs import Packer, parameter_packer_for
from trioorm.errors import BindError
from trioorm.expression import SqlType


def misfit(
    packers: Sequence[Packer],
    values: Sequence[object],
    types: Sequence[SqlType | None],
    places: Sequence[str] | None = None,
    *,
    text: str = "",
) -> BindError:
    """The error for the first of these values that cannot be packed.

    Args:
        packers: of the values, and perhaps of more behind them.
        values: one of which cannot be packed.
        types: of the values.
        places: what each of them is called; parameters when not given.
        text: of the statement that has these parameters.
    """
    for number, (packer, value, sql_type) in enumerate(zip(packers, values, types, strict=False), 1):
        if value is None or (reason := _misfits(packer, value)) is None:
            continue
        what, done = (f"parameter ${number}", "sent") if places is None else (places[number - 1], "written")
        return _error(what, value, sql_type, reason, f"nothing was {done}.\n" + (f"{text}\n" if text else ""))
    raise AssertionError("packing failed once and not twice")


def _error(what: str, value: object, sql_type: SqlType | None, reason: str, then: str) -> BindError:
    shown = type(value).__qualname__
    if sql_type is not None and sql_type.element is not None and isinstance(value, list):
        packer = parameter_packer_for(sql_type.element)
        for number, each in enumerate(cast("list[object]", value), 1):  # perhaps one of a thousand rows, which travel as arrays
            if each is not None and (inner_reason := _misfits(packer, each)) is not None:
                return _error(f"value {number:,} of {what}", each, sql_type.element, inner_reason, then)
    name = sql_type.name if sql_type is not None else "the type that the server would infer"
    return BindError(
        f"{what} cannot be sent as {name}: {reason}. Its class is {shown}; {then}"
        "To fix it: convert the value, or give the column another type (`column(type=...)`)."
    )


def _misfits(packer: Packer, value: object) -> str | None:
    """Why a value cannot be packed; None when it can."""
    try:
        packer.pack(value)
    except struct.error:
        return "it is not a number of that type, or out of its range"
    except (AttributeError, KeyError):
        return "it has another class"
    except (TypeError, ValueError, OverflowError) as error:
        return str(error)
    return None
