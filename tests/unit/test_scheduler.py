from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("xdist")

from xdist.remote import Producer

from pytest_tipbench.errors import UserMistakeError
from pytest_tipbench.scheduler import SERVED_HOST, BenchScheduling

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class _Gateway:
    def __init__(self, name: str) -> None:
        self.id = name


class Node:
    """A worker that does nothing by itself; the test says what it has finished."""

    def __init__(self, name: str, served: int | None) -> None:
        self.gateway = _Gateway(name)
        self.workerinput: dict[str, Any] = {SERVED_HOST: served}
        self.given: list[int] = []
        self.shutting_down = False

    def send_runtest_some(self, indices: Sequence[int]) -> None:
        assert not self.shutting_down
        self.given += indices

    def shutdown(self) -> None:
        self.shutting_down = True


class Session:
    """The scheduler between fake workers and a test."""

    def __init__(
        self,
        config: pytest.Config,
        items: list[str],
        *served: int | None,
        prepare: Callable[[Sequence[str]], None] = lambda _ids: None,
    ) -> None:
        config.option.tx = ["popen"] * len(served)
        self.items = items
        self.scheduler = BenchScheduling(config, Producer("test"), prepare, host_of)
        self.nodes = [Node(f"gw{index}", host) for index, host in enumerate(served)]
        for node in self.nodes:
            self.join(node)

    def join(self, node: Node) -> None:
        """What xdist does when a worker is ready and has collected."""
        self.scheduler.add_node(node)
        self.scheduler.add_node_collection(node, list(self.items))

    def start(self) -> None:
        assert self.scheduler.collection_is_completed
        self.scheduler.schedule()

    def replace(self, dead: Node, name: str) -> Node:
        """What xdist does after a crash: a new worker that serves the dead one's host."""
        node = Node(name, dead.workerinput[SERVED_HOST])
        self.join(node)
        self.scheduler.schedule()
        return node

    def given(self, node: Node) -> list[str]:
        return [self.items[index] for index in node.given]

    def finish(self, node: Node, item: str) -> None:
        self.scheduler.mark_test_complete(node, self.items.index(item))

    def work_off(self) -> dict[str, list[str]]:
        """Let the workers finish all they are given, in turn, as xdist's would."""
        done: dict[str, list[str]] = {node.gateway.id: [] for node in self.nodes}
        moved = True
        while moved:
            moved = False
            for node in self.nodes:
                left = self.given(node)[len(done[node.gateway.id]) :]
                # A worker starts an item only when it knows the next one, or that there is none.
                if len(left) >= 2 or (left and node.shutting_down):
                    done[node.gateway.id].append(left[0])
                    self.finish(node, left[0])
                    moved = True
        return done


def host_of(node_id: str) -> int | None:
    """``h0-…`` needs host 0, ``h1-…`` host 1; anything else may run anywhere."""
    return int(node_id[1]) if node_id.startswith("h") else None


def items(*counts: tuple[str, int]) -> list[str]:
    return [f"{prefix}-{number}" for prefix, count in counts for number in range(count)]


@pytest.fixture
def config(pytester: pytest.Pytester) -> pytest.Config:
    return pytester.parseconfig("-p", "xdist")


def test_a_hosts_cells_go_to_its_worker_in_order_and_hosted_ones_spread(
    config: pytest.Config,
) -> None:
    session = Session(config, items(("h0", 6), ("openai", 8)), 0, None)
    session.start()
    done = session.work_off()
    assert [item for item in done["gw0"] if item.startswith("h0")] == items(("h0", 6))
    assert not [item for item in done["gw1"] if item.startswith("h0")]
    assert sorted(done["gw0"] + done["gw1"]) == sorted(session.items)
    assert done["gw1"]
    assert all(node.shutting_down for node in session.nodes)
    assert session.scheduler.tests_finished
    assert not session.scheduler.has_pending


