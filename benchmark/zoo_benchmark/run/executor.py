"""Runs tasks on this machine, one after the other or a few side by side."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import torch

from zoo_benchmark.run.environment import hardware
from zoo_benchmark.run.process import ProgressState, Result, prepare, run_cell
from zoo_benchmark.run.trial_spec import Spec


@dataclass(frozen=True)
class Task:
    """A trial or timing to run.

    Attributes:
        spec: what to run.
        folder: where its files go, an attempt until they are moved to the store.
        key: its name in the store.
    """

    spec: Spec
    folder: Path
    key: str


class Executor(Protocol):
    """Anything that runs tasks: this machine, or a cluster."""

    def hardware(self) -> tuple[list[str], list[str]]:
        """The kinds of hardware that tasks run on; first together, then for tasks run `alone`."""
        ...

    def prepare(self) -> None:
        """Starts ahead whatever the first task would wait for."""
        ...

    def run(
        self,
        tasks: Sequence[Task],
        timeout: float,
        on_progress: Callable[[Task, ProgressState], None],
        *,
        alone: bool = False,
    ) -> Iterator[tuple[Task, Result]]:
        """Runs tasks and yields each with its result as it ends, failed ones included.

        Whatever it is closed or interrupted by, no task outlives it. With `alone`, no two
        tasks run on one machine at a time: they measure speed.
        """
        ...


class LocalExecutor:
    """The executor of this machine.

    Args:
        device: what tasks compute on.
        jobs: tasks side by side; each gets its share of the CPU's threads and, where there
            are several GPUs and none is named by its index, one of its own.
    """

    def __init__(self, device: torch.device, jobs: int = 1) -> None:
        self.jobs, self._device = jobs, device

    def hardware(self) -> tuple[list[str], list[str]]:
        """See `Executor.hardware`."""
        return (
            [local_hardware(self._device, self._threads())],
            [local_hardware(self._device, torch.get_num_threads())],
        )

    def prepare(self) -> None:
        """See `Executor.prepare`."""
        prepare()

    def run(
        self,
        tasks: Sequence[Task],
        timeout: float,
        on_progress: Callable[[Task, ProgressState], None],
        *,
        alone: bool = False,
    ) -> Iterator[tuple[Task, Result]]:
        """See `Executor.run`."""
        threads = torch.get_num_threads() if alone else self._threads()
        free = [{}] if alone else [self._variables(slot) for slot in range(self.jobs)]
        cancelled = threading.Event()
        pool = ThreadPoolExecutor(len(free))
        waiting, ended = deque(tasks), list[tuple[Task, Result]]()
        running: dict[Future[Result], tuple[Task, dict[str, str]]] = {}
        try:
            while waiting or running or ended:
                while waiting and free:
                    task, variables = waiting.popleft(), free.pop()
                    future = pool.submit(
                        run_cell,
                        task.spec,
                        task.folder,
                        timeout,
                        partial(on_progress, task),
                        threads=threads,
                        variables=variables,
                        cancelled=cancelled,
                    )
                    running[future] = task, variables
                # Only now: who takes them may be busy with them for a while.
                yield from ended
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                ended = [(running[future][0], future.result()) for future in done]
                free += [running.pop(future)[1] for future in done]
        except BaseException:
            cancelled.set()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _threads(self) -> int:
        return max(1, torch.get_num_threads() // self.jobs)

    def _variables(self, slot: int) -> dict[str, str]:
        count = torch.cuda.device_count() if self.jobs > 1 else 0
        # The GPU that was named serves all tasks: one that saw it alone would find it as cuda:0.
        if count < 2 or self._device.type != "cuda" or self._device.index is not None:
            return {}
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        gpu = slot % count
        return {"CUDA_VISIBLE_DEVICES": visible[gpu] if visible[0] else str(gpu)}


def local_hardware(device: torch.device, threads: int) -> str:
    """The hardware of this machine as keys name it: the CPU always, beside it the GPU."""
    names = [hardware(torch.device("cpu"), threads)]
    if device.type != "cpu":
        names.append(hardware(device, threads))
    return " + ".join(names)
