"""The animated SVG: at each time it shows what the sampler had revealed, and it is safe, small and still on wish."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from mdm_tune.pages.animation import COLOURS, MOST_BYTES, NEW, Times, animation
from mdm_tune.pages.colours import DARK, LIGHT, contrast
from mdm_tune.pages.unmasking import ShownToken, Unmasking

SVG = "{http://www.w3.org/2000/svg}"


def row_of(texts: Sequence[str], steps: Sequence[int], name: str = "linear", note: str = "") -> Unmasking:
    tokens = tuple(
        ShownToken(text=text, step=step, confidence=(place % 11) / 10)
        for place, (text, step) in enumerate(zip(texts, steps, strict=True))
    )
    return Unmasking(name=name, tokens=tokens, steps=max(steps), done=max(steps), note=note)


def value_at(style: str, name: str, property_: str, percent: float) -> float:
    """The value of a property in an animation, by the definition of key frames with linear timing."""
    points = []
    (body,) = re.findall(rf"@keyframes {name}\{{((?:[^{{}}]*\{{[^{{}}]*\}})+)\}}", style)
    for selectors, rules in re.findall(r"([^{}]+)\{([^{}]*)\}", body):
        (value,) = re.findall(rf"(?:^|;){property_}:([\d.]+)", rules)
        points += [(100.0 if each == "to" else float(each.rstrip("%")), float(value)) for each in selectors.split(",")]
    points.sort()
    for (before, first), (after, second) in pairwise(points):
        if before <= percent <= after:
            return first if after == before else first + (second - first) * (percent - before) / (after - before)
    return points[-1][1]


def visible_at(svg: str, seconds: float, left: float, right: float) -> tuple[str, str]:
    """The characters of the text between two places that are seen, in reading order, and the counter."""
    root = ET.fromstring(svg)
    style = root.findtext(f"{SVG}style") or ""
    whole = float(re.findall(r"animation-duration:([\d.]+)s", style)[0])
    letters, counter = [], ""
    groups = [(None, root)] + [(group.get("style"), group) for group in root.iter(f"{SVG}g")]
    for animated, group in groups:
        name = (animated or "").removeprefix("animation-name:")
        if name and value_at(style, name, "fill-opacity", 100 * seconds / whole) < 0.5:
            continue
        for text in group.findall(f"{SVG}text"):
            y = float(text.attrib["y"])
            letters += [(y, float(span.attrib["x"]), span.text or "") for span in text.findall(f"{SVG}tspan")]
            if not len(text) and left <= float(text.attrib["x"]) < right and (text.text or "").startswith("step "):
                counter = text.text or ""  # a later one covers those before
    return "".join(letter for _, x, letter in sorted(letters) if left <= x < right), counter


WORDS = ["the", " cat", " sat", " on", " the", " mat", ",", " \u732b", "\n", "e\u0301", " & <", "\U0001f600", " end"]
ONE = row_of(WORDS, [3, 1, 1, 2, 4, 2, 4, 3, 2, 1, 4, 4, 1], "tuned (sine)", "spelling 0.9 [0.8, 1.0]")
TWO = row_of(WORDS[::-1], [1, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4])
BOTH = animation([ONE, TWO])


@pytest.mark.parametrize("step", range(5))
def test_at_each_time_the_visible_characters_are_those_that_the_steps_have_revealed(step: int) -> None:
    times = Times(4)
    begin = 0.0 if step == 0 else times.share(step) * times.whole / 100
    end = times.share(step + 1) * times.whole / 100 if step < 4 else times.whole
    for row, left, right in ((ONE, 0.0, 436.0), (TWO, 436.0, 900.0)):
        revealed = [token.text for token in row.tokens if token.step is not None and token.step <= step]
        expected = "".join(revealed).replace(" ", "").replace("\n", "\u21b5")
        for seconds in (begin + 0.01, (begin + end) / 2, end - 0.01):
            assert visible_at(BOTH, seconds, left, right) == (
                expected,
                f"step {step} of 4, {len(revealed)} of 13 tokens",
            )


def test_a_hidden_token_has_a_pill_and_a_new_one_a_light_that_fades() -> None:
    root = ET.fromstring(BOTH)
    style = root.findtext(f"{SVG}style") or ""
    times = Times(4)
    for frame in range(1, 5):
        begin, later = times.share(frame), min(100.0, times.share(frame + 3))
        assert value_at(style, f"f{frame}", "stroke-width", begin - 0.1) > 1
        assert value_at(style, f"f{frame}", "stroke-width", begin + 0.1) == 0
        light = [value_at(style, f"f{frame}", "stroke-opacity", at) for at in (begin - 0.1, begin + 0.1, later)]
        assert light == [0, 1, 0]
        (group,) = (each for each in root.iter(f"{SVG}g") if each.get("style") == f"animation-name:f{frame}")
        pills = "".join(each.attrib["d"] for each in group.findall(f"{SVG}path[@class='h']"))
        appear = sum(token.step == frame for row in (ONE, TWO) for token in row.tokens)
        assert pills.count("M") == appear


def test_it_moves_without_scripts_repeats_after_a_rest_and_is_still_for_those_who_wish_it() -> None:
    root = ET.fromstring(BOTH)
    assert {each.tag.removeprefix(SVG) for each in root.iter()} == {
        *("svg", "title", "desc", "style", "rect", "text", "tspan", "g", "path")
    }
    style = root.findtext(f"{SVG}style") or ""
    assert "animation-iteration-count:infinite" in style
    assert "@media(prefers-reduced-motion:reduce){.f{animation:none!important}}" in style
    assert "@media(prefers-color-scheme:dark)" in style
    assert not re.search(r"url\(|@import|http", BOTH.replace("http://www.w3.org/2000/svg", ""))
    # Without animation every group has what stands in this rule, so that all tokens are seen.
    assert ".f{fill-opacity:1;stroke-opacity:0;stroke-width:0;" in style
    times = Times(4)
    assert times.share(5) < 75  # the last quarter of a round is a rest
    assert {*re.findall(r"font:[^;}]*", style)} == {
        "font:13px system-ui,sans-serif",
        "font:20px ui-monospace,monospace",
    }


def test_title_and_description_tell_what_is_seen() -> None:
    root = ET.fromstring(BOTH)
    assert root.get("role") == "img"
    assert root.findtext(f"{SVG}title") == "Unmasking 13 tokens in 4 steps, two policies with the same noise"
    described = root.findtext(f"{SVG}desc") or ""
    assert (
        "tuned (sine) (spelling 0.9 [0.8, 1.0]), tokens per step: 4, 3, 2, 4; the text at the end: the cat sat"
        in described
    )
    shown = [text.text for text in root.iter(f"{SVG}text")]
    assert {"tuned (sine)", "spelling 0.9 [0.8, 1.0]", "linear", "tokens per step, at most 4"} <= {*shown}


def test_the_title_names_the_steps_of_both_rows() -> None:
    short = row_of(WORDS, [1] * 7 + [2] * 6, "threshold:0.3")
    for rows, steps in (([ONE, short], "4 and 2 steps, two policies"), ([short], "2 steps")):
        title = ET.fromstring(animation(rows)).findtext(f"{SVG}title") or ""
        assert title.startswith(f"Unmasking 13 tokens in {steps}")


def test_bars_are_as_high_as_the_counts() -> None:
    root = ET.fromstring(animation([TWO]))
    heights = [
        float(height)
        for group in root.iter(f"{SVG}g")
        for path in group.findall(f"{SVG}path[@class='q']")
        for height in re.findall(r"v-([\d.]+)", path.attrib["d"])
    ]
    assert heights == [pytest.approx(34 * count / 4, abs=0.06) for count in (4, 3, 3, 3)]


def test_equal_rows_give_equal_bytes_and_hostile_text_stays_text() -> None:
    assert animation([ONE, TWO]) == BOTH
    hostile = ["</text><script>alert(1)</script>", "]]>", "\x00\x1b[31m", "\ud800", "&amp;", "'\"", "\u202e"]
    svg = animation([row_of(hostile, [1] * 7, '"><script>', "</desc><script>")])
    root = ET.fromstring(svg.encode())
    assert not list(root.iter(f"{SVG}script")) and "\u202e" not in svg and "\x1b" not in svg
    seen, _ = visible_at(svg, Times(1).whole - 0.1, 0.0, 900.0)
    assert seen.startswith("</text><script>alert(1)</script>]]>\\x00\\x1b[31m")


@pytest.mark.parametrize(("length", "steps"), [(1, 1), (64, 64), (1024, 1024), (1500, 40)])
def test_it_stays_small_and_says_what_it_leaves_out(length: int, steps: int) -> None:
    row = row_of(["word "] * length, [place * steps // length + 1 for place in range(length)])
    svg = animation([row, row])
    assert len(svg.encode()) <= MOST_BYTES
    assert ("further lines left out" in svg) == (length > 1000)
    times = Times(steps)
    assert times.frame(steps) == times.frames and times.last_step(times.frames) == steps
    assert all(
        times.last_step(times.frame(step) - 1) < step <= times.last_step(times.frame(step)) for step in (1, steps)
    )
    _, counter = visible_at(svg, times.whole - 0.1, 0.0, 436.0)
    assert counter.startswith(f"step {steps} of {steps}, {length} of")


def test_random_order_is_coloured_by_step_and_says_so() -> None:
    row = Unmasking(
        name="linear", tokens=tuple(ShownToken("a", step=step) for step in (1, 2, 3, 4)), steps=4, done=4, scale=None
    )
    svg = animation([row])
    assert "Random order has no confidence; colour is the step:" in svg
    assert [f'class="m {name}"' in svg for name in "abcd"] == [True] * 4


@pytest.mark.parametrize(("theme", "colours"), [("light", LIGHT), ("dark", DARK)])
def test_text_is_legible_on_paper_and_on_the_light_behind_new_tokens(theme: str, colours: dict[str, str]) -> None:
    for name, role in COLOURS.items():
        if name != "q":  # the bars
            assert contrast(colours[role], colours["paper"]) >= 4.5
        if name in "abcd":
            assert contrast(colours[role], NEW[theme]) >= 4.5


def test_the_picture_of_the_documentation_is_of_the_present_code() -> None:
    picture = (Path(__file__).parents[2] / "docs" / "unmasking.svg").read_text("utf-8")
    root, fresh = ET.fromstring(picture), ET.fromstring(animation([row_of("a" * 16, range(1, 17))]))
    assert root.findtext(f"{SVG}style") == fresh.findtext(f"{SVG}style")
    described = root.findtext(f"{SVG}desc") or ""
    assert "linear (spelling 0.867 [0.858, 0.875] on 512 examples), tokens per step: 4, 4, 4, 4," in described
    for seconds, step in ((0.5, 0), (1.3, 1), (11.0, 16)):
        assert visible_at(picture, seconds, 436.0, 900.0)[1] == f"step {step} of 16, {4 * step} of 64 tokens"
