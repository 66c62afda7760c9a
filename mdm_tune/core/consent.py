"""Libraries that load somebody else's code get their consent from the command line, and none can ask for it."""

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
    """Loaders of transformers, datasets, evaluate and lm-evaluation-harness in this context run code only if trusted.

    trust_code: what --trust-code says. what: the setting that is loaded, for messages. A question on the terminal finds
    no answer, whatever stands on the standard input; so a loader that was told neither yes nor no raises.
    """
    with ExitStack() as changed:
        changed.enter_context(_set(sys, "stdin", io.StringIO()))
        dynamic = sys.modules.get("transformers.dynamic_module_utils")
        if dynamic is not None:
            changed.enter_context(_set(dynamic, "TIME_OUT_REMOTE_CODE", 0))  # seconds that it would wait for an answer
        datasets = sys.modules.get("datasets.config")
        if hasattr(datasets, "HF_DATASETS_TRUST_REMOTE_CODE"):  # before version 4, which runs no scripts
            changed.enter_context(_set(datasets, "HF_DATASETS_TRUST_REMOTE_CODE", trust_code))
        if not trust_code and "lm_eval" in sys.modules and importlib.util.find_spec("evaluate") is not None:
            evaluate: Any = importlib.import_module(
                "evaluate"
            )  # its metrics are programs of the Hub, which tasks of the harness load by name

            def refuse(path: str, *given: Any, **options: Any) -> None:
                require_trust(False, f"{what} loads the metric {path} of the library evaluate, which")

            changed.enter_context(_set(evaluate, "load", refuse))
        yield


def datasets_runs_scripts() -> bool:
    """Whether the library datasets is one that runs scripts of the Hub, as before version 4."""
    with suppress(ImportError):
        return hasattr(importlib.import_module("datasets.config"), "HF_DATASETS_TRUST_REMOTE_CODE")
    return False


@contextmanager
def _set(owner: Any, name: str, value: object) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
