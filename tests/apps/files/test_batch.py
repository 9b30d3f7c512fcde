import threading
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from PIL import Image

from basicsr_m2trans.apps.files import image_files
from basicsr_m2trans.apps.files.batch import run_jobs
from basicsr_m2trans.apps.files.jobs import plan_jobs
from basicsr_m2trans.archs import M2Trans
from basicsr_m2trans.inference.upscaler import Upscaler


def test_one_failure_does_not_stop_the_rest(scans, tmp_path, repeat):
    (scans / "broken.png").write_bytes(b"x")
    results = list(run_jobs(repeat, plan_jobs([str(scans)], tmp_path / "out")))
    assert [(Path(result.source).name, result.status) for result in results] == [
        ("a.png", "done"),
        ("broken.png", "failed"),
        ("b.JPG", "done"),
    ]
    assert "broken.png: cannot be read as an image" in results[1].message
    assert (results[0].size, results[0].upscaled_size, results[0].frames) == ((6, 4), (12, 8), 1)


def test_errors_that_nobody_expects_concern_one_file(scans, tmp_path, repeat, monkeypatch):
    def fail(*_):
        raise RuntimeError("out of\nmemory")

    monkeypatch.setattr(image_files, "_check_format", fail)
    results = list(run_jobs(repeat, plan_jobs([str(scans)], tmp_path / "out")))
    assert [result.status for result in results] == ["failed", "failed"]
    assert results[0].message == f"{scans / 'a.png'}: RuntimeError: out of memory"


def test_existing_results_stay_without_force(scans, tmp_path, repeat):
    jobs = plan_jobs([str(scans)], tmp_path / "out")
    jobs[0].target.parent.mkdir()
    jobs[0].target.write_text("mine")
    assert [result.status for result in run_jobs(repeat, jobs)] == ["skipped", "done"]
    assert jobs[0].target.read_text() == "mine"
    assert [result.status for result in run_jobs(repeat, jobs, force=True)] == ["done", "done"]
    assert jobs[0].target.read_bytes().startswith(b"\x89PNG")


def test_comparison_has_bicubic_on_the_left(scans, tmp_path, repeat, repeated):
    job = plan_jobs([f"{scans}/a.png"], tmp_path / "out")[0]
    assert [result.status for result in run_jobs(repeat, [job], compare=True)] == ["done"]
    pixels = np.asarray(Image.open(job.source))
    expected = np.concatenate([repeat.bicubic(pixels), repeated(pixels)], axis=1)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out/a.png_compare.png")), expected)


class Counting:
    """An upscaler that repeats pixels, notes how many frames it gets at once and refuses those that
    begin with 13.
    """

    device, scale, name = torch.device("cpu"), 2, "Counting"
    note = staticmethod(warnings.warn)

    def __init__(self, repeated):
        self.repeated, self.calls = repeated, []

    def upscale_many(self, images):
        self.calls.append([len(images), *images[0].shape])
        if any(image.flat[0] == 13 for image in images):
            raise RuntimeError("unlucky")
        return [self.repeated(image) for image in images]


@pytest.fixture
def loops(tmp_path, make_dicom, noise):
    """Two loops of 3 frames and, between them, an image of the same size and one of another."""
    (tmp_path / "loops").mkdir()
    frames = noise(6, 4, 6)
    frames[:, 0, 0] = 0
    make_dicom(frames[:3], name="loops/a.dcm")
    Image.fromarray(noise(4, 6)).save(tmp_path / "loops/b.png")
    Image.fromarray(noise(5, 6)).save(tmp_path / "loops/c.png")
    make_dicom(frames[3:], name="loops/d.dcm")
    return tmp_path / "loops"


def content(path):
    return np.squeeze(
        pydicom.dcmread(path).pixel_array if path.suffix == ".dcm" else np.asarray(Image.open(path))
    )


def test_frames_of_one_size_are_computed_together(loops, tmp_path, repeated):
    upscaler = Counting(repeated)
    calls = []
    report = lambda job: lambda *progress: calls.append((job.source.name, *progress))  # noqa: E731
    jobs = plan_jobs([str(loops)], tmp_path / "out")
    assert [result.status for result in run_jobs(upscaler, jobs, batch=3, report=report)] == [
        "done"
    ] * 4
    assert upscaler.calls == [[3, 4, 6, 1], [1, 4, 6, 1], [1, 5, 6, 1], [3, 4, 6, 1]]
    assert calls == [
        *(("a.dcm", number, 3) for number in (1, 2, 3)),
        ("b.png", 1, 1),
        ("c.png", 1, 1),
        *(("d.dcm", number, 3) for number in (1, 2, 3)),
    ]


@pytest.mark.parametrize("batch", [2, 8])
def test_batches_change_no_result(loops, tmp_path, batch):
    torch.manual_seed(0)
    upscaler = Upscaler(M2Trans(2, num_feat=8, num_block=1), 2, device="cpu")
    for name, size in (("one", 1), ("many", batch)):
        results = list(run_jobs(upscaler, plan_jobs([str(loops)], tmp_path / name), batch=size))
        assert [result.frames for result in results] == [3, 1, 1, 3]
    for path in (tmp_path / "one").iterdir():
        assert np.array_equal(content(path), content(tmp_path / "many" / path.name))


