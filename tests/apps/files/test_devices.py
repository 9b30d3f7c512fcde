import functools

import pytest
import torch

from basicsr_m2trans.apps.files.batch import run_jobs
from basicsr_m2trans.apps.files.devices import Devices, split_devices
from basicsr_m2trans.apps.files.jobs import plan_jobs
from basicsr_m2trans.archs import M2Trans
from basicsr_m2trans.inference.upscaler import Upscaler
from basicsr_m2trans.utils.errors import InputError


@pytest.fixture
def make(tmp_path):
    """Makes upscalers in other processes; the network takes some 10 ms for a frame of `loops`."""
    torch.manual_seed(0)
    settings = {"upscale": 2, "num_feat": 32, "num_block": 2}
    params = M2Trans(**settings).state_dict()
    torch.save(
        {"params": params, "network_g": {"type": "M2Trans", **settings}}, tmp_path / "net.pth"
    )
    return functools.partial(Upscaler.from_checkpoint, tmp_path / "net.pth")


@pytest.fixture
def loops(tmp_path, make_dicom, noise):
    """A long loop, three short ones, and a file that is damaged."""
    (tmp_path / "loops").mkdir()
    for name, frames in (("a", 60), ("b", 2), ("d", 2), ("e", 2)):
        make_dicom(noise(frames, 64, 64), name=f"loops/{name}.dcm")
    (tmp_path / "loops/c.png").write_bytes(b"x")
    return tmp_path / "loops"


def pixels(folder):
    """Results without the UIDs, which are new in each."""
    return {path.name: path.read_bytes()[-4 * 64 * 64 * 2 :] for path in folder.iterdir()}


def test_lists_of_devices():
    assert split_devices("cuda:1") == ["cuda:1"]
    assert split_devices("cuda:0, cuda:1") == ["cuda:0", "cuda:1"]
    for text in ("", "cpu,", "cpu,,cpu"):
        with pytest.raises(InputError, match=rf"--device {text}: has an empty entry"):
            split_devices(text)


@pytest.mark.slow
def test_two_processes_do_what_one_does_and_tell_it_in_the_same_order(make, loops, tmp_path):
    one = list(run_jobs(make(device="cpu"), plan_jobs([str(loops)], tmp_path / "one")))
    calls = []
    with Devices(make, ["cpu", "cpu"], {"compare": False}) as devices:
        assert devices.name == "M2Trans x2 (net.pth)"
        jobs = plan_jobs([str(loops)], tmp_path / "two")
        two = list(
            devices.run_jobs(
                jobs, lambda job: lambda *progress: calls.append((job.source.name, *progress))
            )
        )
    assert [result.status for result in two] == ["done", "done", "failed", "done", "done"]
    assert [
        (result.source, result.message, result.upscaled_size, result.frames) for result in two
    ] == [(result.source, result.message, result.upscaled_size, result.frames) for result in one]
    assert pixels(tmp_path / "two") == pixels(tmp_path / "one")
    assert [call for call in calls if call[0] == "b.dcm"] == [("b.dcm", 1, 2), ("b.dcm", 2, 2)]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "others"), [(2, "done"), (1, "failed")])
def test_a_process_that_is_killed_costs_its_own_files(make, loops, tmp_path, number, others):
    with Devices(make, ["cpu"] * number, {}) as devices:

        def kill(job):
            def report(done, _):
                if job.source.name == "a.dcm" and done == 1:
                    worker = next(worker for worker in devices._workers if job in worker.held)
                    worker._process.kill()

            return report

        results = list(devices.run_jobs(plan_jobs([str(loops)], tmp_path / "out"), kill))
    assert [result.status for result in results] == ["failed", others, "failed", others, others]
    assert results[0].message.endswith(
        "a.dcm: not done, because the process for cpu was killed by signal 9"
    )
    if number == 1:
        assert results[-1].message.endswith("e.dcm: no process is left to upscale it")
    names = ["b.dcm", "d.dcm", "e.dcm"] if number == 2 else []
    assert sorted(path.name for path in tmp_path.glob("out/*")) == names


@pytest.mark.slow
def test_devices_that_cannot_be_used_are_told_before_any_work(make):
    with pytest.raises(
        InputError, match=r"device 'abacus' cannot be used: Expected one of cpu, cuda"
    ):
        Devices(make, ["abacus"], {})
