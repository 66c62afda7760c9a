"""What a chat template shows of a text."""

from __future__ import annotations

import pytest

from mdm_tune.core.errors import InputError
from mdm_tune.core.text import Symbols, hidden_message


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


def test_symbols_without_and_with_an_end() -> None:
    plain, ending = Symbols("ab$"), Symbols("ab$", (2,))
    assert plain.encode("a$b") == [0, 2, 1] and plain.decode([0, 2, 1, 3]) == "a$b"
    assert ending.decode([0, 2, 1, 3]) == "ab"
    with pytest.raises(InputError, match=r"must not hold '\$', which ends a text of this model, got 'a\$b'"):
        ending.encode("a$b")
    assert len({plain.fingerprint, ending.fingerprint, Symbols("ab").fingerprint}) == 3
    assert plain.fingerprint == Symbols("ab$").fingerprint
