import subprocess
import sys
import urllib.error
import urllib.request

import pytest

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


@pytest.mark.slow
def test_serves_the_page_on_any_free_port_and_no_other_files_of_the_computer(tmp_path):
    pytest.importorskip("gradio", reason="the extra `page` is not installed")
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    up = "..%2f" * 20
    command = [
        sys.executable,
        "-m",
        "basicsr_m2trans.cli",
        "serve",
        "--model",
        "m2trans-x2",
        "--port",
        "0",
    ]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout.readline() == "the page starts ...\n"
        address = server.stdout.readline().split()[0]
        assert urllib.request.urlopen(address).status == 200
        for path in (
            f"file={secret}",
            "file=secret.txt",
            f"file={up}{secret}",
            f"static/{up}{secret}",
        ):
            with pytest.raises(urllib.error.HTTPError, match=r"403|404"):
                urllib.request.urlopen(f"{address}gradio_api/{path}")
        server.terminate()
        assert server.wait(60) == 0
