"""Calls of code from outside the package."""

from __future__ import annotations

import pickle

import pytest

from mdm_tune.core.errors import InputError, RunError
from mdm_tune.core.guard import ForeignFailure, calling, error_text, finite_number, safe_repr


def test_the_guard_by_itself() -> None:
    with pytest.raises(ForeignFailure, match=r"^x failed: ValueError: no; fix it$") as failed, calling("x", "fix it"):
        raise ValueError("no")
    again = pickle.loads(pickle.dumps(failed.value))  # as a replica sends it
    assert str(again) == str(failed.value) and str(again.located("here")) == "x failed here: ValueError: no; fix it"
    assert str(again.located("here").located("there")) == str(again.located("here"))
    with pytest.raises(InputError, match=r"^x failed: ValueError: no; fix it$"), calling("x", "fix it", loading=True):
        raise ValueError("no")
    for passing in (KeyboardInterrupt, InputError, RunError):
        with pytest.raises(passing), calling("x"):
            raise passing("no")
    assert error_text(KeyError()) == "KeyError" and safe_repr("a\nb") == "'a\\nb'"
    assert finite_number(True) == 1.0 and finite_number(float("inf")) is None
