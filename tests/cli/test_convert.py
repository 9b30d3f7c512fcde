import torch

from basicsr_m2trans.archs import ELAN, M2Trans
from basicsr_m2trans.cli import main


def test_writes_a_basicsr_checkpoint(tmp_path, capsys):
    weights = M2Trans(4, num_feat=8, num_block=1).state_dict()
    source, output = tmp_path / "official.pt", tmp_path / "new/out.pth"
    torch.save({"model_state_dict": {f"module.{k}": v for k, v in weights.items()}}, source)
    assert main(["convert", "--num-block", "1", str(source), str(output)]) == 0
    written = torch.load(output, weights_only=True)
    assert written.keys() == {"params", "network_g"}
    assert all(torch.equal(written["params"][k], v) for k, v in weights.items())
    printed = capsys.readouterr().out
    assert "type: M2Trans\n  upscale: 4" in printed
    assert "img_range" not in printed


def test_says_what_is_not_in_the_file(tmp_path, capsys):
    source, output = tmp_path / "official.pt", tmp_path / "out.pth"
    torch.save({"model_state_dict": ELAN(3, num_feat=15, num_block=2).state_dict()}, source)
    assert main(["convert", str(source), str(output)]) == 0
    printed = capsys.readouterr().out
    assert "ELAN x3" in printed
    assert "(window_sizes and img_range are in no weight" in printed


def test_message_and_status_for_a_wrong_file(tmp_path, capsys):
    assert main(["convert", str(tmp_path / "none.pt"), str(tmp_path / "out.pth")]) == 2
    assert "none.pt" in capsys.readouterr().err
    assert not (tmp_path / "out.pth").exists()
