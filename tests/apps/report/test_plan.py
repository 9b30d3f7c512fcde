"""What a plan and the command line say together, and the message for each mistake."""

import dataclasses
from pathlib import Path

import pytest

from basicsr_m2trans.apps.report.methods import base_files
from basicsr_m2trans.apps.report.plan import is_plan, read_plan
from basicsr_m2trans.apps.report.settings import plan_runs
from basicsr_m2trans.utils.errors import InputError

PLAN = """\
data: datasets/open
out: comparisons/search
scales: [2, 3]
seeds: [0]
iterations: {x2: 600, x3: 400}
methods:
  bicubic:
  EDSR:
    iterations: 560
    changes:
      network_g: {num_feat: 16}
  small:
    base: M2Trans
    seeds: [0, 1, 2]
    scale_changes:
      x3: {datasets: {train: {gt_size: 144}}}
changes:
  num_gpu: 0
"""


@pytest.fixture
def plan(tmp_path):
    """Writes a plan: the one above with pieces replaced."""

    def write(*replacements, text=PLAN):
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "plan.yml"
        path.write_text(text)
        return path

    return write


def refusal(path, *arguments, **named):
    with pytest.raises(InputError) as error:
        read_plan(path, *arguments, **named)
    return str(error.value)


def files_of(settings, **changes):
    settings = dataclasses.replace(settings, **changes)
    return base_files(settings, plan_runs(settings.methods.values(), settings.scales))


def test_methods_have_lengths_seeds_and_changes_of_their_own(plan):
    settings, out = read_plan(plan())
    assert out == Path("comparisons/search")
    assert (settings.data, settings.options, settings.validations) == (
        Path("datasets/open"),
        Path("options"),
        10,
    )
    assert settings.tests == {"val": Path("datasets/open/val")}
    assert list(settings.methods) == ["Bicubic", "EDSR", "small"]
    assert settings.reference == "small"  # the last one, since none is an M2Trans by its name
    edsr, small = settings.methods["EDSR"], settings.methods["small"]
    assert ([edsr.lengths[scale] for scale in (2, 3)], edsr.seeds, edsr.base) == (
        [560, 560],
        (0,),
        "EDSR",
    )
    assert ([small.lengths[scale] for scale in (2, 3)], small.seeds, small.base) == (
        [600, 400],
        (0, 1, 2),
        "M2Trans",
    )
    gpu = {"num_gpu": 0}
    assert [part.values for part in edsr.changes[3]] == [gpu, {"network_g": {"num_feat": 16}}]
    assert [part.values for part in small.changes[2]] == [gpu]
    assert [part.values for part in small.changes[3]] == [
        gpu,
        {"datasets": {"train": {"gt_size": 144}}},
    ]


def test_a_plan_says_the_same_as_the_command_line(plan, tmp_path):
    text = """
data: d
out: o
methods: [bicubic, EDSR, M2Trans]
scales: [2, 4]
seeds: [0, 7]
iterations: 1500
minutes: 5
validations: 0
tests: {val: a/b, other: c}
reference: EDSR
panels: [val/x]
options: elsewhere
"""
    given = {
        "data": ("d", "--data d"),
        "out": ("o", "--out o"),
        "methods": (["bicubic", "EDSR", "M2Trans"], "--methods bicubic,EDSR,M2Trans"),
        "scales": ([2, 4], "--scales 2,4"),
        "seeds": ([0, 7], "--seeds 0,7"),
        "iterations": (1500, "--iters 1500"),
        "minutes": (5.0, "--time-budget 5.0"),
        "validations": (0, "--validations 0"),
        "tests": ({"val": "a/b", "other": "c"}, "--test val,other"),
        "reference": ("EDSR", "--reference EDSR"),
        "panels": (["val/x"], "--panels val/x"),
        "options": ("elsewhere", "--options elsewhere"),
    }
    assert read_plan(plan(text=text)) == read_plan(None, given)
    empty = tmp_path / "part.yml"
    empty.write_text("validations: 3\ntests: {val: elsewhere}\n")
    assert read_plan(empty, given) == read_plan(None, given)


