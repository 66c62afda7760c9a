from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import typer

from mdm_tune.api import runs
from mdm_tune.api.arguments import argument_of, with_arguments
from mdm_tune.cli import app
from mdm_tune.core.errors import InputError, RunError
from tests.support.configs import load, whole

SHORT = {"-h", "-v"}
OF_THE_TERMINAL = {"--help", "--json", "--quiet", "--verbose", "--watch", "--log-file", "--dry-run", "--ray-address"}


def test_an_error_names_the_arguments_beside_the_flags(tmp_path: Path) -> None:
    config = load(tmp_path, whole(sampler={"steps": [2]}), output=str(tmp_path / "run"))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "study.journal").write_text("x", "utf-8")
    with pytest.raises(InputError) as refused:
        runs.search(config)
    said = str(refused.value)
    assert "add --resume to go on with it, --overwrite to start again" in said
    assert said.endswith(
        "; in Python, --resume is resume=True and --overwrite is overwrite=True and --output is "
        "load_config(path, output=...)"
    )
    with pytest.raises(InputError, match=r"; in Python, --length is length=\.\.\. and --steps is steps=\.\.\.$"):
        runs.export("linear", "json")
    with pytest.raises(InputError, match=r"give one of them$"):  # it names no flag
        runs.search(config, resume=True, overwrite=True)


def test_several_lines_a_value_and_flags_of_others() -> None:
    @with_arguments
    def command(run_generated_code: bool = False, block_length: int | None = None) -> None:
        """One line."""
        raise RunError("a\n--block-length 8, --run-generated-code=unsafe; pip --pre, x--block-length, --block-length")

    with pytest.raises(RunError) as failed:
        command()
    assert str(failed.value).splitlines()[-1] == (
        "In Python, --block-length is block_length=... and --run-generated-code=unsafe is run_generated_code='unsafe'"
    )
    assert command.__doc__ == "One line." and list(inspect.signature(command).parameters)[1] == "block_length"


@pytest.mark.parametrize("name", ["profile", "search", "evaluate", "sample", "export"])
def test_every_flag_has_an_argument(name: str) -> None:
    parameters = inspect.signature(getattr(runs, name)).parameters
    flags = {flag for each in typer.main.get_command(app).commands[name].params for flag in each.opts if flag[0] == "-"}  # type: ignore[attr-defined]
    assert len(flags) > 5
    assert {flag for flag in flags if argument_of(flag, parameters) is None} <= OF_THE_TERMINAL | SHORT
