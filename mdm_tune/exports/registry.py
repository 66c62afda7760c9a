"""The export formats by name."""

from __future__ import annotations

import difflib

from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import shown
from mdm_tune.exports import dinfer, dllm, dream, flow_matching, llada, mdlm, plain
from mdm_tune.exports.base import ExportFormat

__all__ = ["FORMATS", "format_of"]

MODULES = (plain, llada, dinfer, dream, dllm, mdlm, flow_matching)  # each with its own FORMATS
FORMATS: dict[str, ExportFormat] = {known.name: known for module in MODULES for known in module.FORMATS}


def format_of(name: str) -> ExportFormat:
    """The format of a name.

    Raises:
        InputError: there is none.
    """
    if name in FORMATS:
        return FORMATS[name]
    close = difflib.get_close_matches(name.lower()[:100], FORMATS, n=1)
    hint = f"did you mean {close[0]}?" if close else "choose one of them"
    raise InputError(f"--to must be one of {', '.join(FORMATS)}, got {shown(name)}; {hint}")
