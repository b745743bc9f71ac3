"""Requests that wait for a row of the model, in turns: clients take turns, and so do the requests of one client.

In one line for all, whoever asks for 256 answers makes everybody else wait for all of them, and fills the line besides.
Here every turn hands out one answer, a request takes up few of the places however many answers it wants, and the more a
request wants, or a client holds, the more places must be free: large requests are the first to be refused.

References:
  Demers et al. 1989, Analysis and simulation of a fair queueing algorithm, SIGCOMM, section 2 (turns by client).
  Choudhury & Hahne 1998, Dynamic queue length thresholds for shared-memory packet switches, IEEE/ACM Transactions on
  Networking 6(2), section III (a share of what is free, in place of a fixed one).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Generic, Protocol, TypeVar

REQUEST_SHARE = 8  # a request counts as at most an eighth of the places
FREE_SHARE = 4  # one that counts as more than one place takes at most a quarter of those that are free
CLIENT_SHARE = 4  # a client may hold at most four times as many places as are free


class Waiting(Protocol):
    """An answer that waits."""

    @property
    def client(self) -> str:
        """Who asked for it."""
        ...

    @property
    def cancelled(self) -> bool:
        """Whether nobody wants it any more."""
        ...


Item = TypeVar("Item", bound=Waiting)


class QueueFull(Exception):
    """More is waiting, of all clients or of this one, than the server is set to accept."""


class FairQueue(Generic[Item]):
    """Answers that wait, by client and request. Not thread-safe.

    Args:
        places: How many answers may wait, of which those of one request count as at most an eighth.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._most_counted = max(places // REQUEST_SHARE, 1)
        # Both in the order of their turns: who has just been served goes to the end.
        self._clients: dict[str, deque[deque[Item]]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._requests()))

    def put(self, items: Sequence[Item]) -> None:
        """Adds the answers of one request, all of them or none.

        Raises:
            QueueFull: They find no place.
        """
        self._drop_cancelled()
        client = items[0].client
        free = self._places - self._counted(self._requests())
        held = self._counted(self._clients.get(client, ()))
        wanted = self._counted([items])
        if wanted > free or wanted > max(free // FREE_SHARE, 1) or held + wanted > CLIENT_SHARE * free:
            raise QueueFull
        self._clients.setdefault(client, deque()).append(deque(items))

    def take(self) -> Item | None:
        """The answer whose turn it is; None when nobody waits."""
        self._drop_cancelled()
        if not self._clients:
            return None
        client = next(iter(self._clients))
        requests = self._clients.pop(client)
        request = requests.popleft()
        item = request.popleft()
        if request:
            requests.append(request)
        if requests:
            self._clients[client] = requests
        return item

    def clear(self) -> list[Item]:
        """Empties the queue and returns what waited."""
        left = [item for request in self._requests() for item in request]
        self._clients.clear()
        return left

    def _requests(self) -> Iterator[deque[Item]]:
        return (request for requests in self._clients.values() for request in requests)

    def _counted(self, requests: Iterable[Sized]) -> int:
        """The places that requests take up."""
        return sum(min(len(request), self._most_counted) for request in requests)

    def _drop_cancelled(self) -> None:
        """Forgets answers whose clients went away, so that they keep nobody out."""
        for client, requests in list(self._clients.items()):
            wanted = (deque(item for item in request if not item.cancelled) for request in requests)
            self._clients[client] = deque(request for request in wanted if request)
            if not self._clients[client]:
                del self._clients[client]
