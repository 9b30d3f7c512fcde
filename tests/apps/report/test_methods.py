from pathlib import Path

import pytest
import yaml

from basicsr_m2trans.apps.report.methods import (
    base_files,
    network_options,
    network_section,
    option_file,
    run_options,
    write_options,
)
from basicsr_m2trans.apps.report.plan import read_plan
from basicsr_m2trans.apps.report.settings import Method, Run, Settings
from basicsr_m2trans.utils.errors import InputError
from basicsr_m2trans.utils.yaml_file import Changes

METHODS = ("Bicubic", "EDSR", "M2Trans")


def base_opt(method, scale, options, data, overrides=(), others=()):
    methods = {each.name: each for each in (*map(Method, others), method)}
    settings = Settings(data, methods, (scale,), None, {}, method.name, overrides, options=options)
    (file,) = base_files(settings, [Run(method.name, scale, 0)]).values()
    return file.opt


def base(method, options, data, *overrides):
    return base_opt(Method(method), 2, options, data, overrides, METHODS)


def test_option_files_are_found_by_name(options):
    assert option_file("M2Trans", 2, options) == options / "train_M2Trans_x2.yml"
    assert option_file("EDSR", 2, options) == options / "baselines/train_EDSR_x2.yml"
    with pytest.raises(
        InputError, match=r"'EDRS' has no option file .*choose from bicubic, EDSR, M2Trans, or"
    ):
        option_file("EDRS", 2, options)
    with pytest.raises(
        InputError,
        match=r"--options .*elsewhere: there is no such folder; run this in the project's",
    ):
        option_file("EDSR", 2, options / "elsewhere")


def test_an_option_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "broken.yml").write_text("network_g: [")
    for name, reason in (("broken.yml", "is not valid YAML; "), ("gone.yml", "cannot be read: ")):
        with pytest.raises(InputError, match=rf"option file .*{name} {reason}"):
            network_section(tmp_path / name)


def test_networks_of_methods(options):
    assert network_options("Bicubic", 3, options) == {"type": "Bicubic", "upscale": 3}
    assert network_options("EDSR", 2, options)["num_feat"] == 8


def test_only_data_budget_and_seed_change(options, data):
    opt = run_options(base("EDSR", options, data), Run("EDSR", 2, 7), 2000, 10)
    file = yaml.safe_load((options / "baselines/train_EDSR_x2.yml").read_text())
    assert opt["manual_seed"] == 7
    assert opt["name"] == "EDSR_x2_seed7"
    assert opt["train"] == file["train"] | {
        "total_iter": 2000,
        "scheduler": {"type": "MultiStepLR", "milestones": [1000, 1600], "gamma": 0.5},
    }
    assert opt["network_g"] == file["network_g"]
    assert (
        opt["logger"]["print_freq"],
        opt["logger"]["save_checkpoint_freq"],
        opt["val"]["val_freq"],
    ) == (
        20,
        100,
        200,
    )
    kept = ("gt_size", "use_hflip", "use_rot", "batch_size_per_gpu", "dataset_enlarge_ratio")
    assert all(opt["datasets"]["train"][key] == file["datasets"]["train"][key] for key in kept)
    assert opt["datasets"]["train"]["dataroot_gt"] == str(data / "train/HR.lmdb")
    assert opt["datasets"]["train"]["captions"] == str(data / "train/captions.csv")
    assert opt["datasets"]["val"]["dataroot_lq"] == str(data / "val/LR_bicubic_X2.lmdb")


@pytest.mark.parametrize(
    ("iterations", "validations"), [(7, 3), (99, 10), (350, 7), (1234, 10), (50_000, 4)]
)
def test_validations_fall_on_logged_iterations(options, data, iterations, validations):
    opt = run_options(base("M2Trans", options, data), Run("M2Trans", 2, 0), iterations, validations)
    assert opt["val"]["val_freq"] % opt["logger"]["print_freq"] == 0
    assert opt["train"]["scheduler"]["periods"] == [iterations]
    assert validations - 1 <= iterations // opt["val"]["val_freq"] <= 2 * validations


