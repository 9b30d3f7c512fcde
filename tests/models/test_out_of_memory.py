"""Training steps and validation for which a GPU does not have enough memory."""

import pytest
import torch

import basicsr_m2trans
from basicsr_m2trans.inference import upscale_image
from basicsr_m2trans.utils.errors import InputError

basicsr_m2trans.register()

from basicsr.models import build_model  # noqa: E402


@pytest.fixture
def build(model_options):
    """Builds the model; arguments are options of the section `train`."""

    def with_options(**train):
        torch.manual_seed(0)
        return build_model(model_options(**train))

    return with_options


def without_memory(*_):
    raise torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 2.00 GiB.\nSee documentation"
    )


def batch(size=2):
    return {"lq": torch.rand(size, 3, 16, 20), "gt": torch.rand(size, 3, 32, 40)}


@pytest.mark.parametrize(
    ("train", "savings"),
    [
        (
            {},
            "set train: accumulate up to 2 (now 1), checkpointing: true, amp: bf16, or lower "
            "datasets",
        ),
        (
            {"amp": "bf16"},
            "set train: accumulate up to 2 (now 1), checkpointing: true, or lower datasets",
        ),
        ({"accumulate": 2, "checkpointing": True, "amp": "bf16"}, "To need less, lower datasets"),
    ],
)
def test_training_stops_with_the_batch_and_what_to_lower(
    build, tmp_path, train, savings, monkeypatch
):
    monkeypatch.setattr(
        "basicsr_m2trans.models.m2trans_model.checkpoint_blocks", lambda _: None
    )  # one has no blocks
    model = build(**train)
    model.feed_data(batch())
    model.optimize_parameters(1)
    model.save(0, 1)
    model.update_learning_rate(2)
    model.net_g.tail.register_forward_pre_hook(without_memory)
    model.net_g.in_strips = False
    with pytest.raises(InputError) as error:
        model.optimize_parameters(2)
    for part in (
        "stopped at iteration 2: the GPU does not have enough memory for a batch of 2 with HR "
        "patches of 40x32 (CUDA out of memory. Tried to allocate 2.00 GiB.). ",
        f"Last good checkpoint: {tmp_path / 'net_g_1.pth'}. ",
        savings,
        "batch_size_per_gpu or gt_size; --auto_resume",
    ):
        assert part in str(error.value)


def test_other_errors_of_a_step_stay(build):
    model = build()
    model.feed_data({"lq": torch.rand(1, 4, 16, 16), "gt": torch.rand(1, 3, 32, 32)})
    with pytest.raises(RuntimeError, match="channels"):
        model.optimize_parameters(1)


def test_validation_is_computed_again_in_strips(build, caplog):
    model, attempts = build(), []

    def attempt(*_):
        attempts.append(1)
        without_memory()

    model.feed_data(batch(1))
    model.net_g.register_forward_pre_hook(attempt)
    for _ in range(3):
        model.test()
        assert torch.equal(model.output, upscale_image(model.net_g, model.lq))
    # The size is remembered.
    assert len(attempts) == 1
    assert (
        caplog.text.count("20x16 pixels do not fit into the GPU's memory; computed in strips") == 1
    )
