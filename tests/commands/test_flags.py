"""The flag of the command line that has a value or none."""

from __future__ import annotations

import pytest

from mdm_tune.commands.flags import generated, generated_words
from mdm_tune.core.permissions import GeneratedCode


@pytest.mark.parametrize(
    ("allowed", "words"), [(False, []), (True, ["--run-generated-code"]), ("unsafe", ["--run-generated-code=unsafe"])]
)
def test_what_the_flag_allows_is_written_as_the_same_words(allowed: GeneratedCode, words: list[str]) -> None:
    assert generated_words(allowed) == words
    assert generated({False: False, True: "safe", "unsafe": "unsafe"}[allowed]) == allowed
