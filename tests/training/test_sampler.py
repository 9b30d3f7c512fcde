"""The sampler against BasicSR's own, and the sample stream of interrupted runs against
uninterrupted ones.
"""

import logging

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from basicsr_m2trans import compat
from basicsr_m2trans.models.training_run import TrainingRun

LOGGER = logging.getLogger("test_sampler")


class PlainImages(torch.utils.data.Dataset):
    """Answers an index with itself."""

    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        return index


class NumberedImages(PlainImages):
    numbered_draws = True


@pytest.fixture(scope="module", autouse=True)
def _importable_basicsr():
    compat.apply()


def make_sampler(dataset, replicas=1, rank=0, ratio=1):
    from basicsr_m2trans.training.sampler import ResumableSampler

    return ResumableSampler(dataset, replicas, rank, ratio)


def train(dataset, batch, until, start=(0, 0), replicas=1, rank=0, ratio=1):
    """Run BasicSR's training loop on `dataset`; return each iteration's (epoch, batch) and the
    state to resume.
    """
    from basicsr.data.prefetch_dataloader import CPUPrefetcher

    def stock_dataloaders(_opt, _logger):
        sampler = make_sampler(dataset, replicas, rank, ratio)
        return DataLoader(dataset, batch, sampler=sampler, drop_last=True), sampler, [], None, until

    from basicsr_m2trans.training.training_start import TrainingStart

    run = TrainingStart(stock_dataloaders, TrainingRun())
    run.epoch, run.iteration = start
    opt = {"manual_seed": 0, "model_type": "M2TransModel", "datasets": {"train": {}}}
    loader, sampler, _, total_epochs, _ = run.create_train_val_dataloader(opt, LOGGER)
    prefetcher = CPUPrefetcher(loader)
    stream, state = [], start
    for epoch in range(run.epoch, total_epochs + 1):
        sampler.set_epoch(epoch)
        prefetcher.reset()
        while (samples := prefetcher.next()) is not None and state[1] < until:
            state = (epoch, state[1] + 1)
            stream.append((epoch, samples.tolist()))
    return stream, state


@pytest.mark.parametrize(("replicas", "ratio"), [(1, 1), (1, 7), (2, 6)])
def test_epoch_is_the_permutation_of_basicsr(replicas, ratio):
    from basicsr.data.data_sampler import EnlargedSampler

    for rank in range(replicas):
        ours = make_sampler(PlainImages(5), replicas, rank, ratio)
        stock = EnlargedSampler(PlainImages(5), replicas, rank, ratio)
        for epoch in (0, 3):
            ours.set_epoch(epoch)
            stock.set_epoch(epoch)
            assert list(ours) == list(stock)
        assert len(ours) == len(stock)


def test_ranks_share_one_order_and_leave_out_the_last_samples():
    whole = list(make_sampler(NumberedImages(5), ratio=7))
    shares = [list(make_sampler(NumberedImages(5), 3, rank, ratio=7)) for rank in range(3)]
    assert [len(share) for share in shares] == [11, 11, 11]
    assert [index for turn in zip(*shares, strict=True) for index in turn] == whole[:33]


@pytest.mark.parametrize(("replicas", "ratio"), [(1, 1), (2, 1), (1, 7), (2, 7)])
def test_every_draw_of_an_image_has_its_own_number(replicas, ratio):
    seen, images = [], []
    for rank in range(replicas):
        numbered = make_sampler(NumberedImages(5), replicas, rank, ratio)
        plain = make_sampler(PlainImages(5), replicas, rank, ratio)
        for epoch in range(4):
            numbered.set_epoch(epoch)
            plain.set_epoch(epoch)
            indices = list(numbered)
            assert [index % 5 for index in indices] == list(plain)
            seen += indices
            images += list(plain)
    assert len(set(seen)) == len(seen) == len(images)


def test_numbers_count_epochs_and_repetitions():
    sampler = make_sampler(NumberedImages(3), ratio=2)
    assert sorted(sampler) == [0, 1, 2, 3, 4, 5]
    sampler.set_epoch(2)
    assert sorted(sampler) == [12, 13, 14, 15, 16, 17]


def test_skip_belongs_to_its_epoch_and_survives_a_second_iteration():
    sampler = make_sampler(PlainImages(5))
    sampler.set_epoch(1)
    whole = list(sampler)
    sampler.start_at(1, 2)
    assert list(sampler) == list(sampler) == whole[2:]
    sampler.set_epoch(2)
    assert sorted(sampler) == [0, 1, 2, 3, 4]
    assert len(sampler) == 5


