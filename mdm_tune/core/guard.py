"""Calls of foreign code: a failure becomes one message that says where it happened."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mdm_tune.core.errors import InputError, MdmTuneError, RunError
from mdm_tune.core.messages import cut

__all__ = ["RUN_AGAIN", "ForeignFailure", "calling", "error_text", "finite_number", "out_of_memory", "safe_repr"]

# The remedy for code whose file is fingerprinted: a search cannot be resumed after its code has changed.
RUN_AGAIN = "then run again, a search with --overwrite"
ERROR_LENGTH = 300  # characters of a foreign error that are shown
VALUE_LENGTH = 60  # characters of a foreign value that are shown
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")  # CPU, MPS and CUDA
CODE_OF_CHECKPOINTS = "transformers_modules"  # the folder of copies that transformers runs


class ForeignFailure(RunError):
    """A call of foreign code failed.

    Attributes:
        what: the setting and its value.
        error: the text of the error.
        remedy: what to do, as a clause.
        place: rows and step; empty if unknown.
        verb: what the code failed to do.
    """

    def __init__(self, what: str, error: str, remedy: str, place: str = "", verb: str = "failed") -> None:
        super().__init__(what, error, remedy, place, verb)  # unpickling calls this method with all five
        self.what, self.error, self.remedy, self.place, self.verb = what, error, remedy, place, verb

    def __str__(self) -> str:
        where = f" {self.place}" if self.place else ""
        return f"{self.what} {self.verb}{where}: {self.error}; {self.remedy}"

    def located(self, place: str) -> ForeignFailure:
        """The same failure with a place; a place that is already known stays."""
        return self if self.place else ForeignFailure(self.what, self.error, self.remedy, place, self.verb)


@contextmanager
def calling(
    what: str,
    remedy: str = "correct that code",
    *,
    file: Path | None = None,
    place: str = "",
    verb: str = "failed",
    loading: bool = False,
    let_through: Callable[[BaseException], bool] = lambda error: False,
) -> Iterator[None]:
    """Run foreign code in this context, and turn its errors and its attempts to exit into one message.

    Errors of this package and Ctrl-C are raised unchanged.

    Args:
        what: the setting and its value, such as "model.target: my_model.py:build".
        remedy: what to do, as a clause.
        file: the file of the code; the message names a line in it.
        place: rows and step; empty if unknown.
        verb: what the code fails to do, such as "cannot be imported".
        loading: whether the run has not begun yet.
        let_through: returns True for errors that the caller handles; they are raised unchanged.

    Raises:
        InputError: the code failed while ``loading``.
        ForeignFailure: the code failed later.
    """
    try:
        yield
    except (MdmTuneError, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # foreign code may raise anything
        if let_through(error):
            raise
        failure = ForeignFailure(what, error_text(error, file), remedy, place, verb)
        raise (InputError(str(failure)) if loading else failure) from error


def error_text(error: BaseException, file: Path | None = None) -> str:
    """The class of an error, the first line of its text, and the last line of foreign code in its traceback.

    Args:
        error: the error, with its traceback.
        file: the file of the foreign code; lines of its neighbours count too.
    """
    kind = type(error).__name__
    if isinstance(error, SystemExit):
        text = f"it ended the process by sys.exit({safe_repr(error.code)})"
    else:
        try:
            text = str(error.msg if isinstance(error, SyntaxError) else error).strip()
            first, _, rest = text.partition("\n")
            text = f"{first} {rest.strip().partition(chr(10))[0]}" if first.endswith(":") else first
        except Exception:  # the __str__ of the error fails itself
            text = ""
    line = _source_line(error, file)
    return f"{kind}{': ' * bool(text)}{cut(text, ERROR_LENGTH)}{f' ({line})' if line else ''}"


def _source_line(error: BaseException, file: Path | None) -> str:
    """``line N`` of the file, or ``NAME, line N`` of a neighbour or of code that came with a checkpoint."""
    frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename is not None:
        frames.append((error.filename, error.lineno))
    for name, number in reversed(frames):
        path = Path(name)
        if file is not None and path == file:
            return f"line {number}"
        beside = file is not None and file.parent in path.parents and "site-packages" not in path.parts
        if beside or CODE_OF_CHECKPOINTS in path.parts:
            return f"{cut(path.name)}, line {number}"
    return ""


def safe_repr(value: object, length: int = VALUE_LENGTH) -> str:
    """A foreign value for a message; never raises, even if its ``repr`` does."""
    try:
        return cut(repr(value), length)
    except Exception:  # the repr fails, or an integer has too many digits for Python to write
        return f"{type(value).__name__} that cannot be shown"


def finite_number(value: Any) -> float | None:
    """A foreign value as a float; booleans count as 0 and 1. None if it is no finite number."""
    if not isinstance(value, int | float | np.number | np.bool_) or isinstance(value, np.complexfloating):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer beyond the largest float
        return None
    return number if math.isfinite(number) else None


def out_of_memory(error: BaseException) -> str | None:
    """The first line of an out-of-memory error of PyTorch, on any device, or of NumPy; None for any other error."""
    if not isinstance(error, MemoryError | RuntimeError):
        return None
    text = str(error)
    by_name = any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__)  # torch is not imported here
    if by_name or isinstance(error, MemoryError) or any(phrase in text.lower() for phrase in OUT_OF_MEMORY):
        return text.partition("\n")[0] or type(error).__name__
    return None