def test_two_hosts_are_two_workers_whichever_has_more_to_do(config: pytest.Config) -> None:
    session = Session(config, items(("h0", 2), ("h1", 9)), 0, 1)
    session.start()
    done = session.work_off()
    assert done == {"gw0": items(("h0", 2)), "gw1": items(("h1", 9))}


def test_a_worker_begins_with_its_own_host_even_where_hosted_cells_come_first(
    config: pytest.Config,
) -> None:
    session = Session(config, items(("openai", 3), ("h0", 2)), 0, None)
    session.start()
    assert session.given(session.nodes[0])[:2] == items(("h0", 2))


def test_more_workers_than_hosts_take_no_hosts_cells(config: pytest.Config) -> None:
    session = Session(config, items(("h0", 4)), 0, None, None)
    session.start()
    assert session.given(session.nodes[0]) == items(("h0", 4))
    assert [node.shutting_down for node in session.nodes] == [False, True, True]
    assert session.work_off()["gw0"] == items(("h0", 4))


def test_everybody_elses_items_run_beside_the_cells(config: pytest.Config) -> None:
    session = Session(config, ["test_a", "h0-0", "test_b", "h0-1", "test_c"], 0, None)
    session.start()
    done = session.work_off()
    assert sorted(done["gw0"] + done["gw1"]) == sorted(session.items)
    assert [item for item in done["gw0"] if item.startswith("h0")] == items(("h0", 2))


def test_workers_with_nothing_to_do_are_let_go(config: pytest.Config) -> None:
    session = Session(config, [], 0, None)
    session.start()
    assert all(node.shutting_down for node in session.nodes)
    assert session.scheduler.tests_finished


def test_prepare_is_called_once_before_anything_is_handed_out(config: pytest.Config) -> None:
    seen: list[tuple[list[str], list[int]]] = []
    session = Session(
        config,
        items(("h0", 2)),
        0,
        prepare=lambda ids: seen.append((list(ids), [*session.nodes[0].given])),
    )
    session.start()
    session.scheduler.schedule()
    assert seen == [(items(("h0", 2)), [])]


def test_what_prepare_raises_ends_the_session_with_nothing_handed_out(
    config: pytest.Config,
) -> None:
    def refuse(_ids: Sequence[str]) -> None:
        raise UserMistakeError("over the cap")

    session = Session(config, items(("h0", 2)), 0, None, prepare=refuse)
    with pytest.raises(UserMistakeError, match="over the cap"):
        session.start()
    assert [node.given for node in session.nodes] == [[], []]


def test_hosts_may_be_shared_out_by_prepare_itself(config: pytest.Config) -> None:
    hosts: dict[str, int] = {}
    config.option.tx = ["popen"]
    scheduler = BenchScheduling(
        config, Producer("test"), lambda ids: hosts.update(dict.fromkeys(ids, 0)), hosts.get
    )
    node = Node("gw0", 0)
    scheduler.add_node(node)
    scheduler.add_node_collection(node, ["a", "b"])
    scheduler.schedule()
    assert list(scheduler.assigned_work[node]) == ["@tipbench-host-0"]
    assert node.given == [0, 1]


def test_different_collections_hand_nothing_out(config: pytest.Config) -> None:
    session = Session(config, items(("h0", 2)), 0)
    config.option.tx = ["popen"] * 2
    called: list[object] = []
    scheduler = BenchScheduling(config, Producer("test"), called.append, host_of)
    scheduler.config = session.scheduler.config
    first, second = Node("gw0", 0), Node("gw1", None)
    for node, collected in ((first, ["h0-0"]), (second, ["h0-1"])):
        scheduler.add_node(node)
        scheduler.add_node_collection(node, collected)
    scheduler.schedule()
    assert (first.given, second.given, called) == ([], [], [])


# --- a worker that dies -----------------------------------------------------------------------