def test_changes_and_overrides_give_the_same_options(plan, options, data):
    text = f"""
data: {data}
out: o
scales: [2]
iterations: 5
options: {options}
methods:
  EDSR: {{changes: {{train: {{optim_g: {{lr: 0.5}}}}}}}}
  M2Trans:
changes:
  datasets: {{train: {{gt_size: 24}}}}
  train: {{amp: ~}}
"""
    settings, _ = read_plan(plan(text=text))
    overrides = ["datasets:train:gt_size=24", "train:amp=~", "EDSR.train:optim_g:lr=0.5"]
    given = {
        key: (value, key)
        for key, value in {"data": str(data), "out": "o", "options": str(options)}.items()
    }
    given |= {"methods": (["EDSR", "M2Trans"], ""), "scales": ([2], ""), "iterations": (5, "")}
    changed, _ = read_plan(None, given, overrides=overrides)
    bases = [
        {setting: file.opt for setting, file in files_of(each).items()}
        for each in (settings, changed)
    ]
    assert bases[0] == bases[1]
    rates = {setting: opt["train"]["optim_g"]["lr"] for setting, opt in bases[0].items()}
    assert rates == {"EDSR_x2": 0.5, "M2Trans_x2": 0.002}


def test_arguments_win_over_the_plan(plan):
    given = {
        "iterations": (50, "--iters 50"),
        "seeds": ([7], "--seeds 7"),
        "methods": (["small", "EDSR", "M2Trans"], "--methods small,EDSR,M2Trans"),
        "scales": ([4], "--scales 4"),
    }
    settings, _ = read_plan(plan(), given, {"EDSR": 60})
    assert settings.scales == (4,)
    assert {
        name: (method.base, method.lengths[4], method.seeds)
        for name, method in settings.methods.items()
    } == {
        "small": ("M2Trans", 50, (7,)),
        "EDSR": ("EDSR", 60, (7,)),
        "M2Trans": ("M2Trans", 50, (7,)),
    }
    assert settings.methods["EDSR"].changes[4][1].values == {"network_g": {"num_feat": 16}}
    assert settings.reference == "M2Trans"


