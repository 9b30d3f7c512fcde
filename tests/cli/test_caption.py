import argparse
import json

import cv2
import numpy as np
import pytest

from basicsr_m2trans.apps.annotation.chat_endpoint import ChatRefiner
from basicsr_m2trans.apps.annotation.stages import Stages
from basicsr_m2trans.cli import caption, main
from basicsr_m2trans.data.captions import make_caption, read_captions


@pytest.fixture
def scans(tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    for number in range(3):
        pixels = np.full((8, 8), 50 * number, np.uint8)
        (folder / f"{number}.png").write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    return folder


@pytest.fixture
def out(tmp_path):
    return tmp_path / "captions.csv"


def test_template_captions(scans, out, capsys):
    assert main(["caption", str(scans), "--out", str(out), "--seed", "4"]) == 0
    assert capsys.readouterr().out == f"{out}: 3 captions\n"
    assert read_captions(out) == {name: make_caption(name, 4) for name in ("0", "1", "2")}


def test_an_existing_file_is_not_replaced(scans, out, capsys):
    out.write_text("by hand")
    for method in ("template", "pipeline"):
        assert main(["caption", str(scans), "--out", str(out), "--method", method]) == 2
        assert "exists already; delete it or choose another file" in capsys.readouterr().err
    assert out.read_text() == "by hand"


def test_the_pipeline_gets_settings_and_prints_what_it_left_out(scans, out, monkeypatch, capsys):
    def refine(description, controls):
        assert (controls.length, controls.language, controls.imagination, controls.factuality) == (
            9,
            "X",
            True,
            False,
        )
        return description

    def segment(image, controls):  # noqa: ARG001
        assert (controls.points, controls.min_quality, controls.min_area, controls.regions) == (
            3,
            0.5,
            0.25,
            2,
        )
        return []

    stages = Stages(segment, lambda *_: "text", refine, lambda _, captions: [0.5] * len(captions))
    monkeypatch.setattr(caption, "load_stages", lambda _: stages)
    (scans / "bad.png").write_bytes(b"")
    command = ["caption", str(scans), "--out", str(out), "--method", "pipeline", "--repeats", "3"]
    command += ["--points", "3", "--min-quality", "0.5", "--min-area", "0.25", "--regions", "2"]
    command += [
        "--length",
        "9",
        "--language",
        "X",
        "--imagination",
        "--no-factuality",
        "--sam",
        "S",
        "--llm-url",
        "U",
    ]
    assert main(command) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{out}: 3 captions, 3 of them made in this run",
        f"{out}.html: open it in a browser to review them",
        "1 images have no caption:",
        f"  {scans}/bad.png: cannot be read as an image; the file is damaged or of an unknown "
        "format",
    ]
    settings = json.loads(out.with_name("captions.csv.state").read_text().splitlines()[0])[
        "settings"
    ]
    assert settings["repeats"] == 3
    assert (settings["models"]["sam"], settings["models"]["llm_url"]) == ("S", "U")
    assert "llm_timeout" not in settings["models"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--regions", "0"], "regions must be at least 1"),
        (["--length", "0"], "length must be at least 1"),
        (["--repeats", "0"], "repeats must be at least 1"),
        (["--margin", "-1"], "margin must be 0 or more"),
        (["--encoder", "{type: "], "is not YAML"),
        (["--encoder", "3"], "--encoder 3: write a name"),
        (["--encoder", "NoSuchEncoder"], "encoder type 'NoSuchEncoder' is unknown"),
        (
            ["--encoder", "{type: MedCLIPEncoder, checkpoint: absent.zip}"],
            "MedCLIP's weights are not at absent.zip",
        ),
        (["--device", "abacus"], "device abacus"),
        (
            ["--encoder", "SeededCLIPEncoder", "--llm-url", "localhost"],
            "endpoint localhost: write it as http",
        ),
    ],
)
def test_mistakes_give_status_2_and_no_files(arguments, message, scans, out, capsys):
    assert main(["caption", str(scans), "--out", str(out), "--method", "pipeline", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert list(out.parent.iterdir()) == [scans]


def test_the_key_comes_from_the_environment(monkeypatch):
    args = argparse.Namespace(llm="m", llm_url="http://localhost/v1", llm_timeout=7.0)
    monkeypatch.setenv(caption.KEY_VARIABLE, "a-secret")
    refine = caption._refiner(args, None)
    assert isinstance(refine, ChatRefiner)
    assert (refine.key, refine.model, refine.timeout) == ("a-secret", "m", 7.0)
    monkeypatch.delenv(caption.KEY_VARIABLE)
    assert caption._refiner(args, None).key is None
