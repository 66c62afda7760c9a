"""The notebook of first steps runs from top to bottom, and its stored outputs are those of the present code.

They need nbclient, ipykernel and matplotlib, which the dev extra brings.
"""

from __future__ import annotations

import importlib.util
import re
from base64 import b64decode
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PATH = ROOT / "docs" / "notebooks" / "first_steps.ipynb"
REMEDY = "python scripts/run_notebook.py docs/notebooks/first_steps.ipynb"
MOST_BYTES = 300_000
SAMPLED = ("run-search", "draw", "plan", "run-export")  # cells that print what follows from samples
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
missing = [name for name in ("nbclient", "ipykernel", "matplotlib") if importlib.util.find_spec(name) is None]
if missing:
    pytest.skip(f"not installed: {', '.join(missing)} (extra dev)", allow_module_level=True)

import nbformat  # noqa: E402
from nbformat import NotebookNode  # noqa: E402

from scripts.run_notebook import executed  # noqa: E402


@pytest.fixture(scope="module")
def stored() -> NotebookNode:
    notebook = nbformat.read(PATH, as_version=4)
    nbformat.validate(notebook)
    return notebook


def printed(notebook: NotebookNode) -> Iterator[tuple[str, str, str]]:
    """The id of a cell, the stream and the text, for everything that the notebook prints."""
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if output.output_type == "stream":
                yield cell.id, output.name, output.text


def samples_of_linear(notebook: NotebookNode) -> list[str]:
    """The samples that depend on the model and the processor alone, not on the search."""
    return [line for cell, _, text in printed(notebook) for line in text.splitlines() if line.startswith("linear | ")]


def plots(notebook: NotebookNode) -> list[str]:
    """The ids of the cells that draw a plot, once for each of their plots."""
    outputs = ((cell, output) for cell in notebook.cells for output in cell.get("outputs", ()))
    return [cell.id for cell, output in outputs if "image/png" in output.get("data", ())]


def close(text: str, other: str) -> bool:
    """Whether two texts differ at most in the last digits of their numbers, as on another processor.

    Whole numbers below 100 are equal; others differ by at most two units of the last digit, or of the third decimal.
    """
    if NUMBER.sub("#", text) != NUMBER.sub("#", other):
        return False
    for one, two in zip(NUMBER.findall(text), NUMBER.findall(other), strict=True):
        decimals = min(len(each.partition(".")[2]) for each in (one, two))
        values = [float(each.replace(",", "")) for each in (one, two)]
        slack = 2.001 if decimals or min(values) >= 100 else 0.0
        if abs(values[0] - values[1]) > slack * 10.0 ** -min(decimals, 3):
            return False
    return True


def test_numbers_may_differ_in_the_last_digits_only() -> None:
    assert close("gain 0.046 [0.015]", "gain 0.047 [0.014]") and close("9,770 rows", "9,771 rows")
    assert close("0.3803556184719417", "0.3803556184720000") and not close("8 trials", "9 trials")
    assert not close("gain 0.046", "gain 0.049") and not close("gain 0.046", "loss 0.046")
    assert not close("0.046", "0.046 0.046") and not close("c(0) = 2.84", "c(0) = 2.8 4")


def test_the_stored_outputs_are_whole(stored: NotebookNode) -> None:
    """Every cell of code was run in order, every plot is there, and nothing says where or when it was run."""
    cells = [cell for cell in stored.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == [*range(1, len(cells) + 1)], REMEDY
    drawing = [cell.id for cell in cells for _ in range(cell.source.count("plt.show()"))]
    assert len(drawing) >= 4 and plots(stored) == drawing, REMEDY
    for cell in cells:
        for output in cell.outputs:
            if "data" in output:
                assert {*output.data} <= {"image/png", "text/plain"}
                assert b64decode(output.data["image/png"]).startswith(b"\x89PNG")
    assert all(not cell.metadata for cell in stored.cells) and {*stored.metadata} == {"kernelspec", "language_info"}
    text = PATH.read_text("utf-8")
    assert len(text.encode()) < MOST_BYTES
    assert re.search(r"(?<![\w.:])/(?:home|root|tmp|work|usr|opt|mnt|Users|var)/|[A-Z]:\\\\\\\\", text) is None


def test_links_of_the_notebook_exist(stored: NotebookNode) -> None:
    links = [
        link
        for cell in stored.cells
        if cell.cell_type == "markdown"
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", cell.source)
    ]
    assert links and all((PATH.parent / link).exists() for link in links)


def test_only_the_public_api_is_used(stored: NotebookNode) -> None:
    import mdm_tune

    code = "\n".join(cell.source for cell in stored.cells if cell.cell_type == "code")
    used = {*re.findall(r"\bmdm_tune\.(\w+)", code)}
    assert {"load_config", "load_model", "profile", "search", "sample", "load_schedule", "export"} <= used
    assert used <= {*mdm_tune.__all__} and re.findall(r"(?:from|import) mdm_tune\S*", code) == ["import mdm_tune"]


def test_the_notebook_runs_and_prints_what_is_stored(stored: NotebookNode) -> None:
    """In a fresh kernel and an empty folder. A stored output that the code does not print any more is a failure.

    With another processor the samples differ (docs/search.md), and what follows from them is not compared.
    """
    fresh = executed(stored)
    assert plots(fresh) == plots(stored)
    assert len(samples_of_linear(fresh)) == len(samples_of_linear(stored)) == 5
    other = samples_of_linear(fresh) != samples_of_linear(stored)
    for now, before in zip_longest(printed(fresh), printed(stored), fillvalue=("", "", "")):
        assert now[:2] == before[:2] and now[1] == "stdout", f"{now} instead of {before}: {REMEDY}"
        if other and now[0] in SAMPLED:
            assert now[2].strip() and (now[0] != "run-search" or now[2].startswith("8 trials, ")), now
            continue
        assert close(now[2], before[2]), f"cell {now[0]} prints\n{now[2]}\ninstead of\n{before[2]}\n{REMEDY}"
