"""What a chat template shows of a text."""

from __future__ import annotations

import pytest

from mdm_tune.core.text import hidden_message


@pytest.mark.parametrize(
    ("content", "rendered", "there"),
    [
        ("the cat", "<s>the cat</s>", True),
        ("  the\n cat ", "<s>the cat</s>", True),  # a template may trim
        ('say "x"\n', '{"content": "say \\"x\\"\\n"}', True),  # or write JSON
        ("é", '"\\u00e9"', True),
        ("the cat", "<s>the dog</s>", False),
    ],
)
def test_what_counts_as_shown(content: str, rendered: str, there: bool) -> None:
    assert hidden_message([{"role": "user", "content": content}], rendered) == (None if there else content)
