"""Execute a notebook in a fresh kernel and an empty folder, and keep its outputs in the file.

    python scripts/run_notebook.py docs/notebooks/first_steps.ipynb

What differs from run to run is left out: times, versions of Python, and the state of widgets. The first cell that fails
ends the script with its traceback, and the file stays as it was.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from traitlets.config import Config

from mdm_tune.core.memory import KEPT

ROOT = Path(__file__).parent.parent
SECONDS = 300  # that a cell may take


@contextmanager
def own_settings(folder: Path) -> Iterator[None]:
    """Keep settings of the user, Jupyter and matplotlib from the kernel, which imports the package of this checkout."""
    names = ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR")
    own = {name: str(folder / name.lower()) for name in names}
    unset = {"MPLBACKEND": ""}  # ipykernel then takes its own, which keeps plots in the notebook
    kept = dict.fromkeys(("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"), str(KEPT))  # as the command does
    with patch.dict(os.environ, {**own, **unset, **kept, "PYTHONPATH": str(ROOT)}):
        yield


def executed(notebook: NotebookNode) -> NotebookNode:
    """The notebook with the outputs of a fresh kernel that works in a temporary folder.

    Raises nbclient.exceptions.CellExecutionError if a cell fails.
    """
    fresh = nbformat.from_dict(notebook)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder) / "work"
        # Sockets in the folder, so that no port is open to others.
        sockets = Config({"ConnectionFileMixin": {"transport": "ipc", "ip": str(Path(folder) / "kernel")}})
        work.mkdir()
        with own_settings(Path(folder)):
            NotebookClient(
                fresh,
                timeout=SECONDS,
                kernel_name="python3",
                config=sockets,
                record_timing=False,
                resources={"metadata": {"path": str(work)}},
            ).execute()
    return without_circumstances(fresh)


def without_circumstances(notebook: NotebookNode) -> NotebookNode:
    """The notebook without metadata of the kernel and of cells that say when, where and by what it was run."""
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    for cell in notebook.cells:
        cell.metadata = NotebookNode()
        for output in cell.get("outputs", ()):
            output.pop("metadata", None) if output.output_type == "stream" else output.update(metadata=NotebookNode())
    return notebook


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebook", type=Path)
    path = parser.parse_args().notebook
    nbformat.write(executed(nbformat.read(path, as_version=4)), path)
    print(f"{path}: {path.stat().st_size / 1000:,.0f} kB")


if __name__ == "__main__":
    main()
