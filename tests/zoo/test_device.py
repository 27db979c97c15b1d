"""The machine's side of computing."""

import contextlib
import subprocess
import sys
from threading import Thread

import pytest
import torch

from zoo.device import own_random_state, resolve_device, single_threaded_pool
from zoo.errors import DeviceError

REFUSED = """
import threading
import torch
from zoo.device import single_threaded_pool
from zoo.errors import ZooError

torch.set_num_threads(3)
start, begun = threading.Thread.start, []

def refuse(thread):
    begun.append(thread)
    if len(begun) == 2:
        raise RuntimeError("can't start new thread")
    start(thread)

threading.Thread.start = refuse
try:
    single_threaded_pool(3)
except ZooError as error:
    print(error)
print("threads left:", threading.active_count() - 1)
later = threading.Thread(target=lambda: print("threads of OpenMP:", torch.get_num_threads()))
later.start()
later.join()
"""


def test_a_device_is_known_by_its_name_or_as_pytorchs_own():
    for device in ("cpu", "cpu:0", torch.device("cpu")):
        assert resolve_device(device).type == "cpu"
    assert resolve_device(resolve_device("auto")) == resolve_device("auto")


@pytest.mark.parametrize("name", ["cpu:x", "cuda:x", "cuda:", "", "tpu", "meta", None, 0])
def test_a_device_that_cannot_be_read_is_refused_with_those_that_can(name):
    with pytest.raises(DeviceError, match=f"{str(name)!r}; type auto, cpu, cuda, cuda:1 or mps"):
        resolve_device(name)


def test_a_device_of_pytorchs_that_is_not_there_is_refused():
    with pytest.raises(DeviceError, match=r"'cuda:99' is not there .* type --device auto"):
        resolve_device(torch.device("cuda:99"))


def test_a_pool_computes_with_one_thread_each_and_changes_nobody_elses():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with single_threaded_pool(4) as pool:
            assert list(pool.map(lambda _: torch.get_num_threads(), range(20))) == [1] * 20
        assert torch.get_num_threads() == 3
        later = []
        thread = Thread(target=lambda: later.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert later == [3]
    finally:
        torch.set_num_threads(before)


def test_a_pool_whose_second_thread_is_refused_is_an_error_and_leaves_nothing():
    # In a process of its own, which would hang otherwise.
    done = subprocess.run(
        [sys.executable, "-c", REFUSED], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines() == [
        "the system gives no more threads (can't start new thread); set OMP_NUM_THREADS=1",
        "threads left: 0",
        "threads of OpenMP: 3",
    ]


@pytest.mark.parametrize("seed", [0, 7, -1, 2**64 + 3])
def test_a_random_state_of_its_own_is_that_of_the_seed(seed):
    torch.manual_seed(99)
    before = torch.get_rng_state()
    with own_random_state(torch.device("cpu"), seed):
        own = torch.rand(3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(seed % 2**63)
    assert torch.equal(torch.rand(3), own)


def test_a_random_state_of_its_own_on_a_cpu_leaves_every_gpu_alone(monkeypatch, new, tiles):
    seeded = []
    for module in (torch.cuda, torch.mps, torch.xpu):
        for name in ("manual_seed", "manual_seed_all"):
            monkeypatch.setattr(module, name, seeded.append, raising=False)
    torch.manual_seed(1)
    assert seeded  # by all means: this is how PyTorch seeds them
    seeded.clear()
    new("zhang_rebalanced").fit(tiles, budget="1steps", size=32)
    assert not seeded


@pytest.mark.parametrize("kind", ["cuda", "mps"])
def test_the_random_state_of_the_gpu_in_use_is_seeded_and_comes_back(kind, monkeypatch):
    # A GPU that counts: its state is the last seed, and how often it has been asked.
    module, state = getattr(torch, kind), {"now": torch.tensor([5, 2])}
    monkeypatch.setattr(module, "get_rng_state", lambda *_: state["now"].clone())
    monkeypatch.setattr(module, "set_rng_state", lambda now, *_: state.update(now=now))
    monkeypatch.setattr(
        module, "manual_seed", lambda seed: state.update(now=torch.tensor([seed, 0]))
    )
    monkeypatch.setattr(torch.cuda, "device", contextlib.nullcontext)
    with pytest.raises(KeyError), own_random_state(torch.device(kind), 7):
        assert state["now"].tolist() == [7, 0]
        state["now"][1] += 1
        raise KeyError
    assert state["now"].tolist() == [5, 2]
