import resource
import sys

import pytest


@pytest.fixture
def limits(monkeypatch):
    """What would have been set."""
    found = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, limit: found.append(limit))
    return found


@pytest.mark.parametrize(
    ("hard", "soft"), [(resource.RLIM_INFINITY, 3 << 20), (2 << 20, 2 << 20), (4 << 20, 3 << 20)]
)
def test_a_program_on_a_cpu_gets_the_free_memory(hard, soft, limits, monkeypatch, tmp_path):
    import arguments

    memory = tmp_path / "meminfo"
    memory.write_text("MemTotal:  9999 kB\nMemAvailable:  3072 kB\n")
    monkeypatch.setattr(arguments, "MEMORY", memory)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (-1, hard))
    monkeypatch.setattr(sys, "argv", ["forward.py", "--device", "cpu", "--quick"])
    with pytest.raises(SystemExit, match="7"):
        arguments.run_script(lambda: 7)
    assert limits == [(soft, hard)]


def test_parsing_sets_no_limit(limits):
    import arguments

    assert arguments.parse_arguments("", ["--device", "cpu", "--threads", "1"]).device.type == "cpu"
    assert limits == []


def test_a_program_on_a_gpu_has_no_limit(limits, monkeypatch):
    import arguments

    monkeypatch.setattr(sys, "argv", ["forward.py", "--device", "cuda:1"])
    with pytest.raises(SystemExit):
        arguments.run_script(lambda: 0)
    assert limits == []
