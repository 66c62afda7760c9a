"""What takes more memory than there is is refused before it is made, with both sizes."""

from __future__ import annotations

import gc
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from mdm_tune.core import memory
from mdm_tune.core.errors import InputError
from mdm_tune.denoisers.analytic import MarkovChain
from mdm_tune.denoisers.transformer import Transformer, TransformerConfig, load_transformer, save_transformer

MIB = 2**20


def there(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda: count)


def test_a_profile_of_65536_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    there(monkeypatch, 30 * 2**30)
    chain = MarkovChain.sticky(2, 0.1, 65_536)
    with pytest.raises(InputError, match=r"65,536 positions needs 160\.0 GiB of memory, and 30\.0 GiB are free; lower"):
        chain.profile()
    there(monkeypatch, 30 * MIB)
    short = MarkovChain.sticky(2, 0.1, 1024)
    with pytest.raises(InputError, match=r"1,024 positions needs 40\.0 MiB of memory"):
        short.profile()
    assert len(short.profile(block_length=16)) == 1024


def test_a_chain_of_many_symbols(monkeypatch: pytest.MonkeyPatch) -> None:
    there(monkeypatch, 2**30)
    with pytest.raises(InputError, match=r"1,000 positions and 4,096 symbols needs 500\.\d GiB of memory"):
        MarkovChain.sticky(4096, 0.1, 1_000)


def test_a_transformer_whose_rows_do_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_transformer(Transformer(TransformerConfig(symbols="ab", length=4096, width=4, depth=1, heads=2)), tmp_path)
    there(monkeypatch, 100 * MIB)
    with pytest.raises(InputError, match=r"of 4,096 positions needs 384\.\d MiB of memory, and 100\.0 MiB are free"):
        load_transformer(tmp_path)
    there(monkeypatch, 400 * MIB)
    assert load_transformer(tmp_path).length == 4096


@pytest.mark.parametrize("name", ["length", "width", "depth"])
def test_a_config_of_more_than_its_file_holds(name: str, tmp_path: Path) -> None:
    """Nothing of that size is made to find out."""
    save_transformer(Transformer(TransformerConfig(symbols="ab", length=4, width=4, depth=1, heads=2)), tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: 65_536}))
    with pytest.raises(InputError, match=r"does not fit config\.json: the sizes .* bytes, got [\d,]+; both files must"):
        load_transformer(tmp_path)


def test_the_size_of_the_weights_by_counting() -> None:
    config = TransformerConfig(symbols="abc", length=7, width=12, depth=3, heads=4)
    counted = sum(weight.numel() * weight.element_size() for weight in Transformer(config).parameters())
    assert config.weight_bytes == counted


def test_the_memory_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    2048 kB\n")
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "GROUP", tmp_path)
    assert memory.available_memory() == 2 * MIB
    (tmp_path / "memory.max").write_text("1500000\n")
    (tmp_path / "memory.current").write_text("500000\n")
    assert memory.available_memory() == 1_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available_memory() == 2 * MIB
    (tmp_path / "meminfo").unlink()
    assert memory.available_memory() is None
    memory.check_memory(10**18, "x", "y")  # nothing is known, and nothing refused


FAULTS = """
import resource, sys
import numpy as np
from mdm_tune.core.memory import keep_freed_memory

kept = keep_freed_memory()
for _ in range(3):  # the third time, what the second one freed is used
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(1 << 22)  # 32 MiB
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(kept, faults)
"""


def faults(**variables: str) -> tuple[bool, int]:
    """What ``keep_freed_memory`` returned in a new process, and how many pages a block then took from the system."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    output = subprocess.run(
        [sys.executable, "-c", FAULTS], env=environment | variables, capture_output=True, text=True, check=True
    ).stdout.split()
    return output[0] == "True", int(output[1])


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has other settings")
def test_freed_blocks_are_kept() -> None:
    """A block of 32 MiB has 8,192 pages, or 16 large ones."""
    kept, pages = faults()
    assert kept and pages < 8
    assert faults(MALLOC_ARENA_MAX="2")[0] is False
    assert faults(GLIBC_TUNABLES="glibc.malloc.arena_max=2")[0] is False


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("MALLOC_", "GLIBC_")):
            monkeypatch.delenv(name)
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    assert memory.keep_freed_memory() is False


def test_nothing_is_collected_in_a_block_of_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    frozen: list[int] = []
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append(1))
    monkeypatch.setattr(gc, "get_freeze_count", lambda: len(frozen))
    assert gc.isenabled()
    with memory.collecting_later():
        assert not gc.isenabled()
        with memory.collecting_later():
            pass
        assert not gc.isenabled()  # as before the inner block
    assert gc.isenabled() and frozen == [1]  # once per process
    with pytest.raises(ImportError), memory.collecting_later():
        raise ImportError
    assert gc.isenabled()
