"""What is recorded of the machine, and the control task that speeds are compared by."""

from __future__ import annotations

import json
import os

import torch

from zoo_benchmark.run.control import VERSION, measure_control
from zoo_benchmark.run.environment import describe_environment, hardware

CPU = torch.device("cpu")


def test_the_environment_is_flat_and_tells_what_matters() -> None:
    found = describe_environment(CPU)
    assert json.loads(json.dumps(found)) == found
    assert found["threads"] == torch.get_num_threads()
    assert found["torch"] == torch.__version__.partition("+")[0]
    assert found["cpu_cores"] == os.cpu_count()
    assert 1 <= found["cpu_cores_usable"] <= found["cpu_cores"]
    assert found["memory_gb"] > 0.5
    assert found["cpu"]
    assert found["hardware"] == hardware(CPU)
    # Nothing that tells whose machine it is.
    assert os.uname().nodename not in json.dumps(found)


def test_hardware_differs_by_threads() -> None:
    assert hardware(CPU, 1).endswith("1 thread")
    assert hardware(CPU, 1) != hardware(CPU, 2)
    assert hardware(CPU) == hardware(CPU, torch.get_num_threads())


def test_the_control_task_is_measured_and_leaves_no_trace() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    with torch.no_grad():
        found = measure_control(CPU)
        assert not torch.is_grad_enabled()
    assert torch.equal(torch.rand(2), expected)
    assert found["images_per_s"] > 1
    assert 0 <= found["spread"] < 5
    assert found["version"] == VERSION
