"""Code from outside the package: a file and a name."""

from __future__ import annotations

from pathlib import Path

import pytest

from mdm_tune.core.errors import InputError
from mdm_tune.core.trust import load_target
from tests.denoisers.test_custom import written


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (None, "there is no file .*absent.py; correct the path, which starts at the config's folder"),
        ("x = 1", "has no 'build'; define it there"),
        ("build = 7", "'build' in .* must be a function, got int"),
        ("x = (", r"cannot be imported: SyntaxError: .* \(line 1\); correct the file"),
        ("x = 1\nimport absent_module_of_nobody", r"cannot be imported: ModuleNotFoundError: .* \(line 2\)"),
        ("raise SystemExit(3)", r"cannot be imported: SystemExit: it ended the process by sys.exit\(3\) \(line 1\)"),
    ],
)
def test_targets_that_cannot_be_used(body: str | None, said: str, tmp_path: Path) -> None:
    target = f"{tmp_path / 'absent.py'}:build" if body is None else written(tmp_path, body)
    with pytest.raises(InputError, match=rf"^sampler\.target: .*{said}"):
        load_target(target, True, "sampler.target")


def test_a_target_is_a_file_and_a_name() -> None:
    for text in ("model.py", "model:build", "model.py:", "model.py:two words"):
        with pytest.raises(InputError, match=r"target: must be FILE\.py:NAME"):
            load_target(text, True)


def test_a_file_is_run_once(tmp_path: Path) -> None:
    target = written(tmp_path, "runs = []\ndef build():\n    return runs\n")
    load_target(target, True)().append(1)
    assert load_target(target, True)() == [1]
