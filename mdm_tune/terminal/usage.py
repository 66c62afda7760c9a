"""Errors of command-line use, with messages like those of other wrong input: rule, value, remedy; exit code 2."""

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
from mdm_tune.core.other_names import setting_of
from mdm_tune.core.signals import INTERRUPTED
from mdm_tune.core.streams import discard_stdout
from mdm_tune.terminal.console import complain

__all__ = ["Commands", "whole_number"]

CONFIG = "CONFIG"
# The base class of the parser's errors. Its module differs between versions of Typer.
PARSER_ERROR: type[Exception] = typer.BadParameter.__mro__[2]


def whole_number(text: str | int) -> int:
    """Parse the value of a flag that takes a whole number.

    Raises:
        typer.BadParameter: If the text is no whole number in decimal digits.
    """
    try:
        return text if isinstance(text, int) else whole(text)
    except ValueError:
        remedy = "write digits, such as 8"
        if re.fullmatch(r"-?0[0-9]+", str(text)):
            remedy = "it is base 8 to some readers and base 10 to others, so write it without the 0 in front"
        raise typer.BadParameter(f"must be a whole number, got {shown(text)}; {remedy}") from None


class Commands(TyperGroup):
    """The group of commands. Errors of the parser are shown as one message."""

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
            code = _show_parser_error(error)
        except InputError as error:
            complain(f"error: {bounded(str(error))}")
            code = 2
        except typer.Abort:
            code = INTERRUPTED
        except BrokenPipeError:  # the reader of stdout has closed it
            discard_stdout()
            code = 0
        except OSError as error:  # help written to a full disk; commands report their own errors
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
        """The command that the first word names, with its name and its arguments.

        Raises:
            InputError: If no command has this name.
        """
        names = list(self.commands)
        if args[0] not in names:
            raise InputError(
                f"there is no command {shown(args[0])}; {_suggestion(args[0], names)}"
                f"the commands are {', '.join(names)}"
            )
        return super().resolve_command(ctx, args)


def _show_parser_error(error: Any) -> int:
    """Show an error of the parser; returns the exit code."""
    if type(error).__name__ != "NoArgsIsHelpError":  # Typer has shown the help already
        complain(f"error: {bounded(_message(error))}")
    return int(getattr(error, "exit_code", 2))


def _message(error: Any) -> str:
    """The message for an error of the parser, with rule, value and remedy."""
    kind, context = type(error).__name__, getattr(error, "ctx", None)
    parameter, path = getattr(error, "param", None), "mdm-tune"
    flags: list[str] = []
    if context is not None:
        path = " ".join(["mdm-tune", *context.command_path.split()[1:]]).removeprefix("mdm-tune -m mdm_tune")
        path = path if path.startswith("mdm-tune") else f"mdm-tune{path}"
        visible = [option for option in context.command.get_params(context) if not getattr(option, "hidden", False)]
        flags = [flag for option in visible for flag in option.opts if flag.startswith("-")]
    if kind == "MissingParameter":
        if (word := _flag_of(parameter)) != CONFIG:
            return f"{word} is required and missing; {path} --help lists what it takes"
        return (
            f"{CONFIG} is required and missing: {path} takes the YAML file of the run; "
            f"give it, such as {path} configs/text.yaml"
        )
    if kind == "NoSuchOption":
        name = error.option_name
        if "--steps" in flags and setting_of(name.lstrip("-")) == "sampler.steps":
            return f"{path} has no option {shown(name)}; did you mean --steps? {path} --help lists its options"
        return f"{path} has no option {shown(name)}; {_suggestion(name, flags)}{path} --help lists its options"
    if kind == "BadOptionUsage":
        flag = error.option_name
        if "does not take" in error.message:
            return f"{flag} takes no value and got one; write {flag} alone"
        return f"{flag} needs a value and got none; write {flag} VALUE"
    if parameter is not None:
        return f"{_flag_of(parameter)}: {error.message}"
    if "unexpected extra" in error.message:
        extra = error.message.rpartition("(")[2].removesuffix(")")
        parameters = [] if context is None else context.command.params
        arguments = [_flag_of(each) for each in parameters if each.param_type_name == "argument"] or [CONFIG]
        return (
            f"{path} takes {'one ' if len(arguments) == 1 else ''}{' and '.join(arguments)}, got more: {shown(extra)}; "
            "remove it, or put a value with spaces in quotes"
        )
    return str(error.message)


def _flag_of(parameter: Any) -> str:
    """The long flag of an option, or the name of an argument, such as CONFIG."""
    flags = [flag for flag in parameter.opts if flag.startswith("-")]
    return max(flags, key=len) if flags else str(parameter.metavar or CONFIG)


def _suggestion(word: str, legal: Iterable[str]) -> str:
    """A question with the legal word that is most like this one; empty if none is similar."""
    matches = difflib.get_close_matches(word, list(dict.fromkeys(legal)), n=1)
    return f"did you mean {matches[0]}? " if matches else ""
