"""The export formats by name."""

from __future__ import annotations

import difflib

from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import shown
from mdm_tune.core.plugins import check_plugin_name, installed_plugins, plugin_named
from mdm_tune.exports import (
    diffusers,
    dinfer,
    dllm,
    dream,
    duo,
    engines,
    flow_matching,
    llada,
    md4,
    mdlm,
    omnivoice,
    plain,
    sedd,
    vllm,
)
from mdm_tune.exports.base import ExportFormat
from mdm_tune.exports.plugin_formats import plugin_format

__all__ = ["FORMATS", "format_of"]

MODULES = (
    plain,
    llada,
    dinfer,
    dream,
    dllm,
    mdlm,
    sedd,
    duo,
    md4,
    flow_matching,
    diffusers,
    vllm,
    engines,
    omnivoice,
)  # each with its own FORMATS
FORMATS: dict[str, ExportFormat] = {known.name: known for module in MODULES for known in module.FORMATS}


def format_of(name: str, trust_code: bool = False) -> ExportFormat:
    """The format of a name, which may be that of a plugin.

    Raises:
        InputError: there is none, the name stands for several, or it is that of a plugin that is not trusted or fails.
    """
    check_plugin_name("exports", name, FORMATS, "--to")
    if name in FORMATS:
        return FORMATS[name]
    if (plugin := plugin_named("exports", name)) is not None:
        return plugin_format(plugin, trust_code)
    known = [*FORMATS, *(plugin.name for plugin in installed_plugins("exports"))]
    close = difflib.get_close_matches(name.lower()[:100], known, n=1)
    hint = f"did you mean {close[0]}?" if close else "choose one of them"
    raise InputError(f"--to must be one of {', '.join(known)}, got {shown(name)}; {hint}")
