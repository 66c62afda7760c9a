"""What the command line has allowed; nothing in a YAML file can."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Permissions"]


@dataclass(frozen=True)
class Permissions:
    """Code from outside the package that a run may execute.

    trust_code: the user's own functions that a config names, and code that comes with a checkpoint (--trust-code).
    run_generated_code: programs that the model writes, in a process of their own (--run-generated-code).
    """

    trust_code: bool = False
    run_generated_code: bool = False
