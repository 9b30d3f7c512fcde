"""The campaign on a GPU: how time is shared out, and its pieces, with a stand-in for Python that records its calls."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts/campaign.sh"


@pytest.fixture(scope="module")
def campaign_lengths():
    spec = importlib.util.spec_from_file_location("campaign_lengths", ROOT / "scripts/campaign_lengths.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["campaign_lengths"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["campaign_lengths"]


def steps_of(module, seconds):
    return {f"{method}_x{group.scale}": seconds for group in module.GROUPS for method in group.methods}


def test_time_is_shared_out_by_the_steps(campaign_lengths):
    found = dict(enumerate(campaign_lengths.lengths(steps_of(campaign_lengths, 0.01), 1601)))
    # 1601 s x 0.75 in steps: 35% for two methods, 10% for one, 15% for two, and so on, in thousands.
    assert found == {0: 21000, 1: 12000, 2: 9000, 3: 6000, 4: 21000, 5: 6000, 6: 6000, 7: 6000, 8: 2000}


def test_the_first_group_has_its_least_number(campaign_lengths):
    found = campaign_lengths.lengths(steps_of(campaign_lengths, 0.5), 1601)
    assert (found[0], found[1], found[4]) == (20000, 240, 20000)
    assert campaign_lengths.lengths(steps_of(campaign_lengths, 0.5), 1601, least=10)[0] == 420


def test_groups_are_the_methods_of_the_plans(campaign_lengths):
    for name in ("campaign", "campaign_rehearsal"):
        plan = yaml.safe_load((ROOT / f"plans/{name}.yml").read_text())
        methods = {method: definition or {} for method, definition in plan["methods"].items() if method != "bicubic"}
        trained = {(method, scale) for method in methods for scale in methods[method].get("scales", plan["scales"])}
        assert trained == {(method, group.scale) for group in campaign_lengths.GROUPS for method in group.methods}
        for group in campaign_lengths.GROUPS:
            assert {len(methods[method].get("seeds", [0])) for method in group.methods} == {group.seeds}


# Records every call; benchmarks leave a figure, trainings a network, and names in FAIL fail.
PYTHON = """\
#!{python}
import json, os, sys
from pathlib import Path
work, call = Path(os.environ["WORK"]), " ".join(sys.argv[1:])
if sys.argv[1] == "-":
    sys.exit()
if sys.argv[1] == "scripts/campaign_lengths.py":
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
with (work.parent / "calls.txt").open("a") as stream:
    stream.write(call + "\\n")
if any(name in call for name in os.environ.get("FAIL", "nothing fails").split(",")):
    sys.exit("something is wrong")
if "--json" in sys.argv:
    steps = {{"figures": [{{"case": "training step x4", "name": name, "median": 0.5}} for name in {names!r}]}}
    Path(sys.argv[sys.argv.index("--json") + 1]).write_text(json.dumps(steps))
if "export" in sys.argv:
    Path(sys.argv[sys.argv.index("-o") + 1]).write_bytes(bytes(int(os.environ.get("WEIGHTS", "1000"))))
if "compare" in sys.argv:
    scale = sys.argv[sys.argv.index("--scales") + 1]
    for method in sys.argv[sys.argv.index("--methods") + 1].split(",")[1:]:
        models = work / "comparison/experiments" / f"{{method}}_x{{scale}}_seed0/models"
        models.mkdir(parents=True, exist_ok=True)
        (models / "net_g_latest.pth").touch()
    (work / "comparison/tables.md").write_text("# Comparison")
