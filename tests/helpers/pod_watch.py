"""How many pods of a job's functions there are at once, by a watch that misses none of the cluster's events."""

import contextlib
import json
import shutil
import subprocess
import threading
from collections.abc import Collection, Iterator
from typing import IO

from sapflow.spec.labels import ROLE, selector

TRAINING = ("worker", "merger")


class PodWatch:
    """Takes in events of pods. A pod is at work from its creation until it is told to end, or has ended."""

    def __init__(self, roles: Collection[str] = TRAINING) -> None:
        self._roles = roles
        self._at_work: set[str] = set()
        self.most = 0
        """The most pods that were at work at any event."""
        self.seen: set[str] = set()
        """The names of all pods that were ever at work."""

    def read(self, lines: IO[str]) -> None:
        for line in lines:
            self.take(line)

    def take(self, line: str) -> None:
        """Take in one event, as kubectl prints it."""
        event = json.loads(line)
        pod = event["object"]
        name, role = pod["metadata"]["name"], pod["metadata"]["labels"].get(ROLE)
        if role not in self._roles:
            return
        ended = "deletionTimestamp" in pod["metadata"] or pod["status"]["phase"] in ("Succeeded", "Failed")
        if event["type"] == "DELETED" or ended:
            self._at_work.discard(name)
        else:
            self._at_work.add(name)
            self.seen.add(name)
        self.most = max(self.most, len(self._at_work))


@contextlib.contextmanager
def watched_pods(namespace: str, job: str, roles: Collection[str] = TRAINING) -> Iterator[PodWatch]:
    """Watch the pods of a job's functions of some roles meanwhile; fails the test where the watch ends before."""
    process = subprocess.Popen(
        [
            shutil.which("kubectl") or "kubectl", "get", "pods", "-n", namespace, "-l", selector(job),
            "--watch", "--output-watch-events", "-o", "json",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert process.stdout is not None
    watch = PodWatch(roles)
    reader = threading.Thread(target=watch.read, args=(process.stdout,))
    reader.start()
    try:
        yield watch
        assert process.poll() is None, "the watch of the pods has ended too early"
    finally:
        process.terminate()
        process.wait()
        reader.join()
        process.stdout.close()