@pytest.mark.parametrize(
    ("old", "new", "line", "problem", "remedy"),
    [
        (
            "scales:",
            "scale: [2]\nscales:",
            3,
            "scale is not a key; nothing reads it",
            "did you mean scales?",
        ),
        ("[2, 3]", "[2, 5]", 3, "scales entry 2 is 5", "choose from 2, 3 and 4"),
        ("[2, 3]", "2", 3, "scales must be a list, but is 2", "write a list"),
        ("seeds: [0]\n", "seeds: [-1]\n", 4, "seeds entry 1 is -1", "NumPy takes seeds from 0"),
        ("seeds: [0]\n", "seeds: []\n", 4, "seeds is empty", "name at least one"),
        ("x3: 400", "x3: 0", 5, "iterations: x3 is 0", "give a number above 0"),
        (
            "x3: 400",
            "3: 400",
            5,
            "iterations: 3 is not a key; nothing reads it",
            "did you mean x3?",
        ),
        (
            "x3: {",
            "3: {",
            16,
            "methods: small: scale_changes: 3 is not a key; nothing reads it",
            "did you mean x3?",
        ),
        (
            "x3: {",
            "5: {",
            16,
            "methods: small: scale_changes: 5 is not a key",
            "known here: x2, x3, x4",
        ),
        ("x3: 400", "x5: 400", 5, "iterations: x5 is not a key", "known here: x2, x3, x4"),
        ("560", "1e3", 9, "methods: EDSR: iterations is the text '1e3'", "write !!float 1e3"),
        ("16", "1e-4", 11, "changes: network_g: num_feat is the text '1e-4'", "write !!float 1e-4"),
        ("base:", "bass:", 13, "methods: small: bass is not a key", "did you mean base?"),
        (
            "small",
            "a/b",
            12,
            "methods: a/b is not the name of a method",
            "it becomes the name of files",
        ),
        (
            "bicubic:",
            "bicubic: {base: EDSR}",
            7,
            "methods: Bicubic: base has no effect",
            "is not trained",
        ),
        (
            "num_gpu: 0",
            "scale: 2",
            18,
            "changes: scale is set by the comparison itself",
            "scales decides",
        ),
        (
            "num_gpu: 0",
            "train: {total_iter: 5}",
            18,
            "changes: train: total_iter is set",
            "iterations or minutes dec",
        ),
        (
            "gt_size: 144",
            "dataroot_gt: x",
            16,
            "x3: datasets: train: dataroot_gt is set by",
            "remove it; data decides",
        ),
        (
            "seeds: [0]\n",
            "seeds: [0]\nreference: HAT\n",
            5,
            "reference 'HAT' is no method",
            "Bicubic,EDSR,small",
        ),
        (
            "seeds: [0]\n",
            "seeds: [0]\ntests: {a/b: c}\n",
            5,
            "tests: a/b is no name",
            "without slashes",
        ),
        ("seeds: [0]\n", "seeds: [0]\nminutes: 0\n", 5, "minutes is 0", "give a number above 0"),
        (
            "seeds: [0]\n",
            "seeds: [0]\nminutes: .nan\n",
            5,
            "minutes is nan",
            "give a finite number, or leave it out",
        ),
        (
            "seeds: [0]\n",
            "seeds: [0]\nminutes: .inf\n",
            5,
            "minutes is inf",
            "give a finite number, or leave it out",
        ),
        (
            "iterations: 560",
            "iterations: .nan",
            9,
            "EDSR: iterations is nan",
            "give a number above 0",
        ),
        (
            "iterations: 560",
            "iterations: .inf",
            9,
            "iterations must be a whole number, but is inf",
            "without fraction",
        ),
        ("seeds: [0]\n", "seeds: [0]\nvalidations: -1\n", 5, "validations is -1", "give 0 or more"),
        (
            "seeds: [0]\n",
            "seeds: [0]\nseeds: [1]\n",
            5,
            "seeds is there already at",
            "remove one of them",
        ),
        (
            "{x2: 600, x3: 400}",
            "{x2: 600, x3: 400, x4: 200}",
            5,
            "iterations: x4 is none of the comparison's scales",
            "remove it, or add 4 to scales",
        ),
        (
            "x3: {d",
            "x4: {d",
            16,
            "methods: small: scale_changes: x4 is none of the comparison's scales",
            "remove it, or add 4 to scales",
        ),
        (
            "iterations: 560",
            "scales: [2]\n    iterations: {x2: 5, x3: 5}",
            10,
            "methods: EDSR: iterations: x3 is none of the method's scales",
            "remove it, or add 3 to scales",
        ),
        (
            ", x3: 400",
            "",
            1,
            "gives neither iterations nor minutes for small x3",
            "add one of them",
        ),
        ("out: comparisons/search\n", "", 1, "out is missing", "add it to the plan, or give --out"),
    ],
)
def test_mistakes_are_named_with_their_line(old, new, line, problem, remedy, plan):
    path = plan((old, new))
    report = refusal(path)
    first, *lines = report.splitlines()
    assert first == f"plan {path} has 1 problem"
    place, arrow = lines
    assert place.startswith(f"  {path}:{line}: ")
    assert problem in place
    assert arrow.startswith("    -> ")
    assert remedy in arrow


def test_mistakes_of_arguments_are_in_the_same_report(plan):
    path = plan(("[2, 3]", "[2, 5]"))
    given = {"iterations": (0, "--iters 0")}
    assert refusal(path, given) == (
        f"plan {path} has 2 problems\n  {path}:3: scales entry 2 is 5\n    -> choose from 2, 3 and "
        "4\n  --iters 0: iterations is 0\n    -> give a number above 0"
    )
    report = refusal(plan(), {}, {"HAT": 5})
    report_of_text = refusal(plan(("bicubic:", "ELAN: M2Trans")), {}, {"ELAN": 5})
    assert (
        "plan.yml:7: methods: ELAN must be a section of keys and values, but is 'M2Trans'"
        in report_of_text
    )
    assert "--iters HAT=...: has no effect\n    -> the plan names no HAT that is trained" in report


