"""First answers of ModelServices that have gone to zero, beside cold starts of a merger."""

import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from helpers.kube import Job, forwarded, namespace_of_its_own, sample
from helpers.served_cluster import Service, Way, way_to

from bench import cold

ROW = [[0.0] * 64]
"""A picture of the digits."""


def starts(rounds: int) -> dict[str, list[float]]:
    """Seconds from a request that finds no pod to its answer, of `merger` (GET /healthz) and `server` (a decision, for
    which it has answered its golden rows). They alternate: while one starts, the other goes to zero."""
    found: dict[str, list[float]] = {"merger": [], "server": []}
    with _services(1) as (service,), way_to(service) as way, cold.deployed({"": None}) as pools:
        pool = pools[""]
        for _ in range(rounds):
            found["merger"].append(cold.start(pool, "merger", way.port))
            service.until_zero()
            time.sleep(1)
            began = time.monotonic()
            status, _ = way.ask(rows=ROW)
            assert status == 200, f"the first request is answered with {status}"
            found["server"].append(time.monotonic() - began)
            shown = ", ".join(f"{name} {values[-1]:.2f} s" for name, values in found.items())
            print(shown, file=sys.stderr, flush=True)
    return found


def first_requests(services: int, tries: int) -> Counter[int]:
    """How often a first request after zero was answered with which status, of so many services at once."""
    statuses: Counter[int] = Counter()
    lock = threading.Lock()

    def ask(service: Service, port: int) -> None:
        way = Way(port, service.host, service.token)
        for _ in range(tries):
            service.until_zero()
            try:
                status, _ = way.ask(rows=ROW)
            except OSError:
                status = 0
            with lock:
                statuses[status] += 1

    with (
        _services(services) as made,
        forwarded("kourier-system", "deploy/3scale-kourier-gateway", 8081) as port,
    ):
        asking = [threading.Thread(target=ask, args=(service, port)) for service in made]
        for each in asking:
            each.start()
        for each in asking:
            each.join()
    return statuses


@contextmanager
def _services(count: int) -> Iterator[list[Service]]:
    """Services of a model of the digits sample, which have answered their golden rows."""
    with namespace_of_its_own("bench") as namespace:
        job = Job.apply(namespace, sample("digits", algorithm__epochs=1))
        job.until_succeeded()
        made = [
            Service.apply(namespace, f"digits-{number}", {"model": {"job": job.name}})
            for number in range(count)
        ]
        for each in made:
            each.until("True", "Serving", 600)
        yield made
