"""Kernels that start with the book's libraries loaded: one process imports them, and each kernel is a fork of it.

The chapters import the same libraries, which takes five seconds of a processor for each of them. The extension
``side_by_side`` uses it, and so do tests that execute notebooks, on systems with ``fork``. Code runs as in any kernel.

    python forked_kernels.py serve SOCKET                 load the libraries, then fork a kernel for each that asks
    python forked_kernels.py start SOCKET CONNECTION ...  what Jupyter takes for the kernel: asks, and lives as long
"""

import gc
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

LIBRARIES = (
    "ipykernel.kernelapp",
    "matplotlib.pyplot",
    "pandas",
    "torch",
    "torch_geometric",
    "e3nn.o3",
    "glasslit",
)


def serve(path: str) -> None:
    """Fork a kernel for each connection; ends when its standard input does."""
    import select
    from importlib import import_module

    os.environ.setdefault(
        "MPLBACKEND", "module://matplotlib_inline.backend_inline"
    )
    for name in LIBRARIES:
        import_module(name)
    import glasslit

    for name in glasslit.__all__:
        getattr(glasslit, name)
    gc.collect()
    gc.freeze()  # collections in the forks leave alone, and so unshared, what was loaded
    signal.signal(
        signal.SIGCHLD, signal.SIG_IGN
    )  # kernels that have ended leave nothing behind
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        while True:
            ready, _, _ = select.select([listening, sys.stdin], [], [])
            if sys.stdin in ready:
                return
            asked, _ = listening.accept()
            if os.fork() == 0:
                listening.close()
                status = 1
                try:
                    become_kernel(asked)
                    status = 0
                finally:
                    os._exit(status)
            asked.close()


def become_kernel(asked: socket.socket) -> None:
    """In the fork: where, with which environment and with which arguments; then the kernel itself."""
    from ipykernel import kernelapp

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    lines = asked.makefile()
    told = json.loads(lines.readline())
    os.environ.clear()
    os.environ.update(told["environment"])
    os.chdir(told["folder"])
    sys.path[:] = [
        "",
        *(p for p in sys.path if p != str(Path(__file__).parent)),
    ]

    def watch():
        for line in lines:  # each is a signal
            os.kill(os.getpid(), int(line))
        os._exit(1)  # whoever asked is gone

    threading.Thread(target=watch, daemon=True).start()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.argv = ["ipykernel_launcher", *told["arguments"]]
    sys.argv += [
        f"--IPKernelApp.parent_handle={os.getppid()}"
    ]  # with which it ends
    kernelapp.launch_new_instance()


def start(path: str, connection: str, *options: str) -> None:
    """Ask for a kernel, pass signals on, and end when it does, or when whoever started this does."""
    parent = os.getppid()
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(path)
        told = {
            "environment": dict(os.environ),
            "folder": os.getcwd(),
            "arguments": ["-f", connection, *options],
        }
        asking.sendall(f"{json.dumps(told)}\n".encode())
        signal.signal(
            signal.SIGINT,
            lambda number, _: asking.sendall(f"{int(number)}\n".encode()),
        )
        asking.settimeout(1)
        while os.getppid() == parent:
            try:
                if not asking.recv(1):
                    return
            except TimeoutError:
                continue
            except (
                ConnectionError
            ):  # how the socket of a process that has ended may look
                return


@contextmanager
def server():
    """Where kernels can be asked for while the block runs; None where forks are not to be had."""
    if (
        not hasattr(os, "fork") or sys.platform == "darwin"
    ):  # whose system libraries do not survive a fork
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="glasslit-kernels-") as folder:
        path = os.path.join(folder, "socket")
        process = subprocess.Popen(
            [sys.executable, __file__, "serve", path], stdin=subprocess.PIPE
        )
        try:
            while not os.path.exists(path) and process.poll() is None:
                time.sleep(0.05)
            yield path if process.poll() is None else None
        finally:
            process.stdin.close()
            process.wait()


@contextmanager
def manager_class():
    """A class of kernel managers whose kernels are forks, while the block runs; or None."""
    from jupyter_client.manager import AsyncKernelManager

    with server() as path:

        class Forked(AsyncKernelManager):
            def format_kernel_cmd(self, extra_arguments=None):
                command = [sys.executable, __file__, "start", path]
                return [
                    *command,
                    self.connection_file,
                    *(extra_arguments or []),
                ]

        yield Forked if path else None


def kernelspec(folder: Path, path: str) -> None:
    """Make the kernel "python3" of this folder, to be named in JUPYTER_PATH, one that is forked."""
    home = folder / "kernels" / "python3"
    home.mkdir(parents=True)
    command = [sys.executable, __file__, "start", path, "{connection_file}"]
    told = {
        "argv": command,
        "display_name": "Python 3",
        "language": "python",
        "metadata": {"debugger": True},
    }
    (home / "kernel.json").write_text(json.dumps(told))


if __name__ == "__main__":
    {"serve": serve, "start": start}[sys.argv[1]](*sys.argv[2:])
