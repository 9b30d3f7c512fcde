from pathlib import Path

from basicsr_m2trans.apps.report.complexity import device_name
from basicsr_m2trans.cli import main

OPTIONS = str(Path(__file__).parents[2] / "options")


def test_counts_of_the_papers_network(capsys):
    command = [
        "complexity",
        "--methods",
        "M2Trans",
        "--scales",
        "2,4",
        "--no-latency",
        "--options",
        OPTIONS,
    ]
    assert main(command) == 0
    rows = [
        line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| x")
    ]
    assert [row[2:] for row in rows] == [
        ["3,613,120", "3,613,120", "23.95", "3.61", "20.23 |"],
        ["3,629,760", "3,629,760", "6.78", "3.63", "5.87 |"],
    ]


def test_times_and_memory_name_the_machine(tmp_path, capsys):
    network = "{type: EDSR, upscale: 2, num_in_ch: 3, num_out_ch: 3, num_feat: 4, num_block: 1}"
    (tmp_path / "train_tiny_x2.yml").write_text(f"network_g: {network}\n")
    assert (
        main(["complexity", "--methods", "tiny", "--scales", "2", "--options", str(tmp_path)]) == 0
    )
    lines = capsys.readouterr().out.splitlines()
    assert f"on {device_name()}." in lines[2]
    milliseconds, mebibytes = lines[-1].strip("| ").split(" | ")[-2:]
    assert lines[4].endswith("| ms | peak MiB |")
    assert float(milliseconds) > 0
    assert float(mebibytes) > 0


def test_unknown_methods_are_named(capsys):
    assert main(["complexity", "--methods", "RCAN", "--no-latency", "--options", OPTIONS]) == 2
    assert "method 'RCAN' has no option file train_RCAN_x2.yml" in capsys.readouterr().err
