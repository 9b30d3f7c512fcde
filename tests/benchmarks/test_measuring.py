import functools
import itertools

import pytest
import torch

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("device", "seconds", "budget", "count"),
    [
        ("cpu", (9, 1, 1.01), 100, 3),  # agree
        ("cpu", (9, 5), 40, 2),  # a tenth of the budget is over; the first run does not count
        ("cpu", tuple(2.0**-n for n in range(20)), 100, 10),  # never agree
        ("cuda", (1, 1, 1, 1), 1, 4),  # a CUDA graph was recorded in between
        ("cuda", (1, 1, 5, 1, 1.01), 100, 5),
    ],
)
def test_warm_up_ends(device, seconds, budget, count, monkeypatch):
    import measuring

    times = iter(seconds)
    monkeypatch.setattr(measuring, "seconds_of", lambda *_: next(times))
    measuring.warm_up(lambda: None, torch.device(device), budget)
    assert list(times) == list(seconds[count:])


def test_slow_runs_have_fewer_repetitions(monkeypatch):
    import measuring

    monkeypatch.setattr(measuring, "seconds_of", lambda run, _: run())
    fast, slow, slower = (functools.partial(next, itertools.repeat(each)) for each in (1, 4, 50))
    assert measuring.time_in_turn([fast, slow, slower], 5, CPU, budget=10) == [
        [1] * 5,
        [4] * 3,
        [50],
    ]


def test_peak_memory_is_that_of_the_run():
    import measuring

    assert measuring.peak_memory(CPU, functools.partial, bytearray, 64 << 20) == pytest.approx(
        64, abs=1
    )
