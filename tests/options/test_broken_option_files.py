"""Broken option files, each with the message that it gets; and right ones, which get none."""

from pathlib import Path

import pytest
import yaml

from basicsr_m2trans.cli import main
from basicsr_m2trans.options import checks as options
from basicsr_m2trans.training import launch
from basicsr_m2trans.utils.yaml_file import OptionFile

ROOT = Path(__file__).parents[2]
FILES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "options").rglob("*.yml"))
DEMO = (ROOT / "options/demo/train_M2Trans_x2.yml").read_text(encoding="utf-8")
DEMO_TEST = (ROOT / "options/demo/test_M2Trans_x2.yml").read_text(encoding="utf-8")

# What is changed in the demo's file; the changed line that is named; what is wrong; how to mend it.
BROKEN = [
    (
        "num_feat: 16",
        "num_feats: 16",
        "num_feats",
        "network_g: num_feats is not a key of M2Trans",
        "num_feat?",
    ),
    (
        "ema_decay",
        "ema_decy",
        "ema_decy",
        "train: ema_decy is not a key; nothing reads it",
        "ema_decay?",
    ),
    (
        "print_freq",
        "seed: 1\n  print_freq",
        "  seed",
        "logger: seed is not a key",
        "remove it; known here: keep_best, keep_last",
    ),
    (
        "better:",
        "beter:",
        "beter",
        "val: metrics: gmsd: beter is not a key of calculate_gmsd",
        "better?",
    ),
    (
        "num_patches",
        "patches",
        "  patches",
        "train: semantic_opt: patches is not a key of ImageText",
        "num_patches",
    ),
    (
        "lr: !!float 2e-3",
        "lr: 2e-3",
        "lr:",
        "train: optim_g: lr is the text '2e-3'",
        "write !!float 2e-3; on the command",
    ),
    (
        "0.999]",
        "1e-3]",
        "betas",
        "train: optim_g: betas entry 2 is the text '1e-3'",
        "write !!float 1e-3",
    ),
    (
        "gt_size: 64",
        "gt_size: '64'",
        "gt_size",
        "datasets: train: gt_size must be a whole number, but is '64'",
        "write",
    ),
    (
        "use_hflip: true",
        "use_hflip: 1",
        "use_hflip",
        "use_hflip must be true or false, but is 1",
        "write true or",
    ),
    (
        "periods: [1000]",
        "periods: 1000",
        "periods",
        "train: scheduler: periods must be a list, but is 1000",
        "write a",
    ),
    (
        "num_block: 2",
        "num_block: ~",
        "num_block",
        "network_g: num_block is empty",
        "give it a whole number, or rem",
    ),
    (
        "num_gpu: auto",
        "num_gpu: all",
        "num_gpu",
        "num_gpu 'all' is unknown",
        "choose one of a whole number, auto",
    ),
    (
        "per_gpu: 8",
        "per_gpu: 0",
        "batch_size_per_gpu",
        "batch_size_per_gpu is 0",
        "write at least 1",
    ),
    (
        "  total_iter: 1000\n",
        "",
        "train:",
        "train: total_iter is missing",
        "add it; it is a number",
    ),
    (
        "  upscale: 2\n",
        "",
        "network_g:",
        "network_g: upscale is missing",
        "add it; it is a whole number",
    ),
    (
        "scale: 2\n",
        "",
        "# The demo",
        "scale is missing",
        "datasets: train needs it to pair its images",
    ),
    (
        "M2TransModel",
        "M2TranModel",
        "model_type",
        "model_type 'M2TranModel' is unknown",
        "did you mean M2TransModel",
    ),
    (
        "M2TransModel",
        "Restormer",
        "model_type",
        "model_type 'Restormer' is unknown",
        "choose one of EDVRModel, ESRGAN",
    ),
    (
        "type: M2Trans\n",
        "type: EDRS\n",
        "  type: EDRS",
        "network_g: type 'EDRS' is unknown",
        "did you mean ED",
    ),
    (
        "type: Adam",
        "type: AdamW",
        "AdamW",
        "train: optim_g: type 'AdamW' is unknown",
        "choose one of Adam",
    ),
    (
        "type: Quality",
        "type: Qualty",
        "Qualty",
        "encoder: type 'QualtyCLIPEncoder' is unknown",
        "QualityCLIPEncoder",
    ),
    (
        "reduction: mean",
        "reduction: avg",
        "avg",
        "pixel_opt: reduction 'avg' is unknown",
        "mean, none, sum",
    ),
    (
        "type: lmdb",
        "type: ldmb",
        "ldmb",
        "io_backend: type 'ldmb' is unknown",
        "did you mean lmdb?",
    ),
    (
        "upscale: 2",
        "upscale: 4",
        "upscale: 4",
        "network_g: upscale is 4, but scale is 2",
        "write the same in both",
    ),
    (
        "X2.lmdb",
        "X4.lmdb",
        "X4",
        "dataroot_lq names images of scale 4, but scale is 2",
        "name the images of the",
    ),
    (
        "gt_size: 64",
        "gt_size: 63",
        "gt_size",
        "gt_size is 63, not a multiple of scale 2",
        "write 62, say",
    ),
    (
        "total_iter: 1000",
        "total_iter: 2000",
        "total",
        "2000 goes beyond scheduler: periods [1000]",
        "make their sum",
    ),
    (
        "weights: [1]",
        "weights: [1, 1]",
        "periods",
        "periods has 1 entries, but restart_weights has 2",
        "write one",
    ),
    (
        "_state: ~",
        "_state: ~\n  out: x",
        "out: x",
        "path: out is not a key; BasicSR would make a folder",
        "remove it",
    ),
    (
        "project: ~",
        "project: us",
        "use_tb",
        "use_tb_logger is not true, but wandb: project needs",
        "write true, or",
    ),
    (
        "prefetch_mode: ~",
        "prefetch_mode: cuda",
        "cuda",
        "prefetch_mode is cuda, which needs pinned",
        "pin_memory: true",
    ),
    (
        "  val:\n",
        "  vla:\n",
        "  vla:",
        "datasets: vla is not the name of a data set for a train run",
        "rename it to val",
    ),
    (
        "name: demo_M2Trans_x2",
        "name: a/b",
        "name:",
        "name is 'a/b'",
        "write one word without slashes",
    ),
    (
        "ema_decay: 0.99",
        "accumulate: 3",
        "accumulate",
        "a batch of 8 does not divide into",
        "batch_size_per_gpu",
    ),
    (
        "print_freq",
        "keep_best: lpips\n  print_freq",
        "keep_",
        "keep_best is 'lpips'",
        "one of val: metrics: psnr",
    ),
    (
        "print_freq",
        "keep_last: all\n  print_freq",
        "keep_",
        "keep_last must be a whole number or ~",
        "write a whole",
    ),
    (
        "ema_decay: 0.99",
        "tf32: maybe",
        "tf32",
        "tf32 must be true or false or ~, but is 'maybe'",
        "true or false or ~",
    ),
    ("ema_decay: 0.99", "amp: fp16", "amp", "train: amp is 'fp16'", "write bf16, or ~ for float32"),
    (
        "    captions:",
        "    # ",
        "semantic_opt",
        "train: semantic_opt needs captions",
        "add captions or default",
    ),
    (
        "warmup_iter: -1",
        "total_iter: 5",
        "total_iter: 5",
        "total_iter is there already at",
        "remove one of them",
    ),
    (
        "encoder:\n      type: QualityCLIPEncoder",
        "encoder: MedCLIPEncoder",
        "encoder:",
        "semantic_opt: encoder: checkpoint is missing",
        "write {type: MedCLIPEncoder, checkpoint: VALUE} in place of",
    ),
    (
        "num_patches: 3",
        "num_patches: 0",
        "num_patches",
        "semantic_opt: num_patches is 0",
        "write at least 1",
    ),
    ("ema_decay: 0.99", "ema_decay: 2", "ema_decay", "train: ema_decay is 2", "write at most 1"),
    (
        "print_freq: 50",
        "print_freq: 1.5",
        "print",
        "print_freq must be a whole number, but is 1.5",
        "without fraction",
    ),
    (
        "seed: 0",
        "seed: 5000000000",
        "seed",
        "manual_seed is 5000000000",
        "write at most 4294901760",
    ),
    (
        "  print_freq",
        "  yes: 1\n  print_freq",
        "  yes",
        "logger: True is not text, as the name",
        "put it in quotes",
    ),
    (
        "wavelet: haar",
        "wavelet: foo",
        "network_g",
        "network_g cannot be used: M2Trans says: unknown wavelet",
        "change",
    ),
    (
        "[0.9, 0.999]",
        "[0.9]",
        "optim_g",
        "train: optim_g cannot be used: Adam says: IndexError",
        "change that value",
    ),
    (
        "periods: [1000]\n    restart_weights: [1]",
        "periods: []\n    restart_weights: []",
        "scheduler",
        "train: scheduler cannot be used: CosineAnnealingRestartLR says: TypeError",
        "change that value",
    ),
    *(
        (
            "use_rot",
            f"degradation: {{{value}}}\n    use_rot",
            "degradation",
            f"train: degradation: {text}",
            remedy,
        )
        for value, text, remedy in (
            ("gian: [1, 2]", "gian is not a key", "gain?"),
            ("gain: [0, 1]", "gain is [0, 1]", "write a list of two numbers from 0.001 to 1000"),
            ("blur_sigma: [1]", "blur_sigma is [1]", "write a list of two numbers from 0 to 100"),
            ("noise_sigma: 0.1", "noise_sigma must be a list", "write a list"),
            (
                "jpeg_quality: [90, 50]",
                "jpeg_quality is [90, 50]",
                "whole numbers from 1 to 100, the smaller one",
            ),
            ("probability: 2", "probability is 2", "write a number from 0 to 1"),
        )
    ),
    (
        "M2TransModel",
        "SRModel",
        "semantic_opt",
        "train: semantic_opt has no effect on SRModel",
        "M2TransModel",
    ),
    (
        "ema_decay: 0.99",
        "perceptual_opt: {type: PerceptualLoss, layer_weights: {conv5_4: 1}}",
        "perceptual_opt",
        "train: perceptual_opt has no effect on M2TransModel",
        "remove it, or use SRModel",
    ),
]


