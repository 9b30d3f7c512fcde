import cv2
import numpy as np

from basicsr_m2trans.cli import main


def test_crop(tmp_path, capsys):
    image = np.random.default_rng(0).integers(0, 256, (480, 640), np.uint8)
    (tmp_path / "scans").mkdir()
    for name in ("a", "b"):
        (tmp_path / "scans" / f"{name}.png").write_bytes(cv2.imencode(".png", image)[1].tobytes())
    (tmp_path / "scans" / "a.txt").write_text("0 0.5 0.5 1 1\n")
    scans, out = tmp_path / "scans", tmp_path / "out"
    assert main(["crop", str(scans), f"{out}/", "--annotations", str(scans)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{out}/images: 1 crops; where they come from: {out}/manifest.csv",
        "left out 1:",
        f"  b.png: {scans}: holds no annotation for it; b.xml or b.txt is needed",
    ]
    assert main(["crop", str(scans), str(out), "--annotations", str(scans)]) == 2
    assert "exists and is not empty" in capsys.readouterr().err


def test_options(tmp_path):
    scans, out = tmp_path / "scans", tmp_path / "out"
    scans.mkdir()
    (scans / "a.png").write_bytes(cv2.imencode(".png", np.zeros((30, 40), np.uint8))[1].tobytes())
    (scans / "a.txt").write_text("0 0.5 0.5 1 1\n")
    sizes = ["--min-width", "40", "--min-height", "30", "--max-distance", "0"]
    assert main(["crop", str(scans), str(out), "--annotations", str(scans), *sizes]) == 0
    assert [path.name for path in (out / "images").iterdir()] == ["0001.png"]
