import csv
import io

import pytest

from basicsr_m2trans.apps.report.complexity import Complexity
from basicsr_m2trans.apps.report.summary import Cell, Difference
from basicsr_m2trans.apps.report.tables import Table, result_tables, results_csv
from basicsr_m2trans.apps.report.training import Trained
from basicsr_m2trans.evaluation.protocols import METRICS, PROTOCOLS

MEANS = {
    "Bicubic": {"psnr": 30.0, "ssim": 0.90, "fsim": 0.91, "gmsd": 0.05},
    "EDSR": {"psnr": 31.0, "ssim": 0.93, "fsim": 0.92, "gmsd": 0.03},
    "M2Trans": {"psnr": 32.0, "ssim": 0.92, "fsim": 0.93, "gmsd": 0.04},
}
COUNTS = {
    ("Bicubic", 2): Complexity(0, 0, 0),
    ("EDSR", 2): Complexity(1, 12_405_763, 457_600_000_000),
    ("M2Trans", 2): Complexity(1, 3_613_120, 23_950_000_000),
}


@pytest.fixture
def cells():
    found = {}
    for method, means in MEANS.items():
        for protocol in PROTOCOLS:
            for metric in METRICS:
                difference = None if method == "M2Trans" else Difference(1.5, -0.25, 2.125, 0.75)
                found[2, method, "val", protocol, metric] = Cell(
                    means[metric], 0.125 if method == "EDSR" else None, 1, 3, difference
                )
    return found


def test_best_and_second_best_are_marked(cells):
    tables = result_tables(cells, COUNTS, {}, "M2Trans")
    text = tables[0].markdown()
    assert (
        text.splitlines()[2]
        == "| scale | method | parameters (M) | GMACs | PSNR ↑ val | SSIM ↑ val |"
    )
    assert text.splitlines()[4:] == [
        "| x2 | Bicubic | - | - | 30.00 | 0.9000 |",
        "| x2 | EDSR | 12.41 | 457.60 | <u>31.00 ± 0.12</u> | **0.9300 ± 0.1250** |",
        "| x2 | M2Trans | 3.61 | 23.95 | **32.00** | <u>0.9200</u> |",
    ]
    # GMSD: lower is better.
    assert "**0.0300 ± 0.1250** |" in tables[1].markdown()
    assert "GMSD ↓ val" in tables[1].markdown()


def test_differences_and_trainings(cells):
    trained = {("EDSR", 2, 0): Trained(1500, 90.0, "x.pth")}
    tables = result_tables(cells, COUNTS, trained, "M2Trans")
    assert tables[2].rows[0][:4] == ["x2", "val", "Bicubic", "+1.50 (-0.25, +2.12), 75%"]
    assert [row[2] for row in tables[2].rows] == ["Bicubic", "EDSR"]
    assert tables[-1].rows == [["x2", "EDSR", "0", "1,500", "1.5"]]
    assert len(tables) == 7


def test_latex_is_escaped_and_marked():
    table = Table("a_b, 95%", ["PSNR ↑", "x"], [["1.0 ± 0.1", "a\\b~^"]], {(0, 0): 1, (0, 1): 2})
    lines = table.latex().splitlines()
    assert lines[1] == r"\caption{a\_b, 95\%}"
    assert lines[4] == r"PSNR $\uparrow$ & x \\"
    second = r"\underline{a\textbackslash{}b\textasciitilde{}\textasciicircum{}}"
    assert lines[6] == rf"\textbf{{1.0 $\pm$ 0.1}} & {second} \\"


def test_csv_keeps_full_numbers(cells):
    rows = list(csv.DictReader(io.StringIO(results_csv(cells, "M2Trans"))))
    assert len(rows) == len(cells)
    assert rows[0] == {
        "scale": "2",
        "method": "Bicubic",
        "test": "val",
        "protocol": "standard",
        "metric": "psnr",
        "mean": "30.0",
        "deviation": "",
        "seeds": "1",
        "images": "3",
        "M2Trans_minus_method": "1.5",
        "low": "-0.25",
        "high": "2.125",
        "better": "0.75",
    }
