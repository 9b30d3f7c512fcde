import sys

from basicsr_m2trans.cli import main


def test_an_unknown_model_is_named(capsys):
    assert main(["serve", "--model", "none.pth"]) == 2
    assert "none.pth" in capsys.readouterr().err


def test_says_how_to_install_gradio(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.setenv("GRADIO_TEMP_DIR", "restored at the end")
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "restored at the end")
    monkeypatch.setattr("signal.signal", lambda *_: None)
    assert main(["serve"]) == 2
    assert "pip install 'basicsr_m2trans[page]'" in capsys.readouterr().err
