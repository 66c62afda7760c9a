"""Malformed input of every kind ends in one message: no traceback, nothing long, nothing slow."""

from __future__ import annotations

import random
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from mdm_tune.config.file import legal_keys, load_config
from mdm_tune.core.errors import InputError
from mdm_tune.core.plain_yaml import yaml_text
from mdm_tune.schedules.schedule_file import load_schedule
from tests.support.configs import whole

CASES = 400
MEMORY = 3 * 2**30  # bytes that the process may grow to while it refuses
BAD = [
    *("", "~", "yes", "010", "1_0", "0x10", "1:20", "1e-3", "2024-01-01", "[]", "{}", "[[[[]]]]", "{a: {1: 2, b: 3}}"),
    *(
        "-1",
        "0",
        "1.5",
        "1.0e+300",
        "-.inf",
        ".nan",
        "1" * 39,
        "1" * 5000,
        "true",
        "null",
        "'\\0'",
        '"\\x00"',
        "'\ud800'",
    ),
    *(
        "!!int ''",
        "!!timestamp x",
        "!!bool x",
        "&a [*a]",
        "*a",
        "<<",
        "=",
        "[" * 5000,
        "{a: " * 5000,
        "x" * 100_000,
        "- -",
    ),
    *(
        "[" + "1, " * 5000 + "1]",
        "{" + ", ".join(f"k{n}: 1" for n in range(3000)) + "}",
        "'~nobody-here/x'",
        "/dev/zero",
    ),
    *(
        "beta:nan,1",
        "counts:" + "1," * 5000 + "1",
        "alphas:",
        "threshold:",
        "quota:quota:x",
        "(a|",
        "(((" * 400,
        "\x1b[31m",
    ),
]


def places() -> list[str]:
    return sorted(
        {
            ".".join([*map(str, where[:1]), *([] if len(where) < 2 else map(str, where[1:])), key])
            for where, legal in legal_keys().items()
            for key in legal
            if where[:1] != ("dataset",)
        }
    )


def overrides(rng: random.Random) -> Iterator[str]:
    known = places()
    for _ in range(CASES):
        place = rng.choice(known).split(".")
        if place[0] == "model" and len(place) == 3:
            place = [place[0], place[2]]
        if rng.random() < 0.1:
            place = [*place, rng.choice(["x", "\ud800", "a" * 5000, "1"]), *["b"] * rng.choice([0, 3, 100])]
        yield ".".join(place) + rng.choice(["=", "=", "=", "=", ""]) + rng.choice(BAD)


def refused_briefly(error: InputError) -> None:
    message = str(error)
    assert message and max(map(len, message.split("\n"))) <= 450, message[:2000]
    assert len(message.split("\n")) <= 25
    assert "Traceback" not in message and "pydantic" not in message


@pytest.fixture(autouse=True)
def little_memory() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_DATA)
    used = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_DATA, (used + MEMORY, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_DATA, before)


def test_overrides(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(yaml_text(whole()))
    refused = 0
    for override in overrides(random.Random(11)):
        try:
            load_config(tmp_path / "c.yaml", [override])
        except InputError as error:
            refused += 1
            refused_briefly(error)
    assert refused > CASES / 2


def test_configs_and_schedule_files_with_bytes_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a short path, whatever the folder of the test is called
    rng = random.Random(12)
    budget = {"steps": 3, "schedule": "counts:1,2,5", "counts": [1, 2, 5], "alphas": None, "block_length": 8}
    record = {"format": "mdm-tune-schedule-1", "length": 8, "budgets": [budget], "sampler": {"counts": "one-per-step"}}
    path = Path("x.yaml")
    for reader, text in ((load_config, yaml_text(whole())), (load_schedule, yaml_text(record))):
        for _ in range(CASES // 2):
            content = bytearray(text.encode())
            for _ in range(rng.randint(1, 3)):
                at = rng.randrange(len(content))
                bad = (
                    rng.choice(BAD).encode("utf-8", "surrogatepass")[:2000] if rng.random() < 0.5 else rng.randbytes(3)
                )
                content[at : at + rng.randint(0, 4)] = bad
            path.write_bytes(bytes(content))
            try:
                reader(path)
            except InputError as error:
                refused_briefly(error)
