"""Regular expressions of the user's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from mdm_tune.core import patterns
from mdm_tune.core.patterns import Pattern
from tests.support.configs import problems, whole


@pytest.mark.parametrize(
    "pattern", ["(" * 5000 + ")" * 5000, "(?:" * 300 + "(a)" + ")" * 300, "((a{50}){50}){50}", "[", "a"]
)
def test_patterns_that_cannot_be_used_are_refused(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(ValueError, match="must "):
        Pattern(pattern)
    regex = {"pattern": pattern}
    assert any("metrics.regex.pattern: must" in line for line in problems(tmp_path, whole(metrics={"regex": regex})))


def test_a_pattern_that_explodes_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "SECONDS", 0.05)
    with pytest.raises(TimeoutError):
        list(Pattern("(a|aa)+$").group_texts("a" * 60 + "b"))  # 10^12 ways
    assert list(Pattern("#### (-?[0-9]+)").group_texts("#### 12 and #### -3")) == ["12", "-3"]
