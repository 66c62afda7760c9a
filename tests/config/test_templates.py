"""Templates: what is shown of a record, and where the holes are."""

from __future__ import annotations

import datetime

import pytest

from mdm_tune.config.templates import Hole, JsonNumber, check_template, fields_in, fill_template, pieces_of
from mdm_tune.core.errors import InputError
from mdm_tune.core.reading import json_line


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("q", "two?"),
        ("{q}", "two?"),
        ("Q: {q}\nA:", "Q: two?\nA:"),
        ("{{{n}}} {x.y[0]}", "{3} dotted"),  # doubled braces stand for themselves; a name is looked up as it stands
        ("n", "3"),
        ("f", "0.5"),
    ],
)
def test_a_template_shows_fields(template: str, text: str) -> None:
    check_template(template, holes=False)
    record = {"q": "two?", "n": 3, "x.y[0]": "dotted", "f": 0.5, "brace": "{q}"}
    assert fill_template(template, record) == text
    assert fill_template("{brace}", record) == "{q}"  # what a field holds is no template


@pytest.mark.parametrize("template", ["{q!r}", "{q:>10}", "{}", "{q:{n}}", "{q", "q}", "{q!}"])
def test_a_template_can_do_nothing_but_show(template: str) -> None:
    with pytest.raises(InputError, match=r"only plain fields|not a template"):
        check_template(template, holes=False)


@pytest.mark.parametrize("template", ["{q.__class__}", "{q[0]}", "question", "{question}"])
def test_an_unknown_field_is_answered_with_those_there_are(template: str) -> None:
    with pytest.raises(InputError, match=r"there is no field '.*', the record has q, a; name one of these"):
        fill_template(template, {"q": "x", "a": "y"})


@pytest.mark.parametrize(("value", "kind"), [(None, "nothing"), ([1], "a list"), (True, "a bool"), ({}, "a dict")])
def test_a_field_must_be_text_or_a_number(value: object, kind: str) -> None:
    with pytest.raises(InputError, match=f"field 'q' must hold text or a number, got {kind}"):
        fill_template("{q}", {"q": value})


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ('"007"', "007"),
        ("7", "7"),
        ("-12345678901234567890123", "-12345678901234567890123"),
        ("1.0", "1.0"),
        ("0.1", "0.1"),
        ("-2.5", "-2.5"),
        ('"NaN"', "NaN"),
        ('"1.50"', "1.50"),
    ],
)
def test_numbers_of_json_read_as_they_are_written(written: str, text: str) -> None:
    assert fill_template("{q}", json_line(f'{{"q": {written}}}', "here", number=JsonNumber)) == text


@pytest.mark.parametrize(
    "written", ["1.50", "1e5", "1E-7", "0.10", "1e400", "10000000000000000.0", "0.1000000000000000055"]
)
def test_numbers_with_two_texts_are_refused(written: str) -> None:
    record = json_line(f'{{"q": {written}, "other": {written}}}', "here", number=JsonNumber)
    assert record["other"] == float(written)  # nobody reads it as text
    with pytest.raises(InputError, match=r"field 'q' (holds the number|must hold text or a number, got inf)"):
        fill_template("{q}", record)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (float("nan"), "must hold text or a number, got nan"),
        (float("-inf"), "must hold text or a number, got -inf"),
        (datetime.date(2020, 1, 2), "got 2020-01-02 as a date, which the library datasets makes"),
        (datetime.datetime(2020, 1, 2, 3), "got 2020-01-02T03:00:00 as a date"),
        pytest.param(10**5000, "a number too long to show", id="huge"),
        (b"x", "got a bytes"),
    ],
)
def test_values_that_are_no_text(value: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fill_template("{q}", {"q": value})


@pytest.mark.parametrize(
    ("template", "holes", "fields"),
    [
        ("q", False, {"q"}),
        ("{q} {{x}} {a b}", False, {"q", "a b"}),
        ("{before} [[word]] {after} [[end:3]]", True, {"before", "word", "after", "end"}),
        (None, True, set()),
        ("plain {{", False, set()),
    ],
)
def test_the_fields_of_a_template(template: str | None, holes: bool, fields: set[str]) -> None:
    assert fields_in(template, holes=holes) == fields


def test_holes_lie_between_what_is_visible() -> None:
    record = {"a": "x", "b": "y", "n": 7}
    assert pieces_of("{a} [[b]] and [[n:3]].", record) == ("x ", Hole("y"), " and ", Hole("7", 3), ".")
    assert pieces_of("[[b]]{a}", record) == (Hole("y"), "x")
    with pytest.raises(InputError, match="two holes need visible text between them"):
        pieces_of("[[a]]{empty}[[b]]", {**record, "empty": ""})


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{a} and {b}", "needs a hole to fill"),
        ("[[a:x]]", "a hole's size is its number of tokens, got 'x'"),
        ("[[a:0]]", "got '0'"),
        ("[[a:]]", "got ''"),
        ("{a [[b]]", "not a template"),
    ],
)
def test_templates_with_wrong_holes(template: str, message: str) -> None:
    with pytest.raises(InputError, match=message.replace("[", r"\[")):
        check_template(template, holes=True)
