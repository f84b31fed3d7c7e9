"""The breakages of the mutation check still fit the code. That they are caught is a drill of `make storm`."""

from pathlib import Path

import pytest

import trioorm
from benchmarks.storm.mutations import MUTATIONS, Mutation, edited

_PACKAGE = Path(trioorm.__file__).parent
_TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_breakage_fits_the_code(mutation: Mutation) -> None:
    changed = edited((_PACKAGE / mutation.file).read_text(), mutation)
    compile(changed, mutation.file, "exec")
    for test in mutation.tests:
        file, _, function = test.partition("::")
        assert f"def {function}" in (_TESTS / file).read_text()


def test_one_that_fits_no_longer_is_told() -> None:
    with pytest.raises(LookupError, match="stands 0 times"):
        edited("something else", MUTATIONS[0])