def report_of(path, **arguments):
    return options.check_file(path, **arguments) or ""


@pytest.mark.parametrize(
    ("old", "new", "line", "text", "remedy"), BROKEN, ids=[case[3] for case in BROKEN]
)
def test_a_broken_file_gets_its_message(old, new, line, text, remedy, tmp_path):
    assert old in DEMO
    path = tmp_path / "broken.yml"
    path.write_text(DEMO.replace(old, new, 1))
    header, statement, mended = report_of(path, files=False).splitlines()
    assert header == f"option file {path} has 1 problem"
    place, _, rest = statement.strip().partition(": ")
    assert text in rest
    file, _, number = place.rpartition(":")
    assert file == str(path)
    assert line in path.read_text().splitlines()[int(number) - 1]
    assert mended.startswith("    -> ")
    assert remedy in mended


@pytest.mark.parametrize(
    ("network", "text", "remedy"),
    [
        (
            "{type: M2Trans}",
            "type 'M2Trans' cannot be used here",
            "write global_skip: true among its own options",
        ),
        ("{type: ESRT}", "type 'ESRT' cannot be used here", "it adds up several outputs"),
        ("{type: VGG}", "type 'VGG' is unknown", "choose one of EDSR, ELAN, HAT, Pad"),
        (
            "{type: ELAN, num_out_ch: 1}",
            "cannot be used: GlobalSkip says: network: ELAN makes 1 channels of 3",
            "change that value",
        ),
    ],
)
def test_what_the_global_skip_cannot_wrap_is_named_before_training(network, text, remedy, tmp_path):
    path = tmp_path / "broken.yml"
    opt = yaml.safe_load(DEMO)
    opt["network_g"] = {"type": "GlobalSkip", "upscale": 2, "network": yaml.safe_load(network)}
    path.write_text(yaml.safe_dump(opt))
    header, statement, mended = report_of(path, files=False).splitlines()
    assert header == f"option file {path} has 1 problem"
    assert text in statement
    assert remedy in mended


