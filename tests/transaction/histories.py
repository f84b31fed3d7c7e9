"""Histories of appends to lists and reads of them, and a check of what order, if any, could explain them.

The contract: `anomalies` is given what each committed transaction read and appended, and the lists as they are in the end. Appended values
are unique, so each read tells which version it saw, and the order of versions is that of the list. Three relations between transactions
follow: who wrote the next version (ww), who read whose (wr), and who read what another then replaced (rw). If no one order explains the
history, they have a circle.

Source: Kingsbury and Alvaro, "Elle: Inferring Isolation Anomalies from Experimental Observations" (https://arxiv.org/abs/2003.10554).
"""

from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

from attrs import define, field


@define(eq=False)
class Record:
    """What one transaction did, in its last attempt.

    Attributes:
        appended: key and value.
        read: key and the list seen, without the transaction's own appends.
        certain: whether it is known to be committed.
    """

    name: str
    appended: list[tuple[int, int]] = field(factory=list[tuple[int, int]])
    read: list[tuple[int, tuple[int, ...]]] = field(factory=list[tuple[int, tuple[int, ...]]])
    certain: bool = True

    def begin(self) -> None:
        """Forget an attempt that was not the last."""
        self.appended.clear()
        self.read.clear()


def anomalies(records: Sequence[Record], final: Mapping[int, Sequence[int]]) -> list[str]:
    """Everything in a history that a serial execution could not have shown; empty when there is nothing."""
    found: list[str] = []
    there = {value for items in final.values() for value in items}
    committed = [record for record in records if record.certain or any(value in there for _, value in record.appended)]
    writer = {value: record for record in committed for _, value in record.appended}
    for key, items in final.items():
        found += [f"duplicate: {value} is {items.count(value)} times in list {key}" for value in set(items) if items.count(value) > 1]
        found += [f"dirty write: {value} in list {key} was never committed" for value in items if value not in writer]
    found += [f"lost update: {value} of {writer[value].name} is not there" for value in writer if value not in there]
    for record in committed:
        for key, seen in record.read:
            if tuple(final[key][: len(seen)]) != seen:
                found.append(f"{record.name} saw {seen} in list {key}, which it never was on the way to {tuple(final[key])}")
    if not found:
        found += _circle(committed, final, writer)
    return found


def _circle(committed: Sequence[Record], final: Mapping[int, Sequence[int]], writer: Mapping[int, Record]) -> Iterator[str]:
    before: dict[Record, set[Record]] = {record: set() for record in committed}

    def comes_first(first: Record, second: Record) -> None:
        if first is not second:
            before[second].add(first)

    for items in final.values():
        for earlier, later in pairwise(items):
            comes_first(writer[earlier], writer[later])
    for record in committed:
        for key, seen in record.read:
            if seen:
                comes_first(writer[seen[-1]], record)
            if len(seen) < len(final[key]):
                comes_first(record, writer[final[key][len(seen)]])
    try:
        TopologicalSorter(before).prepare()
    except CycleError as error:
        yield "circle: " + " before ".join(record.name for record in error.args[1])
