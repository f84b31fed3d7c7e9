"""What `column(...)` says of a reference beside its target: what follows a change of the row, and when the check is made.

In a file of its own because every model needs it, while the records of whole tables are only needed when one is created.
"""

from typing import Literal, NamedTuple, TypeAlias

from trioorm.errors import ModelError

OnDelete: TypeAlias = Literal["cascade", "restrict", "set null", "set default", "no action"]
"""What happens to a row when the row it refers to is deleted (or its key changed)."""


class Deferral(NamedTuple):
    """When a constraint is checked.

    Attributes:
        deferrable: a transaction may put the check off to its COMMIT.
        initially: it is put off unless the transaction says otherwise.
    """

    deferrable: bool = False
    initially: bool = False


AT_ONCE = Deferral()
"""PostgreSQL's own rule: at each statement."""


def deferral(deferrable: bool, initially_deferred: bool) -> Deferral:
    """When a constraint is checked.

    Raises:
        ModelError: it is put off and may not be.
    """
    if initially_deferred and not deferrable:
        raise ModelError("initially_deferred=True needs deferrable=True.\nTo fix it: give both.")
    return Deferral(deferrable, initially_deferred)
