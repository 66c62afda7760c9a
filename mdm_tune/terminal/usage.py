"""Wrong use of the command line in the same words as any other wrong input: the rule, the value, the remedy; exit 2."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import bounded, shown, system_reason
from mdm_tune.core.numerals import whole
from mdm_tune.core.signals import INTERRUPTED
from mdm_tune.core.streams import discard_stdout
from mdm_tune.terminal.console import complain

__all__ = ["Commands", "whole_number"]

CONFIG = "CONFIG"
# The root of the parser's errors; where it lies differs between versions of Typer.
PARSER_ERROR: type[Exception] = typer.BadParameter.__mro__[2]


def whole_number(text: str | int) -> int:
    """The parser of flags that take a whole number."""
    try:
        return text if isinstance(text, int) else whole(text)
    except ValueError:
        remedy = "write digits, such as 8"
        if re.fullmatch(r"-?0[0-9]+", str(text)):
            remedy = "it is base 8 to some readers and base 10 to others, so write it without the 0 in front"
        raise typer.BadParameter(f"must be a whole number, got {shown(text)}; {remedy}") from None


class Commands(TyperGroup):
    """The commands; what their parser refuses is said in one message."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command and, if standalone, end the process with its exit code."""
        try:
            code = super().main(args, prog_name, complete_var, False, windows_expand_args, **extra)
        except PARSER_ERROR as error:
            code = _refused(error)
        except InputError as error:
            complain(f"error: {bounded(str(error))}")
            code = 2
        except typer.Abort:
            code = INTERRUPTED
        except BrokenPipeError:  # the reader of stdout has seen enough
            discard_stdout()
            code = 0
        except OSError as error:  # the help on a full disk; a command says by itself what failed
            discard_stdout()
            complain(f"error: cannot write to stdout: {system_reason(error)}")
            code = 1
        except SystemExit as error:  # Rich's answer to a closed pipe, such as of --help | head -1
            if not isinstance(error.__context__, BrokenPipeError):
                raise
            code = 0
        if not standalone_mode:
            return code
        sys.exit(code if isinstance(code, int) else 0)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the first word names; raises InputError where none has its name."""
        known = list(self.commands)
        if args[0] not in known:
            raise InputError(
                f"there is no command {shown(args[0])}; {_closest(args[0], known)}the commands are {', '.join(known)}"
            )
        return super().resolve_command(ctx, args)


def _refused(error: Any) -> int:
    if type(error).__name__ != "NoArgsIsHelpError":  # which has shown the help
        complain(f"error: {bounded(_message(error))}")
    return int(getattr(error, "exit_code", 2))


def _message(error: Any) -> str:
    kind, context = type(error).__name__, getattr(error, "ctx", None)
    parameter, path = getattr(error, "param", None), "mdm-tune"
    flags: list[str] = []
    if context is not None:
        path = " ".join(["mdm-tune", *context.command_path.split()[1:]]).removeprefix("mdm-tune -m mdm_tune")
        path = path if path.startswith("mdm-tune") else f"mdm-tune{path}"
        shown_ones = [each for each in context.command.get_params(context) if not getattr(each, "hidden", False)]
        flags = [flag for each in shown_ones for flag in each.opts if flag.startswith("-")]
    asks = f"{path} --help lists"
    if kind == "MissingParameter":
        return (
            f"{CONFIG} is required and missing: {path} takes the YAML file of the run; "
            f"give it, such as {path} configs/text.yaml"
        )
    if kind == "NoSuchOption":
        name = error.option_name
        return f"{path} has no option {shown(name)}; {_closest(name, flags)}{asks} its options"
    if kind == "BadOptionUsage":
        flag = error.option_name
        if "does not take" in error.message:
            return f"{flag} takes no value and got one; write {flag} alone"
        return f"{flag} needs a value and got none; write {flag} VALUE"
    if parameter is not None:
        return f"{_name(parameter)}: {error.message}"
    if "unexpected extra" in error.message:
        more = error.message.rpartition("(")[2].removesuffix(")")
        return f"{path} takes one {CONFIG}, got more: {shown(more)}; remove it, or put a value with spaces in quotes"
    return str(error.message)


def _name(parameter: Any) -> str:
    flags = [flag for flag in parameter.opts if flag.startswith("-")]
    return max(flags, key=len) if flags else CONFIG


def _closest(word: str, legal: Iterable[str]) -> str:
    found = difflib.get_close_matches(word, list(dict.fromkeys(legal)), n=1)
    return f"did you mean {found[0]}? " if found else ""
