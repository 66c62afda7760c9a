"""Plugins are found without being imported, imported only where that is allowed, and their names are unique."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mdm_tune.core.errors import InputError
from mdm_tune.core.plugins import check_plugin_name, installed_plugins, load_plugin, plugin_named
from tests.support.plugins import install


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("tiny_plugins", "other_plugins"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def test_plugins_are_found_without_being_imported(folder: Path) -> None:
    install(folder, code=f"open({str(folder / 'ran')!r}, 'w')\n")
    (found,) = installed_plugins("metrics")
    assert (found.name, found.target, found.origin) == ("vowels", "tiny_plugins:vowels", "tiny-plugins 1.2")
    assert plugin_named("denoisers", "alike") is not None and plugin_named("denoisers", "vowels") is None
    with pytest.raises(InputError, match=r"objective\.metric: vowels of the package tiny-plugins 1\.2 runs code"):
        load_plugin(found, "objective.metric", trust_code=False)
    assert "tiny_plugins" not in sys.modules and not (folder / "ran").exists()


def test_a_loaded_plugin_has_a_fingerprint_of_its_code(folder: Path) -> None:
    install(folder)
    (found,) = installed_plugins("metrics")
    assert load_plugin(found, "objective.metric", trust_code=True)("aab", {}) == pytest.approx(2 / 3)
    assert found.file == folder / "tiny_plugins.py" and len(found.fingerprint()) == 16
    before = found.fingerprint()
    assert before == found.fingerprint() != found.fingerprint("options")
    found.file.write_text("changed = True\n", encoding="utf-8")
    assert found.fingerprint() != before


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import no_such_module_at_all\n", "ModuleNotFoundError: No module named"),
        ("raise SystemExit(3)\n", "it ended the process by sys.exit"),
        ("other = 1\n", "AttributeError"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_one_message(folder: Path, code: str, reason: str) -> None:
    install(folder, code=code)
    (found,) = installed_plugins("metrics")
    with pytest.raises(InputError, match=reason) as caught:
        load_plugin(found, "objective.metric", trust_code=True)
    said = str(caught.value)
    assert said.startswith("objective.metric: vowels of the package tiny-plugins 1.2 cannot be imported: ")
    assert said.endswith("correct or reinstall that package, or uninstall it") and "\n" not in said


def test_a_name_stands_for_one_thing(folder: Path) -> None:
    install(folder)
    install(folder, {"metrics": {"vowels": "other_plugins:vowels"}}, package="other-plugins")
    with pytest.raises(InputError, match=r"objective\.metric: .* unique, got 'vowels' of the packages other-plugins"):
        check_plugin_name("metrics", "vowels", ("kl",), "objective.metric")
    with pytest.raises(InputError, match=r"model\.type: a plugin must not have a built-in name, got 'alike'"):
        check_plugin_name("denoisers", "alike", ("alike",), "model.type")
    check_plugin_name("denoisers", "alike", ("markov",), "model.type")
    check_plugin_name("metrics", "kl", ("kl",), "objective.metric")


def test_broken_metadata_of_another_package_is_passed_over(folder: Path) -> None:
    install(folder)
    broken = folder / "broken-1.dist-info"
    broken.mkdir()
    (broken / "METADATA").write_text("Name: broken\nVersion: 1\n", encoding="utf-8")
    (broken / "entry_points.txt").write_text("[mdm_tune.metrics]\nno target\n", encoding="utf-8")
    assert [plugin.name for plugin in installed_plugins("metrics")] == ["vowels"]
