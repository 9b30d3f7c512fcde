import csv
import os
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from basicsr_m2trans.apps.annotation.captioning import BlipCaptioner
from basicsr_m2trans.apps.annotation.pipeline import Settings, annotate, choose, describe
from basicsr_m2trans.apps.annotation.refinement import LocalRefiner
from basicsr_m2trans.apps.annotation.scoring import EncoderScorer
from basicsr_m2trans.apps.annotation.segmentation import SamSegmenter
from basicsr_m2trans.apps.annotation.stages import LanguageControls, Region, Stages, VisualControls
from basicsr_m2trans.apps.annotation.state import Description
from basicsr_m2trans.cli import main
from basicsr_m2trans.data.captions import read_captions
from basicsr_m2trans.encoders import build_encoder
from basicsr_m2trans.utils.errors import InputError


def found(score, area, caption="c"):
    return Description(caption, "raw", score, (0, 0, 1, 1), area)


@pytest.mark.parametrize(
    ("margin", "expected"),
    [
        (0.0, (0.30, 0.1)),
        (0.01, (0.30, 0.1)),
        (0.02, (0.28, 0.4)),
        (0.05, (0.25, 0.6)),
        (2.0, (-0.1, 0.9)),
    ],
)
def test_the_margin_weighs_score_against_region(margin, expected):
    descriptions = [found(0.30, 0.1), found(0.28, 0.4), found(0.25, 0.6), found(-0.1, 0.9)]
    chosen = choose(descriptions, margin)
    assert (chosen.score, chosen.area) == expected


def test_of_equal_regions_the_higher_score_wins():
    descriptions = [found(0.29, 0.4), found(0.30, 0.4), found(0.295, 0.4)]
    assert choose(descriptions, 0.1).score == 0.30


def test_of_equal_scores_the_larger_region_wins():
    assert choose([found(0.3, 0.2), found(0.3, 0.4), found(0.3, 0.3)], 0.0).area == 0.4


class Fake:
    """Stages whose answers are known; it counts the images that reach it."""

    def __init__(self):
        self.images = 0
        self.seeds = []
        self.stop_at = None

    def segment(self, image, controls):
        assert controls.regions == 2
        self.images += 1
        if self.images == self.stop_at:
            raise KeyboardInterrupt
        masks = np.zeros((2, *image.shape[:2]), bool)
        masks[0, :, :20] = True
        masks[1, 5:15, 30:] = True
        return [Region(mask) for mask in masks]

    def caption(self, image, region, seed):  # noqa: ARG002
        self.seeds.append(seed)
        return f"region {region.box[0]} {'even' if seed % 2 == 0 else 'odd'}"

    def refine(self, description, controls):
        return f"{description}, in {controls.language}"

    def score(self, image, captions):
        assert image.shape[2] == 3
        return [0.3 if "region 30" in caption else 0.2 for caption in captions]

    def stages(self):
        return Stages(self.segment, self.caption, self.refine, self.score)


SETTINGS = Settings(
    VisualControls(regions=2), LanguageControls(language="Latin"), repeats=2, models={"sam": "fake"}
)


@pytest.fixture
def fake():
    return Fake()


@pytest.fixture
def out(tmp_path):
    return tmp_path / "captions.csv"


def test_an_image_gives_regions_times_repeats_descriptions(fake):
    descriptions = describe(np.zeros((30, 40, 3), np.uint8), "0001", fake.stages(), SETTINGS)
    assert [(d.box, d.area, d.score) for d in descriptions] == [((0, 0, 20, 30), 0.5, 0.2)] * 2 + [
        ((30, 5, 10, 10), 100 / 1200, 0.3)
    ] * 2
    assert all(d.caption == f"{d.raw}, in Latin" for d in descriptions)
    assert len(set(fake.seeds)) == 4


def test_without_regions_the_whole_image_is_described(fake):
    stages = replace(fake.stages(), segment=lambda *_: [])
    descriptions = describe(np.zeros((30, 40, 3), np.uint8), "0001", stages, SETTINGS)
    assert [(d.box, d.area) for d in descriptions] == [((0, 0, 40, 30), 1.0)] * 2


