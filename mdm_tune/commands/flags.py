"""The flags that most commands have, and those whose values may be left out.

Heavy modules are imported inside functions, so that ``--help`` is quick.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand

from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import shown
from mdm_tune.core.permissions import GeneratedCode, Permissions
from mdm_tune.core.signals import raise_on_signals

if TYPE_CHECKING:  # these load torch or pydantic
    from mdm_tune.config.file import Config
    from mdm_tune.sampling.devices import Devices

__all__ = ["Command", "Flags", "generated", "generated_words"]

FLAG = "--run-generated-code"
WITHOUT = "safe"  # the value of the flag when none is written
WATCH = "--watch"
READ = ("search.margin", "search.diversity_loss", "search.space")  # what evaluate reads of the section


@dataclass(frozen=True, kw_only=True)
class Flags:
    """The flags that all commands have.

    Attributes:
        config: The YAML file of the run.
        overrides: Texts ``SECTION.KEY=VALUE`` that change values of the config.
        seed: Replaces the config's seed, unless None.
        output: Replaces the config's run folder, unless None.
        devices: The text of ``--devices``; None for the default.
        ray_address: The cluster of ``--devices ray``; None for the environment's.
        trust_code: Whether foreign code may run.
        run_generated_code: Whether programs that a model writes may run.
    """

    config: Path
    overrides: Sequence[str] | None
    seed: int | None
    output: str | None
    devices: str | None
    ray_address: str | None
    trust_code: bool
    run_generated_code: GeneratedCode

    @property
    def allow(self) -> Permissions:
        """The permissions to run foreign and generated code."""
        return Permissions(self.trust_code, self.run_generated_code)

    def load(self, trials: int | None = None) -> tuple[Config, Devices]:
        """Load the config, and choose the devices. From here on signals raise exceptions.

        Args:
            trials: Replaces the config's trials per budget, unless None.

        Raises:
            InputError: If the config or the devices cannot be used.
        """
        from mdm_tune.config.file import load_config
        from mdm_tune.sampling.devices import devices_for

        raise_on_signals()
        loaded = load_config(self.config, self.overrides or (), seed=self.seed, output=self.output, trials=trials)
        return loaded, devices_for(loaded.model, self.devices, self.ray_address)

    def words(self, *, searches: bool = False) -> list[str]:
        """The words of a command that may follow, with the same flags.

        Values of the section ``search`` are left out where the command does not read them and the config is valid
        without them. Its storage always is: no other command uses it, and its URL may hold a password.

        Args:
            searches: Whether the command is ``search``.
        """
        overrides = [text for text in self.overrides or () if not text.strip().startswith("search.storage")]
        if not searches:
            read = [
                text for text in overrides if text.strip().startswith(READ) or not text.strip().startswith("search.")
            ]
            overrides = read if self._loads(read) else overrides
        words = [str(self.config), *(part for text in overrides for part in ("--set", text))]
        flags = {
            "--output": self.output,
            "--seed": self.seed,
            "--devices": self.devices,
            "--ray-address": self.ray_address,
        }
        words += [part for flag, value in flags.items() if value is not None for part in (flag, str(value))]
        return [*words, *["--trust-code"] * self.trust_code, *generated_words(self.run_generated_code)]

    def _loads(self, overrides: Sequence[str]) -> bool:
        """Whether the config is valid with these values alone."""
        from mdm_tune.config.file import load_config

        try:
            load_config(self.config, overrides, seed=self.seed, output=self.output)
        except InputError:
            return False
        return True


class Command(TyperCommand):
    """A command whose --run-generated-code and --watch may have no value.

    A word after --run-generated-code is never its value. A word after --watch is its value, unless the command would
    then lack its argument.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words after adding the values that flags lack, since the library requires them."""
        single = {
            flag for option in self.params for flag in option.opts if getattr(option, "is_flag", False) or flag == FLAG
        }
        return super().parse_args(ctx, _with_value(_watch_with_value(args, single)))


def generated(value: str | bool) -> GeneratedCode:
    """Parse the value of the flag.

    Returns:
        What the flag allows: False, True, or ``"unsafe"``.

    Raises:
        typer.BadParameter: If the value is neither left out nor ``unsafe``.
    """
    if isinstance(value, bool):
        return value
    if value in (WITHOUT, "unsafe"):
        return "unsafe" if value == "unsafe" else True
    raise typer.BadParameter(f"has no value or the value unsafe, got {shown(value)}; write {FLAG} or {FLAG}=unsafe")


def generated_words(allowed: GeneratedCode) -> list[str]:
    """The words on a command line that allow the same."""
    return [f"{FLAG}=unsafe" if allowed == "unsafe" else FLAG] if allowed else []


def _with_value(words: Sequence[str]) -> list[str]:
    """The words with a value added to a flag that has none. Words after ``--`` stay as they are."""
    end = list(words).index("--") if "--" in words else len(words)
    return [f"{FLAG}={WITHOUT}" if word == FLAG and place < end else word for place, word in enumerate(words)]


def _watch_with_value(words: Sequence[str], single: Collection[str]) -> list[str]:
    """The words with --watch and its value, which may be empty, in one word. single: flags without values."""
    if WATCH not in words:
        return list(words)
    place = words.index(WATCH)
    rest = [*words[:place], *words[place + 2 :]]
    follows = words[place + 1 : place + 2]
    if follows and not follows[0].startswith("-") and _has_argument(rest, single):
        return [*words[:place], f"{WATCH}={follows[0]}", *words[place + 2 :]]
    return [*words[:place], f"{WATCH}=", *words[place + 1 :]]


def _has_argument(words: Sequence[str], single: Collection[str]) -> bool:
    """Whether any word is neither a flag nor the value of one."""
    taken = False
    for word in words:
        if not taken and (word == "--" or not word.startswith("-")):
            return True
        taken = not taken and word not in single and "=" not in word
    return False
