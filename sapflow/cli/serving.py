"""The end of a run whose model is served: it is asked for a decision, and with --serve goes on answering."""

import argparse
import shlex
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sapflow.cli.ended import Ended
from sapflow.client.answering import Asked, ask, start
from sapflow.client.local_server import Place
from sapflow.errors import DataError
from sapflow.spec.serving.serve import ServingSpec
from sapflow.text import duration, to_json

Completed = Callable[[Ended, float | None], Ended]
PORT = 8080
"""That of `sapflow serve`, where no other is asked for."""


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the options about the server at the end."""
    parser.add_argument(
        "--serve", action="store_true", help="answer requests with the model at the end, until Ctrl-C"
    )
    parser.add_argument(
        "--port", type=int, metavar="N", help=f"listen on this port with --serve; 0: any (default: {PORT})"
    )


def check(given: argparse.Namespace) -> None:
    """Refuse what the options cannot mean. Raises DataError."""
    if given.port is not None and not (given.serve and 0 <= given.port <= 65535):
        raise DataError(f"--port {given.port}: give a number from 0 to 65535, and --serve")


def tell(given: argparse.Namespace, ended: Ended, completed: Completed = lambda ended, _: ended) -> int:
    """Print how a run has ended. A model that is to be served is asked for a decision before, by a process that has
    answered its golden rows; with --serve this process is waited for. `completed` adds to what is printed, and is told
    the seconds until the decision. The exit code.

    Raises DataError, NotServed, NotAnswered.
    """
    port = PORT if given.port is None else given.port
    if ended.model is None or not (given.serve or ended.serve):
        return completed(ended, None).tell(as_json=given.json)
    began = time.monotonic()
    place = Place(port=port if given.serve else 0)
    with start(ended.model, ended.serve or ServingSpec(), ended.environ, place) as server:
        asked = ask(server, began)
        code = _with_decision(given, completed(ended, asked.seconds), asked).tell(as_json=given.json)
        return server.wait() if given.serve else code


def _with_decision(given: argparse.Namespace, ended: Ended, asked: Asked) -> Ended:
    curl = asked.curl if given.serve else asked.curl.replace(asked.url, f"http://127.0.0.1:{PORT}", 1)
    command = ["sapflow", "serve", given.file, *([] if given.store is None else ["--store", given.store])]

    def say() -> None:
        ended.say()
        print(f"\nServed, it has decided in {duration(asked.seconds)}: {to_json(asked.decision)}")
        if given.serve:
            print(f"It is served at {asked.url} (Ctrl-C ends it). Ask it:")
        else:
            print(f"To serve it, and to ask it:\n  {shlex.join(command)}")
        print(f"  {curl}", flush=True)

    said: dict[str, Any] = {"decision": asked.decision, "seconds": asked.seconds, "curl": curl}
    said |= {"url": asked.url} if given.serve else {"command": shlex.join(command)}
    return replace(ended, body={**ended.body, "served": said}, say=say)
