"""Consent for libraries that load foreign code: it comes from the command line, and no library can prompt for it."""

from __future__ import annotations

import importlib
import importlib.util
import io
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from mdm_tune.core.trust import require_trust

__all__ = ["datasets_runs_scripts", "without_consent_prompts"]


@contextmanager
def without_consent_prompts(trust_code: bool, what: str) -> Iterator[None]:
    """Let transformers, datasets, evaluate and lm-evaluation-harness run foreign code only if it is trusted.

    The standard input is empty in this context. A loader that would prompt for consent raises instead.

    Args:
        trust_code: whether --trust-code was given.
        what: the setting that is loaded, for messages.
    """
    with ExitStack() as replacements:
        replacements.enter_context(_replaced_attribute(sys, "stdin", io.StringIO()))
        dynamic = sys.modules.get("transformers.dynamic_module_utils")
        if dynamic is not None:  # the seconds that it would wait for an answer
            replacements.enter_context(_replaced_attribute(dynamic, "TIME_OUT_REMOTE_CODE", 0))
        datasets = sys.modules.get("datasets.config")
        if hasattr(datasets, "HF_DATASETS_TRUST_REMOTE_CODE"):  # version 4 and later run no scripts
            replacements.enter_context(_replaced_attribute(datasets, "HF_DATASETS_TRUST_REMOTE_CODE", trust_code))
        if not trust_code and "lm_eval" in sys.modules and importlib.util.find_spec("evaluate") is not None:
            # Tasks of the harness load metrics by name, and these metrics are programs of the Hub.
            evaluate: Any = importlib.import_module("evaluate")

            def refuse(path: str, *arguments: Any, **options: Any) -> None:
                require_trust(False, f"{what} loads the metric {path} of the library evaluate, which")

            replacements.enter_context(_replaced_attribute(evaluate, "load", refuse))
        yield


def datasets_runs_scripts() -> bool:
    """Whether the installed library datasets runs scripts of the Hub; versions before 4 do."""
    with suppress(ImportError):
        return hasattr(importlib.import_module("datasets.config"), "HF_DATASETS_TRUST_REMOTE_CODE")
    return False


@contextmanager
def _replaced_attribute(owner: Any, name: str, value: object) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
