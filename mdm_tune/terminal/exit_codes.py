"""The end of a command: one message on stderr, an exit code, and the command that continues."""

from __future__ import annotations

import os
import shlex
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType

import typer

from mdm_tune.core.errors import InputError, MdmTuneError
from mdm_tune.core.messages import bounded, shown_path, system_reason
from mdm_tune.core.redaction import HIDDEN, without_password
from mdm_tune.core.signals import INTERRUPTED, handlers_restored, interrupted
from mdm_tune.core.streams import discard_stdout, stdout_for_results
from mdm_tune.terminal.console import Screen, complain

__all__ = ["command", "exit_codes", "unforeseen"]


@contextmanager
def exit_codes(screen: Screen, resumable: bool = False) -> Iterator[None]:
    """End a failed command with one message and an exit code.

    The code is 2 for wrong input, 1 for a failed run, and ``INTERRUPTED`` for a signal.

    Args:
        screen: The console of the command.
        resumable: Whether the message after a signal shows how to resume.
    """
    with handlers_restored():
        try:
            with stdout_for_results():
                yield
        except KeyboardInterrupt:
            _stopped(screen, resumable)
        except Exception as error:
            if interrupted():  # foreign code may have turned the interrupt into another exception
                _stopped(screen, resumable)
            _failed(screen, error)
        except SystemExit as error:  # raised by foreign code; typer ends a command by typer.Exit
            if interrupted():
                _stopped(screen, resumable)
            _complain(screen, f"error: code from outside this package ended the process ({error.code}); remove that")
            raise typer.Exit(1) from None
        finally:
            screen.end()


def _complain(screen: Screen, text: str) -> None:
    """Show why a command ends, below its last output, and log it."""
    screen.end(text)
    complain(text)


def _failed(screen: Screen, error: Exception) -> None:
    """Show the message of an expected error and exit; raise any other error again."""
    match error:
        case typer.Exit():
            raise error
        case BrokenPipeError():  # the reader of stdout has closed it
            discard_stdout()
        case OSError():
            path = "" if error.filename is None else f"{shown_path(error.filename)}: "
            _complain(screen, f"error: {path}{system_reason(error)}")
            raise typer.Exit(1) from None
        case MdmTuneError():
            _complain(screen, f"error: {bounded(str(error))}")
            raise typer.Exit(2 if isinstance(error, InputError) else 1) from None
        case _:
            raise error


def _stopped(screen: Screen, resumable: bool) -> None:
    _complain(screen, "\ninterrupted" + (f"; resume with: {_resuming_command(screen)}" if resumable else ""))
    raise typer.Exit(INTERRUPTED) from None


def _resuming_command(screen: Screen) -> str:
    """The command that continues: the same one, with --resume once the search has begun."""
    words = sys.argv[1:]
    if screen.searching and "--resume" not in words:
        words = [word for word in words if word != "--overwrite"] + ["--resume"]
    return command(words)


def command(words: Sequence[str]) -> str:
    """A command to paste. Passwords are hidden, and a comment says so.

    Args:
        words: The words after ``mdm-tune``.
    """
    shown = [without_password(word) for word in words]
    comment = f"  # put the password in again for {HIDDEN}" if shown != [*words] else ""
    return " ".join(["mdm-tune", *map(_quoted, shown)]) + comment


def _quoted(word: str) -> str:
    """A word quoted for a shell. Control characters and bytes that are no text are written as bash escapes."""
    if word.isprintable():
        return shlex.quote(word)
    plain = (chr(byte) if 32 <= byte < 127 and byte not in b"'\\" else f"\\x{byte:02x}" for byte in os.fsencode(word))
    return f"$'{''.join(plain)}'"


def unforeseen(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    """Show the traceback of a bug, redacted like every other message. It serves as ``sys.excepthook``."""
    complain("".join(traceback.format_exception(kind, error, where)).rstrip())
