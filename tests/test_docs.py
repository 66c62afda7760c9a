"""What README and the pages show is what the package does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

import mdm_tune
from mdm_tune.cli import app
from mdm_tune.config.file import load_config
from mdm_tune.run.build import build
from mdm_tune.run.schedule_names import names_a_file, own_steps, settings_of
from scripts import site_howtos
from scripts.imports import counted, shown

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
TOUR = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")


def test_the_example_config_is_valid_and_equals_the_shipped_one(tmp_path: Path) -> None:
    block = re.findall(r"```yaml\n(.*?)```", TOUR, flags=re.DOTALL)[0]
    (tmp_path / "text.yaml").write_text(block, encoding="utf-8")
    example, shipped = load_config(tmp_path / "text.yaml"), load_config(ROOT / "configs" / "text.yaml")
    for section in ("model", "dataset", "objective"):
        assert getattr(example, section) == getattr(shipped, section)
    assert example.sampler.steps == shipped.sampler.steps
    assert example.sampler.order == shipped.sampler.order
    assert example.search.trials == shipped.search.trials


@pytest.mark.parametrize("command", ["search", "evaluate", "sample"])
def test_every_flag_that_the_tour_names_exists(command: str) -> None:
    shown = CliRunner(env={"COLUMNS": "200"}).invoke(app, [command, "--help"]).stdout
    assert command in TOUR
    for flag in ("--set", "--seed", "--output", "--json", "--quiet"):
        assert flag in TOUR and flag in shown
    named = {
        "search": ["--dry-run", "--resume"],
        "evaluate": ["--schedule", "--steps", "--show-differences"],
        "sample": [],
    }
    assert all(flag in TOUR and flag in shown for flag in named[command])


def test_the_commands_of_the_tour_run_on_the_text_model() -> None:
    """With the flags that the tour shows beside each; the schedule file is that of the config's own search."""
    tour, group = TOUR.partition("\n## ")[0], get_command(app)
    assert isinstance(group, TyperGroup)
    shown = re.findall(r"\*\*`mdm-tune (\w+) CONFIG`\*\*", tour)
    assert shown == ["search", "evaluate", "sample", "profile"]
    flags = next(each for each in re.findall(r"`([^`]*)`", tour) if each.startswith("--schedule "))
    path = str(ROOT / "configs" / "text.yaml")
    for name in shown:
        given = flags.split() if name == "evaluate" else []
        found = group.commands[name].make_context(name, [path, *given]).params
        assert str(found["config"]) == path
        if name == "evaluate":
            schedules, steps = found["schedule"], found["steps"]
    config = load_config(ROOT / "configs" / "text.yaml")
    files = [each for each in schedules if names_a_file(each)]
    assert files == [f"{config.output}/schedule.yaml"]
    assert set(config.sampler.steps) <= set(steps)
    named = [each for each in schedules if not names_a_file(each)]
    settings = list(settings_of(build(config).evaluator, named, steps))
    assert {setting.label for setting in settings} == set(named)
    brought = [own for each in named if (own := own_steps(each)) is not None]
    assert brought == [[8]] and 8 in steps


def test_the_readme_is_one_screen_with_the_two_commands() -> None:
    lines = README.splitlines()
    assert len(lines) <= 80
    assert [line.partition("#")[0].strip() for line in lines if line.startswith("    bash ")] == [
        "bash scripts/quickstart.sh",
        "bash scripts/test.sh",
    ]
    assert len(re.findall(r"^!\[", README, flags=re.MULTILINE)) == 1
    assert len(re.findall(r"^\|(?:---\|)+$", README, flags=re.MULTILINE)) == 1


def test_files_that_the_pages_link_to_exist() -> None:
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_page_is_linked_from_the_readme() -> None:
    """Directly, or from a page that is."""
    reached, waiting = set(), {ROOT / "README.md"}
    while waiting:
        page = waiting.pop()
        reached.add(page)
        links = re.findall(r"\]\(([^)#]+\.md)[^)]*\)", page.read_text(encoding="utf-8"))
        waiting |= {(page.parent / link).resolve() for link in links} - reached
    assert set((ROOT / "docs").rglob("*.md")) <= reached


def test_every_page_is_in_the_menu_of_the_site() -> None:
    """``nav`` in mkdocs.yml; the other pages of the menu are made when the site is built."""
    menu = re.findall(r"[\w/.-]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    pages = {page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")}
    assert pages - set(menu) == set(), "add it to nav in mkdocs.yml"


def test_the_data_sets_of_the_page_on_tasks_are_valid(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8")
    blocks = [block for block in re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL) if "dataset:" in block]
    rest = "model: {type: huggingface, path: model}\nsampler: {steps: [4]}\n"
    found = set()
    for block in blocks:
        (tmp_path / "run.yaml").write_text(block + rest, encoding="utf-8")
        dataset = load_config(tmp_path / "run.yaml").dataset
        assert dataset is not None
        found.add(dataset.type)
    assert found == {"jsonl", "lm-eval", "humaneval"}


def test_public_names_can_be_imported() -> None:
    for name in mdm_tune.__all__:
        assert getattr(mdm_tune, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = mdm_tune.nothing


def test_places_that_the_site_fills_say_so_in_the_repository() -> None:
    pages = {page: page.read_text("utf-8") for page in (ROOT / "docs").rglob("*.md")}
    places = [(page, *found) for page, text in pages.items() for found in site_howtos.PLACE.findall(text)]
    assert len(places) == sum(text.count("<!-- made:") for text in pages.values()) > 20
    for page, name, argument, sentence in places:
        assert sentence == site_howtos.instead_of(name, argument), page


def test_the_picture_of_imports_shows_those_that_there_are() -> None:
    """Which folders import from which; how many modules do is of the day on which it was drawn."""
    picture = (ROOT / "docs" / "imports.svg").read_text("utf-8")
    pairs = {tuple(pair) for pair in re.findall(r"<title>(\w+) imports (\w+): \d+</title>", picture)}
    assert pairs == {*shown(counted())}, "python scripts/imports.py --output docs/imports.svg"
