import re

import pytest

from basicsr_m2trans.apps.files.jobs import Job, plan_jobs
from basicsr_m2trans.utils.errors import InputError


def targets(jobs, out):
    return [str(job.target.relative_to(out)) for job in jobs]


def test_folders_keep_their_structure(scans, tmp_path, make_dicom, noise):
    make_dicom(noise(1, 4, 4), name="scans/1.2.840")
    assert targets(plan_jobs([str(scans)], tmp_path / "out"), tmp_path / "out") == [
        "1.2.840",
        "a.png",
        "sub/b.JPG",
    ]


def test_results_inside_the_input_are_passed_over(scans):
    (scans / "out").mkdir()
    (scans / "a.png").rename(scans / "out/a.png")
    assert targets(plan_jobs([str(scans)], scans / "out"), scans / "out") == ["sub/b.JPG"]


def test_patterns_and_files(scans, tmp_path):
    out = tmp_path / "out"
    assert targets(plan_jobs([f"{scans}/**/*.JPG", f"{scans}/a.png"], out), out) == [
        "b.JPG",
        "a.png",
    ]
    assert plan_jobs([f"{scans}/a.png"], tmp_path / "b.tif") == [
        Job(scans / "a.png", tmp_path / "b.tif")
    ]


def test_inputs_and_outputs_that_cannot_be(scans, tmp_path):
    out = tmp_path / "out"
    (tmp_path / "empty").mkdir()
    for text, message in (
        (f"{tmp_path}/empty", "nothing outside of .* that can be upscaled"),
        (f"{tmp_path}/none", "there is no such file or folder"),
        (f"{scans}/*.gif", "the pattern finds nothing"),
        (f"{scans}/notes.txt", r"is not a file that can be upscaled \(\.png"),
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
