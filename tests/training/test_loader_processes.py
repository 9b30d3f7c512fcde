"""Loader processes and the signals of others."""

import subprocess
import sys

import pytest
import torch

from basicsr_m2trans.training.loader_processes import leave_signals_to_trainer

LOADER = """
import os, sys, torch
from basicsr_m2trans.training.loader_processes import leave_signals_to_trainer

class Images:
    def __len__(self):
        return 4

    def __getitem__(self, number):
        for signal in ("INT", "TERM"):
            os.system(f"kill -{signal} {os.getpid()}")
        return number

if __name__ == "__main__":
    torch.multiprocessing.set_start_method(sys.argv[1])
    loader = torch.utils.data.DataLoader(Images(), num_workers=1, persistent_workers=True)
    leave_signals_to_trainer(loader)
    print([int(number) for number in loader])
"""


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_loader_processes_leave_the_signals_of_others_to_the_trainer(
    tmp_path, monkeypatch, start_method
):
    """Only a SIGTERM of the parent ends them, which Python sends when it exits, and waits."""
    monkeypatch.setenv("OMP_NUM_THREADS", "2")  # pools of threads, which would take the signals
    (tmp_path / "loader.py").write_text(LOADER)
    command = [sys.executable, str(tmp_path / "loader.py"), start_method]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "[0, 1, 2, 3]\n"), done.stderr


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_loader_processes_of_a_trainer_that_is_killed_while_they_start_end(tmp_path, start_method):
    """One that goes on would keep the lock of the run, and no SIGTERM would end it."""
    (tmp_path / "loader.py").write_text(
        LOADER.replace(
            "print([int(number) for number in loader])", "iter(loader); os.kill(os.getpid(), 9)"
        )
    )
    command = [sys.executable, str(tmp_path / "loader.py"), start_method]
    # Ends when all processes have closed their output.
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert done.returncode == -9


def test_a_loader_process_that_fails_to_start_ends_the_trainer(tmp_path):
    (tmp_path / "loader.py").write_text(
        LOADER.replace("num_workers=1", "num_workers=1, worker_init_fn=(1).__floordiv__")
    )
    command = [sys.executable, str(tmp_path / "loader.py"), "fork"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "Caught ZeroDivisionError in DataLoader worker process 0" in done.stderr


def test_a_loader_without_processes_stays_as_it_is():
    loader = torch.utils.data.DataLoader([1, 2])
    leave_signals_to_trainer(loader)
    assert (loader.multiprocessing_context, loader.worker_init_fn) == (None, None)