def test_what_a_method_does_not_take_is_named_with_its_line(plan, options):
    path = plan(("num_feat: 16", "num_feats: 16"))
    settings, _ = read_plan(path, {"scales": ([2], "--scales 2")})
    with pytest.raises(InputError) as error:
        files_of(settings, options=options)
    assert f"  {path}:11: network_g: num_feats is not a key of EDSR" in str(error.value)
    settings, _ = read_plan(plan(("base: M2Trans", "base: M3Trans")))
    with pytest.raises(
        InputError, match=r"plan\.yml:13: method 'M3Trans' has no option file train_M3Trans_x2\.yml"
    ):
        files_of(settings, options=options)


def test_mistakes_of_all_methods_are_reported_at_once(plan):
    """Each once, with its line and the methods that have it."""
    path = plan(
        ("num_feat: 16", "num_feats: 16"),
        ("gt_size: 144", "gt_size: 100"),
        ("num_gpu: 0", "num_gpus: 0"),
        ("changes:\n  num", "  lost:\n    base: M3Trans\nchanges:\n  num"),
    )
    settings, _ = read_plan(path)
    with pytest.raises(InputError) as error:
        files_of(settings)
    unknown, *reports = str(error.value).splitlines()
    assert unknown.startswith(
        f"{path}:18: method 'M3Trans' has no option file train_M3Trans_x2.yml and "
        "train_M3Trans_x3.yml in options; did you mean"
    )
    assert unknown.endswith("or write those files")
    assert reports == [
        "methods EDSR_x2, EDSR_x3 have 1 problem",
        f"  {path}:11: network_g: num_feats is not a key of EDSR; nothing reads it",
        "    -> did you mean num_feat?",
        "methods EDSR_x2, small_x2, EDSR_x3, small_x3 have 1 problem",
        f"  {path}:20: num_gpus is not a key; nothing reads it",
        "    -> did you mean num_gpu?",
        "method small_x3 has 1 problem",
        f"  {path}:16: datasets: train: gt_size is 100, not a multiple of scale 3",
        "    -> write 99, say",
    ]


def test_methods_without_the_plans_reference_have_the_default_one(plan):
    path = plan(("seeds: [0]\n", "seeds: [0]\nreference: bicubic\n"))
    assert read_plan(path)[0].reference == "Bicubic"
    chosen = {"methods": (["EDSR", "small"], "--methods EDSR,small")}
    assert read_plan(path, chosen)[0].reference == "small"
    assert (
        read_plan(path, {"reference": ("EDSR", "--reference EDSR")} | chosen)[0].reference == "EDSR"
    )
    report = refusal(path, {"reference": ("bicubic", "--reference bicubic")} | chosen)
    assert "--reference bicubic: reference 'bicubic' is no method" in report
    # A name that the plan does not have either is a mistake.
    assert "reference 'HAT' is no method" in refusal(
        plan(("seeds: [0]\n", "seeds: [0]\nreference: HAT\n")), chosen
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (PLAN, True),
        (PLAN.replace("methods:", "methdos:"), True),
        ("data: d\nout: o\n", True),
        (
            "datasets: {train: {gt_size: 64}}\nmethods: [EDSR]\n",
            True,
        ),  # of the changes, in the wrong place
        ("model_type: M2TransModel\nnetwork_g: {type: M2Trans}\noptions: x\n", False),
        ("nmae: x\n", False),
    ],
)
def test_plans_are_told_from_option_files(text, expected, plan):
    assert is_plan(plan(text=text)) is expected


def test_option_files_are_no_plans(options):
    assert not is_plan(options / "train_M2Trans_x2.yml")


def test_a_plan_that_cannot_be_read_is_called_one(tmp_path):
    assert refusal(tmp_path / "lost.yml").startswith(
        f"plan {tmp_path / 'lost.yml'} cannot be read: No such file"
    )
    (tmp_path / "empty.yml").write_text("")
    assert "empty.yml holds no options; start from one of the files in plans/" in refusal(
        tmp_path / "empty.yml"
    )


