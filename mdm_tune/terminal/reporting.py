"""How a command ends: one message on stderr, an exit code, and what to paste to go on."""

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
    """Turn what can go wrong into one message and an exit code: 2 for the user's input, 1 for a failed run."""
    with handlers_restored():
        try:
            with stdout_for_results():
                yield
        except KeyboardInterrupt:
            _stopped(screen, resumable)
        except Exception as error:
            if interrupted():  # whatever code of others has made of it
                _stopped(screen, resumable)
            _failed(error)
        except SystemExit as error:  # typer ends a command by another; so code of others that nothing else has caught
            if interrupted():
                _stopped(screen, resumable)
            complain(f"error: code from outside this package ended the process ({error.code}); remove that")
            raise typer.Exit(1) from None


def _failed(error: Exception) -> None:
    """Say what went wrong and leave; raises what nobody foresaw as it is."""
    match error:
        case typer.Exit():
            raise error
        case BrokenPipeError():  # the reader has seen enough
            discard_stdout()
        case OSError():
            at = "" if error.filename is None else f"{shown_path(error.filename)}: "
            complain(f"error: {at}{system_reason(error)}")
            raise typer.Exit(1) from None
        case MdmTuneError():
            complain(f"error: {bounded(str(error))}")
            raise typer.Exit(2 if isinstance(error, InputError) else 1) from None
        case _:
            raise error


def _stopped(screen: Screen, resumable: bool) -> None:
    complain("\ninterrupted" + (f"; resume with: {_again(screen)}" if resumable else ""))
    raise typer.Exit(INTERRUPTED) from None


def _again(screen: Screen) -> str:
    """The command that goes on: the same one, with --resume once the search has begun."""
    words = sys.argv[1:]
    if screen.searching and "--resume" not in words:
        words = [word for word in words if word != "--overwrite"] + ["--resume"]
    return command(words)


def command(words: Sequence[str]) -> str:
    """A command to paste, and what has to be put into it again before."""
    shown = [without_password(word) for word in words]
    again = f"  # put the password in again for {HIDDEN}" if shown != [*words] else ""
    return " ".join(["mdm-tune", *map(_quoted, shown)]) + again


def _quoted(word: str) -> str:
    """A word for a shell; with control characters or bytes that are no text, in the form that bash has for them."""
    if word.isprintable():
        return shlex.quote(word)
    plain = (chr(byte) if 32 <= byte < 127 and byte not in b"'\\" else f"\\x{byte:02x}" for byte in os.fsencode(word))
    return f"$'{''.join(plain)}'"


def unforeseen(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    """A mistake of our own: its traceback, through the same sink as everything else that is said."""
    complain("".join(traceback.format_exception(kind, error, where)).rstrip())
