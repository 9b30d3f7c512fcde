import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from basicsr_m2trans.errors import InputError
from basicsr_m2trans.inference import batch
from basicsr_m2trans.inference.batch import Job, plan_jobs, run_jobs


@pytest.fixture
def scans(tmp_path, noise):
    for name in ("a.png", "sub/b.JPG", "sub/.hidden.png"):
        (tmp_path / "scans" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(4, 6, 3)).save(tmp_path / "scans" / name)
    (tmp_path / "scans/notes.txt").write_text("x")
    return tmp_path / "scans"


def targets(jobs, out):
    return [str(job.target.relative_to(out)) for job in jobs]


def test_folders_keep_their_structure(scans, tmp_path, make_dicom, noise):
    make_dicom(noise(1, 4, 4), name="scans/1.2.840")
    assert targets(plan_jobs([str(scans)], tmp_path / "out"), tmp_path / "out") == ["1.2.840", "a.png", "sub/b.JPG"]


def test_results_inside_the_input_are_passed_over(scans):
    (scans / "out").mkdir()
    (scans / "a.png").rename(scans / "out/a.png")
    assert targets(plan_jobs([str(scans)], scans / "out"), scans / "out") == ["sub/b.JPG"]


def test_patterns_and_files(scans, tmp_path):
    out = tmp_path / "out"
    assert targets(plan_jobs([f"{scans}/**/*.JPG", f"{scans}/a.png"], out), out) == ["b.JPG", "a.png"]
    assert plan_jobs([f"{scans}/a.png"], tmp_path / "b.tif") == [Job(scans / "a.png", tmp_path / "b.tif")]


def test_inputs_and_outputs_that_cannot_be(scans, tmp_path):
    out = tmp_path / "out"
    (tmp_path / "empty").mkdir()
    for text, message in (
        (f"{tmp_path}/empty", "nothing outside of .* that can be enlarged"),
        (f"{tmp_path}/none", "there is no such file or folder"),
        (f"{scans}/*.gif", "the pattern finds nothing"),
        (f"{scans}/notes.txt", r"is no file that can be enlarged \(\.png"),
    ):
        with pytest.raises(InputError, match=message):
            plan_jobs([text], out)
    with pytest.raises(InputError, match=r"would both become .*a\.png"):
        plan_jobs([str(scans), f"{scans}/a.png"], out)
    with pytest.raises(InputError, match="would be replaced by its result"):
        plan_jobs([f"{scans}/a.png"], scans)
    with pytest.raises(InputError, match=r"cannot be written as \.mp4"):
        plan_jobs([f"{scans}/a.png"], tmp_path / "a.mp4")


def test_deidentified_results_have_names_of_their_own(scans, tmp_path, make_dicom, noise):
    make_dicom(noise(1, 4, 4), name="scans/sub/DOE.dcm")
    names = targets(plan_jobs([str(scans)], tmp_path / "out", deidentify=True), tmp_path / "out")
    assert (names[0], names[2]) == ("a.png", "sub/b.JPG")
    assert re.fullmatch(r"us_[0-9a-f]{16}\.dcm", names[1])


def test_one_failure_does_not_stop_the_rest(scans, tmp_path, repeat):
    (scans / "broken.png").write_bytes(b"x")
    results = list(run_jobs(repeat, plan_jobs([str(scans)], tmp_path / "out")))
    assert [(Path(result.source).name, result.status) for result in results] == [
        ("a.png", "done"),
        ("broken.png", "failed"),
        ("b.JPG", "done"),
    ]
    assert "broken.png: cannot be read as an image" in results[1].message
    assert (results[0].size, results[0].enlarged_size, results[0].frames) == ((6, 4), (12, 8), 1)


def test_errors_that_nobody_expects_concern_one_file(scans, tmp_path, repeat, monkeypatch):
    def fail(*_):
        raise RuntimeError("out of\nmemory")

    monkeypatch.setattr(batch, "upscale_image", fail)
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