def test_a_dead_workers_item_counts_as_done_and_the_rest_goes_to_its_replacement(
    config: pytest.Config,
) -> None:
    session = Session(config, items(("h0", 4), ("openai", 2)), 0, None)
    session.start()
    dead, other = session.nodes
    session.finish(dead, "h0-0")
    assert session.scheduler.remove_node(dead) == "h0-1"
    assert not [item for item in session.given(other) if item.startswith("h0")]
    replacement = session.replace(dead, "gw2")
    session.nodes = [other, replacement]
    done = session.work_off()
    assert done["gw2"][:2] == ["h0-2", "h0-3"]
    assert sorted(done["gw1"] + done["gw2"]) == ["h0-2", "h0-3", "openai-0", "openai-1"]
    assert session.scheduler.tests_finished


def test_nothing_is_finished_while_a_dead_workers_cells_wait(config: pytest.Config) -> None:
    session = Session(config, items(("h0", 3)), 0, None)
    session.start()
    session.scheduler.remove_node(session.nodes[0])
    assert session.scheduler.has_pending
    assert not session.scheduler.tests_finished


def test_a_worker_that_dies_of_its_last_item_leaves_nothing(config: pytest.Config) -> None:
    session = Session(config, items(("h0", 2)), 0)
    session.start()
    session.finish(session.nodes[0], "h0-0")
    assert session.scheduler.remove_node(session.nodes[0]) == "h0-1"
    assert not session.scheduler.has_pending


def test_a_worker_that_ended_well_has_crashed_in_nothing(config: pytest.Config) -> None:
    session = Session(config, items(("h0", 2)), 0)
    session.start()
    session.work_off()
    assert session.scheduler.remove_node(session.nodes[0]) is None


def test_a_replacement_that_dies_too_leaves_one_more_item(config: pytest.Config) -> None:
    session = Session(config, items(("h0", 4)), 0)
    session.start()
    assert session.scheduler.remove_node(session.nodes[0]) == "h0-0"
    second = session.replace(session.nodes[0], "gw1")
    assert session.given(second) == ["h0-1", "h0-2", "h0-3"]
    assert session.scheduler.remove_node(second) == "h0-1"
    third = session.replace(second, "gw2")
    session.nodes = [third]
    assert session.work_off() == {"gw2": ["h0-2", "h0-3"]}


def test_a_replacement_is_given_nothing_before_it_has_collected(config: pytest.Config) -> None:
    session = Session(config, items(("h0", 4), ("h1", 2)), 0, 1)
    session.start()
    dead, sound = session.nodes
    assert session.scheduler.remove_node(dead) == "h0-0"
    replacement = Node("gw2", 0)
    session.scheduler.add_node(replacement)
    session.finish(sound, "h1-0")
    session.finish(sound, "h1-1")
    assert session.scheduler.remove_node(sound) is None  # it ends while the other still collects
    assert (replacement.given, replacement.shutting_down) == ([], False)
    assert session.scheduler.has_pending
    session.scheduler.add_node_collection(replacement, list(session.items))
    session.scheduler.schedule()
    session.nodes = [replacement]
    assert session.work_off() == {"gw2": ["h0-1", "h0-2", "h0-3"]}


def test_a_worker_that_dies_collecting_ends_no_other(config: pytest.Config) -> None:
    config.option.tx = ["popen"] * 2
    scheduler = BenchScheduling(config, Producer("test"), lambda _ids: None, host_of)
    dead, other = Node("gw0", 0), Node("gw1", 1)
    scheduler.add_node(dead)
    scheduler.add_node(other)
    scheduler.add_node_collection(other, items(("h0", 2)))
    assert scheduler.remove_node(dead) is None
    assert not other.shutting_down


def test_hosted_cells_of_a_dead_worker_go_to_anybody(config: pytest.Config) -> None:
    session = Session(config, items(("openai", 6)), None, None)
    session.start()
    dead, other = session.nodes
    lost = session.given(dead)
    assert session.scheduler.remove_node(dead) == lost[0]
    replacement = session.replace(dead, "gw2")
    session.nodes = [other, replacement]
    done = session.work_off()
    assert sorted(done["gw1"] + done["gw2"]) == sorted(set(session.items) - {lost[0]})
