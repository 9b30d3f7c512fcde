"""What holds for the whole suite."""

import contextlib
import os
import resource
import signal

import pytest
from hypothesis import settings

# Small files and networks that tests of several rooms use (tests/fixtures).
pytest_plugins = [
    "fixtures.images",
    "fixtures.prepared_sets",
    "fixtures.upscalers",
    "fixtures.file_server",
]

# Property tests try the same examples in every run; `pytest --hypothesis-profile=default` tries new
# ones.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")

# Tests that run side by side share the cores, and so do the processes that they start. Before torch
# is imported.
processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // processes)))

# Shells start commands in the background with Ctrl-C ignored, and every child would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def files_no_larger_than():
    """A limit of bytes for the files that this process writes, for a `with`: to it, what a full
    disk is.
    """

    @contextlib.contextmanager
    def limited(size):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited


@pytest.fixture
def model_options(tmp_path):
    """Makes the options of a tiny `M2TransModel` on L1 alone; arguments go into the section
    `train`.
    """

    def options(**train):
        return {
            "name": "tiny",
            "model_type": "M2TransModel",
            "scale": 2,
            "num_gpu": 0,
            "dist": False,
            "rank": 0,
            "world_size": 1,
            "is_train": True,
            "manual_seed": 0,
            "network_g": {"type": "M2Trans", "upscale": 2, "num_feat": 8, "num_block": 1},
            "path": {"models": str(tmp_path), "training_states": str(tmp_path)},
            "train": {
                "optim_g": {"type": "Adam", "lr": 1e-3},
                "scheduler": {"type": "MultiStepLR", "milestones": [100]},
                "pixel_opt": {"type": "L1Loss"},
                **train,
            },
        }

    return options


@pytest.fixture
def float32():
    """Products of float32 on a GPU without TF32, which PyTorch allows for convolutions unless told
    otherwise.
    """
    from basicsr_m2trans.models.precision import float32_products

    with float32_products(tf32=False):
        yield


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request):
    """Where a test computes: on the CPU, and on the GPU if there is one, there without TF32."""
    if request.param == "cuda":
        request.getfixturevalue("float32")
    return request.param


def has_gpu():
    import torch

    return torch.cuda.is_available()


def pytest_collection_modifyitems(config, items):
    """Without a GPU, skip what needs one if it was asked for, and otherwise leave it out: its list
    would fill pages.
    """
    on_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if not on_gpu or has_gpu():
        return
    if "gpu" in config.option.markexpr:
        for item in on_gpu:
            item.add_marker(pytest.mark.skip(reason="needs a GPU"))
    else:
        config.hook.pytest_deselected(items=on_gpu)
        items[:] = [item for item in items if item not in on_gpu]


def pytest_runtest_setup(item):
    if item.get_closest_marker("gpu") and has_gpu():
        import torch

        version = f"PyTorch {torch.__version__}, CUDA {torch.version.cuda}"
        item.user_properties.append(("gpu", f"{torch.cuda.get_device_name()}, {version}"))


def pytest_terminal_summary(terminalreporter):
    """Say which GPU the tests ran on, also where other processes ran them."""
    reports = [
        report
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
    ]
    for gpu in {
        value for report in reports for name, value in report.user_properties if name == "gpu"
    }:
        terminalreporter.write_sep("=", f"on {gpu}")
