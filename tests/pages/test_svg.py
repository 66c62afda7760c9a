from __future__ import annotations

from xml.etree import ElementTree

import pytest

from mdm_tune.pages.svg import closed_path, element, number, open_path, paragraph, shortened, text, width_of

HOSTILE = "<script>alert('1')</script> & \" \x00\x1b\ud800 ]]> \u2028 \U0001f600"


def test_any_text_is_read_back_as_it_was_but_for_what_xml_forbids() -> None:
    root = ElementTree.fromstring(element("g", text((1, 2), HOSTILE, data_tip=HOSTILE)))
    kept = HOSTILE.replace("\x00", "\ufffd").replace("\x1b", "\ufffd").replace("\ud800", "\ufffd")
    assert root[0].text == kept
    assert root[0].get("data-tip") == kept
    assert len(root) == 1 and root.find(".//script") is None


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (-0.04, "0"), (1.0, "1"), (10.0, "10"), (1.25, "1.2"), (-3.26, "-3.3"), (100.04, "100"), (0.06, "0.1")],
)
def test_numbers_are_tenths_without_needless_digits(value: float, shown: str) -> None:
    assert number(value) == shown


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_coordinate_is_finite(value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        element("circle", r=value)


def test_elements_and_paths() -> None:
    assert element("g") == "<g/>"
    assert element("a", "b", class_="c", stroke_width=1.5, fill=None) == '<a class="c" stroke-width="1.5">b</a>'
    assert open_path([(0, 1), (2.04, 3)]) == "M0,1L2,3"
    assert closed_path([(0, 1), (2, 3), (4, 5)]) == "M0,1L2,3L4,5Z"


def test_text_is_broken_and_cut_to_its_width() -> None:
    words = "the share of characters that are spelt correctly " * 3
    lines = paragraph(words, 12, 150)
    assert " ".join(lines) == words.strip()
    assert len(lines) > 2 and all(width_of(line, 12) <= 150 for line in lines)
    assert all(width_of(line, 12, bold=True) <= 150 for line in paragraph(words, 12, 150, bold=True))
    assert paragraph("", 12, 100) == []
    assert shortened("squared-sine", 12, 200) == "squared-sine"
    cut = shortened("a/very/long/path/to/schedule.yaml", 12, 100)
    assert width_of(cut, 12) <= 100 and cut.startswith("a/") and cut.endswith(".yaml") and "\u2026" in cut
    assert shortened("wide", 12, 1) == "\u2026"
    assert width_of("wide", 12, bold=True) > width_of("wide", 12)


def test_a_long_name_is_broken_where_names_may_be_broken_and_not_in_a_word() -> None:
    name = "quota:beta:1.093,8.678#8@0.9405"
    lines = paragraph(f"{name} over linear", 12, 110)
    assert lines == ["quota:beta:", "1.093,8.678#8", "@0.9405 over", "linear"]
    assert paragraph(name, 12, 400) == [name]
    (cut, after) = paragraph("a" * 60 + ":b", 12, 100)
    assert "\u2026" in cut and after == "b"