def test_the_schedule_keeps_its_proportions(options, data):
    three = ("train:scheduler:periods=[300,300,400]", "train:scheduler:restart_weights=[1,1,1]")
    opt = base("M2Trans", options, data, *three, "train:warmup_iter=100")
    train = run_options(opt, Run("M2Trans", 2, 0), 55, 0)["train"]
    assert train["scheduler"]["periods"] == [16, 17, 22]
    assert train["warmup_iter"] == 6


def test_no_validation(options, data):
    opt = run_options(base("M2Trans", options, data), Run("M2Trans", 2, 0), 10, 0)
    assert "val" not in opt
    assert list(opt["datasets"]) == ["train"]


def test_overrides_for_all_and_for_one(options, data):
    overrides = (
        "datasets:train:gt_size=24",
        "EDSR.train:optim_g:lr=0.5",
        "network_g:img_range=2",
        "train:amp=bf16",
    )
    edsr, m2trans = (base(method, options, data, *overrides) for method in ("EDSR", "M2Trans"))
    assert [opt["datasets"]["train"]["gt_size"] for opt in (edsr, m2trans)] == [24, 24]
    assert [opt["train"]["optim_g"]["lr"] for opt in (edsr, m2trans)] == [0.5, 0.002]
    assert m2trans["train"]["amp"] == "bf16"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("iterations=9", "iterations is a key of plans, and --set changes option files"),
        ("train:total_iter=5", "sets train:total_iter by itself; see --iters or --time-budget"),
        ("datasets:train:dataroot_gt=x", "see --data"),
        ("HAT.train:ema_decay=0.5", "'HAT' is not among --methods"),
        (
            "train:semantic_opt:num_patches=1",
            "the options of M2Trans have no section train:semantic_opt",
        ),
        ("train", "write it as key:key=value"),
        ("train:optim_g:lr=1e-4", "write !!float 1e-4"),
        ("network_g:upscale=3", "network_g: upscale is 3, but scale is 2"),
        ("val:metrics={", "not valid YAML"),
        ("train:optim_g:lr=!!float often", "not valid YAML"),
    ],
)
def test_overrides_that_cannot_be(entry, message, options, data):
    with pytest.raises(InputError) as error:
        base("M2Trans", options, data, entry)
    assert message in str(error.value)


def test_an_override_that_cannot_be_hides_no_other_mistake(options, data):
    with pytest.raises(InputError) as error:
        base("M2Trans", options, data, "nothing", "train:ema_decy=1", "HAT.scale=2")
    lines = str(error.value).splitlines()
    assert lines[0] == "method M2Trans_x2 has 3 problems"
    places = [line.strip().partition(": ")[0] for line in lines[1:] if "    -> " not in line]
    assert places == ["--set nothing", "--set HAT.scale=2", "--set train:ema_decy=1"]


def test_who_takes_all_metrics_away_is_told(options, data):
    path = options / "train_M2Trans_x2.yml"
    opt = yaml.safe_load(path.read_text())
    opt["logger"]["keep_best"] = True
    path.write_text(yaml.safe_dump(opt))
    metrics = dict.fromkeys(opt["val"]["metrics"])
    changes = Changes({"val": {"metrics": metrics}}, {(): "plan.yml:7"})
    with pytest.raises(InputError, match=r"plan\.yml:7: logger: keep_best needs metrics"):
        base_opt(Method("M2Trans", changes={2: (changes,)}), 2, options, data)
    overrides = [f"val:metrics:{name}=~" for name in metrics]
    with pytest.raises(InputError, match=r"--set val:metrics:\w+=~: logger: keep_best needs"):
        base("M2Trans", options, data, *overrides)


def test_what_an_option_file_lacks_is_named(options, data):
    path = options / "train_M2Trans_x2.yml"
    opt = yaml.safe_load(path.read_text())
    del opt["val"], opt["train"]["scheduler"]
    path.write_text(yaml.safe_dump(opt))
    with pytest.raises(
        InputError,
        match=r"2 problems(.|\n)*: val is missing\n(.|\n)*: train: scheduler is missing\n",
    ):
        base("M2Trans", options, data)


