"""The command line: `sapflow run | validate | plan | submit | status | report | logs | predict | serve | export …`."""

import argparse
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from types import TracebackType

from sapflow.cli.output import report_error
from sapflow.cli.stop import Stopped, stoppable
from sapflow.errors import SapflowError

__all__ = ["entry", "main"]

_DESCRIPTION = """\
Sapflow trains neural networks on serverless functions: parameters flow down to many workers, gradients flow
back up through a tree of mergers. A job is a YAML file. `run` trains it on this machine, where functions are local
processes; `submit` hands it to a Kubernetes cluster."""

_EPILOG = """\
examples:
  sapflow validate job.yaml              check a job without training it
  sapflow plan job.yaml                  predict seconds and dollars, and find the best merge tree
  sapflow inspect flights.csv            tell what raw data holds, and how to begin to prepare it
  sapflow prepare job.yaml --to DIR      make blocks of its raw data, without training
  sapflow run job.yaml                   train it; after an interruption, run it again to continue
  sapflow status job.yaml                show its progress
  sapflow report job.yaml                write a page about it: loss, time, tree, memory, cost
  sapflow export job.yaml                its model as a file, also where it was stopped
  sapflow fork job.yaml@40 -o new.yaml   a job that begins at its version 40
  sapflow verify job.yaml                compute its versions again, and compare
  sapflow diff job.yaml new.yaml          where two jobs part, and why
  sapflow predict job.yaml               try its model on held-out samples
  sapflow serve job.yaml                 answer requests with its model
  sapflow submit job.yaml --watch        train it in a cluster, and watch it there
  sapflow logs NAME --follow             show its driver's log

exit codes:
  0 success   1 the job failed   2 bad input (file, field, data, usage)   3 store or cluster cannot be used
  130 interrupted by Ctrl-C   143 by SIGTERM"""

_COMMANDS = {
    "run": "run",
    "validate": "validate",
    "inspect": "inspect_source",
    "prepare": "prepare",
    "plan": "plan",
    "submit": "submit",
    "status": "status",
    "report": "report",
    "logs": "logs",
    "predict": "predict",
    "serve": "serve",
    "export": "export",
    "fork": "fork",
    "verify": "verify",
    "diff": "diff",
    "version": "version",
}
"""Each command's module, in the order of the help. Only that of the command given is loaded: all of them take a quarter
of a second more."""

_STOPPED = {Stopped(number).exit_code for number in (signal.SIGINT, signal.SIGTERM)}


def entry() -> None:
    """The entry point of the command `sapflow`: runs `main`, and ends the process with its exit code."""
    with _Leaving():
        sys.exit(main())


class _Leaving:
    """Ends the process although threads may still wait for an answer that never comes.

    Python itself would wait for threads that are no daemons, which a user who has stopped the command does not want; it
    would stop daemons at any point, which can abort the process."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        code = 1
        if isinstance(error, SystemExit):
            code = error.code if isinstance(error.code, int) else 1
        others = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
        if not any(thread.daemon or code in _STOPPED for thread in others):
            return
        if kind is not None and error is not None and not isinstance(error, SystemExit):
            sys.excepthook(kind, error, trace)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Run a command, and return its exit code. A SapflowError becomes a message; others keep their traceback."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    given = _parser(arguments).parse_args(arguments)
    command: Callable[[argparse.Namespace, Mapping[str, str]], int] = given.command
    given.arguments = arguments
    try:
        with stoppable():
            return command(given, os.environ if environ is None else environ)
    except SapflowError as error:
        return report_error(error, as_json=given.json)
    except Stopped as stopped:
        return stopped.exit_code
    except BrokenPipeError:
        # The reader of our output has closed it; nothing may be written to it at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sapflow",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    named = [name for name in arguments[:1] if name in _COMMANDS]
    for name in named or _COMMANDS:
        import_module(f"sapflow.cli.{_COMMANDS[name]}").add_to(commands)
    return parser
