import csv
import os

from basicsr_m2trans.utils.csv_file import write_csv


def test_any_text_comes_back(tmp_path):
    rows = [["image", "source"], ['é,"', "two\nlines"], [os.fsdecode(b"\xff.png"), ""]]
    write_csv(tmp_path / "a.csv", rows)
    with open(tmp_path / "a.csv", newline="", encoding="utf-8", errors="surrogateescape") as file:
        assert list(csv.reader(file)) == rows
    assert (tmp_path / "a.csv").read_bytes().startswith(b"image,source\n")
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
