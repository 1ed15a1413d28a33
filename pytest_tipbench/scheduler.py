"""Owns how pytest-xdist spreads cells over workers; imports xdist, and is imported only with it.

Cells on local weights of one host go to the one worker that serves this host, in order; hosted
cells, and everybody else's items, spread over all workers. This holds whatever ``--dist`` says,
since xdist's own ``loadgroup`` cannot be relied on for it (pytest 9.2 with xdist 3.8 ignores it).
"""

from __future__ import annotations

from queue import Empty
from typing import TYPE_CHECKING, Any

from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from collections import OrderedDict
    from collections.abc import Callable, Iterator, Sequence

    import pytest
    from xdist.workermanage import WorkerController

SERVED_HOST = "tipbench_served_host"
"""Key of a worker's input: the index of the host it serves, None for a worker without one."""


def stopped_by_failures(config: pytest.Config) -> bool:
    """Say whether ``-x`` or ``--maxfail`` has ended the session.

    xdist ends it by an ``Interrupted``, as Ctrl-C would; to pytest by itself it is failed tests.
    """
    xdist_session = config.pluginmanager.getplugin("dsession")
    return str(getattr(xdist_session, "shouldstop", "")).startswith("stopping after ")


def unread_reports(config: pytest.Config) -> Iterator[pytest.TestReport]:
    """Take the reports that have come from workers, and that xdist was too interrupted to read."""
    queue = config.pluginmanager.getplugin("dsession").queue
    while True:
        try:
            name, event = queue.get_nowait()
        except Empty:
            return
        if name == "testreport":
            yield event["rep"]


class BenchScheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist ships no types
    """Hands each host's cells to its own worker, one work unit per host."""

    collection: list[str] | None
    workqueue: OrderedDict[str, dict[str, bool]]
    assigned_work: dict[WorkerController, dict[str, dict[str, bool]]]

    def __init__(
        self,
        config: pytest.Config,
        log: Any,
        prepare: Callable[[Sequence[str]], None],
        host_of: Callable[[str], int | None],
    ) -> None:
        """Make the scheduler.

        Args:
            config: pytest's.
            log: xdist's.
            prepare: called once with the node ids before the first item is handed out; what it
                raises ends the session.
            host_of: node id → index of the host whose memory its cell needs, None for an item that
                any worker may run.
        """
        super().__init__(config, log)
        self._prepare = prepare
        self._host_of = host_of

    def schedule(self) -> None:
        """Hand out the first items, once all workers have collected the same ones."""
        if self.collection is None:
            if not self._check_nodes_have_same_collection():
                return
            self.collection = list(next(iter(self.registered_collections.values())))
            self._prepare(self.collection)
            for node_id in self.collection:
                self.workqueue.setdefault(self._split_scope(node_id), {})[node_id] = False
        for _ in range(2):  # a worker starts an item only when it knows the next one
            for node in self.nodes:
                self._reschedule(node)

    def remove_node(self, node: WorkerController) -> str | None:
        """Take a worker out; what it had not finished waits for its replacement.

        The item during which it died counts as done: its cell is recorded as missing, and a second
        worker must not die of it too.
        """
        workload = self.assigned_work.pop(node)
        crashed = None
        for scope, unit in workload.items():
            left = {node_id: False for node_id, done in unit.items() if not done}
            if left and crashed is None:
                crashed = next(iter(left))
                del left[crashed]
            if left:
                self.workqueue[scope] = left
                self.workqueue.move_to_end(scope, last=False)
        for other in self.nodes:
            self._reschedule(other)
        return crashed

    def _split_scope(self, nodeid: str) -> str:
        host = self._host_of(nodeid)
        return nodeid if host is None else _scope_of(host)

    def _reschedule(self, node: WorkerController) -> None:
        if self.collection is None or node not in self.registered_collections:
            return  # nothing is handed out yet, or not to a worker that has only just started
        if node.shutting_down or self._pending_of(self.assigned_work[node]) > 2:
            return
        if self._next_scope(node) is None:
            node.shutdown()
        else:
            self._assign_work_unit(node)

    def _assign_work_unit(self, node: WorkerController) -> None:
        scope = self._next_scope(node)
        assert scope is not None  # noqa: S101 - callers look first
        self.workqueue.move_to_end(scope, last=False)
        super()._assign_work_unit(node)

    def _next_scope(self, node: WorkerController) -> str | None:
        """Return the first unit that this worker may run: its host's first, then anybody's."""
        served = node.workerinput.get(SERVED_HOST)
        own = None if served is None else _scope_of(served)
        if own in self.workqueue:
            return own
        return next((scope for scope in self.workqueue if not _is_local(scope)), None)


def _scope_of(host: int) -> str:
    return f"@tipbench-host-{host}"


def _is_local(scope: str) -> bool:
    return scope.startswith("@tipbench-host-")
