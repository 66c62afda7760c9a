"""An animated SVG of a row that is unmasked, with one policy or two side by side.

It runs no script, so that it moves in an ``<img>``: the style sheet animates it. Programs that know no animation, and
readers who prefer less motion, see the last step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from mdm_tune.core.messages import listed, quantity
from mdm_tune.core.redaction import printable
from mdm_tune.pages.colours import DARK, LIGHT
from mdm_tune.pages.svg import element, escape, number, shortened, text, width_of
from mdm_tune.pages.unmasking import END, LEVELS, Glyph, ShownToken, Unmasking, placed

__all__ = ["MOST_BYTES", "Times", "animation"]

LETTER_BYTES = 26  # of a character, at least
MOST_BYTES = 150_000  # of the file; what does not fit is left out, and the picture says so
FRAMES = 100  # most moments at which the picture changes; several steps share one if there are more
WAIT, REST = 1.2, 4.0  # seconds before the first step and after the last one
WHOLE, SHORTEST, LONGEST = 8.0, 0.08, 0.6  # seconds for all steps, and the limits of one
MARGIN, GAP, TRACK = 20.0, 28.0, 404.0  # pixels: around the picture, between the texts, width of a text
SIZES = ((20.0, 6), (16.0, 12), (13.0, 10_000))  # font size of the text, and the most lines for which it is used
ADVANCE, LINE, PILL = 0.62, 1.72, 0.36  # columns, lines and hidden tokens in units of the font size
BARS = 34.0  # height of the bars of tokens per step
SOME_LINES = (80, 48, 32, 20, 12, 6)  # lines that are tried if the whole text makes too large a file
CLASSES = ("a", "b", "c", "d")  # of the levels, from the most confident one
COLOURS = {
    "a": "first",
    "b": "tuned",
    "c": "second",
    "d": "adaptive",
    "e": "soft",
    "i": "ink",
    "o": "soft",
    "q": "axis",
}
NEW = {"light": "#ffea9c", "dark": "#523f00"}  # behind the newest tokens
PILL_COLOUR = {"light": "#c6ccd4", "dark": "#4d5763"}
FONT = "ui-monospace,monospace"
WORDS = "system-ui,sans-serif"


@dataclass(frozen=True)
class Times:
    """When the frames of the animation begin. Frame 0 is before the first step.

    Attributes:
        steps: Of the sampler.
    """

    steps: int

    @property
    def frames(self) -> int:
        """Frames after frame 0."""
        return max(1, min(self.steps, FRAMES))

    @property
    def each(self) -> float:
        """Seconds from one frame to the next."""
        return min(LONGEST, max(SHORTEST, WHOLE / self.frames))

    @property
    def whole(self) -> float:
        """Seconds of one round."""
        return round(WAIT + self.frames * self.each + REST, 2)

    def frame(self, step: int) -> int:
        """The frame in which the tokens of a step appear; step from 1."""
        return -(-step * self.frames // max(self.steps, 1))

    def last_step(self, frame: int) -> int:
        """The last step that a frame shows."""
        return frame * self.steps // self.frames

    def share(self, frame: float) -> float:
        """The begin of a frame as a percentage of the round."""
        return 100 * (WAIT + (frame - 1) * self.each) / self.whole


def animation(rows: Sequence[Unmasking]) -> str:
    """The SVG file. The same rows give the same bytes.

    Args:
        rows: One or two rows after their last step.
    """
    size, glyphs = _layout(rows)
    lines = max((glyph.row + 1 for found in glyphs for glyph in found), default=1)
    found = ""
    for most in (lines, *(fewer for fewer in SOME_LINES if fewer < lines)):
        kept = [[glyph for glyph in every if glyph.row < most] for every in glyphs]
        if most == SOME_LINES[-1] or sum(map(len, kept)) * LETTER_BYTES <= MOST_BYTES:
            found = _drawn(rows, size, kept, lines - most)
            if len(found.encode()) <= MOST_BYTES:
                break
    return found


@dataclass(frozen=True)
class _Track:
    """One row in the picture: where its parts stand.

    Attributes:
        row: The row.
        appear: Its characters by the frame in which they appear.
        left: Of the text, in pixels.
        size: Of its font.
        most: The largest bar of any row, in tokens.
        top: Of the text; the heading stands above.
        bottom: Of the bars.
    """

    row: Unmasking
    appear: Mapping[int, Sequence[Glyph]]
    left: float
    size: float
    most: float
    top: float
    bottom: float

    def x(self, column: float) -> float:
        """The left end of a column."""
        return self.left + column * self.size * ADVANCE

    def y(self, row: float) -> float:
        """The middle of a line."""
        return self.top + (row + 0.5) * self.size * LINE


def _drawn(rows: Sequence[Unmasking], size: float, glyphs: Sequence[Sequence[Glyph]], left_out: int) -> str:
    """The file. glyphs: the characters of each row; left_out: lines that are not drawn."""
    width = 2 * MARGIN + len(rows) * TRACK + (len(rows) - 1) * GAP
    times = Times(max(1, *(row.done for row in rows)))
    lines = max((glyph.row + 1 for found in glyphs for glyph in found), default=1)
    top = MARGIN + 74.0 + (17.0 if any(row.note for row in rows) else 0.0)
    bottom = top + lines * size * LINE + 30 + BARS
    frames = range(1, times.frames + 1)
    most = max(1.0, *(_mean_count(row, times, frame) for row in rows for frame in frames))
    tracks = [
        _Track(
            row=row,
            appear=_by_frame(row, found, times),
            left=MARGIN + place * (TRACK + GAP),
            size=size,
            most=most,
            top=top,
            bottom=bottom,
        )
        for place, (row, found) in enumerate(zip(rows, glyphs, strict=True))
    ]
    footer, height = _footer(rows, width, bottom + 26, left_out)
    title, description = _words(rows)
    return element(
        "svg",
        element("title", escape(title)),
        element("desc", escape(description)),
        element("style", _style(times, size)),
        element("rect", class_="p", width=width, height=height, rx=10.0),
        text((MARGIN, MARGIN + 14), title, class_="i t"),
        *(_static(track, times) for track in tracks),
        *(_frame(tracks, times, frame) for frame in range(times.frames + 1)),
        footer,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {number(width)} {number(height)}",
        width=width,
        height=height,
        role="img",
    )


def _layout(rows: Sequence[Unmasking]) -> tuple[float, list[tuple[Glyph, ...]]]:
    """The font size, and the characters of each row in lines that fit."""
    for size, limit in SIZES:
        columns = int(TRACK / (size * ADVANCE))
        glyphs = [placed(row.tokens, columns, at_spaces=True) for row in rows]
        if all(glyph.row < limit for found in glyphs for glyph in found[-1:]):
            break
    return size, glyphs


def _by_frame(row: Unmasking, glyphs: Sequence[Glyph], times: Times) -> dict[int, list[Glyph]]:
    """The characters by the frame in which they appear; those of the prompt in frame 0."""
    found: dict[int, list[Glyph]] = {}
    for glyph in glyphs:
        found.setdefault(times.frame(row.tokens[glyph.token].step or 0), []).append(glyph)
    return found


def _words(rows: Sequence[Unmasking]) -> tuple[str, str]:
    """The title, and the description for readers who do not see the picture."""
    first = rows[0]
    size = quantity(len(first.filled), "token")
    steps = quantity(" and ".join(dict.fromkeys(f"{row.steps:,}" for row in rows)), "step")
    title = f"Unmasking {size} in {steps}" + (", two policies with the same noise" if len(rows) > 1 else "")
    texts = []
    for row in rows:
        whole = printable("".join(token.text for token in row.tokens if token.kind != "end")).strip()
        note = f" ({row.note})" if row.note else ""
        texts.append(f"{row.name}{note}, tokens per step: {listed(row.counts)}; the text at the end: {whole}")
    return title, ". ".join([f"Step by step the hidden tokens of a text are revealed. Colour: {first.meaning}", *texts])


def _style(times: Times, size: float) -> str:
    """The style sheet with the times of all frames.

    Elements of a frame inherit what its group animates: the text and the bars are opaque by ``fill-opacity``, the
    light behind the newest tokens by ``stroke-opacity``, and a hidden token has the width ``stroke-width``.
    """
    pill = number(size * PILL)
    light = "".join(f".{name}{{fill:{LIGHT[role]}}}" for name, role in COLOURS.items())
    dark = "".join(f".{name}{{fill:{DARK[role]}}}" for name, role in COLOURS.items())
    rules = [
        f"text{{font:13px {WORDS};stroke:none}}.t{{font-weight:600;font-size:15px}}.s{{font-size:12px}}"
        f".m{{font:{number(size)}px {FONT};text-anchor:middle}}",
        f".h,.n,.k{{fill:none}}.h,.k{{stroke-linecap:round;stroke-opacity:1}}.n{{stroke-width:{number(size * 1.3)}px}}"
        f".k{{stroke-width:{pill}px}}.g{{fill-opacity:1}}",
        f"{light}.p{{fill:{LIGHT['paper']}}}.g{{fill:{LIGHT['grid']}}}.h,.k{{stroke:{PILL_COLOUR['light']}}}"
        f".n{{stroke:{NEW['light']}}}",
        f"@media(prefers-color-scheme:dark){{{dark}.p{{fill:{DARK['paper']}}}.g{{fill:{DARK['grid']}}}"
        f".h,.k{{stroke:{PILL_COLOUR['dark']}}}.n{{stroke:{NEW['dark']}}}}}",
        ".f{fill-opacity:1;stroke-opacity:0;stroke-width:0;"
        f"animation-duration:{times.whole}s;animation-iteration-count:infinite;animation-timing-function:linear}}",
        "@media(prefers-reduced-motion:reduce){.f{animation:none!important}}",
    ]
    for frame in range(1, times.frames + 1):
        begin, end, gone = (times.share(frame + shift) for shift in (0, 1, 2.5))
        rules.append(
            f"@keyframes f{frame}{{0%,{begin - 0.01:.2f}%{{fill-opacity:0;stroke-opacity:0;stroke-width:{pill}px}}"
            f"{begin:.2f}%,{end:.2f}%{{fill-opacity:1;stroke-opacity:1;stroke-width:0}}"
            f"{gone:.2f}%,to{{fill-opacity:1;stroke-opacity:0;stroke-width:0}}}}"
        )
    return "".join(rules)


def _static(track: _Track, times: Times) -> str:
    """What never moves: name, note, prompt, and the outlines of the bars."""
    row = track.row
    name = shortened(row.name, 15 * 1.12, TRACK)
    parts = [text((track.left, MARGIN + 44), name, class_="i t")]
    if row.note:
        parts.append(text((track.left, MARGIN + 62), shortened(row.note, 13, TRACK), class_="o"))
    left, bottom = number(track.left), number(track.bottom)
    parts.append(
        element("path", class_="g", d="".join(_bar(track, times, frame) for frame in range(1, times.frames + 1)))
    )
    parts.append(element("path", class_="g", d=f"M{left},{bottom}h{number(TRACK)}v1h{number(-TRACK)}z"))
    caption = f"tokens per step, at most {max(row.counts, default=0)}"
    parts.append(text((track.left, track.bottom + 15), caption, class_="o s"))
    return "".join(parts)


def _frame(tracks: Sequence[_Track], times: Times, frame: int) -> str:
    """What appears in a frame: tokens, bars, and the counter, which covers the one before."""
    parts = []
    for track in tracks:
        row = track.row
        last = min(times.last_step(frame), row.done)
        if (mine := track.appear.get(frame)) and not frame:
            parts += _letters(track, mine)
        elif mine:
            parts += [_spans(track, mine, "h"), _spans(track, mine, "n"), _underlines(track, mine)]
            parts += _letters(track, mine)
        if frame and (bar := _bar(track, times, frame)):
            parts.append(element("path", class_="q", d=bar))
        parts.append(_counter(track, last))
    if not frame:
        return element("g", *parts)
    return element("g", *parts, class_="f", style=f"animation-name:f{frame}")


def _counter(track: _Track, step: int) -> str:
    """The steps and tokens so far, on a patch that covers those before."""
    top = track.top - 26
    patch = element("path", class_="p", d=f"M{number(track.left)},{number(top)}h{number(TRACK)}v18h{number(-TRACK)}z")
    return patch + text((track.left, top + 13), track.row.progress_after(step), class_="o")


def _bar(track: _Track, times: Times, frame: int) -> str:
    """The path of the bar of a frame, whose height is the mean of its steps."""
    count = _mean_count(track.row, times, frame)
    if not count:
        return ""
    each = TRACK / times.frames
    gap = 2.0 if each > 6 else 0.6
    height = BARS * count / track.most
    left, across = number(track.left + (frame - 1) * each), number(each - gap)
    return f"M{left},{number(track.bottom)}v{number(-height)}h{across}v{number(height)}z"


def _mean_count(row: Unmasking, times: Times, frame: int) -> float:
    """The tokens per step in a frame."""
    first, last = times.last_step(frame - 1), times.last_step(frame)
    return sum(row.counts[first:last]) / (last - first)


def _spans(track: _Track, glyphs: Sequence[Glyph], name: str) -> str:
    """Lines behind the tokens, one path for all: the pills of hidden tokens, or the light behind the newest."""
    path, inset = [], track.size * (PILL / 2 + 0.08) if name == "h" else 0.5
    for token in _runs(glyphs):
        shown = [glyph for glyph in token if glyph.text != " "] or token
        first, last = (shown[0], shown[-1]) if name == "h" else (token[0], token[-1])
        left, right = track.x(first.column) + inset, track.x(last.column + last.width) - inset
        path.append(f"M{number(left)},{number(track.y(first.row))}h{number(max(0.1, right - left))}")
    return element("path", class_=name, d="".join(path))


def _underlines(track: _Track, glyphs: Sequence[Glyph]) -> str:
    """Dots below the characters of the last level but one, and lines below those of the last one."""
    paths: dict[int, list[str]] = {}
    for token in _runs(glyphs):
        level = track.row.level(track.row.tokens[token[0].token])
        shown = [glyph for glyph in token if glyph.text != " "]
        if track.row.scale is not None and level is not None and shown:
            left, right = track.x(shown[0].column), track.x(shown[-1].column + shown[-1].width)
            paths.setdefault(level, []).append(_underline(level, left, right, track.y(shown[0].row) + track.size * 0.6))
    return "".join(
        element("path", class_=CLASSES[level], d="".join(path)) for level, path in paths.items() if any(path)
    )


def _underline(level: int, left: float, right: float, y: float) -> str:
    """The path of what is drawn below a token of a level; empty for those of high confidence."""
    if level == LEVELS - 1:
        across = number(right - left - 2)
        return f"M{number(left + 1)},{number(y)}h{across}v1.5h-{across}z"
    if level == LEVELS - 2:
        return f"M{number((left + right) / 2 - 1)},{number(y)}h2v2h-2z"
    return ""


def _runs(glyphs: Sequence[Glyph]) -> Iterator[list[Glyph]]:
    """The characters of each token in each line."""
    for _, run in groupby(glyphs, key=lambda glyph: (glyph.token, glyph.row)):
        yield list(run)


def _letters(track: _Track, glyphs: Sequence[Glyph]) -> list[str]:
    """The characters: those of one line and colour in one element, with a place for each."""
    groups: dict[tuple[str, int], list[str]] = {}
    for glyph in glyphs:
        if glyph.text != " ":
            place = number(track.x(glyph.column + glyph.width / 2))
            shown = "\u21b5" if glyph.text == "\n" else glyph.text
            name = _class_of(track.row, track.row.tokens[glyph.token], glyph)
            groups.setdefault((name, glyph.row), []).append(f'<tspan x="{place}">{escape(shown)}</tspan>')
    below = track.size * 0.34
    return [
        f'<text class="m {name}" y="{number(track.y(row) + below)}">{"".join(letters)}</text>'
        for (name, row), letters in groups.items()
    ]


def _class_of(row: Unmasking, token: ShownToken, glyph: Glyph) -> str:
    if token.kind == "end" or glyph.text == "\n":
        return "q"
    if token.kind == "prompt":
        return "e"
    level = row.level(token)
    return "i" if level is None else CLASSES[level]


def _footer(rows: Sequence[Unmasking], width: float, top: float, left_out: int) -> tuple[str, float]:
    """The legend and what is left out; and the height of the picture."""
    row, parts, x, y = rows[0], [], MARGIN, top + 18
    ends = any(token.kind == "end" for each in rows for token in each.tokens)

    def word(content: str, name: str) -> None:
        nonlocal x
        parts.append(text((x, y), content, class_=f"{name} s"))
        x += width_of(content, 12) + 16

    def begin_line(needed: float) -> None:
        nonlocal x, y
        if x + needed > width - MARGIN and x > MARGIN:
            x, y = MARGIN, y + 19

    word(row.meaning[0].upper() + row.meaning[1:] + ":", "o")
    for level, meaning in row.levels:
        begin_line(width_of(meaning, 12))
        if row.scale is not None and (path := _underline(level, x, x + 0.86 * width_of(meaning, 12), y + 4)):
            parts.append(element("path", class_=CLASSES[level], d=path))
        word(meaning, CLASSES[level])
    if ends:
        begin_line(width_of(f"{END} end of text", 12))
        word(f"{END} end of text", "o")
    for name, meaning in (("n", "newest"), ("k", "hidden")):
        begin_line(26 + width_of(meaning, 12))
        line = f"M{number(x + 6)},{number(y - 4)}h10"
        parts.append(element("path", class_=name, d=line, style="stroke-width:13px" if name == "n" else None))
        x += 26
        word(meaning, "o")
    if left_out:
        x, y = MARGIN, y + 19
        word(f"{quantity(left_out, 'further line')} left out", "o")
    return "".join(parts), y + MARGIN
