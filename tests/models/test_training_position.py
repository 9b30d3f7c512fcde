"""Samples counted over epochs, interruptions and changes of the number of processes."""

import pytest

from basicsr_m2trans.models.training_position import TrainingPosition


@pytest.mark.parametrize(
    ("epoch", "iteration", "done"),
    [
        (0, 0, 0),
        (0, 2, 8),
        (1, 2, 0),  # saved between two epochs
        (1, 3, 4),
        (4, 8, 0),
    ],
)
def test_a_run_from_its_beginning(epoch, iteration, done):
    """Epochs of 11 samples, 4 in each iteration: the last 3 are left out."""
    position = TrainingPosition(0, 0, 0, 11, 4)
    assert position.iters_per_epoch == position.iters_left == 2
    expected = {"samples_done": done, "samples_per_epoch": 11, "samples_per_iteration": 4}
    assert position.entries(epoch, iteration) == expected


@pytest.mark.parametrize(
    ("epoch", "iteration", "done"),
    [(3, 20, 5), (3, 22, 9), (4, 23, 0), (4, 24, 2), (5, 28, 0), (5, 29, 2)],
)
def test_a_run_that_begins_inside_an_epoch(epoch, iteration, done):
    """5 samples of epoch 3 are done, so that 3 iterations of 2 samples are left of 11; later epochs
    have 5.
    """
    position = TrainingPosition(3, 20, 5, 11, 2)
    assert (position.iters_left, position.iters_per_epoch) == (3, 5)
    assert position.entries(epoch, iteration)["samples_done"] == done


@pytest.mark.parametrize(
    ("iteration", "epoch"), [(20, 3), (21, 3), (23, 3), (24, 4), (28, 4), (29, 5)]
)
def test_the_epoch_of_an_iteration(iteration, epoch):
    assert TrainingPosition(3, 20, 5, 11, 2).epoch_of(iteration) == epoch
