import os
from datetime import datetime

import pytest

from basicsr_m2trans.apps.report.training_log import parse_training_log, read_training_log

LINE = (
    "2026-01-02 03:04:{second:02d},500 INFO: [M2Tra..][epoch:  0, iter:{iteration}, "
    "lr:(1.000e-04,)] "
)
TIME = "[eta: 0:00:07, time (data): {time:.3f} (0.100)] l_pix: 1.0000e-01 l_sem: 2.0000e-02 "


def line(iteration, time, second=0):
    return (LINE + TIME).format(iteration=f"{iteration:8,d}", time=time, second=second)


LOG = [
    "2026-01-02 03:04:00,000 INFO: Start training from epoch: 0, iter: 0",
    line(1000, 0.5, 1),
    "2026-01-02 03:04:02,000 INFO: Saving models and training states.",
    "2026-01-02 03:04:03,000 INFO: Validation val",
    "\t # psnr: 30.2500\tBest: 30.2500 @ 1000 iter",
    "\t # gmsd: 0.0210\tBest: 0.0210 @ 1000 iter",
    "",
    line(2000, 0.25, 5),
]


def test_iterations_validations_and_time():
    log = parse_training_log(LOG, 2500)
    assert log.iteration == 2000
    assert log.seconds == pytest.approx(750)
    assert log.seconds_until(1999) == pytest.approx(500)
    assert log.times[1000] == datetime(2026, 1, 2, 3, 4, 1, 500_000)
    assert log.validations == {1000: {"psnr": 30.25, "gmsd": 0.021}}


def test_the_last_validation_is_that_of_the_end():
    end = ["2026-01-02 03:05:00,000 INFO: End of training. Time consumed: 0:01:00", *LOG[3:5]]
    assert parse_training_log([*LOG, *end], 2500).validations[2500] == {"psnr": 30.25}


def test_repeated_iterations_count_once(tmp_path):
    (tmp_path / "train_a_1.log").write_text("\n".join(LOG))
    (tmp_path / "train_a_2.log").write_text("\n".join([line(2000, 0.35), line(3000, 0.1)]))
    log = read_training_log(tmp_path, 3000)
    assert log.seconds == pytest.approx(500 + 350 + 100)


def test_running_means_are_taken_apart():
    """BasicSR's timer: the first iteration takes 60 s, the others 0.1 s; after 420 of them a second
    start at 400.
    """
    lines = []
    for start, end in ((0, 420), (400, 600)):
        lines.append(f"2026-01-02 03:04:00,000 INFO: Start training from epoch: 0, iter: {start}")
        total = count = 0
        for iteration in range(start + 1, end + 1):
            count += 1
            total += 60 if iteration == start + 1 else 0.1
            if iteration % 20 == 0:
                lines.append(line(iteration, total / count))
            if count > 200:
                total = count = 0
    log = parse_training_log(lines, 600)
    assert log.seconds_until(20) == pytest.approx(61.9, abs=0.1)
    assert log.seconds_until(200) == pytest.approx(79.9, abs=0.2)
    assert log.seconds == pytest.approx(2 * 60 + 598 * 0.1, abs=1)


def test_no_log_yet(tmp_path):
    log = read_training_log(tmp_path / "nothing", 10)
    assert (log.iteration, log.seconds, log.validations) == (0, 0, {})


def test_logs_are_in_order_of_iterations_whatever_the_clock(tmp_path):
    """The clock was set back between the first start and the second, which repeats
    iteration 2000.
    """
    second = [
        "2026-01-02 02:00:00,000 INFO: Start training from epoch: 0, iter: 1000",
        line(2000, 0.75),
    ]
    for name, lines, seconds in (("first", LOG, 2e9), ("second", second, 1e9)):
        path = tmp_path / f"train_tiny_{name}.log"
        path.write_text("\n".join(lines))
        os.utime(path, (seconds, seconds))
    assert read_training_log(tmp_path, 2500).durations[2000] == pytest.approx(0.75)
