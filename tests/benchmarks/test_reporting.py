import json

import pytest
import torch


@pytest.fixture
def report():
    import arguments
    import reporting

    return reporting.Report(
        "forward", arguments.parse_arguments("", ["--threads", "1"], any_device=False)
    )


def test_a_rival_that_fails_is_told(report, capsys):
    def out_of_memory():
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate")

    rivals = {
        "large": lambda: out_of_memory,
        "not there": lambda: __import__("nowhere"),
        "small": lambda: int,
    }
    report.compare("case", {"literal": int})
    report.compare_rivals("case", rivals, int)
    assert [figure["name"] for figure in report.figures] == ["literal", "small"]
    assert [(each["name"], each["failure"]) for each in report.failures] == [
        ("large", "OutOfMemoryError: CUDA out of memory."),
        ("not there", "ModuleNotFoundError: No module named 'nowhere'"),
    ]
    table = capsys.readouterr().out
    assert table.splitlines().count("case") == 1
    assert "failed: OutOfMemoryError: CUDA out of memory." in table
    report.with_rivals = False
    report.compare_rivals("another case", rivals, int)
    assert len(report.failures) == 2


def test_without_a_reference_it_is_the_first_run_that_does_not_fail(report, tmp_path):
    report.json = tmp_path / "f.json"
    written = []

    def later():
        written.append(
            [figure["name"] for figure in json.loads(report.json.read_text())["figures"]]
        )
        return int

    report.compare_made(
        "case", {"not there": lambda: __import__("nowhere"), "first": lambda: int, "second": later}
    )
    first, second = report.figures
    assert (first["name"], second["name"]) == ("first", "second")
    assert "ratio" not in first
    assert len(second["ratio"]["values"]) == report.repetitions
    assert [each["name"] for each in report.failures] == ["not there"]
    assert written == [["first"]]


def test_goals_are_for_a_gpu(report, capsys):
    report.add("case", "fast", "frames/s", [50, 70, 90])
    report.add("steps", "literal, TF32", "s", [7])
    report.add("steps", "fast, TF32", "s", [2], [9])
    assert not report.missed("case", "fast", 100, "frames/s")
    assert "goal" not in capsys.readouterr().out
    report.device = torch.device("cuda")
    assert not report.missed("case", "fast", 60, "frames/s")
    assert report.missed("steps", "fast, TF32", 4, "times literal, TF32", "literal, TF32")
    assert report.missed("case", "compiled", 60, "frames/s")
    assert capsys.readouterr().out.splitlines() == [
        "  goal of fast: 60 frames/s: 70, reached",
        "  goal of fast, TF32: 4 times literal, TF32: 3.5, MISSED",
        "  goal of compiled: 60 frames/s: MISSED, because it failed",
    ]
