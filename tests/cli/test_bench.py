"""The benchmarks run and their figures are consistent; nothing here depends on how long anything
takes.
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

import basicsr_m2trans
from basicsr_m2trans.apps.report.training_log import TrainingLog
from basicsr_m2trans.cli import main
from basicsr_m2trans.cli.bench import BENCHMARKS

FOLDER = Path(basicsr_m2trans.__file__).parents[1] / "benchmarks"
QUICK = ("--quick", "--repetitions", "3", "--threads", "1")
# They measure no speed, or that of whole trainings.
WITHOUT_DEVICE = ("gradient", "dim", "tiles", "soak")


def figures_of(name: str, folder: Path, *arguments: str) -> dict[tuple[str, str], dict]:
    """Run a benchmark on tiny sizes; its figures by case and name."""
    device = () if name in WITHOUT_DEVICE else ("--device", "cpu")
    assert (
        main(["bench", name, *device, *QUICK, "--json", str(folder / "figures.json"), *arguments])
        == 0
    )
    assert [path.name for path in folder.iterdir()] == ["figures.json"]
    return figures_in(folder / "figures.json", name)


def figures_in(file: Path, name: str) -> dict[tuple[str, str], dict]:
    """The figures of a JSON file by case and name."""
    content = json.loads(file.read_text())
    assert content["benchmark"] == name
    assert content["settings"] == {
        "device": "cpu",
        "threads": 1,
        "repetitions": 3,
        "budget": 20,
        "quick": True,
    }
    assert set(content["machine"]) == {"processor", "cores", "GPU"}
    assert content["versions"]["basicsr"] == "1.4.2"
    for figure in content["figures"]:
        for spread in (figure, figure.get("ratio", figure)):
            assert spread["min"] == min(spread["values"])
            assert spread["median"] == statistics.median(spread["values"])
            assert spread["max"] == max(spread["values"])
    return {(figure["case"], figure["name"]): figure for figure in content["figures"]}


def check_ratios(figures: dict, case: str, reference: str, name: str) -> None:
    """Seconds of the reference over those of the other path, repetition by repetition."""
    pairs = zip(figures[case, reference]["values"], figures[case, name]["values"], strict=True)
    assert figures[case, name]["ratio"]["values"] == [a / b for a, b in pairs]
    assert len(figures[case, name]["values"]) == 3
    assert "ratio" not in figures[case, reference]


def check_floors(figures: dict, case: str, name: str) -> None:
    """The share of the nearer limit."""
    figure = figures[case, name]
    floor = max(figure["by_bytes"], figure["by_operations"])
    assert floor > 0
    assert figure["reached"] == pytest.approx(floor / figure["median"])


@pytest.mark.slow
def test_forward_and_attention_with_rivals(tmp_path, capfd):
    """In one call, with one file for each."""
    assert (
        main(["bench", "forward", "attention", "--device", "cpu", *QUICK, "--json", str(tmp_path)])
        == 0
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["attention.json", "forward.json"]
    table = capfd.readouterr().out
    assert "measured rates: copy" in table
    figures = figures_in(tmp_path / "forward.json", "forward")
    names = ["literal", "fast", "fast, bfloat16", "literal, torch.compile", "M2Trans_open"]
    names += ["EDSR", "SwinIR", "ELAN", "HAT", "fast, all in bfloat16"]
    case = "forward x2, LR 32x32"
    assert list(figures) == [(case, name) for name in names]
    assert case in table
    check_ratios(figures, case, "literal", "fast, bfloat16")
    for name in names:
        check_floors(figures, case, name)
    figures = figures_in(tmp_path / "attention.json", "attention")
    names = [
        "literal",
        "explicit",
        "fused",
        "literal, bfloat16",
        "explicit, bfloat16",
        "fused, bfloat16",
    ]
    names += ["projected", "flex", "projected, bfloat16", "flex, bfloat16"]
    case = "forward, M2Trans, level 2, width 64, LR 32x32"
    assert [name for each, name in figures if each == case] == names
    # PyTorch has no backward of flex_attention on a CPU, which stops nothing else.
    failures = json.loads((tmp_path / "attention.json").read_text())["failures"]
    assert [entry["name"] for entry in failures] == ["flex", "flex, bfloat16"] * 3


@pytest.mark.slow
def test_train_and_cine_without_rivals(tmp_path):
    arguments = ("--device", "cpu", "--no-rivals", *QUICK, "--json", str(tmp_path))
    assert main(["bench", "train", "cine", *arguments]) == 0
    figures = figures_in(tmp_path / "train.json", "train")
    step, both = "training step x2, batch 2, LR 32x32", "training step x2, batch 2, HR 64"
    names = {both: ("literal, both losses", "fast, both losses", "fast, both losses, bfloat16")}
    names[step] = ("literal", "fast", "fast, bfloat16")
    assert list(figures) == [(case, name) for case in names for name in names[case]]
    check_ratios(figures, step, "literal", "fast")
    check_floors(figures, both, "fast, both losses")
    figures = figures_in(tmp_path / "cine.json", "cine")
    assert [name for _, name in figures] == ["literal, bfloat16", "fast, bfloat16"] * 2 + [
        "decoding",
        "encoding",
    ]
    assert all(figure["unit"] == "frames/s" and figure["min"] > 0 for figure in figures.values())
    figure = figures["x2, 64x48, batch 8, cpu", "fast, bfloat16"]
    limit = min(figure["by_bytes"], figure["by_operations"])
    assert figure["reached"] == pytest.approx(figure["median"] / limit)


@pytest.mark.slow
def test_options(tmp_path):
    figures = figures_of("options", tmp_path)
    case = "training step x2, batch 2, LR 32x32"
    names = [
        "plain",
        "amp: bf16",
        "channels_last: true",
        "checkpointing: true",
        "accumulate: 2",
        "grad_clip_norm: 1",
    ]
    assert list(figures) == [
        (part, name) for part in (case, f"peak memory, {case}") for name in names
    ]
    for name in names[1:]:
        check_ratios(figures, case, "plain", name)


@pytest.mark.slow
def test_operators(tmp_path):
    """What is shown and the rest add up to all."""
    figures = figures_of("operators", tmp_path)
    forward, step = "forward x2, LR 32x32", "training step x2, batch 1, LR 32x32"
    paths = [(forward, path) for path in ("literal", "fast", "fast, bfloat16")]
    for case, path in [*paths, (step, "literal"), (step, "fast")]:
        parts = {key: figure["values"] for key, figure in figures.items() if key[0] == case}
        parts = {
            name: values for (_, name), values in parts.items() if name.startswith(f"{path}: ")
        }
        total = parts.pop(f"{path}: all")
        assert len(parts) == 13
        assert [sum(values) for values in zip(*parts.values(), strict=True)] == pytest.approx(total)


@pytest.mark.slow
def test_memory(tmp_path):
    figures = figures_of("memory", tmp_path)
    case = "x4, LR 96x64, max_memory 1024 MiB"
    for quantity in ("peak", "time"):
        check_ratios(figures, case, f"{quantity}, whole image", f"{quantity}, strips")
    assert figures[case, "largest difference"]["max"] < 1e-5
    assert ("x4, LR 128x96, max_memory 2560 MiB", "peak, strips") in figures


def test_validate(tmp_path):
    figures = figures_of("validate", tmp_path)
    for metric in ("FSIM", "GMSD"):
        case = f"{metric}, 128x96"
        check_ratios(figures, case, "library", "here")
        assert figures[case, "difference of values"]["max"] < 1e-6


def test_gradient(tmp_path):
    figures = figures_of("gradient", tmp_path)
    case = "bicubic interpolation x4, 16 HR patches of 64"
    # Each of 3 * 64 * 64 values that differs gives +-1 / (3 * 64 * 64), and so the norm at most
    # this; black is equal.
    largest = (3 * 64 * 64) ** -0.5
    fidelity = figures[case, "L1: norm of the gradient"]["values"]
    assert all(0.5 * largest < value <= 1.001 * largest for value in fidelity)
    for encoder in ("SeededCLIPEncoder", "QualityCLIPEncoder"):
        norms = figures[case, f"{encoder}: norm of the gradient"]["values"]
        beta = figures[case, f"{encoder}: beta for equal norms"]["values"]
        assert beta == pytest.approx([a / b for a, b in zip(fidelity, norms, strict=True)])
        assert all(
            -1 < value < 1 for value in figures[case, f"{encoder}: cosine with SR - HR"]["values"]
        )


def test_dim(tmp_path):
    figures = figures_of("dim", tmp_path)
    case = "m2trans-x4 x4 minus bicubic interpolation, 17 phantoms"
    for contrast in (1, 0.5, 0.3, 0.25, 0.1, 0.0625, 0.03):
        values = figures[case, f"c = {contrast}"]["values"]
        assert len(values) == 17
        assert figures[case, f"c = {contrast}, mean"]["values"] == [pytest.approx(sum(values) / 17)]
    # Better than bicubic interpolation at full contrast; dim phantoms leave its InstanceNorm
    # behind.
    assert figures[case, "c = 1"]["min"] > 0 > figures[case, "c = 0.03"]["max"]


def test_plan(tmp_path):
    network = "{num_feat: 8, num_block: 1, num_res_block: 1}"
    large = "datasets: {train: {batch_size_per_gpu: 1000000000000}}"
    (tmp_path / "plan.yml").write_text(
        "data: nowhere\nout: nowhere\nscales: [2]\niterations: 1\nmethods:\n"
        f"  M2Trans_open: {{changes: {{network_g: {network}}}}}\n"
        "  EDSR_open: {changes: {network_g: {network: {num_feat: 8, num_block: 1}}}}\n"
        # So many patches fit into no memory.
        f"  does_not_fit: {{base: M2Trans_open, changes: {{network_g: {network}, {large}}}}}\n"
    )
    (tmp_path / "out").mkdir()
    figures = figures_of("plan", tmp_path / "out", "--plan", str(tmp_path / "plan.yml"))
    names = ("M2Trans_open_x2", "EDSR_open_x2")
    expected = [("training step x2", name) for name in names]
    assert list(figures) == expected + [
        ("forward x2", name) for name in (*names, "does_not_fit_x2")
    ]
    for case in ("training step x2", "forward x2"):
        # Each is timed in turn with the first.
        assert "ratio" not in figures[case, names[0]]
        assert len(figures[case, names[1]]["ratio"]["values"]) == 3
    failures = json.loads((tmp_path / "out/figures.json").read_text())["failures"]
    assert [(each["case"], each["name"]) for each in failures] == [
        ("training step x2", "does_not_fit_x2")
    ]


@pytest.mark.parametrize(
    ("name", "option"),
    [("plan", "--plan"), ("dim", "--model"), ("tiles", "--model"), ("gradient", "--data")],
)
def test_files_that_cannot_be_used_are_named_in_one_line(name, option, capfd):
    assert main(["bench", name, "--quick", option, "nope"]) == 2
    error = capfd.readouterr().err
    assert error.startswith("m2trans bench: ")
    assert "nope" in error
    assert "Traceback" not in error


def test_tiles(tmp_path):
    figures = figures_of("tiles", tmp_path)
    case = "m2trans-x4 x4, tiles of 16 pixels, 4 images of phantoms"
    mean, largest = (figures[case, f"margin 16: {name} difference"] for name in ("mean", "largest"))
    assert all(0 < a < b for a, b in zip(mean["values"], largest["values"], strict=True))


@pytest.mark.slow
def test_loader(tmp_path):
    figures = figures_of("loader", tmp_path)
    pairs, step, supply = dict.fromkeys(case for case, _ in figures)
    png, raw = figures[pairs, "PNG LMDB"], figures[pairs, "raw LMDB"]
    rates = zip(raw["values"], png["values"], strict=True)
    assert raw["ratio"]["values"] == pytest.approx([a / b for a, b in rates])
    assert (step, "prefetch_mode: cpu") in figures
    consumed = figures[step, "patches on the device"]["median"]
    assert (
        figures[supply, "networks that one process feeds from raw LMDB"]["median"]
        == raw["median"] / consumed
    )


@pytest.mark.slow
def test_semantic(tmp_path):
    figures = figures_of("semantic", tmp_path)
    step = "training step x2, batch 2, HR 64"
    loss = "loss, forward and backward, batch 2, HR 64, K = 3"
    for encoder in ("SeededCLIP", "QualityCLIP", "MedCLIP", "OpenCLIP"):
        check_ratios(figures, step, "L1", f"L1 and semantic loss, {encoder}")
        share = figures[step, f"share of the semantic loss, {encoder}"]["median"]
        both = figures[step, f"L1 and semantic loss, {encoder}"]["median"]
        assert share == pytest.approx(100 * (both - figures[step, "L1"]["median"]) / both)
        # Six patches of 224x224 alone take 3 MiB.
        assert figures[loss, f"{encoder}, peak memory beside the weights"]["median"] > 3
    # 1,610,784 parameters; floats of 4 bytes; a few statistics of normalisation beside them.
    assert figures[loss, "QualityCLIP, weights"]["median"] == pytest.approx(
        4 * 1_610_785 / 2**20, rel=0.01
    )


@pytest.mark.slow
def test_scaling(tmp_path):
    figures = figures_of("scaling", tmp_path)
    for variable, large in (("image area", "LR 1x64x64"), ("batch", "LR 2x32x32")):
        for quantity in ("time", "peak memory"):
            case = f"{quantity} of the forward pass x2 against {variable}"
            assert figures[case, "LR 1x32x32"]["ratio"]["median"] == 1
            assert figures[case, large]["median"] > 0
            assert (case, "log-log slope") in figures
        check_floors(figures, f"time of the forward pass x2 against {variable}", large)


@pytest.mark.slow
def test_soak(tmp_path):
    figures = figures_of("soak", tmp_path)
    iterations = "of all processes, iterations 10 to 40"
    assert figures["resident memory", iterations]["min"] > 100
    assert figures["open files", iterations]["min"] > 3
    assert figures["processor time of an iteration", "with validations and checkpoints"]["min"] > 0


@pytest.mark.parametrize(
    ("leak", "growing"), [((0, 0), []), ((5, 0), ["resident memory"]), ((0, 2), ["open files"])]
)
def test_growth_is_found(leak, growing, monkeypatch):
    """Memory in MiB and files that 1,000 iterations leave behind, among what comes and goes."""
    monkeypatch.syspath_prepend(FOLDER)
    import arguments
    import reporting
    import soak

    samples = [
        soak.Sample(
            i,
            800 + leak[0] * i / 1000 + 3 * (i % 20 == 0),
            int(30 + leak[1] * i / 1000 + i % 3),
            0.1 * i,
        )
        for i in range(0, 2000, 5)
    ]
    log = TrainingLog(durations=dict.fromkeys(range(10, 2001, 10), 0.1))
    report = reporting.Report(
        "soak", arguments.parse_arguments("", ["--threads", "1"], any_device=False)
    )
    assert soak.judge(report, 2000, samples, log) == growing
    assert report.median("without validation") == pytest.approx(10)
    assert report.median("with validations and checkpoints") == pytest.approx(0.1)


def test_usage_counts_children(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    import soak

    alone = soak.usage(os.getpid())
    with subprocess.Popen(["sleep", "600"]) as child:
        both = soak.usage(os.getpid())
        child.kill()
    assert both[0] > alone[0]
    assert both[1] >= alone[1] + 3


@pytest.mark.parametrize("environment", [None, "1"])
def test_threads_are_those_of_the_environment(environment):
    code = "import arguments, cv2, torch; args = arguments.parse_arguments('', []); "
    code += "print(args.threads, torch.get_num_threads(), cv2.getNumThreads())"
    env = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    env |= {"OMP_NUM_THREADS": environment} if environment else {}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=FOLDER,
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [environment or "2"] * 3


def test_slope_and_ratios_of_proportional_growth_are_one(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(FOLDER)
    import arguments
    import reporting
    import scaling

    def proportional(runs, repetitions, device, budget):
        assert device.type == "cpu"
        assert budget == 20
        return [[4.0**index] * repetitions for index in range(len(runs))]

    args = arguments.parse_arguments(
        "", ["--threads", "1", "--json", str(tmp_path / "f.json")], any_device=False
    )
    report = reporting.Report("scaling", args)
    monkeypatch.setattr(scaling, "time_in_turn", proportional)
    monkeypatch.setattr(
        scaling, "peak_memory", lambda _device, _make, shape, *_: 7.0 * shape[2] ** 2
    )
    scaling.measure(
        report, "image area", [(1, 3, side, side) for side in (32, 64, 128)], quick=True
    )
    figures = {
        (figure["case"].split(" of ")[0], figure["name"]): figure for figure in report.figures
    }
    for quantity in ("time", "peak memory"):
        assert figures[quantity, "log-log slope"]["median"] == pytest.approx(1)
        assert figures[quantity, "LR 1x128x128"]["ratio"]["median"] == pytest.approx(1)
    assert report.finish() == 0
    assert json.loads((tmp_path / "f.json").read_text())["figures"] == report.figures


def test_without_a_name_all_are_listed(capsys):
    assert main(["bench"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[2] for line in lines] == list(BENCHMARKS)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_each_has_its_script(name):
    assert (FOLDER / f"{name}.py").is_file()


def test_an_installation_without_checkout_is_explained(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(basicsr_m2trans, "__file__", str(tmp_path / "basicsr_m2trans/__init__.py"))
    assert main(["bench", "forward"]) == 2
    error = capsys.readouterr().err
    assert f"{tmp_path}/benchmarks does not exist" in error
    assert "clone the repository" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--json", "nowhere/f.json"], "its folder does not exist"),
        (["--repetitions", "0"], "must be at least 1"),
        (["--budget", "0"], "--budget must be above 0"),
        (["--device", "nope"], "--device nope cannot be used"),
    ],
)
def test_mistakes_are_named_before_measuring(arguments, message, monkeypatch, tmp_path, capfd):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "forward", *arguments]) == 2
    assert message in capfd.readouterr().err


def test_a_failing_benchmark_stops_no_other(monkeypatch, tmp_path, capfd):
    (tmp_path / "benchmarks").mkdir()
    for name, status in (("forward", 0), ("train", 3), ("cine", 0)):
        script = f"import sys; print('ran {name}', *sys.argv[1:], flush=True); sys.exit({status})"
        (tmp_path / f"benchmarks/{name}.py").write_text(script)
    monkeypatch.setattr(basicsr_m2trans, "__file__", str(tmp_path / "basicsr_m2trans/__init__.py"))
    assert main(["bench", "forward", "train", "cine", "--quick", "--json", str(tmp_path)]) == 3
    out, error = capfd.readouterr()
    assert out.splitlines() == [
        f"ran {name} --quick --json {tmp_path}" for name in ("forward", "train", "cine")
    ]
    assert error == "m2trans bench: train failed with status 3\n"


def test_several_benchmarks_want_a_folder_for_their_files(tmp_path, capsys):
    assert main(["bench", "forward", "train", "--json", str(tmp_path / "f.json")]) == 2
    assert "name a folder that exists" in capsys.readouterr().err


def test_an_unknown_name_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["bench", "forward", "nope"])
    assert "there is no benchmark 'nope'; choose from forward, " in capsys.readouterr().err
