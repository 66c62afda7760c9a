"""What may run is said by True and False alone: a text such as "no" is true to Python."""

from __future__ import annotations

import pytest

from mdm_tune.core.errors import InputError
from mdm_tune.core.permissions import Permissions


def test_only_true_and_false_allow_or_forbid() -> None:
    for value in ("no", 1, None):
        with pytest.raises(InputError, match="trust_code must be True or False, got"):
            Permissions(trust_code=value)  # type: ignore[arg-type]
    for value in ("yes", 1, None):
        with pytest.raises(InputError, match="run_generated_code must be True, False or 'unsafe', got"):
            Permissions(run_generated_code=value)  # type: ignore[arg-type]
    assert Permissions(True, "unsafe") != Permissions()
