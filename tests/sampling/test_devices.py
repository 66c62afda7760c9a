"""The text of --devices: what it stands for on this machine, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from pydantic import TypeAdapter
from typer.testing import CliRunner

from mdm_tune.cli import app
from mdm_tune.config.models import ModelConfig
from mdm_tune.core.errors import InputError
from mdm_tune.sampling import devices
from mdm_tune.sampling.devices import (
    MAX_REPLICAS,
    Devices,
    RayDevices,
    available_cpus,
    device_names,
    devices_for,
    parse_devices,
)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """A machine with so many CPUs and GPUs."""
    cpus, gpus = request.param
    monkeypatch.setattr(devices, "available_cpus", lambda: cpus)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)


@pytest.mark.parametrize(
    ("machine", "text", "expected"),
    [
        ((4, 0), "cpu", ("cpu",)),
        ((4, 0), "cpu:1", ("cpu",)),
        ((4, 0), "cpu:4", ("cpu",) * 4),
        ((4, 3), "cpu:2", ("cpu", "cpu")),
        ((4, 3), "cuda:0", ("cuda:0",)),
        ((1, 3), "cuda:2", ("cuda:2",)),
        ((1, 3), "cuda:2, cuda:0", ("cuda:2", "cuda:0")),
        ((1, 3), "all", ("cuda:0", "cuda:1", "cuda:2")),
        ((4, 1), " all ", ("cuda:0",)),
        ((4, 0), "all", ("cpu",)),
        ((1, 11), "cuda:10", ("cuda:10",)),
    ],
    indirect=["machine"],
)
@pytest.mark.usefixtures("machine")
def test_what_is_meant(text: str, expected: tuple[str, ...]) -> None:
    assert parse_devices(text) == expected


@pytest.mark.parametrize("machine", [(4, 2)], indirect=True)
@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            ",",
            "gpu",
            "CPU",
            "cpu:",
            "cpu:x",
            "cpu:1.5",
            "cpu:²",
            "cpu:" + "9" * 5000,
            "cpu,cpu",
            "cpu:2,cuda:0",
        ),
        *("cuda", "cuda:", "cuda:-1", "cuda:0,", "cuda:0,cpu", "cuda:0;cuda:1", "all,cuda:0", "all:2"),
    ],
)
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"devices must be cpu, cpu:N .* give for example cpu:2") as caught:
        parse_devices(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("machine", "text", "message"),
    [
        ((4, 0), "cpu:0", "at least 1, got cpu:0; give cpu or cpu:2"),
        ((4, 0), "cpu:-3", "at least 1, got cpu:-3"),
        ((4, 0), "cpu:5", "cpu:5 is more replicas than the 4 CPUs that this process may use; give at most cpu:4"),
        ((1, 0), "cpu:2", "cpu:2 is more replicas than the 1 CPU that this process may use; give at most cpu:1"),
        ((4, 2), "cuda:1,cuda:0,cuda:1", "must not repeat, got cuda:1 twice in 'cuda:1,cuda:0,cuda:1'; give each once"),
        ((4, 2), "cuda:2", "cuda:2 does not exist, this machine has 2 CUDA devices; give cuda:0, cuda:1"),
        ((4, 1), "cuda:0,cuda:7", "cuda:7 does not exist, this machine has 1 CUDA device; give cuda:0"),
        ((4, 0), "cuda:0", "cuda:0 does not exist, this machine has no CUDA device, or .*; give cpu"),
    ],
    indirect=["machine"],
)
@pytest.mark.usefixtures("machine")
def test_what_the_machine_lacks_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=f"{message}$" if message[-1] != "3" else message):
        parse_devices(text)


def test_cpus_are_those_that_this_process_is_bound_to(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1 <= available_cpus() <= (os.cpu_count() or 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 6}, raising=False)
    assert available_cpus() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert available_cpus() == 7
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert available_cpus() == 1


@pytest.mark.parametrize("machine", [(4, 2)], indirect=True)
@pytest.mark.parametrize(
    ("model", "flag", "expected"),
    [
        ({"type": "huggingface", "path": "x"}, None, ("cuda:0", "cuda:1")),
        ({"type": "huggingface", "path": "x", "device": "cuda:1"}, None, ("cuda:1",)),
        ({"type": "huggingface", "path": "x", "device": "cuda:1"}, "cpu", ("cpu",)),
        ({"type": "custom", "target": "x.py:f"}, None, ("cuda:0", "cuda:1")),
        ({"type": "parity", "length": 4}, None, ("cpu",)),
        ({"type": "parity", "length": 4}, "cpu:2", ("cpu", "cpu")),
    ],
)
def test_checkpoints_use_every_gpu_unless_told_otherwise(
    machine: None, model: dict[str, object], flag: str | None, expected: tuple[str, ...]
) -> None:
    assert devices_for(TypeAdapter(ModelConfig).validate_python(model), flag) == expected


def test_a_bad_device_in_a_config_is_named_by_its_path() -> None:
    model = TypeAdapter(ModelConfig).validate_python({"type": "huggingface", "path": "x", "device": "gpu"})
    with pytest.raises(InputError, match=r"model\.device: devices must be cpu, cpu:N"):
        devices_for(model, None)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("ray", None),
        (" ray ", None),
        ("ray:1", 1),
        ("ray:16", 16),
        ("ray:007", 7),
        (f"ray:{MAX_REPLICAS}", MAX_REPLICAS),
    ],
)
def test_a_cluster(text: str, count: int | None) -> None:
    assert parse_devices(text) == RayDevices(count)


WRONG = {
    "ray:0": "ray:N is N replicas on the cluster, 1 to 100,000, got ray:0; give ray for every GPU, or",
    "ray:-1": "1 to 100,000, got ray:-1; give ray",
    f"ray:{MAX_REPLICAS + 1}": "1 to 100,000, got ray:100001; give ray",
    "ray:999999999": "1 to 100,000, got ray:999999999; give ray",
    "ray,cuda:0": "ray is a whole cluster and cannot be combined with other devices, got 'ray,cuda:0'; give ray alone",
    "cpu, ray:2": "cannot be combined with other devices, got 'cpu, ray:2'; give ray alone",
    "ray,ray": "cannot be combined with other devices, got 'ray,ray'; give ray alone",
}
NO_CLUSTER = ["ray:x", "ray:", "ray:1.5", "ray:²", "RAY", "ray:" + "9" * 5000, "rays", "ray 2"]


@pytest.mark.parametrize("text", WRONG)
def test_a_cluster_of_no_use_is_refused(text: str) -> None:
    with pytest.raises(InputError) as raised:
        parse_devices(text)
    assert str(raised.value).startswith("devices: ") and WRONG[text] in str(raised.value)


@pytest.mark.parametrize("text", NO_CLUSTER)
def test_what_looks_like_a_cluster_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"joined by commas, all, ray or ray:N, got .*; give for example cpu:2"):
        parse_devices(text)


PARITY = TypeAdapter(ModelConfig).validate_python({"type": "parity", "length": 4})
ON_GPU = TypeAdapter(ModelConfig).validate_python({"type": "huggingface", "path": "x", "device": "cuda:1"})


@pytest.mark.parametrize("model", [PARITY, ON_GPU])
@pytest.mark.parametrize("address", [None, "auto", "10.0.0.1:6379"])
def test_the_address_of_a_cluster_goes_with_it(model: object, address: str | None) -> None:
    """Whatever the model section says of a device."""
    assert devices_for(model, "ray:3", address) == RayDevices(3, address)
    assert devices_for(model, "ray", address) == RayDevices(None, address)


@pytest.mark.parametrize("machine", [(4, 2)], indirect=True)
@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("model", "flag", "said"), [(PARITY, None, "cpu"), (ON_GPU, None, "cuda:1"), (PARITY, "cpu:2", "cpu:2")]
)
def test_an_address_without_a_cluster_is_refused(model: object, flag: str | None, said: str) -> None:
    with pytest.raises(
        InputError, match=f"--ray-address: works only with --devices ray, got --devices {said}; give --devices ray"
    ):
        devices_for(model, flag, "10.0.0.1:6379")


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (("cpu", "cpu"), ["cpu", "cpu"]),
        (("cuda:1",), ["cuda:1"]),
        (RayDevices(), ["ray"]),
        (RayDevices(16, "10.0.0.1:6379"), ["ray:16"]),
    ],
)
def test_what_a_record_says_of_devices(found: Devices, words: list[str]) -> None:
    assert device_names(found) == words


COMMANDS = (["search"], ["evaluate"], ["sample"], ["profile"], ["search", "--dry-run"])


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize(
    ("flags", "said"),
    [
        *((["--devices", text], said) for text, said in WRONG.items()),
        (["--devices", "ray:x"], "got 'ray:x'; give for example cpu:2"),
        (["--ray-address", "auto"], "--ray-address: works only with --devices ray, got --devices cpu;"),
        (["--devices", "ray", "--ray-address", "10.0.0.1"], "--ray-address: must be HOST:PORT"),
        (["--devices", "ray"], "--devices ray: no cluster is named; give --ray-address HOST:PORT"),
    ],
)
def test_a_command_refuses_in_one_message(
    command: list[str], flags: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    config = tmp_path / "config.yaml"
    config.write_text(
        "model: {type: parity, length: 4}\nsampler: {order: random, steps: [2]}\nobjective: {metric: kl}\n"
    )
    result = CliRunner().invoke(app, [*command, str(config), *flags, "--output", str(tmp_path / "run")])
    assert result.exit_code == 2 and result.stdout == "", result.output
    assert result.stderr.count("error") == 1 and "Traceback" not in result.stderr
    assert said in " ".join(result.stderr.split())
    assert not (tmp_path / "run").exists()