def test_swinir_is_refused_before_it_meets_an_image_that_is_no_multiple_of_its_window(tmp_path):
    network = {"type": "SwinIR", "upscale": 2, "window_size": 8}
    opt = yaml.safe_load(DEMO) | {"network_g": network}
    path = tmp_path / "swinir.yml"
    path.write_text(yaml.safe_dump(opt))
    assert "network_g: type is SwinIR, which takes nothing but multiples" in report_of(
        path, files=False
    )
    opt["network_g"]["type"] = "PaddedSwinIR"
    path.write_text(yaml.safe_dump(opt))
    assert options.check_file(path, files=False) is None


def test_the_best_network_needs_images_to_be_found(tmp_path):
    before, _, after = DEMO.replace("  print_freq", "  keep_best: true\n  print_freq").partition(
        "  val:\n    name"
    )
    path = tmp_path / "broken.yml"
    path.write_text(before + after[after.index("network_g:") :])
    assert "logger: keep_best needs images to compare networks on" in report_of(path, files=False)


def test_all_problems_are_told_at_once_in_the_order_of_the_file(tmp_path):
    path = tmp_path / "broken.yml"
    path.write_text(
        DEMO.replace("\nscale: 2", "\nscale: 3")
        .replace("lr: !!float", "lr:")
        .replace("val:\n  val", "vl:\n  val")
    )
    lines = report_of(path, files=False).splitlines()
    assert lines[0] == f"option file {path} has 6 problems"
    statements = [line.split(": ", 1)[1] for line in lines[1:] if not line.startswith("    ->")]
    assert [statement.partition(" is ")[0].partition(" names ")[0] for statement in statements] == [
        "datasets: train: dataroot_lq",
        "datasets: train: gt_size",
        "datasets: val: dataroot_lq",
        "network_g: upscale",
        "train: optim_g: lr",
        "vl",
    ]


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("  suffix: ~\n", "", "val: suffix is missing"),
        ("  save_img: true\n", "", "val: save_img is missing"),
        ("  test_1:", "  sample:", "datasets: sample is not the name of a data set for a test run"),
        ("param_key_g", "param_key", "path: param_key is not a key"),
    ],
)
def test_a_broken_test_file_gets_its_message(old, new, text, tmp_path):
    path = tmp_path / "broken.yml"
    path.write_text(DEMO_TEST.replace(old, new, 1))
    (statement,) = [
        line for line in report_of(path, files=False).splitlines() if "broken.yml:" in line
    ]
    assert text in statement