def test_a_frame_that_cannot_be_computed_fails_its_own_file_alone(loops, tmp_path, repeated):
    dataset = pydicom.dcmread(loops / "a.dcm")
    frames = dataset.pixel_array.copy()
    frames[1, 0, 0] = 13
    dataset.PixelData = frames.tobytes()
    dataset.save_as(loops / "a.dcm")
    results = list(run_jobs(Counting(repeated), plan_jobs([str(loops)], tmp_path / "out"), batch=8))
    assert [result.status for result in results] == ["failed", "done", "done", "done"]
    assert results[0].message.endswith("a.dcm: RuntimeError: unlucky")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["b.png", "c.png", "d.dcm"]


def test_results_that_cannot_be_written_fail_their_own_file_alone(
    loops, tmp_path, repeated, monkeypatch
):
    write_image = image_files.write_image

    def fail(content, path, suffix):
        if path.name.startswith("b.png"):
            path.write_text("half")
            raise OSError(28, "No space left on device")
        write_image(content, path, suffix)

    monkeypatch.setattr(image_files, "write_image", fail)
    results = list(run_jobs(Counting(repeated), plan_jobs([str(loops)], tmp_path / "out"), batch=8))
    assert [result.status for result in results] == ["done", "failed", "done", "done"]
    assert results[1].message.endswith("b.png: [Errno 28] No space left on device")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.dcm", "c.png", "d.dcm"]


def test_ctrl_c_reports_what_was_finished(scans, tmp_path, repeated):
    class Interrupted(Counting):
        def upscale_many(self, images):
            if self.calls:
                raise KeyboardInterrupt
            return super().upscale_many(images)

    results = run_jobs(Interrupted(repeated), plan_jobs([str(scans)], tmp_path / "out"))
    reported = []
    with pytest.raises(KeyboardInterrupt):
        reported.extend(result.status for result in results)
    assert len(list((tmp_path / "out").rglob("*.*"))) == len(reported) <= 1
    assert not {"read", "write"} & {thread.name for thread in threading.enumerate()}


def test_warnings_of_decoders_are_not_shown(scans, tmp_path, repeat, monkeypatch):
    """Those of another thread, whose `catch_warnings` may end while this thread warns."""
    read_image_file = image_files.read_image_file

    def warn(path):
        warnings.warn("DOE^JANE", stacklevel=1)
        return read_image_file(path)

    monkeypatch.setattr(image_files, "read_image_file", warn)
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        filters = list(warnings.filters)
        assert [
            result.status for result in run_jobs(repeat, plan_jobs([str(scans)], tmp_path / "out"))
        ] == ["done"] * 2
        assert warnings.filters == filters
    assert shown == []


def test_what_a_gpu_cannot_hold_is_noted_for_the_files_of_the_batch(loops, tmp_path, repeat):
    def without_memory(_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    repeat._upscale.whole = without_memory
    note = repeat.note
    results = list(run_jobs(repeat, plan_jobs([str(loops)], tmp_path / "out"), batch=4))
    text = "pixels do not fit into the GPU's memory; computed"
    assert [(result.status, result.message) for result in results] == [
        ("done", f"{loops / 'a.dcm'}: 4 images of 6x4 {text} one by one"),
        ("done", f"{loops / 'b.png'}: 4 images of 6x4 {text} one by one"),
        ("done", f"{loops / 'c.png'}: 6x5 {text} without compilation"),
        ("done", f"{loops / 'd.dcm'}: 3 images of 6x4 {text} one by one"),
    ]
    assert repeat.note is note


def test_a_comparison_that_does_not_fit_fails_its_own_file_alone(
    scans, tmp_path, repeat, monkeypatch
):
    calls = []

    def bicubic(image):
        calls.append(image)
        if len(calls) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return repeat._through_planes([image], repeat._bicubic)[0]

    monkeypatch.setattr(repeat, "bicubic", bicubic)
    results = list(run_jobs(repeat, plan_jobs([str(scans)], tmp_path / "out"), compare=True))
    assert [result.status for result in results] == ["failed", "done"]
    assert results[0].message == f"{scans / 'a.png'}: OutOfMemoryError: CUDA out of memory"
    assert not (tmp_path / "out/a.png").exists()


def test_a_loop_in_batches_on_any_device(tmp_path, make_dicom, noise, device):
    torch.manual_seed(0)
    upscaler = Upscaler(M2Trans(2, num_feat=8, num_block=1), 2, device=device)
    frames = noise(11, 20, 24)
    source = make_dicom(frames)
    (result,) = run_jobs(upscaler, plan_jobs([str(source)], tmp_path / "out"), batch=8)
    assert (result.status, result.message, result.frames) == ("done", "", 11)
    expected = np.stack([upscaler(frame) for frame in frames]).astype(int)
    # A GPU may add up a batch in another order.
    assert np.abs(content(tmp_path / "out" / source.name) - expected).max() <= (device == "cuda")
