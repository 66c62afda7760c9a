"""What the command line has allowed; nothing in a YAML file can."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["GeneratedCode", "Permissions"]

GeneratedCode = bool | Literal["unsafe"]


@dataclass(frozen=True)
class Permissions:
    """Code from outside the package that a run may execute.

    trust_code: the user's own functions that a config names, and code that comes with a checkpoint (--trust-code).
    run_generated_code: programs that the model writes, in processes of their own (--run-generated-code); ``unsafe``
    also where this machine does not hold them to every limit (--run-generated-code=unsafe).
    """

    trust_code: bool = False
    run_generated_code: GeneratedCode = False
