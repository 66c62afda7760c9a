"""Calls of code from outside the package: whatever goes wrong in one becomes one message with its place."""

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

# For code whose file is fingerprinted: a search whose code was corrected is another one, which cannot be resumed.
RUN_AGAIN = "then run again, a search with --overwrite"
ERROR_LENGTH = 300  # characters of somebody else's error
VALUE = 60
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")  # CPU, MPS and CUDA
CODE_OF_CHECKPOINTS = "transformers_modules"  # the folder of copies that transformers runs


class ForeignFailure(RunError):
    """A call of somebody else's code that failed.

    what: the setting and its value. said: the error. remedy: a clause. place: rows and step. verb: what it did not do.
    """

    def __init__(self, what: str, said: str, remedy: str, place: str = "", verb: str = "failed") -> None:
        super().__init__(what, said, remedy, place, verb)  # all of them, so that it survives pickling
        self.what, self.said, self.remedy, self.place, self.verb = what, said, remedy, place, verb

    def __str__(self) -> str:
        where = f" {self.place}" if self.place else ""
        return f"{self.what} {self.verb}{where}: {self.said}; {self.remedy}"

    def located(self, place: str) -> ForeignFailure:
        """The same failure where it is known at which rows and step; one that knows it already is kept."""
        return self if self.place else ForeignFailure(self.what, self.said, self.remedy, place, self.verb)


@contextmanager
def calling(
    what: str,
    remedy: str = "correct that code",
    *,
    file: Path | None = None,
    place: str = "",
    verb: str = "failed",
    loading: bool = False,
    passed: Callable[[BaseException], bool] = lambda error: False,
) -> Iterator[None]:
    """Call code from outside in this context: an error of its own, or an attempt to end the process, is one message.

    what: the setting and its value, such as "model.target: my_model.py:build". file: where that code is. place: rows
    and step, where known. verb: what it did not do. loading: the run has not begun. passed: errors that somebody
    outside deals with.

    Raises InputError for a failure while ``loading``, else ForeignFailure; errors of this package and Ctrl-C pass.
    """
    try:
        yield
    except (MdmTuneError, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # code of others may raise anything
        if passed(error):
            raise
        failure = ForeignFailure(what, error_text(error, file), remedy, place, verb)
        raise (InputError(str(failure)) if loading else failure) from error


def error_text(error: BaseException, file: Path | None = None) -> str:
    """An error's kind, the first line of its text, and the last line of the code around ``file`` that it came from."""
    kind = type(error).__name__
    if isinstance(error, SystemExit):
        text = f"it ended the process by sys.exit({safe_repr(error.code)})"
    else:
        try:
            text = str(error.msg if isinstance(error, SyntaxError) else error).strip()
            first, _, rest = text.partition("\n")
            text = f"{first} {rest.strip().partition(chr(10))[0]}" if first.endswith(":") else first
        except Exception:  # an error whose own text fails
            text = ""
    line = _line(error, file)
    return f"{kind}{': ' * bool(text)}{cut(text, ERROR_LENGTH)}{f' ({line})' if line else ''}"


def _line(error: BaseException, file: Path | None) -> str:
    """``line N`` of the file, or ``NAME, line N`` of a neighbour, or of code that came with a checkpoint."""
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


def safe_repr(value: object, length: int = VALUE) -> str:
    """A value of somebody else's for a message, whatever its ``repr`` does."""
    try:
        return cut(repr(value), length)
    except Exception:  # a repr that fails, or an integer with too many digits to be written
        return f"{type(value).__name__} that cannot be shown"


def finite_number(value: Any) -> float | None:
    """The float that a value of somebody else's is, True and False too; None for anything but a finite number."""
    if not isinstance(value, int | float | np.number | np.bool_) or isinstance(value, np.complexfloating):
        return None
    try:
        found = float(value)
    except OverflowError:  # an integer beyond the largest float
        return None
    return found if math.isfinite(found) else None


def out_of_memory(error: BaseException) -> str | None:
    """What PyTorch, on any device, or NumPy says where an allocation fails; None for any other error."""
    if not isinstance(error, MemoryError | RuntimeError):
        return None
    said = str(error)
    by_name = any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__)  # torch is not imported here
    if by_name or isinstance(error, MemoryError) or any(sign in said.lower() for sign in OUT_OF_MEMORY):
        return said.partition("\n")[0] or type(error).__name__
    return None
