import subprocess
import sys

import pytest

PARENT = """
import multiprocessing, os, signal, sys, time
from basicsr_m2trans.utils.processes import end_with_parent

def work(block, connection):
    if block:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    end_with_parent()
    if block:
        os.system(f"kill -TERM {os.getpid()}")  # not of the parent
    time.sleep(1)
    connection.send("lives")
    time.sleep(100)

if __name__ == "__main__":
    method, end = sys.argv[1:]
    context = multiprocessing.get_context(method)
    here, there = context.Pipe()
    worker = context.Process(target=work, args=(end == "terminate", there))
    worker.start()
    print(here.recv(), flush=True)
    if end == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    worker.terminate()
    worker.join(10)
    print(worker.exitcode)
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize(
    ("end", "status", "output"), [("kill", -9, "lives\n"), ("terminate", 0, "lives\n0\n")]
)
def test_workers_end_with_their_parent_and_at_its_signal_alone(
    method, end, status, output, tmp_path
):
    (tmp_path / "parent.py").write_text(PARENT)
    command = [sys.executable, str(tmp_path / "parent.py"), method, end]
    # Ends when all processes have closed their output.
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (status, output), done.stderr