@pytest.mark.parametrize("replicas", [1, 2, 3])
def test_the_rest_of_an_epoch_is_dealt_to_any_number_of_ranks(replicas):
    whole = list(make_sampler(NumberedImages(5), ratio=7))
    shares = []
    for rank in range(replicas):
        sampler = make_sampler(NumberedImages(5), replicas, rank, ratio=7)
        sampler.start_at(0, 16)
        shares.append(list(sampler))
    count = 19 // replicas * replicas
    assert [index for turn in zip(*shares, strict=True) for index in turn] == whole[16 : 16 + count]


@settings(max_examples=50, deadline=None)
@given(
    st.integers(1, 12),
    st.integers(1, 4),
    st.integers(0, 3),
    st.lists(st.tuples(st.integers(1, 5), st.integers(0, 12)), max_size=4),
)
def test_any_numbers_of_processes_deal_every_sample_of_an_epoch_once(size, ratio, epoch, parts):
    """A run that stops after any iterations, and each time goes on with another number of
    processes.
    """
    dealt = []
    for replicas, iterations in [*parts, (1, size * ratio)]:
        shares = []
        for rank in range(replicas):
            sampler = make_sampler(NumberedImages(size), replicas, rank, ratio)
            sampler.set_epoch(epoch)
            sampler.start_at(epoch, len(dealt))
            shares.append(list(sampler)[:iterations])
        dealt += [index for turn in zip(*shares, strict=True) for index in turn]
    assert sorted(dealt) == list(range(epoch * size * ratio, (epoch + 1) * size * ratio))


@pytest.mark.parametrize("samples_done", [-1, 6])
def test_skip_outside_the_epoch_is_refused(samples_done):
    with pytest.raises(ValueError, match=f"samples_done is {samples_done}, but an epoch has 5"):
        make_sampler(PlainImages(5)).start_at(0, samples_done)


@pytest.mark.parametrize("dataset", [PlainImages(5), NumberedImages(5)])
@pytest.mark.parametrize(("replicas", "ratio"), [(1, 1), (2, 1), (1, 7), (2, 7)])
def test_resumed_stream_equals_uninterrupted_stream(dataset, replicas, ratio):
    batch = 1 if (replicas, ratio) == (2, 1) else 2
    iters_per_epoch = 5 * ratio // replicas // batch
    total = 3 * iters_per_epoch
    for rank in range(replicas):
        place = {"replicas": replicas, "rank": rank, "ratio": ratio}
        whole, _ = train(dataset, batch, total, **place)
        assert len(whole) == total
        for stop in range(1, total):  # inside an epoch, at its last iteration and at its first
            before, state = train(dataset, batch, stop, **place)
            after, _ = train(dataset, batch, total, start=state, **place)
            assert before + after == whole


@pytest.mark.parametrize(("seed", "expected"), [({}, 7), ({"seed": None}, 7), ({"seed": 0}, 0)])
def test_training_set_gets_the_seed_of_the_run(seed, expected):
    received = []

    def stock_dataloaders(opt, _logger):
        received.append(opt["datasets"]["train"]["seed"])
        sampler = make_sampler(PlainImages(5))
        return DataLoader(sampler.dataset, sampler=sampler, drop_last=True), sampler, [], None, 5

    opt = {"manual_seed": 7, "model_type": "M2TransModel", "datasets": {"train": seed}}
    from basicsr_m2trans.training.training_start import TrainingStart

    TrainingStart(stock_dataloaders, TrainingRun()).create_train_val_dataloader(opt, LOGGER)
    assert received == [expected]


def test_all_iterations_are_trained_although_incomplete_batches_are_dropped():
    stream, _ = train(PlainImages(3), 2, 10)
    assert len(stream) == 10


def test_epoch_restarts_where_the_saved_position_does_not_fit(caplog):
    stream, state = train(
        PlainImages(8), 2, 14, start=(3, 10)
    )  # 3 epochs of 4 iterations are more than 10
    whole, _ = train(PlainImages(8), 2, 16)
    assert stream == whole[12:16]
    assert state == (3, 14)
    assert "epoch 3 restarts at its first sample" in caplog.text


def test_training_set_smaller_than_a_batch_is_refused():
    with pytest.raises(
        ValueError, match="an epoch of 3 images per process does not fill one batch of 4"
    ):
        train(PlainImages(3), 4, 1)
