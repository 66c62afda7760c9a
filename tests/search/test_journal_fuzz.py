"""Journals damaged at random, with a fixed seed: each is recovered, with its damage kept, or refused and left alone.

Covers: checksums.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from optuna.storages import BaseStorage

from mdm_tune.core.errors import InputError
from mdm_tune.search.driver import SearchName, driving
from mdm_tune.search.ledger import Ledger, LedgerEntry, check_ledger_name
from mdm_tune.search.storage import open_storage

BOOKS = ("run/made", "run/steps-8")
Lines = list[bytes]
Book = dict[str, dict[str, LedgerEntry]]


def write(path: Path) -> None:
    """A journal as a search leaves it: who drove it, two ledgers of finished tasks, notes."""
    with driving(open_storage(path), SearchName.plain("run")) as state:
        for book in BOOKS:
            ledger = state.ledger(book.removeprefix("run/"))
            ledger.note("points", [[0.5, 2.0]])
            for number in range(4):
                record = {"values": [0.1 * number] * 8, "key": [4, 4], "made": {"text": "é" * number}}
                params = {"a": 0.5 + number, "b": 1.0}
                ledger.write(str(number), number / 7, record, params, dict.fromkeys("ab", (0.1, 10.0)), {8: number / 3})


def read(storage: BaseStorage) -> tuple[Book, dict[str, object]]:
    """What is finished and what was noted, as a search that goes on reads them."""
    check_ledger_name(storage, "run")
    ledgers = {book: Ledger(storage, book) for book in BOOKS}
    return {name: each.finished() for name, each in ledgers.items()}, {
        f"{name} {key}": value for name, each in ledgers.items() for key, value in each.notes.items()
    }


def ends(chance: random.Random) -> list[bytes]:
    """What may stand at the end of a damaged journal."""
    noise = chance.randbytes(1_000_000)
    return [
        b'{"op_code":8,"wor',
        b'{"op_code":8,"wor\n',
        b"\n",
        b"\n\n\n\n",
        b"{}\n",
        b"{}\n[]\nnull\n",
        b'{"op_code":77,"worker_id":"x"}\n',
        b'{"op_code":0}\n{"op_code":"0","worker_id":"x"}\n',
        b'{"op_code":8,"worker_id":"x","trial_id":999,"user_attr":{"a":1}}\n',
        b'{"op_code":4,"worker_id":"x","study_id":999}\n',
        b'{"op_code":6,"worker_id":"x","trial_id":-1,"state":1}\n',
        b"\0" * 4096,
        b"\0" * 4096 + b"\n",
        noise,
        noise + b"\n",
        b"[" * 100_000 + b"\n",
        b"Dear all,\nno end\n",
        b"\xff\xfe\n",
    ]


def middles(chance: random.Random) -> list[Callable[[Lines], Lines]]:
    """Damage before the end: bytes, lines, and values that stay valid JSON."""

    def flip(lines: Lines) -> Lines:
        place = chance.randrange(len(lines) - 3)
        line = bytearray(lines[place])
        line[chance.randrange(len(line))] ^= 1 << chance.randrange(7)
        return [*lines[:place], bytes(line), *lines[place + 1 :]]

    def lose(lines: Lines) -> Lines:
        place = chance.randrange(len(lines) - 3)
        return lines[:place] + lines[place + 1 :]

    def swap(lines: Lines) -> Lines:
        place = chance.randrange(len(lines) - 3)
        return [*lines[:place], lines[place + 1], lines[place], *lines[place + 2 :]]

    def repeat(lines: Lines) -> Lines:
        place = chance.randrange(len(lines) - 3)
        return [*lines[: place + 1], *lines[place:]]

    def edit(lines: Lines) -> Lines:
        place = chance.randrange(len(lines) - 3)
        log = json.loads(lines[place])
        key = chance.choice([*log])
        if chance.random() < 0.3:
            del log[key]
        else:
            log[key] = chance.choice([None, 1, "x", [], {}, {"sum": "0"}, [0.125], {"task": "1"}, {"record.0": "{}"}])
        return [*lines[:place], json.dumps(log).encode() + b"\n", *lines[place + 1 :]]

    def garble(lines: Lines) -> Lines:
        place = chance.randrange(len(lines) - 3)
        return [*lines[:place], chance.choice([b"\n", b"{}\n", b"\0\0\n", b"[1]\n"]), *lines[place:]]

    return [flip, lose, swap, repeat, edit, garble]


def outcome(path: Path, damaged: bytes, whole: Book, notes: dict[str, object]) -> str:
    """What became of a damaged journal, once it is as it must be."""
    path.write_bytes(damaged)
    heard: list[str] = []
    copies = [path.with_name(f"{path.name}.torn-1")]
    refusal = ""
    try:
        storage = open_storage(path, heard.append)
        recovered = path.read_bytes()
        check_ledger_name(storage, "run")
    except InputError as error:
        refusal = str(error)
    if refusal:
        assert "\n" not in refusal and "start again with --overwrite" in refusal
        assert path.read_bytes() == damaged and not copies[0].exists()
        return "refused"
    assert damaged.startswith(recovered) and len(heard) == (recovered != damaged)
    assert not heard or copies[0].read_bytes() == damaged
    finished, told = read(storage)
    for book, entries in finished.items():  # nothing is there that was not written, as it was written
        assert entries.items() <= whole[book].items()
    assert told.items() <= notes.items()
    return "cut" if heard else "read"


def test_damaged_journals_are_recovered_or_refused(tmp_path: Path) -> None:
    write(tmp_path / "whole")
    whole = (tmp_path / "whole").read_bytes()
    finished, notes = read(open_storage(tmp_path / "whole"))
    whole = (tmp_path / "whole").read_bytes()
    assert {name: len(entries) for name, entries in finished.items()} == dict.fromkeys(BOOKS, 4)
    chance = random.Random(11)
    lines = whole.splitlines(keepends=True)
    found: list[tuple[str, str]] = []
    for number, end in enumerate(ends(chance)):
        folder = tmp_path / f"end-{number}"
        folder.mkdir()
        found.append(("end", outcome(folder / "study.journal", whole + end, finished, notes)))
    for number in range(8):
        folder = tmp_path / f"short-{number}"
        folder.mkdir()
        short = whole[: chance.randrange(200, len(whole))]
        found.append(("short", outcome(folder / "study.journal", short, finished, notes)))
    for number, damage in enumerate(middles(chance) * 10):
        folder = tmp_path / f"middle-{number}"
        folder.mkdir()
        damaged = b"".join(damage(lines))
        found.append(("middle", outcome(folder / "study.journal", damaged, finished, notes)))
    assert len(found) == 86
    assert all(result == "cut" for kind, result in found if kind == "end")  # whatever it holds
    assert all(result in ("cut", "read") for kind, result in found if kind == "short")
    assert sum(result == "refused" for kind, result in found if kind == "middle") >= 25  # a lost line is a lost entry
    assert not any(result == "cut" for kind, result in found if kind == "middle")


def test_a_finished_value_that_was_edited_is_named(tmp_path: Path) -> None:
    write(tmp_path / "study.journal")
    text = (tmp_path / "study.journal").read_text("utf-8")
    assert text.count('"value":0.2857142857142857,') == 2
    (tmp_path / "study.journal").write_text(text.replace('"value":0.2857142857142857,', '"value":0.5,', 1), "utf-8")
    with pytest.raises(InputError, match="record of task '2' is not what was written: it was edited or damaged"):
        check_ledger_name(open_storage(tmp_path / "study.journal"), "run")


def test_a_note_that_was_edited_is_named(tmp_path: Path) -> None:
    write(tmp_path / "study.journal")
    text = (tmp_path / "study.journal").read_text("utf-8")
    (tmp_path / "study.journal").write_text(text.replace('"note":[[0.5,2.0]]', '"note":[[0.6,2.0]]'), "utf-8")
    with pytest.raises(InputError, match="record of note 'points' is not what was written"):
        check_ledger_name(open_storage(tmp_path / "study.journal"), "run")