"""


@pytest.fixture
def campaign(tmp_path, campaign_lengths):
    """Runs a piece in a folder of its own: the process, and the calls so far."""
    for name in ("train", "val"):
        (tmp_path / "work/images" / name).mkdir(parents=True)
    python = tmp_path / "python"
    python.write_text(PYTHON.format(python=sys.executable, names=sorted(steps_of(campaign_lengths, 0))))
    python.chmod(0o755)

    def run(*arguments, **variables):
        names = {"PYTHON": str(python), "WORK": str(tmp_path / "work"), "DEVICE": "cpu"}
        done = subprocess.run(
            ["bash", str(SCRIPT), *arguments], env=os.environ | names | variables, capture_output=True, text=True
        )
        calls = tmp_path / "calls.txt"
        return done, calls.read_text().splitlines() if calls.is_file() else []

    return run


@pytest.mark.skipif(sys.platform != "linux", reason="needs GNU's tools and flock")
class TestPieces:
    def test_everything_once_in_its_order(self, campaign, tmp_path):
        done, calls = campaign("10")
        assert done.returncode == 0, done.stdout + done.stderr
        verbs = [call.split()[2] if call.startswith("-m basicsr_m2trans.cli") else "pytest" for call in calls]
        benches = ["bench"] * 10
        assert verbs == ["prepare"] * 2 + ["bench", "pytest", *benches] + ["compare"] * 9 + ["export"] * 13
        assert "--scales 4 --methods bicubic,M2Trans_open,EDSR_open --iters 20000" in calls[14]
        assert {path.name for path in (tmp_path / "work/results/weights").iterdir()} >= {
            "HAT_skip_x4_seed0.safetensors"
        }
        assert (tmp_path / "work/results/comparison/tables.md").read_text() == "# Comparison"
        again, calls_again = campaign("10")
        assert (again.returncode, calls_again) == (0, calls)

    def test_what_fails_is_named_and_the_rest_goes_on(self, campaign):
        done, calls = campaign("10", FAIL="bench cine,EDSR_open")
        assert done.returncode == 1
        assert "bench-cine failed with status 1; its last lines" in done.stdout
        assert "something is wrong" in done.stdout
        assert done.stdout.endswith(
            "failed: bench-cine\nfailed: train-x2-M2Trans_open-EDSR_open\nfailed: train-x3-M2Trans_open-EDSR_open\n"
            "failed: train-x4-M2Trans_open-EDSR_open\n"
        )
        assert any("bicubic,HAT_skip" in call for call in calls)

    def test_a_piece_without_time_is_to_be_repeated(self, campaign, tmp_path):
        (tmp_path / "work").joinpath("seconds").write_text("480")
        done, calls = campaign("10")  # 120 s are left: enough for images, not for tests and benchmarks
        assert done.returncode == 75
        assert re.search(r"48\d of 600 s used; repeat the command", done.stdout)
        assert [call.split()[2] for call in calls] == ["prepare", "prepare"]
        (tmp_path / "work/seconds").write_text("0")
        assert campaign("10")[0].returncode == 0

    def test_files_that_are_too_large_are_left_out_and_named(self, campaign, tmp_path):
        done, calls = campaign("10", WEIGHTS="16000000")
        assert done.returncode == 0
        results = tmp_path / "work/results"
        assert not list(results.glob("weights/*"))
        assert "EDSR_open_x2_seed0 16000000 bytes" in (results / "left_out.txt").read_text().splitlines()
        assert campaign("10", WEIGHTS="16000000")[1] == calls  # not exported again

    @pytest.mark.parametrize(
        ("arguments", "variables", "message"),
        [
            ((), {}, "give the minutes of the whole campaign, e.g. scripts/campaign.sh 28"),
            (("ten",), {}, "give the minutes"),
            (("10", "20"), {}, "give the minutes"),
            (("10",), {"IMAGES": "nowhere"}, "nowhere/train is missing; put the images there, or name another folder"),
            (("10",), {"PLAN": "nothing.yml"}, "PLAN: there is no file nothing.yml"),
            (("10",), {"PYTHON": "false"}, "false cannot be used; docs/offline.md"),
        ],
    )
    def test_mistakes_are_named_before_any_work(self, campaign, arguments, variables, message):
        done, calls = campaign(*arguments, **variables)
        assert (done.returncode, calls) == (2, [])
        assert message in done.stderr


def test_figures_of_the_plan_benchmark_are_understood(campaign_lengths, tmp_path, monkeypatch, capsys):
    figures = [
        {"case": f"{case} x{name[-1]}", "name": name, "median": median}
        for name in steps_of(campaign_lengths, 0)
        for case, median in (("training step", 0.01), ("forward", 9))
    ]
    file = tmp_path / "steps.json"
    file.write_text(json.dumps({"figures": figures}))
    monkeypatch.setattr(sys, "argv", ["campaign_lengths.py", str(file), "1601"])
    campaign_lengths.main()
    assert capsys.readouterr().out.splitlines()[0] == "4 M2Trans_open,EDSR_open 21000"
