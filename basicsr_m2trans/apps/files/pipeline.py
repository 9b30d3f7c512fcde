"""Three stages at once: reading and writing in threads, computing in the thread that asks."""

import contextlib
import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

Source = TypeVar("Source")
Computed = TypeVar("Computed")
Item = TypeVar("Item")


def pipeline(
    read: Iterable[Source],
    compute: Callable[[Iterator[Source]], Iterator[Computed]],
    write: Callable[[Iterator[Computed]], Iterator[Item]],
    limit: int,
) -> Iterator[Item]:
    """`write(compute(iter(read)))`, with the three stages at work at the same time.

    `read` and `write` run in threads of their own, `compute` in the caller's, where Ctrl-C and CUDA
    graphs work. A result may wait here for the next item that `compute` yields.

    The exception of any stage, Ctrl-C among them, is raised at once, after the results that were
    finished; items that wait are dropped. No thread is left then, or when the iterator is closed.

    Args:
        limit: most items that wait between two stages; each stage holds what it has taken on top.
    """
    switch = _Switch()
    sources, computed = _Channel[Source](switch, limit), _Channel[Computed](switch, limit)
    results = _Channel[Item](switch, math.inf)
    threads = [
        threading.Thread(target=_pump, args=(switch, read, sources), name="read"),
        threading.Thread(target=_pump, args=(switch, write(iter(computed)), results), name="write"),
    ]
    for thread in threads:
        thread.start()
    try:
        for item in compute(iter(sources)):
            computed.put(item)
            yield from results.take_all()
        computed.finish()
        yield from results
    except GeneratorExit:  # nobody takes results any more
        raise
    except BaseException as error:
        switch.stop(error)
        for thread in threads:
            thread.join()
        yield from results.take_all()
        assert switch.reason is not None  # set by `stop`
        raise switch.reason from None
    finally:
        switch.stop(Stopped())
        for thread in threads:
            thread.join()


class Stopped(BaseException):
    """Ends a stopped stage; no `Exception`, so that nothing takes it for a damaged file."""


class _Switch:
    """What all channels of a pipeline wait for, and why the pipeline was stopped."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.reason: BaseException | None = None

    def stop(self, reason: BaseException) -> None:
        """Wake all that wait; the first reason counts."""
        with self.changed:
            self.reason = self.reason or reason
            self.changed.notify_all()

    @contextlib.contextmanager
    def when(self, ready: Callable[[], bool]) -> Iterator[None]:
        """Wait until `ready`, and hold the lock in the block, which changes something.

        Raises:
            Stopped: the pipeline was stopped.
        """
        with self.changed:
            self.changed.wait_for(lambda: self.reason is not None or ready())
            if self.reason is not None:
                raise Stopped
            yield
            self.changed.notify_all()


class _Channel(Generic[Item]):
    """Items on their way from one stage to the next, at most `limit`."""

    def __init__(self, switch: _Switch, limit: float) -> None:
        self.switch, self.limit = switch, limit
        self.items: deque[Item] = deque()
        self.finished = False

    def put(self, item: Item) -> None:
        """Add an item when there is room; items finished before a stop are not lost.

        Raises:
            Stopped: the pipeline was stopped.
        """
        with self.switch.changed:
            self.switch.changed.wait_for(
                lambda: self.switch.reason is not None or len(self.items) < self.limit
            )
            if len(self.items) < self.limit:
                self.items.append(item)
                self.switch.changed.notify_all()
            if self.switch.reason is not None:
                raise Stopped

    def finish(self) -> None:
        with self.switch.when(lambda: True):
            self.finished = True

    def __iter__(self) -> Iterator[Item]:
        while True:
            with self.switch.when(lambda: bool(self.items) or self.finished):
                if not self.items:
                    return
                item = self.items.popleft()
            yield item

    def take_all(self) -> Iterator[Item]:
        """What is there now, without waiting; also after a stop."""
        while self.items:
            yield self.items.popleft()


def _pump(switch: _Switch, items: Iterable[Item], channel: _Channel[Item]) -> None:
    try:
        for item in items:
            channel.put(item)
        channel.finish()
    except BaseException as error:  # it is raised again in the caller's thread
        switch.stop(error)
