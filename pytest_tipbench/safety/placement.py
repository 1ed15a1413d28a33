"""Owns which host runs which model, and which worker serves which host; imports no pytest."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from pytest_tipbench.errors import PreflightError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pytest_tipbench.records import Cell, ModelDescription


def hosts_with_worker(host_count: int, worker_count: int) -> range:
    """Return the indices of the hosts that get a worker each; without workers, of the first."""
    return range(min(host_count, max(worker_count, 1)))


def unserved_line(addresses: Sequence[str], worker_count: int, *, has_child: bool) -> str | None:
    """Return which of the Ollama hosts run nothing, and why, in one line; None where all serve.

    Args:
        addresses: the hosts', in their order.
        worker_count: how many workers there are.
        has_child: llama.cpp is in the matrix.
    """
    served = len(hosts_with_worker(len(addresses), worker_count))
    reason = f"each host needs a worker of its own, give -n {len(addresses)}"
    if has_child:
        served, reason = 1, "beside llama.cpp everything local runs on the first host"
    unserved = addresses[served:]
    return f"not used: {', '.join(unserved)} ({reason})" if unserved else None


class Placement:
    """Shares the models out among the hosts, and the hosts among the workers."""

    def __init__(self, host_count: int) -> None:
        self._host_count = host_count
        self._workers: dict[str, int] = {}
        self._hosts: dict[str, int] = {}

    def bind(self, worker: str) -> int | None:
        """Give the worker a host that no other worker serves; None where all are served."""
        free = set(range(self._host_count)) - set(self._workers.values())
        if not free:
            return None
        self._workers[worker] = min(free)
        return self._workers[worker]

    def free(self, worker: str) -> int | None:
        """Let another worker serve the host of one that is gone; return that host's index."""
        return self._workers.pop(worker, None)

    @property
    def served(self) -> tuple[int, ...]:
        """Indices of the hosts that are served; without workers, this process serves the first."""
        return tuple(sorted(set(self._workers.values()))) or (0,)

    def share_out(
        self,
        cells: Iterable[Cell],
        models: Mapping[str, ModelDescription],
        hosts_of: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        """Share the local models out among the hosts that a worker serves, evenly by their cells.

        A model stays on one host. Where a model of this machine's own memory (llama.cpp) is among
        them, all local models go to the first host's worker: its child may not live beside
        another host's model.

        Args:
            cells: those that were selected.
            models: what each model is, by reference.
            hosts_of: indices of the hosts that may run a model, where not all may.

        Raises:
            PreflightError: a model may run on none of the hosts that are left to it.
        """
        counts = Counter(cell.model.text for cell in cells if models[cell.model.text].local)
        served = self.served
        if any(models[name].reference.provider != "ollama" for name in counts):
            served = served[:1]
        able = {
            name: [index for index in (hosts_of or {}).get(name, served) if index in served]
            for name in counts
        }
        problems = [
            f"{name} is not on the host that has to run it" for name in counts if not able[name]
        ]
        if problems:
            raise PreflightError("models that no host may run beside the others", problems)
        load: Counter[int] = Counter()
        # Those with the least choice first, so that they do not come on top of the others.
        for name in sorted(counts, key=lambda name: len(able[name])):
            host = min(able[name], key=lambda index: (load[index], index))
            load[host] += counts[name]
            self._hosts[name] = host

    def place(
        self, cells: Iterable[Cell], admitted: Mapping[str, Mapping[int, ModelDescription]]
    ) -> dict[str, ModelDescription]:
        """Share the models out, and return what each is on its host.

        Args:
            cells: those that were selected.
            admitted: as :func:`pytest_tipbench.safety.cap.admit_on_hosts` returns it.

        Raises:
            PreflightError: as :meth:`share_out`.
        """
        anywhere = {name: next(iter(by_host.values())) for name, by_host in admitted.items()}
        self.share_out(cells, anywhere, {name: tuple(hosts) for name, hosts in admitted.items()})
        return {
            name: by_host[self._hosts[name]] if name in self._hosts else anywhere[name]
            for name, by_host in admitted.items()
        }

    def host_of(self, cell: Cell) -> int | None:
        """Return the index of the host of the cell's model; None for a hosted model."""
        return self._hosts.get(cell.model.text)
