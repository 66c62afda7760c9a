"""What the command line allows a run to execute. A YAML file cannot allow it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import shown

__all__ = ["GeneratedCode", "Permissions"]

GeneratedCode = bool | Literal["unsafe"]


@dataclass(frozen=True)
class Permissions:
    """The foreign code that a run may execute.

    Attributes:
        trust_code: the user's functions that a config names, and code that comes with a checkpoint (--trust-code).
        run_generated_code: programs that the model writes, each in its own process (--run-generated-code). ``unsafe``
            runs them even if this machine cannot enforce every limit (--run-generated-code=unsafe).

    Raises:
        InputError: a value is of another type.
    """

    trust_code: bool = False
    run_generated_code: GeneratedCode = False

    def __post_init__(self) -> None:
        if not isinstance(self.trust_code, bool):  # "no" is true to Python
            raise InputError(f"trust_code must be True or False, got {shown(self.trust_code)}; give one of them")
        if not isinstance(self.run_generated_code, bool) and self.run_generated_code != "unsafe":
            raise InputError(
                f"run_generated_code must be True, False or 'unsafe', got {shown(self.run_generated_code)}; give one "
                "of them"
            )
