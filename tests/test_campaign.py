"""The campaign on a GPU: shares of its time, and its pieces with a stand-in for Python."""

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from basicsr_m2trans.apps.report.plan import read_plan
from basicsr_m2trans.apps.report.settings import plan_runs

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts/campaign.sh"


@pytest.fixture(scope="module")
def campaign_plan():
    spec = importlib.util.spec_from_file_location(
        "campaign_plan", ROOT / "scripts/campaign_plan.py"
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules["campaign_plan"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["campaign_plan"]


def steps_of(module, seconds):
    return {setting: seconds for group in module.GROUPS for setting in group.settings}


def test_time_is_shared_out_by_the_steps(campaign_plan):
    found = campaign_plan.lengths(steps_of(campaign_plan, 0.01), 1601)
    # 1601 s x 0.75 in steps: 35% for two methods, 10% for one, 15% for two, and so on, in
    # thousands.
    assert [*found] == list(campaign_plan.GROUPS)
    assert list(found.values()) == [21000, 12000, 9000, 6000, 21000, 6000, 6000, 6000, 2000]


def test_the_first_group_has_its_least_number(campaign_plan):
    found = list(campaign_plan.lengths(steps_of(campaign_plan, 0.5), 1601).values())
    assert (found[0], found[1], found[4]) == (20000, 240, 20000)
    assert (
        next(iter(campaign_plan.lengths(steps_of(campaign_plan, 0.5), 1601, least=10).values()))
        == 420
    )


def test_groups_without_measured_steps_are_left_out(campaign_plan):
    steps = steps_of(campaign_plan, 0.01)
    del steps["HAT_skip_x4"]
    found = campaign_plan.lengths(steps, 1601)
    assert [group.methods for group in campaign_plan.GROUPS if group not in found] == [
        ("HAT_skip",)
    ]
    plan = yaml.safe_load((ROOT / "plans/campaign.yml").read_text())
    assert "HAT_skip" not in campaign_plan.with_lengths(plan, found, Path("work"))["methods"]
    del steps["EDSR_open_x4"]
    methods = [group.methods for group in campaign_plan.lengths(steps, 1601)]
    assert ("M2Trans_open_bf16",) not in methods  # which has the first group's length
    assert ("ELAN_skip",) in methods


def test_groups_are_the_methods_of_the_plans(campaign_plan):
    for name in ("campaign", "campaign_rehearsal"):
        plan = yaml.safe_load((ROOT / f"plans/{name}.yml").read_text())
        methods = {
            method: definition or {}
            for method, definition in plan["methods"].items()
            if method != "bicubic"
        }
        trained = {
            f"{method}_x{scale}"
            for method in methods
            for scale in methods[method].get("scales", plan["scales"])
        }
        assert trained == {setting for group in campaign_plan.GROUPS for setting in group.settings}
        for group in campaign_plan.GROUPS:
            assert {len(methods[method].get("seeds", [0])) for method in group.methods} == {
                group.seeds
            }


def test_both_losses_weigh_as_in_the_papers_batch():
    """The semantic loss is summed over the images of a batch, L1 is their mean."""
    plan = yaml.safe_load((ROOT / "plans/campaign.yml").read_text())
    loss = plan["methods"]["L1_and_semantic"]["changes"]["train"]["semantic_opt"]
    batch = plan["changes"]["datasets"]["train"]["batch_size_per_gpu"]
    assert (loss["reduction"], loss["loss_weight"] * batch) == ("sum", 0.01 * 2)


def test_the_written_plan_has_lengths_and_folders(campaign_plan, tmp_path, monkeypatch):
    figures = [
        {"case": f"{case} x{name[-1]}", "name": name, "median": median}
        for name in steps_of(campaign_plan, 0)
        for case, median in (("training step", 0.01), ("forward", 9))
    ]
    (tmp_path / "steps.json").write_text(json.dumps({"figures": figures}))
    arguments = [
        "campaign_plan.py",
        str(ROOT / "plans/campaign.yml"),
        str(tmp_path / "steps.json"),
        "1601",
    ]
    monkeypatch.setattr(sys, "argv", [*arguments, str(tmp_path)])
    campaign_plan.main()
    monkeypatch.chdir(ROOT)
    settings, out = read_plan(tmp_path / "plan.yml")
    assert (settings.data, out) == (tmp_path / "data", tmp_path / "comparison")
    assert settings.tests == {"val": tmp_path / "data/val"}
    assert settings.methods["EDSR_open"].lengths == {4: 21000, 2: 9000, 3: 6000}
    # As the plan says, but for the order of the scales.
    runs = {run.name for run in plan_runs(settings.methods.values(), settings.scales)}
    stock, _ = read_plan(ROOT / "plans/campaign.yml")
    assert runs == {run.name for run in plan_runs(stock.methods.values(), stock.scales)}
    lines = (tmp_path / "groups").read_text().splitlines()
    assert lines[:3] == ["4 M2Trans_open,EDSR_open", "4 M2Trans_skip", "2 M2Trans_open,EDSR_open"]


# Records every call; benchmarks leave a figure, trainings a network, and names in FAIL fail.
PYTHON = """\
#!{python}
import json, os, sys, time
from pathlib import Path
work, call = Path(os.environ["WORK"]), " ".join(sys.argv[1:])
if sys.argv[1] == "-":
    sys.exit()
if sys.argv[1] == "scripts/campaign_plan.py":
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
with (work.parent / "calls.txt").open("a") as stream:
    stream.write(call + "\\n")
(work.parent / "visible.txt").write_text(os.environ.get("CUDA_VISIBLE_DEVICES", "all"))
if os.environ.get("SLEEP", "never") in sys.argv:
    (work.parent / "sleeping").write_text(str(os.getpid()))
    time.sleep(60)
if any(name in call for name in os.environ.get("FAIL", "nothing fails").split(",")):
    sys.exit("something is wrong")
if "compare" in sys.argv and "KILLED" in os.environ:
    sys.exit(137)
if "bench" in sys.argv:
    file = Path(sys.argv[sys.argv.index("--json") + 1])
    step = {{"case": "training step x4", "median": 0.5}}
    steps = {{"figures": [step | {{"name": name}} for name in {names!r}]}}
    (file / f"{{sys.argv[4]}}.json" if file.is_dir() else file).write_text(json.dumps(steps))
if "export" in sys.argv:
    size = int(os.environ.get("WEIGHTS", "1000"))
    Path(sys.argv[sys.argv.index("-o") + 1]).write_bytes(bytes(size))
if "compare" in sys.argv:
    methods = sys.argv[sys.argv.index("--methods") + 1].split(",")[1:]
    for method in methods:
        models = work / f"comparison/experiments/{{method}}_seed0/models"
        models.mkdir(parents=True, exist_ok=True)
        (models / "net_g_latest.pth").touch()
    (work / "comparison/tables.md").write_text(" ".join(methods))
"""


@pytest.fixture
def campaign(tmp_path, campaign_plan):
    """Runs a piece in a folder of its own: the process, and the calls so far."""
    for name in ("train", "val"):
        (tmp_path / "work/images" / name).mkdir(parents=True)
    python = tmp_path / "python"
    python.write_text(
        PYTHON.format(python=sys.executable, names=sorted(steps_of(campaign_plan, 0)))
    )
    python.chmod(0o755)

    def run(*arguments, started=False, **variables):
        names = {"PYTHON": str(python), "WORK": str(tmp_path / "work"), "DEVICE": "cpu"}
        command, env = ["bash", str(SCRIPT), *arguments], os.environ | names | variables
        if started:
            return subprocess.Popen(
                command, env=env, stdout=subprocess.PIPE, text=True, start_new_session=True
            )
        done = subprocess.run(command, env=env, capture_output=True, text=True)
        calls = tmp_path / "calls.txt"
        return done, calls.read_text().splitlines() if calls.is_file() else []

    return run


def verbs(calls):
    return [
        call.split()[2] if call.startswith("-m basicsr_m2trans.cli") else "pytest" for call in calls
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="needs GNU's tools and flock")
class TestPieces:
    def test_everything_once_in_its_order(self, campaign, tmp_path):
        done, calls = campaign("60")
        assert done.returncode == 0, done.stdout + done.stderr
        assert (
            verbs(calls)
            == ["prepare"] * 2
            + ["bench", "pytest", *["bench"] * 10]
            + ["compare"] * 9
            + ["export"] * 9
        )
        assert calls[14].endswith("--scales 4 --methods bicubic,M2Trans_open,EDSR_open")
        results = tmp_path / "work/results"
        assert {path.name for path in (results / "weights").iterdir()} >= {
            "HAT_skip_seed0.safetensors"
        }
        assert (
            (results / "comparison/tables.md")
            .read_text()
            .endswith("HAT_skip L1_alone L1_and_semantic")
        )
        assert {path.stem for path in (results / "bench").iterdir()} >= {
            "plan",
            "cine",
            "operators",
        }
        again, calls_again = campaign("60")
        assert (again.returncode, calls_again) == (0, calls)

    def test_what_fails_is_named_and_the_rest_goes_on(self, campaign):
        done, calls = campaign("60", FAIL="bench cine,SwinIR_skip")
        assert done.returncode == 1
        assert "bench-cine failed with status 1; its last lines" in done.stdout
        assert "something is wrong" in done.stdout
        assert done.stdout.endswith("failed: bench-cine\nfailed: train-7\n")
        # Later calls do not name what has failed.
        assert [
            call.endswith(
                "bicubic,M2Trans_open,EDSR_open,M2Trans_skip,M2Trans_open,EDSR_open,M2Trans_open,EDSR_open,"
                "M2Trans_open_bf16,ELAN_skip,HAT_skip"
            )
            for call in calls
            if "compare" in call
        ].index(True) == 7

    def test_without_the_steps_there_are_no_trainings_and_an_end(self, campaign):
        done, calls = campaign("60", FAIL="bench plan")
        assert done.returncode == 1
        assert done.stdout.endswith("failed: bench-plan\nfailed: lengths\n")
        assert "compare" not in verbs(calls)
        assert campaign("60")[1] == calls

    def test_a_training_that_had_to_be_killed_goes_on(self, campaign):
        done, calls = campaign("60", KILLED="1")
        assert (done.returncode, verbs(calls)[-1]) == (75, "compare")
        done, calls = campaign("60")
        assert (done.returncode, verbs(calls).count("compare")) == (0, 10)

    def test_lengths_wait_for_the_benchmarks(self, campaign, tmp_path):
        """Their time is not the trainings'."""
        done, calls = campaign("60", SECONDS="320")  # of this piece
        assert done.returncode == 75, done.stdout
        assert re.search(r"3[23]\d of 3600 s used; repeat the command", done.stdout)
        assert verbs(calls) == ["prepare"] * 2 + ["bench"] * 11
        assert not (tmp_path / "work/groups").exists()
        assert campaign("60")[0].returncode == 0

    def test_what_cannot_fit_any_more_is_given_up_for_trainings(self, campaign, tmp_path):
        (tmp_path / "work/seconds").write_text("3350")
        done, calls = campaign(
            "60"
        )  # 250 s are left: enough for steps, not for the tests, nor is it for benchmarks
        assert done.returncode == 0
        assert "campaign: no time is left for tests\n" in done.stdout
        assert verbs(calls)[:4] == ["prepare", "prepare", "bench", "compare"]

    def test_benchmarks_leave_more_than_half_of_the_time_to_trainings(self, campaign):
        _, calls = campaign(
            "5"
        )  # 135 s for what comes before the trainings, and a benchmark may take 150
        assert verbs(calls) == [
            "prepare",
            "prepare",
            "bench",
            "pytest",
            *["compare"] * 9,
            *["export"] * 9,
        ]

    def test_the_device_reaches_trainings_and_tests(self, campaign, tmp_path):
        campaign("60")
        assert (tmp_path / "visible.txt").read_text() == ""

    def test_files_that_are_too_large_are_left_out_and_named(self, campaign, tmp_path):
        done, calls = campaign("60", WEIGHTS="15000000")
        assert done.returncode == 0
        results = tmp_path / "work/results"
        assert not list(results.glob("weights/*"))
        assert (
            "EDSR_open_seed0 15000000 bytes" in (results / "left_out.txt").read_text().splitlines()
        )
        assert campaign("60", WEIGHTS="15000000")[1] == calls  # not exported again

    def test_the_largest_are_left_out_where_all_are_too_much(self, campaign, tmp_path):
        done, _ = campaign("60", WEIGHTS="14999999")
        assert done.returncode == 0
        files = [path for path in (tmp_path / "work/results").rglob("*") if path.is_file()]
        assert len(list((tmp_path / "work/results/weights").iterdir())) == 3
        assert sum(path.stat().st_size for path in files) < 60e6

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_ends_the_piece_and_its_step(self, campaign, tmp_path, number):
        process = campaign("60", started=True, SLEEP="pytest")
        for _ in range(600):
            if (tmp_path / "sleeping").exists():
                break
            time.sleep(0.05)
        process.send_signal(number)
        out, _ = process.communicate(timeout=20)
        assert process.returncode == 130
        assert out.endswith("campaign: interrupted; repeat the command to go on\n")
        with pytest.raises(ProcessLookupError):
            os.kill(int((tmp_path / "sleeping").read_text()), 0)
        assert int((tmp_path / "work/seconds").read_text()) >= 0
        assert campaign("60")[0].returncode == 0

    @pytest.mark.parametrize(
        ("arguments", "variables", "message"),
        [
            ((), {}, "give the minutes of the whole campaign, e.g. scripts/campaign.sh 28"),
            (("ten",), {}, "give the minutes"),
            (("10", "20"), {}, "give the minutes"),
            (
                ("10",),
                {"IMAGES": "nowhere"},
                "nowhere/train is missing; put the images there, or name another folder",
            ),
            (("10",), {"PLAN": "nothing.yml"}, "PLAN: there is no file nothing.yml"),
            (("10",), {"DEVICE": "tpu"}, "DEVICE is tpu; write cuda, cuda:1 or cpu"),
            (("10",), {"PYTHON": "false"}, "false cannot be used; docs/offline.md"),
        ],
    )
    def test_mistakes_are_named_before_any_work(self, campaign, arguments, variables, message):
        done, calls = campaign(*arguments, **variables)
        assert (done.returncode, calls) == (2, [])
        assert message in done.stderr
