"""Draw which folder of the package imports which: one arc for each pair, and none runs up.

    python scripts/imports.py --output docs/imports.svg

The order is that of FOLDERS in tests/test_architecture.py, with the last folder on top. The width of an arc grows with
the number of modules that import. An arc on the left would run up; the architecture test allows none.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from scripts.pages import with_dark_colours
from tests.test_architecture import AT_ROOT, FOLDERS, own_imports, read_package

ROW, LEFT, WIDTH = 44, 210, 520  # pixels between two rows, to the line of the nodes, and of the whole picture
COLOURS = ("#1b6ca8", "#c8553d", "#3a7d44", "#7b4b94", "#a8761b", "#2a9d9d")


def counted() -> Counter[tuple[str, str]]:
    """How many modules of one folder import from another, by (importer, imported)."""
    pairs = {(module, other.partition(".")[0]) for module, other in own_imports(read_package())}
    counts = Counter((module.partition(".")[0], other) for module, other in pairs)
    return Counter({pair: count for pair, count in counts.items() if pair[0] != pair[1]})


def shown(counts: Counter[tuple[str, str]]) -> Counter[tuple[str, str]]:
    """Without the public API and the entry point, which import from everywhere."""
    return Counter({pair: count for pair, count in counts.items() if not {"__init__", "__main__"} & {*pair}})


def drawn(counts: Counter[tuple[str, str]]) -> str:
    """The picture as SVG."""
    sizes = Counter(module.partition(".")[0] for module in read_package())
    order = [folder for folder in reversed(FOLDERS) if folder not in {"__init__", "__main__"}]
    height = {folder: 40 + ROW * place for place, folder in enumerate(order)}
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {40 + ROW * len(order)}" '
        'font-family="sans-serif" font-size="14" role="img">',
        "<title>Imports between the folders of mdm_tune, none of which runs up</title>",
        f'<rect width="{WIDTH}" height="{40 + ROW * len(order)}" fill="#ffffff"/>',
    ]
    for (importer, imported), count in sorted(shown(counts).items()):
        start, end = height[importer], height[imported]
        side = 1 if end > start else -1  # to the left where it runs up
        bulge = LEFT + side * (16 + abs(end - start) * 0.62)
        colour = COLOURS[order.index(importer) % len(COLOURS)]
        lines.append(
            f'<path d="M {LEFT} {start} C {bulge:.0f} {start}, {bulge:.0f} {end}, {LEFT} {end}" fill="none" '
            f'stroke="{colour}" stroke-opacity="0.55" stroke-width="{0.8 + 0.9 * count**0.5:.1f}">'
            f"<title>{importer} imports {imported}: {count}</title></path>"
        )
    for folder in order:
        name = f"{folder}.py" if folder in AT_ROOT else f"{folder}/"
        files = "" if folder in AT_ROOT else f"{sizes[folder]}"
        lines += [
            f'<circle cx="{LEFT}" cy="{height[folder]}" r="6" fill="#222222"/>',
            f'<text x="{LEFT - 16}" y="{height[folder] + 5}" text-anchor="end" fill="#222222">{name}'
            f'<tspan fill="#888888" font-size="12"> {files}</tspan></text>',
        ]
    return "\n".join([*lines, "</svg>", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.parse_args().output.write_text(with_dark_colours(drawn(counted())), "utf-8")


if __name__ == "__main__":
    main()
