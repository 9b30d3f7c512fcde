from pathlib import Path

from basicsr_m2trans.cli import main

ROOT = Path(__file__).parents[2]
PLAN = "data: d\nout: o\nscales: [2]\niterations: 5\nmethods:\n  small:\n    base: EDSR\n    changes: CHANGES\n"


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
    assert f"{wrong}:8: network_g: num_feats is no key of EDSR" in capsys.readouterr().out
    assert main(["check", str(right)]) == 2
    assert f"plan {right} lacks\n  d/train has no HR and LR images of scale 2" in capsys.readouterr().out