@pytest.mark.parametrize("file", FILES)
def test_every_option_file_of_the_repository_is_right(file):
    assert options.check_file(ROOT / file, files=False) is None


def test_files_of_other_models_of_basicsr_may_have_keys_of_their_own(tmp_path):
    opt = yaml.safe_load(DEMO)
    opt |= {
        "model_type": "ESRGANModel",
        "network_d": {"type": "VGGStyleDiscriminator", "num_in_ch": 3, "num_feat": 64},
    }
    opt["train"] |= {
        "optim_d": {"type": "Adam", "lr": 1e-4},
        "net_d_iters": 1,
        "gan_opt": {"type": "GANLoss"},
    }
    opt["path"]["pretrain_network_d"] = None
    path = tmp_path / "other.yml"
    path.write_text(yaml.safe_dump(opt))
    assert options.check_file(path, files=False) is None
    path.write_text(
        yaml.safe_dump(opt | {"path": {"cache": "/tmp/x", "ignore_resume_networks": "network_d"}})
    )
    assert "has 1 problem" in report_of(path, files=False)
    assert "path: cache is not a key; BasicSR would make a folder of its value" in report_of(
        path, files=False
    )
    path.write_text(yaml.safe_dump(opt | {"scale": "two"}))
    assert "scale must be a whole number, but is 'two'" in report_of(path, files=False)


