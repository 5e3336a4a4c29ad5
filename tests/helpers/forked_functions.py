"""Functions that are forks of a process which has imported everything: one starts in 30 ms of CPU instead of 3 s.

Such a function is a process as any other, with its own memory, socket, lifeline, log, limit and death; only the imports
are not its own. Tests whose subject is how functions start and end take real ones (test_local_runtime, test_kills).
"""

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import patch

LONGEST = 2**17
"""Bytes of a message."""
FIXED = (
    "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_CORETYPE", "MKL_CBWR",
    "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "PYTHONHASHSEED",
)  # fmt: skip
"""Variables that are read once, when a process or its libraries are loaded."""
_PR_SET_CHILD_SUBREAPER = 36


class Forked:
    """The part of subprocess.Popen that the embedded runtime uses."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._waiting = threading.Lock()

    def wait(self) -> int:
        with self._waiting:
            if self.returncode is None:
                self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            return self.returncode

    def kill(self) -> None:
        if self.returncode is None:
            os.kill(self.pid, signal.SIGKILL)


class Forks:
    """The processes that functions are forked from: one for a role and the variables in FIXED. Use as a context."""

    def __init__(self) -> None:
        self._parents: dict[tuple[str, ...], tuple[subprocess.Popen[bytes], socket.socket]] = {}
        self._one_at_a_time = threading.Lock()

    def start(
        self, command: Sequence[str], *, env: Mapping[str, str], pass_fds: Sequence[int], **how: Any
    ) -> Any:
        """As subprocess.Popen would; what is no function of Sapflow's is started by that."""
        ours = list(command[:2]) == [sys.executable, "-m"] and command[2].startswith(
            "sapflow_functions.roles."
        )
        if not ours or sys.platform != "linux":
            return subprocess.Popen(command, env=env, pass_fds=pass_fds, **how)
        arguments = [each for each in command[3:] if each not in ("--lifeline", str(pass_fds[0]))]
        asked = {"arguments": arguments, "environ": dict(env), "folder": str(Path.cwd())}
        with self._one_at_a_time, _adopting_orphans():
            channel = self._parent(command[2], env)
            socket.send_fds(channel, [json.dumps(asked).encode()], [*pass_fds, how["stdout"].fileno()])
            return Forked(int(channel.recv(LONGEST)))

    def _parent(self, module: str, env: Mapping[str, str]) -> socket.socket:
        fixed = {name: env[name] for name in FIXED if name in env}
        key = (module, *(f"{name}={value}" for name, value in fixed.items()))
        if key not in self._parents:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                process = subprocess.Popen(
                    [sys.executable, "-P", __file__, module, str(theirs.fileno())],
                    env={"PATH": env["PATH"], **fixed},
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                )
            self._parents[key] = process, ours
        return self._parents[key][1]

    def __enter__(self) -> "Forks":
        return self

    def __exit__(self, *exc: object) -> None:
        for process, channel in self._parents.values():
            channel.close()
            process.wait()


@contextmanager
def in_use(forks: Forks) -> Iterator[None]:
    """Embedded runtimes of this process start their functions as forks."""
    stand_in = SimpleNamespace(Popen=forks.start, DEVNULL=subprocess.DEVNULL)
    with patch("sapflow.runtimes.embedded.instance.subprocess", stand_in):
        yield


@contextmanager
def _adopting_orphans() -> Iterator[None]:
    """A fork whose parent has gone becomes our child, as if we had started it."""
    _adopt(1)
    try:
        yield
    finally:
        _adopt(0)


def _adopt(adopts: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, adopts, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "no process can be adopted")


def main(module: str, channel: socket.socket) -> None:
    """Import all that a role's functions do, and fork one for each request until the channel is closed."""
    from sapflow_functions.process import quick_imports

    role = import_module(module)
    with quick_imports():
        for name in ("sapflow_functions.app", "uvicorn", "uvicorn.protocols.http.httptools_impl"):
            import_module(name)
        role._load_handlers()
    while True:
        content, descriptors, _, _ = socket.recv_fds(channel, LONGEST, 2)
        if not content:
            os._exit(0)  # triton complains of an end in order
        # Only the fork of a fork that ends is an orphan.
        reading, writing = os.pipe()
        between = os.fork()
        if not between:
            pid = os.fork()
            if not pid:
                for each in (channel.detach(), reading, writing):
                    os.close(each)
                _become(role, json.loads(content), *descriptors)
            os.write(writing, str(pid).encode())
            os._exit(0)
        os.waitpid(between, 0)
        channel.send(os.read(reading, 32))
        for each in (*descriptors, reading, writing):
            os.close(each)


def _become(role: ModuleType, asked: Mapping[str, Any], lifeline: int, log: int) -> None:
    """Be the function that was asked for, to its end."""
    os.setpgid(0, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    folder, environ = asked["folder"], asked["environ"]
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    sys.path[:0] = [folder, *filter(None, environ.get("PYTHONPATH", "").split(os.pathsep))]
    sys.argv = [str(role.__file__), *asked["arguments"], "--lifeline", str(lifeline)]
    sys.exit(role.main())


if __name__ == "__main__":
    main(sys.argv[1], socket.socket(fileno=int(sys.argv[2])))
