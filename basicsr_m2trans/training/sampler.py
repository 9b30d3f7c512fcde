"""The order in which training samples are drawn, the same for an interrupted and an uninterrupted
run.

BasicSR must be importable (`basicsr_m2trans.compat.apply()`) before this module is imported.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from basicsr.data.data_sampler import EnlargedSampler


class ResumableSampler(EnlargedSampler):
    """BasicSR's `EnlargedSampler` that can start inside an epoch and numbers the draws of an image.

    An epoch is the same permutation as BasicSR's: `ratio` repetitions of the data set, shuffled by
    a generator that is seeded with the epoch's number, every `num_replicas`-th index going to one
    rank. Where the ranks cannot have equally many, BasicSR adds indices and so shuffles another
    list; here the last ones are left out, as the loader leaves out incomplete batches. The order of
    an epoch does not depend on the number of ranks.

    A data set with the class attribute `numbered_draws = True` answers index `i + k * len(dataset)`
    with the k-th random crop and augmentation of image i. It gets a different k for every epoch and
    every repetition of the image within the enlarged epoch, so its crops depend neither on the
    number of workers nor on interruptions. Any other data set gets plain indices in [0,
    len(dataset)).

    Args:
        dataset: the map-style training set.
        num_replicas: number of training processes.
        rank: this process's number, in [0, num_replicas).
        ratio: how often an epoch repeats the data set.
    """

    def __init__(self, dataset: Any, num_replicas: int, rank: int, ratio: float = 1) -> None:
        super().__init__(dataset, num_replicas, rank, ratio)
        self.total_size = math.ceil(len(dataset) * ratio)
        self.num_samples = self.total_size // num_replicas
        self.start_epoch = 0
        self.samples_done = 0

    def start_at(self, epoch: int, samples_done: int) -> None:
        """Leave out the first `samples_done` samples whenever `epoch` is iterated, and deal the
        others to the ranks.

        Args:
            epoch: the epoch in which the run was interrupted.
            samples_done: samples that all ranks together, however many they were, have consumed in
                it, in [0, total_size].

        Raises:
            ValueError: `samples_done` is outside that range.
        """
        if not 0 <= samples_done <= self.total_size:
            raise ValueError(
                f"samples_done is {samples_done}, but an epoch has {self.total_size} samples"
            )
        self.start_epoch = epoch
        self.samples_done = samples_done

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.epoch)
        positions = torch.randperm(self.total_size, generator=generator)
        # BasicSR's prefetchers iterate an epoch twice before they train, so the skip belongs to the
        # epoch's number.
        if self.epoch == self.start_epoch:
            positions = positions[self.samples_done :]
        per_rank = len(positions) // self.num_replicas
        positions = positions[self.rank :: self.num_replicas][:per_rank]
        size = len(self.dataset)
        if getattr(self.dataset, "numbered_draws", False):
            repetitions = math.ceil(self.total_size / size)
            indices = positions + self.epoch * repetitions * size
        else:
            indices = positions % size
        return iter(indices.tolist())
