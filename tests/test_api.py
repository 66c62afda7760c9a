"""The public API: the list of its names, its page, and the types of its typical uses."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import mdm_tune

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "python.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
NAMES = [
    "Alphas",
    "Beta",
    "CapPlan",
    "Config",
    "CountPlan",
    "Counts",
    "Denoiser",
    "Drawing",
    "EntropyBoundPlan",
    "EvaluateResult",
    "Evaluator",
    "ExportResult",
    "InputError",
    "KlassPlan",
    "Linear",
    "LinearHead",
    "LoadedModel",
    "LoadedSchedule",
    "MaskgitCosine",
    "MdmTuneError",
    "Metric",
    "Note",
    "Parts",
    "Permissions",
    "Profile",
    "ProfileResult",
    "QuotaPlan",
    "ReportResult",
    "RevealPlan",
    "RunError",
    "SampleResult",
    "Schedule",
    "SchedulePlan",
    "SearchResult",
    "Shift",
    "Sine",
    "SquaredSine",
    "Step",
    "Texts",
    "ThresholdPlan",
    "Transformer",
    "TransformerConfig",
    "TrialDone",
    "Unmasked",
    "__version__",
    "alpha_grid",
    "beta_energy",
    "conditional_kinetic_energy",
    "evaluate",
    "export",
    "generate",
    "geodesic_energy",
    "kinetic_energy",
    "load_config",
    "load_model",
    "load_schedule",
    "load_transformer",
    "measure_profile",
    "parse_schedule",
    "path_energy",
    "profile",
    "report",
    "sample",
    "save_transformer",
    "search",
    "to_counts",
    "unmask",
]


def test_the_public_names_are_these() -> None:
    assert sorted(mdm_tune.__all__) == sorted(NAMES) == sorted(dir(mdm_tune))


def test_the_page_has_an_example_of_every_name() -> None:
    code = "\n".join(BLOCKS)
    missing = [name for name in NAMES if not re.search(rf"mdm_tune\.{name}\b", code)]
    assert missing == []


def test_the_examples_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All in one process, in order, from an empty folder, as a reader would."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in BLOCKS:
        exec(compile(block, "docs/python.md", "exec"), names)


def test_nothing_is_printed_and_no_torch_is_loaded_for_a_schedule(tmp_path: Path) -> None:
    record = (
        "format: mdm-tune-schedule-1\nlength: 8\nbudgets: [{steps: 2, schedule: linear, counts: [4, 4], alphas: null}]"
    )
    (tmp_path / "schedule.yaml").write_text(record, "utf-8")
    other = record.replace("linear", "'beta:1,1'")
    (tmp_path / "beta.yaml").write_text(other, "utf-8")
    code = (
        f"import mdm_tune, sys\nassert mdm_tune.load_schedule({str(tmp_path)!r}).counts(16, 4) == (4, 4, 4, 4)\n"
        "assert not {'torch', 'optuna', 'transformers', 'scipy'} & {*sys.modules}\n"
        f"assert mdm_tune.load_schedule({str(tmp_path / 'beta.yaml')!r}).counts(16, 4) == (2, 6, 6, 2)\n"
        "assert 'scipy.special' in sys.modules and not {'torch', 'scipy.optimize'} & {*sys.modules}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_search_is_a_function_also_when_modules_of_its_folder_are_imported() -> None:
    import mdm_tune.search.events as events

    assert isinstance(sys.modules["mdm_tune.search"], ModuleType) and events.TrialDone is not None
    with pytest.raises(mdm_tune.InputError, match="config must be a Config or the path"):
        mdm_tune.search(3)  # type: ignore[arg-type]


def test_an_input_error_is_a_value_error() -> None:
    assert issubclass(mdm_tune.InputError, ValueError) and not issubclass(mdm_tune.RunError, ValueError)
    with pytest.raises(ValueError, match="lineer"):
        mdm_tune.parse_schedule("lineer")


def test_the_types_of_typical_uses_are_right() -> None:
    file = ROOT / "tests" / "typing" / "uses.py"
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), str(file)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
