from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mdm_tune.cli import app
from mdm_tune.config.file import legal_keys, load_config
from mdm_tune.core.errors import InputError
from mdm_tune.core.other_names import OTHER_NAMES, hint_for, section_of, setting_of

CONFIG = """\
model: {{type: markov, length: 32, flip: 0.05}}
sampler: {{{sampler}}}
objective: {{metric: order_kl{objective}}}
{top}
"""


def message(folder: Path, sampler: str = "steps: [4]", objective: str = "", top: str = "") -> str:
    file = folder / "run.yaml"
    file.write_text(CONFIG.format(sampler=sampler, objective=objective, top=top), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_config(file)
    return str(caught.value)


@pytest.mark.parametrize("setting", sorted({setting for setting, _ in OTHER_NAMES.values()}))
def test_each_hint_names_a_setting_that_exists(setting: str) -> None:
    section, _, key = setting.partition(".")
    assert any(location[:1] == (section,) and key in names for location, names in legal_keys().items())


def test_no_name_of_another_system_is_a_key_here() -> None:
    legal = {key for names in legal_keys().values() for key in names}
    assert legal.isdisjoint(OTHER_NAMES)


@pytest.mark.parametrize(
    "name", ["num_steps", "num_inference_steps", "denoising_steps", "diffusion_steps", "num-steps", "NUM_STEPS"]
)
def test_step_names_of_other_systems(tmp_path: Path, name: str) -> None:
    for text in (message(tmp_path, sampler=f"{name}: 8"), message(tmp_path, top=f"{name}: 8")):
        assert f"{name}: unknown key; its name here is sampler.steps, a list of step budgets, such as [32]" in text


@pytest.mark.parametrize(
    ("sampler", "objective", "top", "part"),
    [
        ("steps: [4]", "", "steps: 8", "steps: unknown key; it belongs in the section sampler; legal keys"),
        (
            "steps: [4], gen_length: 8",
            "",
            "",
            "sampler.gen_length: unknown key; its name here is dataset.gener",
        ),
        ("steps: [4], generation_length: 8", "", "", "generation_length: unknown key; it belongs in the section datas"),
        ("steps: [4], seed: 8", "", "", "sampler.seed: unknown key; it belongs to the top level, outside of every"),
        ("steps: [4]", ", pattern: x", "", "objective.pattern: unknown key; it belongs in the section metrics.regex"),
        ("steps: [4], cfg_scale: 1.0", "", "", "its name here is sampler.guidance, 0 for none"),
        (
            "steps: [4], remasking: x",
            "",
            "",
            "again) is not supported; its name here is sampler.order",
        ),
        ("steps: [4], order_: x", "", "", "did you mean 'order'?"),
    ],
)
def test_hints_in_a_config(tmp_path: Path, sampler: str, objective: str, top: str, part: str) -> None:
    assert part in message(tmp_path, sampler, objective, top)


def test_no_hint_where_several_sections_have_the_key() -> None:
    keys = {(): ["model", "dataset"], ("model", "a"): ["type", "length"], ("dataset", "b"): ["type", "tune"]}
    assert section_of("type", ("sampler",), keys) is None
    assert section_of("tune", ("model", "a"), keys) == "dataset"
    assert section_of("tune", ("dataset", "c"), keys) is None
    assert section_of("model", ("model", "a"), keys) == ""
    assert hint_for(3, (), keys) == hint_for("nothing", (), keys) == ""
    assert setting_of("nothing") is None


def test_the_flag_of_another_system() -> None:
    result = CliRunner().invoke(app, ["evaluate", "x.yaml", "--num-inference-steps", "8"])
    assert result.exit_code == 2
    assert "did you mean --steps?" in re.sub(r"\s+", " ", result.stderr)