def test_empty_answers_are_left_out(fake):
    answers = iter(["", "raw", "raw", "raw"])
    refined = iter([" ", "refined", "refined "])
    stages = replace(
        fake.stages(), caption=lambda *_: next(answers), refine=lambda *_: next(refined)
    )
    descriptions = describe(np.zeros((30, 40, 3), np.uint8), "0001", stages, SETTINGS)
    assert [d.caption for d in descriptions] == ["refined", "refined"]


def test_captions_and_sheet(fake, scans, out):
    summary = annotate(scans, out, fake.stages(), SETTINGS)
    assert (summary.captions, summary.made, summary.problems) == (3, 3, [])
    captions = read_captions(out)
    assert list(captions) == ["0000", "0001", "0002"]
    with out.open() as stream:
        rows = list(csv.DictReader(stream))
    assert rows[1] == {
        "image": "0001",
        "caption": captions["0001"],
        "score": "0.300000",
        "left": "30",
        "top": "5",
        "width": "10",
        "height": "10",
        "area": "0.083333",
    }
    assert captions["0001"] in summary.sheet.read_text()
    assert sorted(path.name for path in out.parent.iterdir()) == [
        "captions.csv", "captions.csv.html", "captions.csv.state", "scans"
    ]  # fmt: skip


def test_an_interrupted_run_goes_on_to_the_same_result(fake, scans, out, tmp_path):
    annotate(scans, tmp_path / "whole.csv", Fake().stages(), SETTINGS)
    fake.stop_at = 3
    with pytest.raises(KeyboardInterrupt):
        annotate(scans, out, fake.stages(), SETTINGS)
    assert not out.exists()
    summary = annotate(scans, out, fake.stages(), SETTINGS)
    assert summary.made == 1
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert fake.images == 4


def test_only_new_and_changed_images_are_described_again(fake, scans, out):
    annotate(scans, out, fake.stages(), SETTINGS)
    pixels = np.zeros((30, 40), np.uint16)
    (scans / "0001.png").write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    (scans / "0003.png").write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    (scans / "0000.png").unlink()
    assert annotate(scans, out, fake.stages(), SETTINGS).made == 2
    assert list(read_captions(out)) == ["0001", "0002", "0003"]


def test_another_margin_needs_no_new_descriptions(fake, scans, out):
    annotate(scans, out, fake.stages(), replace(SETTINGS, margin=0.0))
    assert "region 30" in read_captions(out)["0000"]
    assert annotate(scans, out, fake.stages(), replace(SETTINGS, margin=0.2)).made == 0
    assert "region 0" in read_captions(out)["0000"]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"models": {"sam": "another"}}, "models was"),
        ({"repeats": 3}, "repeats was 2 and is now 3"),
        ({"language": LanguageControls()}, "language was"),
    ],
)
def test_other_settings_are_refused(fake, scans, out, other, message):
    annotate(scans, out, fake.stages(), SETTINGS)
    with pytest.raises(InputError, match=message):
        annotate(scans, out, fake.stages(), replace(SETTINGS, **other))


def test_bad_images_are_listed_and_the_rest_goes_on(fake, scans, out):
    (scans / "0001.png").write_bytes(b"no image")
    (scans / "silent.png").write_bytes(
        cv2.imencode(".png", np.full((8, 8), 255, np.uint8))[1].tobytes()
    )
    stages = replace(fake.stages(), refine=lambda text, _: text)
    stages = replace(stages, caption=lambda image, *_: "" if image.min() == 255 else "an image")
    stages = replace(stages, segment=lambda *_: [])
    summary = annotate(scans, out, stages, SETTINGS)
    assert list(read_captions(out)) == ["0000", "0002"]
    assert [problem.split(":")[0] for problem in summary.problems] == [
        str(scans / "0001.png"),
        str(scans / "silent.png"),
    ]
    assert all(
        problem.split(": ")[1][:20] in summary.sheet.read_text() for problem in summary.problems
    )


