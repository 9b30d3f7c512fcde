"""Values of the training loop's options."""

import math
import shutil

import pytest

from basicsr_m2trans.models.training_options import CheckpointOptions, TrainingOptions
from basicsr_m2trans.utils.errors import InputError


def test_defaults_are_plain_training():
    plain = TrainingOptions(None, False, None, False, False, 1, math.inf)
    assert TrainingOptions.from_section({}) == plain
    assert (
        TrainingOptions.from_section({"amp": None, "grad_clip_norm": None, "total_iter": 5})
        == plain
    )


def test_values_are_taken_over():
    section = {
        "amp": "bf16",
        "compile": "eager",
        "tf32": False,
        "channels_last": True,
        "accumulate": 2,
    }
    assert TrainingOptions.from_section(section) == TrainingOptions(
        "bf16", "eager", False, True, False, 2
    )


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("amp", "fp16", "amp is 'fp16'; write bf16"),
        ("amp", True, "amp is True; write bf16"),
        ("compile", 1, "compile is 1; write true or false"),
        ("compile", "quickly", "compile is 'quickly'; .*inductor"),
        ("tf32", "on", "tf32 is 'on'; write true or false"),
        ("channels_last", "yes", "channels_last is 'yes'; write true or false"),
        ("checkpointing", 1, "checkpointing is 1; write true or false"),
        ("accumulate", 0, "accumulate is 0; write a whole number"),
        ("accumulate", 1.5, "accumulate is 1.5; write a whole number"),
        ("accumulate", True, "accumulate is True; write a whole number"),
        ("grad_clip_norm", 0, "grad_clip_norm is 0; write a number above 0"),
        ("grad_clip_norm", -0.5, "grad_clip_norm is -0.5; write a number above 0"),
        ("grad_clip_norm", math.nan, "grad_clip_norm is nan; write a number above 0"),
        ("grad_clip_norm", "1e-1", "grad_clip_norm is '1e-1'; write a number above 0"),
    ],
)
def test_unusable_values_are_refused(key, value, message):
    with pytest.raises(InputError, match=f"train: {message}"):
        TrainingOptions.from_section({key: value})


def test_all_problems_are_listed():
    with pytest.raises(InputError, match=r"(?s)amp is 'fp16'.*accumulate is 0"):
        TrainingOptions(amp="fp16", accumulate=0)


def test_a_batch_divides_into_equal_parts():
    assert TrainingOptions(accumulate=3).part_size(6) == 2
    with pytest.raises(
        InputError, match="batch of 7 does not divide into train: accumulate 3 equal parts"
    ):
        TrainingOptions(accumulate=3).part_size(7)


def test_compiling_needs_a_compiler(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(
        InputError,
        match="compile needs the compiler no-such-compiler, which is not here; install it, or "
        "write",
    ):
        TrainingOptions(compile=True)
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    assert TrainingOptions(compile=True).compile is True


VAL = {"metrics": {"psnr": {}, "gmsd": {}}}


@pytest.mark.parametrize(
    ("logger", "keep_last", "best_metric"),
    [
        (None, None, None),
        ({"print_freq": 1, "keep_last": None, "keep_best": None}, None, None),
        ({"keep_last": 3, "keep_best": False}, 3, None),
        ({"keep_best": True}, None, "psnr"),
        ({"keep_best": "gmsd"}, None, "gmsd"),
    ],
)
def test_which_checkpoints_are_kept(logger, keep_last, best_metric):
    options = CheckpointOptions.from_options({"logger": logger, "val": VAL})
    assert (options.keep_last, options.best_metric) == (keep_last, best_metric)


def test_unusable_options_of_checkpoints_are_named_together():
    with pytest.raises(
        InputError,
        match=r"(?s)keep_last is 0; .*keep_best is 'lpips'; .*one of val: metrics: psnr, gmsd",
    ):
        CheckpointOptions.from_options(
            {"logger": {"keep_last": 0, "keep_best": "lpips"}, "val": VAL}
        )
    with pytest.raises(InputError, match="keep_best needs metrics to compare"):
        CheckpointOptions.from_options({"logger": {"keep_best": True}})
    with pytest.raises(InputError, match="keep_last is True"):
        CheckpointOptions.from_options({"logger": {"keep_last": True}})
