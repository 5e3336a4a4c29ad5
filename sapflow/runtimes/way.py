"""The way to the functions behind a Knative Service: through the gateway, or past it.

A Service's name leads to the gateway, which asks the activator for an instance of the Revision that the Service's route
names. A Revision has a name in the cluster, too, and that leads to the activator at once. Which Revision it is the
functions themselves say in their answers. The route may come to name another at any time, so now and then calls take
the way through the gateway, and tell whether the Revision is still the same. Calls that are sent together take the same
way, so that no step is served by two Revisions.
"""

import re
import time
from collections.abc import Callable

from yarl import URL

ASK_SECONDS = 1.0
"""How long calls go to a Revision before some ask the gateway again. Until then a Revision that the route has left may
serve calls, and keeps its instances."""
FAILURES = 3
"""After so many calls in a row that failed on their way past the gateway, something there does not let them through,
such as a service mesh. Single ones break: a proxy written in Go takes a body that it has sent on for closed where the
answer comes before it has looked for the body's end (golang/go#40747)."""
AWAY_SECONDS = 300.0
"""How long all calls take the gateway then."""


class Way:
    """How the next call of a Service's functions is sent."""

    def __init__(self, service: URL, clock: Callable[[], float] = time.monotonic) -> None:
        """`service` is where the Service is invoked, such as http://NAME.NAMESPACE.svc.cluster.local/invoke."""
        self._service, self._clock = service, clock
        self._revision: URL | None = None
        self._ask_at = 0.0
        self._asking = False
        self._straight = 0
        self._failures = 0
        name, _, self._domain = (service.host or "").partition(".")
        self._ours = re.compile(re.escape(name) + r"-\d{5,8}")

    def choose(self) -> URL:
        """Where to send a call now; `ended` must follow."""
        if self._revision is None:
            return self._service
        late = self._clock() - self._ask_at
        if self._asking or late >= ASK_SECONDS or (late >= 0 and not self._straight):
            self._asking = True
            return self._service
        self._straight += 1
        return self._revision

    def ended(self, url: URL) -> None:
        """A call that was sent to `url` is over."""
        if self.is_straight(url):
            self._straight -= 1
        elif self._asking:
            self._asking = False
            self._ask_at = self._clock() + ASK_SECONDS

    def is_straight(self, url: URL) -> bool:
        """Whether a call that was sent to `url` has gone past the gateway."""
        return url is not self._service

    def answered(self, url: URL, revision: str | None) -> None:
        """Learn from a function's answer to a call that was sent to `url`. `revision` is what it says of itself.

        A name that is none of the Service's own Revisions is not followed.
        """
        if self.is_straight(url):
            self._failures = 0
            return
        if revision is None or self._clock() < self._ask_at - ASK_SECONDS:
            return
        if self._domain and self._ours.fullmatch(revision):
            if self._revision is None:
                self._ask_at = self._clock() + ASK_SECONDS
            self._revision = self._service.with_host(f"{revision}.{self._domain}")

    def forget(self) -> None:
        """The Revision has no instance for a call. The next one takes the gateway, which may know another Revision."""
        self._revision = None

    def failed(self, url: URL) -> bool:
        """A call that was sent to `url` has not come to a function, or not back. Returns whether all calls take the
        gateway for a while because of it."""
        if not self.is_straight(url):
            return False
        self._revision = None
        self._failures += 1
        if self._failures < FAILURES:
            return False
        self._failures, self._asking = 0, False
        self._ask_at = self._clock() + AWAY_SECONDS + ASK_SECONDS
        return True
