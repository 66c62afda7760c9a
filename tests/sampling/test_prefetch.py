"""Iterators that are worked through in a thread of their own."""

from __future__ import annotations

import threading
from collections.abc import Generator

import pytest

from mdm_tune.sampling.prefetch import prefetched


class Source:
    """Numbers up to ``stop``, then perhaps an error; where they come from, and whether that was closed."""

    def __init__(self, stop: int, error: BaseException | None = None) -> None:
        self.stop, self.error = stop, error
        self.threads: set[int] = set()
        self.given, self.closed = 0, threading.Event()

    def numbers(self) -> Generator[int, None, None]:
        try:
            for number in range(self.stop):
                self.threads.add(threading.get_ident())
                self.given += 1
                yield number
            if self.error is not None:
                raise self.error
        finally:
            self.closed.set()


@pytest.mark.parametrize("room", [1, 3, 100])
def test_all_is_given_in_order_by_another_thread(room: int) -> None:
    source = Source(20)
    assert list(prefetched(source.numbers(), room)) == list(range(20))
    assert source.closed.is_set() and threading.get_ident() not in source.threads


def test_it_goes_on_while_nobody_asks_and_stops_where_there_is_no_room() -> None:
    source, reached = Source(1000), threading.Event()

    def numbers() -> Generator[int, None, None]:
        for number in source.numbers():
            if number == 4:
                reached.set()
            yield number

    found = prefetched(numbers(), 4)
    assert next(found) == 0
    assert reached.wait(60)  # four wait, or three and the one that is being put there
    assert source.given <= 6
    found.close()
    assert source.given <= 7


def test_an_error_comes_after_what_was_before_it() -> None:
    found = prefetched(Source(3, ValueError("no")).numbers(), 10)
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="no"):
        next(found)


def test_a_source_is_closed_with_its_use() -> None:
    source = Source(1000)
    found = prefetched(source.numbers(), 2)
    next(found)
    found.close()
    assert source.closed.is_set() and not any(
        each.name == "ahead" and each.is_alive() for each in threading.enumerate()
    )


def test_a_source_that_is_never_asked_never_begins() -> None:
    source = Source(3)
    prefetched(source.numbers(), 2).close()
    assert source.given == 0
