"""The errors a user is meant to read.

Every message names the rule, the value that broke it and the remedy. The command line prints it and exits with 2 for
``InputError`` and with 1 for ``RunError``; neither shows a traceback.
"""

from __future__ import annotations

__all__ = ["InputError", "MdmTuneError", "MissingInput", "RunError"]


class MdmTuneError(Exception):
    """Root of every error that this package raises on purpose."""


class InputError(MdmTuneError):
    """What the user gave cannot be used: a config, a file, a flag or an argument."""


class MissingInput(InputError):
    """A file or a folder of the model that is not there."""


class RunError(MdmTuneError):
    """The input was fine and the run failed: non-finite logits, a full disk, a metric without a value."""
