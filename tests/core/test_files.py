"""Files that are replaced whole or not at all, and those that come with the package."""

from __future__ import annotations

from pathlib import Path

import pytest

from mdm_tune.core.errors import InputError, RunError
from mdm_tune.core.files import bundled, write_text


def test_bundled_names() -> None:
    assert (bundled("package:text") / "model.safetensors").is_file()
    assert bundled("some/folder") == Path("some/folder")
    with pytest.raises(InputError, match="no bundled data called 'txet'; the package ships arithmetic, text"):
        bundled("package:txet")


def test_a_file_that_cannot_be_written_says_why(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"nnn: File name too long; give a shorter name$"):
        write_text(tmp_path / ("n" * 300), "text")
    with pytest.raises(RunError, match=r"gone/file: No such file or directory; check the path$"):
        write_text(tmp_path / "gone" / "file", "text")


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "schedule.yaml"
    write_text(path, "old")

    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(RunError, match=r"cannot write .*No space left on device"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_replacement_leaves_no_temporary_file(tmp_path: Path) -> None:
    (tmp_path / "schedule.yaml").mkdir()
    with pytest.raises(RunError, match="cannot write"):
        write_text(tmp_path / "schedule.yaml", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["schedule.yaml"]
