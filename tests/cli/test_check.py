from pathlib import Path

from basicsr_m2trans.cli import main

ROOT = Path(__file__).parents[2]
PLAN = (
    "data: d\nout: o\nscales: [2]\niterations: 5\nmethods:\n  small:\n    base: EDSR\n    changes: "
    "CHANGES\n"
)


def test_plans_are_checked_as_option_files_are(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "options").symlink_to(ROOT / "options")
    right, wrong = tmp_path / "right.yml", tmp_path / "wrong.yml"
    right.write_text(PLAN.replace("CHANGES", "{network_g: {num_feat: 8}}"))
    wrong.write_text(PLAN.replace("CHANGES", "{network_g: {num_feats: 8}}"))
    assert main(["check", "--no-files", str(right), "options/demo/train_M2Trans_x2.yml"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"plan {right} is right",
        "option file options/demo/train_M2Trans_x2.yml is right",
    ]
    assert main(["check", "--no-files", str(wrong)]) == 2
    assert f"{wrong}:8: network_g: num_feats is not a key of EDSR" in capsys.readouterr().out
    assert main(["check", str(right)]) == 2
    assert (
        f"plan {right} lacks\n  d/train has no HR and LR images of scale 2"
        in capsys.readouterr().out
    )


def test_files_without_methods_are_checked_for_what_they_are(tmp_path, capsys):
    plan, option_file, broken = (
        tmp_path / "plan.yml",
        tmp_path / "options.yml",
        tmp_path / "broken.yml",
    )
    plan.write_text(PLAN.replace("methods:", "methdos:"))
    option_file.write_text("name: x\nmodel_type: M2TransModel\n")
    broken.write_text("methods: [\n")
    assert main(["check", "--no-files", str(plan), str(option_file), str(broken)]) == 2
    out = capsys.readouterr().out
    assert (
        f"plan {plan} has 1 problem\n  {plan}:5: methdos is not a key; nothing reads it\n    -> "
        "did "
        "you mean methods?" in out
    )
    assert f"option file {option_file} has" in out
    assert f"\nfile {broken} is not valid YAML" in out


def test_no_files_of_a_plan_are_opened_where_none_are_to_be_checked(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "options").symlink_to(ROOT / "options")
    for split in ("train", "val"):
        for folder in ("HR", "LR_bicubic/X2"):
            (tmp_path / "d" / split / folder).mkdir(parents=True)
            (tmp_path / "d" / split / folder / "scan.png").write_text("no image")
    (tmp_path / "net.pth").write_text("no weights")
    plan = tmp_path / "plan.yml"
    changes = "{path: {pretrain_network_g: net.pth}}"
    plan.write_text(PLAN.replace("CHANGES", changes) + "panels: [val/lost]\n")
    assert main(["check", "--no-files", str(plan)]) == 0
    assert capsys.readouterr().out == f"plan {plan} is right\n"
    assert main(["check", str(plan)]) == 2
