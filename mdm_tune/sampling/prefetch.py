"""An iterator worked through in a thread of its own, so that it goes on while what it gave is being used."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator
from typing import Any, TypeVar

__all__ = ["prefetched"]

T = TypeVar("T")
LOOK = 0.1  # seconds between two looks at whether anybody still waits
END = object()


def prefetched(source: Generator[T, None, None], room: int) -> Generator[T, None, None]:
    """What the source gives, in its order; raises what it raises, once all before that was given.

    room: items that are kept at most until they are wanted. Where the iterator is closed, or an error ends its use, the
    source is closed in its thread, and that is waited for.
    """
    items: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(room)
    closed = threading.Event()

    def put(item: Any, error: BaseException | None = None) -> None:
        while not closed.is_set():
            try:
                items.put((item, error), timeout=LOOK)
            except queue.Full:
                continue
            return

    def work() -> None:
        try:
            for item in source:
                put(item)
                if closed.is_set():
                    break
            source.close()
        except BaseException as error:
            put(END, error)
        else:
            put(END)

    thread = threading.Thread(target=work, name="ahead", daemon=True)
    thread.start()
    try:
        while (found := items.get())[0] is not END:
            yield found[0]
        if found[1] is not None:
            raise found[1]
    finally:
        closed.set()
        thread.join()