def test_no_caption_at_all_is_an_error(fake, scans, out):
    stages = replace(fake.stages(), caption=lambda *_: "")
    with pytest.raises(
        InputError, match=r"no image could be described; the first: .*0000\.png: the models gave no"
    ):
        annotate(scans, out, stages, SETTINGS)
    assert not out.exists()


def test_a_stage_that_gives_up_keeps_what_is_done(fake, scans, out):
    def refine(*_):
        if fake.images == 2:
            raise InputError("endpoint x: no answer")
        return "an image"

    with pytest.raises(InputError, match="endpoint x"):
        annotate(scans, out, replace(fake.stages(), refine=refine), SETTINGS)
    fake.images = 2
    assert (
        annotate(scans, out, replace(fake.stages(), refine=lambda *_: "an image"), SETTINGS).made
        == 2
    )


def test_wrong_paths_are_refused(fake, scans, out):
    out.write_text("by hand")
    with pytest.raises(InputError, match="exists already"):
        annotate(scans, out, fake.stages(), SETTINGS)
    assert out.read_text() == "by hand"
    with pytest.raises(InputError, match=r"must end in \.csv"):
        annotate(scans, out.with_suffix(".txt"), fake.stages(), SETTINGS)
    with pytest.raises(InputError, match=r"the folder .*absent does not exist"):
        annotate(scans, out.parent / "absent" / "a.csv", fake.stages(), SETTINGS)
    with pytest.raises(InputError, match="margin must be 0 or more"):
        Settings(margin=-1)
    (scans / "0001.jpg").write_bytes((scans / "0001.png").read_bytes())
    with pytest.raises(InputError, match=r"has the name of 0001\.jpg but for its extension"):
        annotate(scans, out.with_name("b.csv"), fake.stages(), SETTINGS)
    with pytest.raises(InputError, match="repeats must be at least 1"):
        Settings(repeats=0)
    (scans / "0001.jpg").rename(os.fsdecode(os.fsencode(scans) + b"/left\xff.png"))
    with pytest.raises(InputError, match=r"scans: the file name 'left\\udcff\.png' is not UTF-8"):
        annotate(scans, out.with_name("b.csv"), fake.stages(), SETTINGS)
    assert fake.images == 0


def test_the_command_with_the_real_classes(scans, out, sam_folder, blip_folder, llm_folder, capsys):
    models = ["--sam", str(sam_folder), "--blip", str(blip_folder), "--llm", str(llm_folder)]
    command = ["caption", str(scans), "--out", str(out), "--method", "pipeline", *models]
    command += ["--encoder", "{type: SeededCLIPEncoder, seed: 3}", "--device", "cpu", "--seed", "5"]
    command += [
        "--points",
        "2",
        "--min-quality",
        "0",
        "--min-area",
        "0",
        "--length",
        "6",
        "--margin",
        "0",
    ]
    assert main(command) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{out}: 3 captions, 3 of them made in this run",
        f"{out}.html: open it in a browser to review them",
    ]
    assert all(0 < len(caption.split()) <= 6 for caption in read_captions(out).values())

    # The same by hand, stage by stage, for one image.
    device = torch.device("cpu")
    score = EncoderScorer(build_encoder({"type": "SeededCLIPEncoder", "seed": 3}), device)
    stages = Stages(
        SamSegmenter(str(sam_folder), device),
        BlipCaptioner(str(blip_folder), device),
        LocalRefiner(str(llm_folder), device),
        score,
    )
    image = cv2.cvtColor(cv2.imread(str(scans / "0001.png")), cv2.COLOR_BGR2RGB)
    settings = Settings(VisualControls(2, 0.0, 0.0), LanguageControls(6), seed=5)
    descriptions = describe(image, "0001", stages, settings)
    assert read_captions(out)["0001"] == choose(descriptions, 0.0).caption
    assert [d.score for d in descriptions] == score(image, [d.caption for d in descriptions])

    assert main(command) == 0
    assert capsys.readouterr().out.startswith(f"{out}: 3 captions, 0 of them made in this run")
    assert main([*command, "--length", "7"]) == 2
    assert "other settings (language was" in capsys.readouterr().err
