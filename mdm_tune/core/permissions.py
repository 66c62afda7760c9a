"""What the command line allows a run to execute. A YAML file cannot allow it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["GeneratedCode", "Permissions"]

GeneratedCode = bool | Literal["unsafe"]


@dataclass(frozen=True)
class Permissions:
    """The foreign code that a run may execute.

    Attributes:
        trust_code: the user's functions that a config names, and code that comes with a checkpoint (--trust-code).
        run_generated_code: programs that the model writes, each in its own process (--run-generated-code). ``unsafe``
            runs them even if this machine cannot enforce every limit (--run-generated-code=unsafe).
    """

    trust_code: bool = False
    run_generated_code: GeneratedCode = False
