from pathlib import Path

from basicsr_m2trans.cli import main

OPTIONS = str(Path(__file__).parents[2] / "options")


def test_counts_of_the_papers_network(capsys):
    command = ["complexity", "--methods", "M2Trans", "--scales", "2,4", "--no-latency", "--options", OPTIONS]
    assert main(command) == 0
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| x")]
    assert [row[2:] for row in rows] == [
        ["3,613,120", "3,613,120", "23.95", "3.61", "20.23 |"],
        ["3,629,760", "3,629,760", "6.78", "3.63", "5.87 |"],
    ]


def test_unknown_methods_are_named(capsys):
    assert main(["complexity", "--methods", "RCAN", "--no-latency", "--options", OPTIONS]) == 2
    assert "method 'RCAN' has no option file train_RCAN_x2.yml" in capsys.readouterr().err
