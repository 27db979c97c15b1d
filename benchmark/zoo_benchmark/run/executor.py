"""Runs tasks on this machine, one after the other or a few side by side."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from zoo_benchmark.run.environment import hardware
from zoo_benchmark.run.runner import ProgressState, run_trial
from zoo_benchmark.run.starter import Starter
from zoo_benchmark.run.trial_spec import Spec

Result = dict[str, Any]


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
        """The different kinds of hardware that tasks run on; with `alone`, the second."""
        ...

    def prepare(self) -> None:
        """Begins with what the first task would wait for."""
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

    def close(self) -> None:
        """Ends what it keeps running between tasks."""
        ...


class LocalExecutor:
    """This machine.

    Args:
        device: what tasks compute on.
        jobs: tasks side by side; each gets its share of the CPU's threads and, where there
            are several GPUs, one of its own.
    """

    def __init__(self, device: torch.device, jobs: int = 1) -> None:
        self.jobs, self._device = jobs, device
        count = torch.cuda.device_count() if jobs > 1 else 0
        self._starters = [
            Starter(self._variables(str(slot % count) if count > 1 else "")) for slot in range(jobs)
        ]
        self._alone = self._starters[0] if jobs == 1 else Starter()

    def hardware(self) -> tuple[list[str], list[str]]:
        """See `Executor.hardware`."""
        threads = torch.get_num_threads()
        return (
            [local_hardware(self._device, max(1, threads // self.jobs))],
            [local_hardware(self._device, threads)],
        )

    def prepare(self) -> None:
        """See `Executor.prepare`."""
        for starter in self._starters:
            starter.launch()

    def run(
        self,
        tasks: Sequence[Task],
        timeout: float,
        on_progress: Callable[[Task, ProgressState], None],
        *,
        alone: bool = False,
    ) -> Iterator[tuple[Task, Result]]:
        """See `Executor.run`."""
        cancelled = threading.Event()
        starters = [self._alone] if alone else self._starters
        free: queue.Queue[Starter] = queue.Queue()
        for starter in starters:
            free.put(starter)
        pool = ThreadPoolExecutor(len(starters))

        def work(task: Task) -> Result:
            starter = free.get()
            try:
                return run_trial(
                    task.spec,
                    task.folder,
                    timeout,
                    lambda state: on_progress(task, state),
                    starter=starter,
                    cancelled=cancelled,
                )
            finally:
                free.put(starter)

        running: dict[Future[Result], Task] = {}
        try:
            running = {pool.submit(work, task): task for task in tasks}
            while running:
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield running.pop(future), future.result()
        except BaseException:
            cancelled.set()
            # Nobody waits for one that is still importing.
            for starter in starters:
                starter.kill()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def close(self) -> None:
        """See `Executor.close`."""
        for starter in {*self._starters, self._alone}:
            starter.close()

    def _variables(self, gpu: str) -> dict[str, str]:
        if self.jobs == 1:
            return {}
        variables = {"OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // self.jobs))}
        if gpu:
            visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
            variables["CUDA_VISIBLE_DEVICES"] = visible[int(gpu)] if visible[0] else gpu
        return variables


def local_hardware(device: torch.device, threads: int) -> str:
    """The hardware of this machine as keys name it: the CPU always, beside it the GPU."""
    names = [hardware(torch.device("cpu"), threads)]
    if device.type != "cpu":
        names.append(hardware(device, threads))
    return " + ".join(names)