def test_the_command_checks_several_files(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("right.yml").write_text(DEMO)
    Path("wrong.yml").write_text(DEMO.replace("num_feat:", "num_fet:"))
    Path("torn.yml").write_text("name: [1")
    assert main(["check", "--no-files", "right.yml"]) == 0
    assert capsys.readouterr().out == "option file right.yml is right\n"
    assert main(["check", "--no-files", "right.yml", "wrong.yml", "torn.yml", "absent.yml"]) == 2
    out = capsys.readouterr().out
    for part in (
        "right.yml is right",
        "wrong.yml:45: network_g: num_fet",
        "torn.yml is not valid",
        "absent.yml cannot",
    ):
        assert part in out
    assert main(["check", "right.yml"]) == 2  # the demo's images are not here
    assert "right.yml:16: datasets: train: dataroot_gt names the folder" in capsys.readouterr().out
    assert main(["check"]) == 2


def test_the_launcher_refuses_a_misspelt_key_before_it_makes_any_folder(
    stored, tmp_path, monkeypatch, capsys
):
    path = stored([(64, 64)] * 2)
    path.write_text(path.read_text().replace("num_block:", "num_blok:"))
    before = sorted(tmp_path.rglob("*"))
    arguments = [
        "train.py",
        "-opt",
        str(path),
        "--force_yml",
        "train:amp=fp16",
        "train:ema_decay=1e-1",
        "nothing",
    ]
    monkeypatch.setattr("sys.argv", arguments)
    assert launch.main("train", str(tmp_path)) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"train: option file {path} has 4 problems\n")
    assert f"\n  {path}:46: network_g: num_blok is not a key of M2Trans" in error
    assert "\n  --force_yml train:amp=fp16: train: amp is 'fp16'" in error
    assert "\n  --force_yml train:ema_decay=1e-1: train: ema_decay is the text '1e-1'" in error
    assert "\n  --force_yml nothing: is not an option" in error
    assert sorted(tmp_path.rglob("*")) == before


def paths_of(opt, path=()):
    """The path of every key."""
    for key, value in opt.items():
        yield (*path, key)
        if isinstance(value, dict):
            yield from paths_of(value, (*path, key))


@pytest.mark.slow
@pytest.mark.parametrize("model_type", ["M2TransModel", "ESRGANModel"])
def test_no_value_stops_the_checks(model_type, tmp_path, monkeypatch):
    """Whatever stands in the place of one key, the others are checked too and the report tells the
    misspelt one.
    """
    monkeypatch.chdir(tmp_path)
    opt = yaml.safe_load(DEMO) | {"model_type": model_type}
    opt["logger"]["misspelt"] = 1
    for *parents, last in paths_of(opt):
        section = opt
        for parent in parents:
            section = section[parent]
        kept = section[last]
        for value in (
            None,
            "x",
            5,
            -1.5,
            True,
            [],
            ["a"],
            {},
            {1: "x"},
            {"type": "x"},
            {"type": ["x"]},
        ):
            section[last] = value
            problems = options.find_problems(OptionFile(Path("x.yml"), opt), "train", files=True)
            assert last == "logger" or any("misspelt" in str(problem) for problem in problems)
        section[last] = kept
