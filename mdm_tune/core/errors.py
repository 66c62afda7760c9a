"""The errors that a user reads.

Every message names the rule, the value that breaks it and the remedy. The command line prints the message without a
traceback. It exits with 2 for ``InputError`` and with 1 for ``RunError``.
"""

from __future__ import annotations

__all__ = ["InputError", "MdmTuneError", "MissingInput", "RunError"]


class MdmTuneError(Exception):
    """The base class of every error that this package raises on purpose."""


class InputError(MdmTuneError, ValueError):
    """The input cannot be used: a config, a file, a flag or an argument."""


class MissingInput(InputError):
    """A file or folder that a model needs is missing."""


class RunError(MdmTuneError):
    """The input is valid, but the run failed: non-finite logits, a full disk, a metric without a value."""
