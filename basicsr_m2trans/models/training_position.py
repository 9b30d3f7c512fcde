"""Where a training run is among its samples."""

import dataclasses
import math
from typing import Any


@dataclasses.dataclass(frozen=True)
class TrainingPosition:
    """Where a run begins: a count of samples, which keeps its meaning when the number of processes
    changes.

    Args:
        epoch: the epoch in which the run begins.
        iteration: the last iteration before it begins; 0 for a new run.
        samples_done: samples of that epoch on which all processes together have trained before.
        samples_per_epoch: length of an epoch, incomplete batches included.
        samples_per_iteration: batch size times number of processes.
    """

    epoch: int
    iteration: int
    samples_done: int
    samples_per_epoch: int
    samples_per_iteration: int

    @property
    def iters_per_epoch(self) -> int:
        """Iterations of an epoch that is trained from its beginning."""
        return self.samples_per_epoch // self.samples_per_iteration

    @property
    def iters_left(self) -> int:
        """Iterations of the epoch in which the run begins."""
        return (self.samples_per_epoch - self.samples_done) // self.samples_per_iteration

    def epoch_of(self, iteration: int) -> int:
        """The epoch of an iteration that this run trains."""
        later = max(0, iteration - self.iteration - self.iters_left)
        return self.epoch + math.ceil(later / self.iters_per_epoch)

    def entries(self, epoch: int, iteration: int) -> dict[str, Any]:
        """What the state of an iteration of this run says about samples.

        Args:
            epoch: that of the iteration, or the next one if the iteration was the last of its
                epoch.
            iteration: the iteration that has ended.
        """
        samples_done = self.samples_done
        iters = iteration - self.iteration
        if epoch > self.epoch:
            samples_done = 0
            iters -= self.iters_left + (epoch - self.epoch - 1) * self.iters_per_epoch
        return {
            "samples_done": samples_done + iters * self.samples_per_iteration,
            "samples_per_epoch": self.samples_per_epoch,
            "samples_per_iteration": self.samples_per_iteration,
        }
