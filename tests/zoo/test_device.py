"""The machine's side of computing."""

from threading import Thread

import torch

from zoo.device import single_threaded_pool


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
