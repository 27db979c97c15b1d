"""The machine's side of computing."""

import subprocess
import sys
from threading import Thread

import torch

from zoo.device import single_threaded_pool

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
