"""No password and no character that a terminal obeys leaves the tool."""

from __future__ import annotations

import json

import pytest

from mdm_tune.core.redaction import one_line, printable, redacted, without_password

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("postgresql://me:hunter2@host:5432/db", "postgresql://me:***@host:5432/db"),
        ("mdm-tune search c.yaml --set 'search.storage=postgresql://me:hunter2@host/db' --resume", None),
        ("search.storage=redis://:hunter2@host", "search.storage=redis://:***@host"),
        ("a://me:p@hunter2@host, b://you:hunter2@other", "a://me:***@host, b://you:***@other"),
        ("a://me:x y hunter2@host", "a://me:***@host"),
        ("a://me:5432/hunter2@host", "a://me:***@host"),
        ("(mysql://me:'hunter2'@host/db?charset=utf8)", "(mysql://me:***@host/db?charset=utf8)"),
        ("got 'postgresql://host/db?password=hunter2&x=1'", "got 'postgresql://host/db?password=***&x=1'"),
        (
            "'postgresql://host/db?x=1&sslPassword=hunter2'; correct it",
            "'postgresql://host/db?x=1&sslPassword=***'; correct it",
        ),
        ("postgresql://me:hunter2: unknown key", "postgresql://me:***: unknown key"),
        ("postgresql:/me:hunter2@host/db: no such file", "postgresql:/me:***@host/db: no such file"),
        ("POSTGRESQL+psycopg://me:hunter2@host", "POSTGRESQL+psycopg://me:***@host"),
    ],
)
def test_a_password_is_hidden_wherever_its_address_stands(text: str, left: str | None) -> None:
    assert SECRET not in redacted(text)
    assert left is None or redacted(text) == left
    assert redacted(redacted(text)) == redacted(text)


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:////tmp/a@b.db",
        "see https://host:8080/path and mail me@host.org",
        "postgresql://me@host:5432/db",
        "redis://host:6379 failed (connection refused); tell root@host",
        "https://arxiv.org/abs/2509.13866: the paper",
        "driver://user:password@host/database",
        "a = 3; b: c@d",
        "redis://[::1]:6379/0",
        "",
    ],
)
def test_what_holds_no_password_stays(text: str) -> None:
    assert redacted(text) == text


def test_a_value_may_hold_anything_in_its_password() -> None:
    assert without_password("a://me:p@ss w\nord@host/db") == "a://me:***@host/db"


def test_records_are_redacted_to_the_last_leaf_and_keep_their_shape() -> None:
    record = {"a://u:hunter2@h": [1, None, {"x": ("a://u:hunter2@h", 2.5)}], "n": True}
    assert redacted(record) == {"a://u:***@h": [1, None, {"x": ("a://u:***@h", 2.5)}], "n": True}
    assert SECRET not in json.dumps(redacted(record))


def test_what_a_terminal_obeys_is_shown_as_an_escape() -> None:
    assert printable("a\x1b[2Jb\x07\x9b1m\x7f\r") == "a\\x1b[2Jb\\x07\\x9b1m\\x7f\\r"
    assert (
        printable("\u202e\u2066\u200f\u061c\u2028\ud800\ufeff") == "\\u202e\\u2066\\u200f\\u061c\\u2028\\ud800\\ufeff"
    )
    plain = "Ünïcode ⟨·⟩ 世界 \U0001f468\u200d\U0001f469 \u3000\t\n"
    assert printable(plain) == plain
    assert one_line("a\nb\tc") == "a\\nb\\tc"
