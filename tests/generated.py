"""How many generated programs and questions a test tries."""

import os


def examples(number: int) -> int:
    """How many examples Hypothesis is to try; `TRIOORM_TEST_EXAMPLES` times as many in `make storm`."""
    return number * int(os.environ.get("TRIOORM_TEST_EXAMPLES", "1"))
