"""Run a generator in a thread of its own, so that it continues while its items are used."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator
from typing import Any, TypeVar

__all__ = ["prefetched"]

T = TypeVar("T")
POLL = 0.1  # seconds between two checks whether the iterator was closed
END = object()


def prefetched(source: Generator[T, None, None], room: int) -> Generator[T, None, None]:
    """Yield the items of a generator that runs in a thread of its own.

    An error of the source is raised after all items before it. When the iterator is closed, the source is closed in its
    thread, and ``close`` waits for that.

    Args:
        source: The generator.
        room: Most items that wait to be used.
    """
    items: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(room)
    closed = threading.Event()

    def put_item(item: Any, error: BaseException | None = None) -> None:
        while not closed.is_set():
            try:
                items.put((item, error), timeout=POLL)
            except queue.Full:
                continue
            return

    def run() -> None:
        try:
            for item in source:
                put_item(item)
                if closed.is_set():
                    break
            source.close()
        except BaseException as error:
            put_item(END, error)
        else:
            put_item(END)

    thread = threading.Thread(target=run, name="ahead", daemon=True)
    thread.start()
    try:
        while (item := items.get())[0] is not END:
            yield item[0]
        if item[1] is not None:
            raise item[1]
    finally:
        closed.set()
        thread.join()
