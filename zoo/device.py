"""The machine's side of computing: device, precision, random state, memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from threading import Barrier, BrokenBarrierError
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.errors import DeviceError, ZooError


def resolve_device(name: str | torch.device) -> torch.device:
    """`auto`, `cpu`, `cuda`, `cuda:1` or `mps`, or one of PyTorch's, to a device that is there.

    Raises:
        DeviceError: the machine does not have it.
    """
    name = str(name)
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda", "mps"):
        raise DeviceError(f"unknown device {name!r}; type auto, cpu, cuda, cuda:1 or mps")
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise DeviceError(
                f"device {name!r} is not there ({count} CUDA devices found); "
                "type --device auto or --device cpu"
            )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError(f"device {name!r} is not there; type --device auto or --device cpu")
    return device


def resolve_precision(name: str, device: torch.device) -> str:
    """`auto`, `fp32` or `bf16` to the precision networks run in: `fp32` or `bf16`.

    `auto` takes bf16 where the hardware multiplies it natively (CUDA from Ampere on; CPUs
    with AVX512-BF16 or AMX). Parameters, losses and colour conversions stay float32.

    Raises:
        DeviceError: a name that is none of the three.
    """
    if name not in ("auto", "fp32", "bf16"):
        raise DeviceError(f"unknown precision {name!r}; type auto, fp32 or bf16")
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp32"
    if device.type == "cpu":
        native = any(
            getattr(torch.cpu, check, bool)()
            for check in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        )
        return "bf16" if native else "fp32"
    return "fp32"


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """Runs convolutions and matrix products in `precision`; everything else as it is."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def casting_once(device: torch.device) -> AbstractContextManager[None]:
    """A block whose passes share one bf16 copy of each weight; the weights stay as they are.

    Casting all of them takes as long as a small image. Outside, every pass casts anew.
    """
    # Autocast forgets its copies at the end of its outermost block, even of one that is off.
    return torch.autocast(device.type, enabled=False)


def single_threaded_pool(workers: int) -> ThreadPoolExecutor:
    """Threads in each of which PyTorch computes with that thread alone.

    Otherwise each would have a team of OpenMP threads of its own, as many as there are cores, and
    the teams would be in each other's way.

    Raises:
        ZooError: the system gives fewer threads.
    """
    threads = torch.get_num_threads()
    ready = Barrier(workers + 1)

    def prepare() -> None:
        torch.set_num_threads(1)
        torch.get_num_threads()  # the first question in a thread settles its answer
        with suppress(BrokenBarrierError):
            ready.wait()

    pool = ThreadPoolExecutor(workers, "zoo-compute", initializer=prepare)
    try:
        for _ in range(workers):
            with refused_threads_told("set OMP_NUM_THREADS=1"):
                pool.submit(int)  # a pool starts a thread for each task while none is idle
        ready.wait()
    except BaseException:
        ready.abort()  # those that have started wait for the others
        pool.shutdown()
        raise
    finally:
        # What a thread sets for itself is also what threads that start later begin with.
        torch.set_num_threads(threads)
    return pool


@contextmanager
def refused_threads_told(instead: str) -> Iterator[None]:
    """A block that starts a thread; where the system refuses it, the error says what to do.

    Raises:
        ZooError: it does.
    """
    try:
        yield
    except RuntimeError as error:
        raise ZooError(f"the system gives no more threads ({error}); {instead}") from error


def is_traced() -> bool:
    """Whether PyTorch records what is computed, as an export does: sizes seen now are examples."""
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]


@contextmanager
def own_random_state(device: torch.device, seed: int) -> Iterator[None]:
    """A block with a random state of its own, started from `seed`; the caller's comes back."""
    before = random_state(device)
    try:
        # torch.manual_seed would start the generators of all other devices anew, too.
        torch.default_generator.manual_seed(seed % 2**63)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed % 2**63)
        elif device.type == "mps":
            torch.mps.manual_seed(seed % 2**63)
        yield
    finally:
        set_random_state(before, device)


def random_state(device: torch.device) -> dict[str, Any]:
    """The random state that a method on `device` draws from."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        state["mps"] = torch.mps.get_rng_state()
    return state


def set_random_state(state: Mapping[str, Any], device: torch.device) -> None:
    """Puts back what `random_state` gave; a GPU's part only where both are GPUs of one kind."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
    elif device.type == "mps" and "mps" in state:
        torch.mps.set_rng_state(state["mps"])


def upload(array: np.ndarray[Any, Any], device: torch.device) -> Tensor:
    """The array on the device; the host does not wait for what a GPU has yet to do."""
    tensor = torch.from_numpy(array)
    # From memory that is not pinned, a copy ends the queue: the GPU would run dry.
    pinned = device.type == "cuda"
    tensor = tensor.pin_memory() if pinned else tensor
    return tensor.to(device, non_blocking=pinned)


def synchronize(device: torch.device) -> None:
    """Waits until everything queued on the device is done; nothing to wait for on a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def is_out_of_memory(error: Exception) -> bool:
    """True for what PyTorch and Python raise where memory runs out."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # The CPU's allocator and CUDA's libraries have no class of their own.
    text = str(error).lower()
    told = ("not enough memory", "can't allocate memory", "out of memory", "_alloc_failed")
    return isinstance(error, RuntimeError) and any(words in text for words in told)