def test_arguments_and_later_changes_win(plan):
    """One key in all four places: for all, for all at a scale, the method's, the method's at the
    scale; then --set.
    """
    text = """
data: d
out: o
scales: [2]
iterations: 10
changes: {network_g: {num_feat: 16, num_block: 16, res_scale: 0.5}}
scale_changes: {x2: {network_g: {num_feat: 24, num_block: 24}}}
methods:
  EDSR:
    changes: {network_g: {num_feat: 32, num_block: 32, res_scale: 0.25}}
    scale_changes: {x2: {network_g: {num_feat: 40}}}
"""
    settings, _ = read_plan(plan(text=text))
    network = files_of(settings)["EDSR_x2"].opt["network_g"]
    assert (network["num_feat"], network["num_block"], network["res_scale"]) == (40, 32, 0.25)
    (file,) = files_of(settings, overrides=("network_g:num_feat=48",)).values()
    assert file.opt["network_g"]["num_feat"] == 48


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ("network_g: {num_block: 0}", "M2Trans says: num_block must be at least 1"),
        ("network_g: {upscale: 3}", "network_g: upscale is 3, but scale is 2"),
        ("path: {pretrain_network_g: 3}", "path: pretrain_network_g must be text"),
    ],
)
def test_what_a_network_refuses_is_found_at_the_plan_and_not_at_the_option_file(
    plan, changes, message
):
    methods = f"methods:\n  M2Trans:\n    changes:\n      {changes}\n"
    path = plan(text=f"data: d\nout: o\nscales: [2]\niterations: 9\n{methods}")
    settings, _ = read_plan(path)
    with pytest.raises(InputError) as error:
        files_of(settings)
    assert message in str(error.value)
    assert f"{path}:8: " in str(error.value)


def test_a_misspelt_method_names_those_of_the_plan(plan):
    settings, _ = read_plan(
        plan(), {"methods": (["smal"], "--methods smal"), "iterations": (9, "--iters 9")}
    )
    with pytest.raises(
        InputError, match=r"did you mean small\? choose from the plan's Bicubic, EDSR, small, or"
    ):
        files_of(settings)


def test_a_method_may_be_trained_at_some_of_the_scales(plan):
    one = plan(
        ("    iterations: 560\n", "    iterations: {x3: 560}\n    scales: [3]\n"),
        ("{x2: 600, x3: 400}", "{x2: 600}"),
    )
    assert "gives neither iterations nor minutes for small x3" in refusal(
        one
    )  # and none is missing for EDSR x2
    settings, _ = read_plan(plan(("    iterations: 560\n", "    scales: [3]\n")))
    runs = [
        run.name
        for run in plan_runs(settings.methods.values(), settings.scales)
        if run.method != "small"
    ]
    assert runs == ["Bicubic_x2", "Bicubic_x3", "EDSR_x3_seed0"]


@pytest.mark.parametrize("scales", ["[4]", "[]"])
def test_a_method_needs_a_scale_of_the_comparison(plan, scales):
    path = plan(("    iterations: 560\n", f"    iterations: 560\n    scales: {scales}\n"))
    assert (
        f"{path}:10: methods: EDSR: scales is none of the comparison's scales\n    -> name some of "
        "2, 3" in refusal(path)
    )


def test_metrics_that_are_not_there_cannot_be_left_out(plan, options, data):
    changes = ("  num_gpu: 0\n", "  val: {metrics: {psnrr: ~}}\n")
    settings, _ = read_plan(plan(changes, ("datasets/open", str(data))), {"scales": ([2], "")})
    with pytest.raises(
        InputError,
        match=r"psnrr is not a metric of the option file\n +-> choose from fsim, gmsd, psnr, ssim",
    ):
        files_of(settings, options=options, methods={"EDSR": settings.methods["EDSR"]})


def test_a_plan_may_leave_metrics_out(plan, options, data):
    changes = ("  num_gpu: 0\n", "  val: {metrics: {psnr: ~}}\n")
    settings, _ = read_plan(plan(changes, ("datasets/open", str(data))), {"scales": ([2], "")})
    files = files_of(settings, options=options, methods={"EDSR": settings.methods["EDSR"]})
    assert list(files["EDSR_x2"].opt["val"]["metrics"]) == ["fsim", "gmsd", "ssim"]
