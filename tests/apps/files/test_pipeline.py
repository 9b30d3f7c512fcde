import threading
import time
from itertools import count, islice

import pytest

from basicsr_m2trans.apps.files.pipeline import pipeline


def plus_one(items):
    for item in items:
        yield item + 1


def as_text(items):
    for item in items:
        yield str(item)


def stages_at_work():
    return {"read", "write"} & {thread.name for thread in threading.enumerate()}


def failing_at(number, error):
    """A stage that passes items on and fails at one."""

    def stage(items):
        for item in items:
            if item == number:
                raise error
            yield item

    return stage


def test_results_come_in_order_with_each_stage_in_its_thread():
    threads = {}

    def where(name, stage):
        def observed(items):
            for item in stage(items):
                threads[name] = threading.current_thread()
                yield item

        return observed

    results = list(
        pipeline(
            where("read", iter)(range(50)), where("compute", plus_one), where("write", as_text), 2
        )
    )
    assert results == [str(number + 1) for number in range(50)]
    assert threads["compute"] is threading.current_thread()
    assert len(set(threads.values())) == 3


def test_nothing_to_do():
    assert list(pipeline([], plus_one, as_text, 1)) == []


@pytest.mark.parametrize("stage", ["read", "compute", "write"])
def test_errors_of_any_stage_are_passed_on_and_leave_no_thread(stage):
    fail = failing_at(5, ValueError("five"))
    stages = {name: fail if name == stage else iter for name in ("read", "compute", "write")}
    results = []
    with pytest.raises(ValueError, match="five"):
        results.extend(pipeline(stages["read"](count()), stages["compute"], stages["write"], 2))
    assert results == list(range(len(results)))
    assert len(results) <= 5
    assert not stages_at_work()


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit])
def test_after_an_error_while_computing_what_is_finished_comes_first(error):
    written = threading.Event()

    def compute(items):
        yield next(items)
        assert written.wait(10)
        raise error

    def write(items):
        yield next(items)
        written.set()
        yield from items

    reported = []
    with pytest.raises(error):
        reported.extend(pipeline(count(), compute, write, 1))
    # The list keeps what came before the error.
    assert reported == [0]
    assert not stages_at_work()


def test_a_result_that_is_finished_during_ctrl_c_is_reported():
    taken, interrupted = threading.Event(), threading.Event()

    def compute(items):
        yield next(items)
        assert taken.wait(10)
        interrupted.set()
        raise KeyboardInterrupt

    def write(items):
        first = next(items)
        taken.set()
        assert interrupted.wait(10)
        time.sleep(0.05)
        yield first

    reported = []
    with pytest.raises(KeyboardInterrupt):
        reported.extend(pipeline(count(), compute, write, 1))
    assert reported == [0]


def test_closing_early_ends_the_stages_where_they_are():
    ended = []

    def write(items):
        try:
            yield from items
        finally:
            ended.append(threading.current_thread().name)

    results = pipeline(count(), plus_one, write, 2)
    assert list(islice(results, 3)) == [1, 2, 3]
    results.close()
    assert ended == ["write"]
    assert not stages_at_work()


@pytest.mark.parametrize("limit", [1, 3])
@pytest.mark.parametrize("slow", ["compute", "write"])
def test_a_slow_stage_holds_up_the_ones_before(limit, slow):
    given = {"read": 0, "compute": 0}
    most = {"read": 0, "compute": 0}
    taken = dict.fromkeys(("compute", "write"), 0)

    def read():
        for number in range(20):
            given["read"] += 1
            most["read"] = max(most["read"], given["read"] - taken["compute"])
            yield number

    def compute(items):
        for item in items:
            taken["compute"] += 1
            if slow == "compute":
                time.sleep(0.005)
            given["compute"] += 1
            most["compute"] = max(most["compute"], given["compute"] - taken["write"])
            yield item

    def write(items):
        for item in items:
            taken["write"] += 1
            if slow == "write":
                time.sleep(0.005)
            yield item

    assert list(pipeline(read(), compute, write, limit)) == list(range(20))
    # Those that wait, the one that the stage holds while it waits, and one that is just changing
    # hands.
    assert limit <= most["read" if slow == "compute" else "compute"] <= limit + 2
    assert max(most.values()) <= limit + 2