def test_the_semantic_loss_needs_captions(options, data, tmp_path):
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        for store in ("HR.lmdb", "LR_bicubic_X2.lmdb"):
            (tmp_path / split / store).symlink_to(data / split / store)
    semantic = "train:semantic_opt={type: ImageTextSemanticLoss, encoder: SeededCLIPEncoder}"
    with pytest.raises(
        InputError, match="semantic_opt needs captions, which datasets: train does not give"
    ):
        base("M2Trans", options, tmp_path, semantic)
    opt = base("M2Trans", options, tmp_path, semantic, "datasets:train:default_caption=liver")
    assert opt["datasets"]["train"]["default_caption"] == "liver"


def test_methods_may_have_dots_in_their_names(options, data):
    (options / "ablations").mkdir()
    text = (options / "train_M2Trans_x2.yml").read_text()
    (options / "ablations/train_M2Trans_beta_0.1_x2.yml").write_text(text)
    overrides = ["M2Trans_beta_0.1.train:ema_decay=0.5"]
    methods = ("M2Trans", "M2Trans_beta_0.1")
    changed, other = (
        base_opt(Method(method), 2, options, data, overrides, methods) for method in methods[::-1]
    )
    assert changed["train"]["ema_decay"] == 0.5
    assert "ema_decay" not in other["train"]


def test_paths_become_absolute(options, data, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    opt = base("M2Trans", options, data, "path:pretrain_network_g=a/b.pth")
    assert opt["path"]["pretrain_network_g"] == str(tmp_path / "a/b.pth")


def test_a_path_that_is_no_text_is_left_to_the_checks(options, data):
    loss = {"type": "ImageTextSemanticLoss", "encoder": {"type": "MedCLIPEncoder", "checkpoint": 3}}
    method = Method(
        "M2Trans", changes={2: (Changes({"train": {"semantic_opt": loss}}, {(): "plan.yml:7"}),)}
    )
    with pytest.raises(
        InputError, match=r"plan\.yml:7: .*encoder: checkpoint must be text, but is 3"
    ):
        base_opt(method, 2, options, data)


def test_a_data_set_of_another_type_keeps_the_data_of_the_comparison(options, data):
    train = {
        "type": "PairedImageDataset",
        "gt_size": 32,
        "use_hflip": True,
        "use_rot": False,
        "color": "y",
    }
    train |= {"batch_size_per_gpu": 1, "num_worker_per_gpu": 0, "dataset_enlarge_ratio": 1}
    kept = base("M2Trans", options, data)["datasets"]["train"]
    method = Method("M2Trans", changes={2: (Changes({"datasets": {"train": train}}),)})
    data_keys = ("name", "dataroot_gt", "dataroot_lq", "io_backend")
    assert base_opt(method, 2, options, data)["datasets"]["train"] == train | {
        key: kept[key] for key in data_keys
    }


def test_written_options_read_back(options, data, tmp_path):
    opt = run_options(base("M2Trans", options, data), Run("M2Trans", 2, 0), 10, 2)
    write_options(tmp_path / "out/options/run.yml", opt)
    assert yaml.safe_load((tmp_path / "out/options/run.yml").read_text()) == opt


def test_a_warm_up_shrinks_with_the_training_but_does_not_vanish():
    settings = Method("M2Trans_open", base="M2Trans_open")
    opt = base_opt(settings, 4, Path("options"), Path("d"))
    assert run_options(opt, Run("M2Trans_open", 4, 0), 20_000, 0)["train"]["warmup_iter"] == 10
    assert run_options(opt, Run("M2Trans_open", 4, 0), 400, 0)["train"]["warmup_iter"] == 1


def test_the_plans_of_version_0_1_have_its_warm_up():
    """100 of 20,000 iterations, in whatever the option file counts today."""
    plan, _ = read_plan(Path("plans/open_networks_x2.yml"))
    opt = base_opt(plan.methods["M2Trans_open"], 2, plan.options, plan.data)
    assert run_options(opt, Run("M2Trans_open", 2, 0), 20_000, 0)["train"]["warmup_iter"] == 100
