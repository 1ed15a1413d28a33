from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import filelock
import pytest

from pytest_tipbench.errors import (
    LedgerError,
    TrackingRefusedError,
    TrackingUnreachableError,
    UserMistakeError,
)
from pytest_tipbench.records import Outcome
from pytest_tipbench.store.deliveries import Deliveries
from pytest_tipbench.store.ledger import Ledger, SessionEnding
from pytest_tipbench.store.mirror import Mirror, Undelivered
from tests.unit.store_samples import (
    EXPERIMENT,
    RUBRIC,
    START,
    Fault,
    Server,
    TrackingDouble,
    applied,
    judgement,
    memory_ledger,
    run,
    session,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from pytest_tipbench.judgement_records import ApplyRecord, Judgement
    from pytest_tipbench.records import RunRecord, SessionRecord
    from pytest_tipbench.store.base import TrackingStore

TARGET = "http://127.0.0.1:5000"
AWAY = TrackingUnreachableError("MLflow does not answer")
LONG = 30.0
"""Seconds that nothing here takes, unless it fails."""


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return memory_ledger(tmp_path / "ledger.db")


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    deadline = time.monotonic() + LONG
    for thread in threading.enumerate():
        if thread.name == "tipbench-mirror":
            thread.join(deadline - time.monotonic())
            assert not thread.is_alive()


def _mirror(
    ledger: Ledger, open_store: Callable[[], TrackingStore], *, retry_seconds: float = 0.0
) -> Mirror:
    return Mirror(
        ledger, open_store, TARGET, RUBRIC, session_id="s1", retry_seconds=(retry_seconds,)
    )


def _poll(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG
    while not is_so():
        assert time.monotonic() < deadline
        threading.Event().wait(0.001)


def test_what_is_kept_while_it_runs_is_delivered(ledger: Ledger, server: Server) -> None:
    mirror = _mirror(ledger, server.open)
    ledger.add_session(session("s1"))
    mirror.start()
    _poll(lambda: len(server.sessions) == 1)
    for number in range(1, 6):
        ledger.add_run(run(number))
        mirror.notify()
        _poll(lambda number=number: len(server.runs) == number)  # type: ignore[misc] # bound at once
    assert mirror.trouble is None
    ledger.end_session(
        SessionEnding(session_id="s1", board_text="the board", metrics={}, failed=True)
    )
    assert mirror.finish(LONG) is None
    assert server.boards == {"session-s1": "the board {} True"}
    assert server.parents == ["session-s1"] * 5


def test_what_earlier_sessions_left_is_delivered_at_the_start(
    ledger: Ledger, server: Server
) -> None:
    ledger.add_session(session("old"))
    ledger.add_run(run(1, session_id="old"))
    mirror = _mirror(ledger, server.open)
    mirror.start()
    assert mirror.finish(LONG) is None
    assert server.runs == [run(1, session_id="old")]
    assert server.parents == ["session-old"]


def test_what_is_kept_just_before_the_end_is_delivered(ledger: Ledger, server: Server) -> None:
    for number in range(100):
        mirror = _mirror(ledger, server.open)
        mirror.start()
        ledger.add_run(run(number))
        assert mirror.finish(LONG) is None
        assert len(server.runs) == number + 1


def test_the_store_is_made_and_closed_on_the_mirrors_thread(ledger: Ledger, server: Server) -> None:
    made: list[tuple[str, TrackingDouble]] = []

    def open_store() -> TrackingDouble:
        made.append((threading.current_thread().name, server.open()))
        return made[-1][1]

    mirror = _mirror(ledger, open_store)
    mirror.start()
    mirror.finish(LONG)
    _poll(lambda: made[0][1].is_closed)
    assert [name for name, _ in made] == ["tipbench-mirror"]


def test_what_is_kept_while_the_last_pass_is_under_way_is_delivered(
    ledger: Ledger, server: Server
) -> None:
    reached, go_on = threading.Event(), threading.Event()

    class SlowAtTheEnd(TrackingDouble):
        def put_apply(
            self, apply: ApplyRecord, judgements: Sequence[Judgement], *, may_exist: bool
        ) -> str:
            reached.set()
            assert go_on.wait(LONG)
            return super().put_apply(apply, judgements, may_exist=may_exist)

    said = [judgement("A")]
    ledger.add_apply(applied(said), said)
    mirror = _mirror(ledger, lambda: SlowAtTheEnd(server))
    mirror.start()
    assert reached.wait(LONG)
    ledger.add_run(run(1))  # too late for this pass, and nobody is notified
    with ThreadPoolExecutor(1) as pool:
        finishing = pool.submit(mirror.finish, LONG)
        _poll(lambda: mirror._finishing)
        go_on.set()
        assert finishing.result(LONG) is None
    assert server.runs == [run(1)]


def test_what_another_session_keeps_meanwhile_is_not_held_against_this_one(
    ledger: Ledger, server: Server
) -> None:
    class SeesAnother(TrackingDouble):
        def close(self) -> None:
            super().close()
            ledger.add_run(run(2, session_id="another"))

    ledger.add_run(run(1))
    mirror = _mirror(ledger, lambda: SeesAnother(server))
    mirror.start()
    assert mirror.finish(LONG) is None
    assert Deliveries(ledger, TARGET).count() == 1


class _Hanging(TrackingDouble):
    """A store whose first call waits until it is let go or closed."""

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self.is_waiting = threading.Event()
        self.go_on = threading.Event()

    def put_run(
        self,
        record: RunRecord,
        parent: str | None,
        *,
        session: SessionRecord | None = None,
        may_exist: bool,
    ) -> str:
        self.is_waiting.set()
        assert self.go_on.wait(LONG)
        if self.is_closed:
            raise RuntimeError("the connection was closed")
        return super().put_run(record, parent, session=session, may_exist=may_exist)

    def close(self) -> None:
        super().close()
        self.go_on.set()


def test_a_slow_store_never_holds_up_the_caller(ledger: Ledger, server: Server) -> None:
    store = _Hanging(server)
    mirror = _mirror(ledger, lambda: store)
    ledger.add_run(run(0))
    mirror.start()
    assert store.is_waiting.wait(LONG)
    for number in range(1, 50):
        ledger.add_run(run(number))
        mirror.notify()
    assert server.runs == []
    store.go_on.set()
    assert mirror.finish(LONG) is None
    assert server.runs == [run(number) for number in range(50)]


def test_a_store_that_hangs_is_cut_short_at_the_deadline(ledger: Ledger, server: Server) -> None:
    store = _Hanging(server)
    mirror = _mirror(ledger, lambda: store)
    for number in range(3):
        ledger.add_run(run(number))
    mirror.start()
    assert store.is_waiting.wait(LONG)
    undelivered = mirror.finish(0.01)
    assert undelivered == Undelivered(3, "not all got through in 0.01 s")
    assert store.is_closed
    _poll(_is_over)
    assert Deliveries(ledger, TARGET).refusals() == []
    assert _mirror(ledger, server.open).deliver_all() is None
    assert server.runs == [run(number) for number in range(3)]


def _is_over() -> bool:
    return all(thread.name != "tipbench-mirror" for thread in threading.enumerate())


def test_a_server_that_goes_away_and_comes_back_gets_everything_once(
    ledger: Ledger, server: Server
) -> None:
    calls = 0

    def fault(_name: str) -> Fault | None:
        nonlocal calls
        calls += 1
        return Fault("after" if calls % 2 else "before", AWAY) if 3 <= calls < 20 else None

    server.fault = fault
    ledger.add_session(session("s1"))
    mirror = _mirror(ledger, server.open)
    mirror.start()
    for number in range(10):
        ledger.add_run(run(number))
        mirror.notify()
    assert mirror.finish(LONG) is None
    assert Counter(each.run_id for each in server.runs) == Counter(
        run(number).run_id for number in range(10)
    )
    assert mirror.trouble is None


def test_a_server_that_stays_away_is_told_and_the_next_session_delivers(
    ledger: Ledger, server: Server
) -> None:
    server.fault = lambda _name: Fault("before", AWAY)
    ledger.add_session(session("s1"))
    for number in range(3):
        ledger.add_run(run(number))
    mirror = _mirror(ledger, server.open)
    mirror.start()
    _poll(lambda: mirror.trouble == "MLflow does not answer")
    assert mirror.finish(0.02) == Undelivered(4, "MLflow does not answer")
    assert server.runs == []
    server.fault = lambda _name: None
    mirror = _mirror(ledger, server.open)
    mirror.start()
    assert mirror.finish(LONG) is None
    assert server.runs == [run(number) for number in range(3)]
    assert server.parents == ["session-s1"] * 3


def test_between_two_tries_there_is_a_pause_that_finishing_cuts_short_once(
    ledger: Ledger, server: Server
) -> None:
    server.fault = lambda _name: Fault("before", AWAY)
    ledger.add_run(run(1))
    mirror = _mirror(ledger, server.open, retry_seconds=1000.0)
    mirror.start()
    _poll(lambda: mirror.trouble is not None)
    tries = len(server.calls)
    for _ in range(20):
        mirror.notify()
    assert len(server.calls) == tries, "what is new does not make it come back sooner"
    assert mirror.finish(LONG, stall_seconds=0.05) is not None
    assert len(server.calls) == 2 * tries


def test_a_stalled_store_is_waited_for_no_longer(ledger: Ledger, server: Server) -> None:
    server.fault = lambda _name: Fault("before", AWAY)
    ledger.add_run(run(1))
    mirror = _mirror(ledger, server.open, retry_seconds=0.001)
    mirror.start()
    before = time.monotonic()
    assert mirror.finish(LONG, stall_seconds=0.02) is not None
    assert time.monotonic() - before < LONG / 2


def test_a_store_that_cannot_be_opened_yet_is_tried_again(ledger: Ledger, server: Server) -> None:
    tries = 0

    def open_store() -> TrackingDouble:
        nonlocal tries
        tries += 1
        if tries < 4:
            raise TrackingUnreachableError("the server is still starting")
        return server.open()

    ledger.add_run(run(1))
    mirror = _mirror(ledger, open_store)
    mirror.start()
    assert mirror.finish(LONG) is None
    assert (tries, server.runs) == (4, [run(1)])


@pytest.mark.parametrize(
    "error",
    [
        TrackingRefusedError("set MLFLOW_TRACKING_USERNAME"),
        UserMistakeError("--tracking-uri is no address"),
        ZeroDivisionError("a fault of ours"),
    ],
)
def test_a_store_that_cannot_be_opened_at_all_ends_the_mirror_with_its_reason(
    ledger: Ledger, error: Exception
) -> None:
    def open_store() -> TrackingDouble:
        raise error

    ledger.add_run(run(1))
    mirror = _mirror(ledger, open_store)
    mirror.start()
    undelivered = mirror.finish(LONG)
    assert undelivered is not None
    assert undelivered.count == 1
    assert str(error) in undelivered.reason
    assert mirror.trouble == undelivered.reason


def test_refused_credentials_stop_everything_at_once(ledger: Ledger, server: Server) -> None:
    server.fault = lambda _name: Fault("before", TrackingRefusedError("wrong password"))
    for number in range(5):
        ledger.add_run(run(number))
    mirror = _mirror(ledger, server.open)
    mirror.start()
    assert mirror.finish(LONG) == Undelivered(5, "wrong password")
    assert len(server.calls) == 2


def test_a_refused_record_is_told_and_the_rest_is_delivered(ledger: Ledger, server: Server) -> None:
    refused = run(2).run_id
    server.fault = lambda name: (
        Fault("before", TrackingRefusedError("too long"))
        if server.calls[-1] == f"put_run {refused}"
        else None
    )
    for number in (1, 2, 3):
        ledger.add_run(run(number))
    mirror = _mirror(ledger, server.open)
    mirror.start()
    told = f"run {refused}: too long"
    assert mirror.finish(LONG) == Undelivered(1, told, (told,))
    assert server.runs == [run(1), run(3)]


def test_a_ledger_that_fails_for_a_while_is_tried_again(ledger: Ledger, server: Server) -> None:
    ledger.add_run(run(1))
    ledger.execute("PRAGMA query_only = ON")
    mirror = _mirror(ledger, server.open)
    mirror.start()
    _poll(lambda: "cannot be opened or written there" in (mirror.trouble or ""))
    ledger.execute("PRAGMA query_only = OFF")
    assert mirror.finish(LONG) is None
    assert server.runs == [run(1)]


def test_a_mirror_that_was_not_started_tells_what_is_left(ledger: Ledger, server: Server) -> None:
    mirror = _mirror(ledger, server.open)
    assert mirror.finish(LONG) is None
    ledger.add_run(run(1))
    undelivered = mirror.finish(LONG)
    assert undelivered is not None
    assert undelivered.count == 1
    assert server.calls == []


# --- at once ------------------------------------------------------------------------------------


def test_everything_is_delivered_at_once_with_progress(ledger: Ledger, server: Server) -> None:
    ledger.add_session(session("old"))
    for number in range(30):
        ledger.add_run(run(number, session_id="old", outcome=Outcome.EMPTY))
    said = [judgement("A")]
    ledger.add_apply(applied(said), said)
    seen: list[int] = []
    mirror = _mirror(ledger, server.open)
    assert mirror.deliver_all(on_progress=seen.append) is None
    # One session, 30 runs with their scores, one sheet.
    assert seen == list(range(1, 63))
    assert len(server.runs) == len(server.scores) == 30
    assert _mirror(ledger, server.open).deliver_all() is None
    assert len(server.runs) == 30


def test_delivering_at_once_tells_what_it_could_not(ledger: Ledger, server: Server) -> None:
    ledger.add_run(run(1))
    server.fault = lambda _name: Fault("before", AWAY)
    assert _mirror(ledger, server.open).deliver_all() == Undelivered(1, "MLflow does not answer")
    server.fault = lambda _name: Fault("before", TrackingRefusedError("wrong password"))
    assert _mirror(ledger, server.open).deliver_all() == Undelivered(1, "wrong password")
    server.fault = lambda _name: None
    assert _mirror(ledger, server.open).deliver_all() is None


def test_delivering_at_once_raises_what_the_user_has_to_mend(
    ledger: Ledger, server: Server
) -> None:
    def open_store() -> TrackingDouble:
        raise UserMistakeError("--tracking-uri is no address")

    with pytest.raises(UserMistakeError):
        _mirror(ledger, open_store).deliver_all()
    ledger.add_run(run(1))
    ledger.execute("PRAGMA query_only = ON")
    with pytest.raises(LedgerError):
        _mirror(ledger, server.open).deliver_all()


# --- two sessions, a killed one -----------------------------------------------------------------


def test_two_sessions_on_one_ledger_deliver_each_record_once(
    tmp_path: Path, server: Server
) -> None:
    path = tmp_path / "ledger.db"
    ledgers = [Ledger.open(path) for _ in range(2)]
    mirrors = []
    for number, each in enumerate(ledgers):
        each.add_session(session(f"session-{number}"))
        mirrors.append(
            Mirror(
                each,
                server.open,
                TARGET,
                RUBRIC,
                session_id=f"session-{number}",
                retry_seconds=(0,),
            )
        )
        mirrors[-1].start()
    for number in range(60):
        place = number % 2
        ledgers[place].add_run(run(number, session_id=f"session-{place}"))
        mirrors[place].notify()
    assert [mirror.finish(LONG) for mirror in mirrors] == [None, None]
    for each in ledgers:
        each.close()
    assert Counter(record.run_id for record in server.runs) == Counter(
        run(number).run_id for number in range(60)
    )
    assert len(server.sessions) == 2


def test_another_session_that_is_delivering_is_waited_for(ledger: Ledger, server: Server) -> None:
    ledger.add_run(run(1))
    lock = filelock.FileLock(f"{ledger.path}.delivery.lock")
    with lock:
        mirror = _mirror(ledger, server.open)
        mirror.start()
        _poll(lambda: mirror.trouble == "another session is delivering from the same ledger")
        told = Undelivered(1, "another session is delivering from the same ledger")
        assert mirror.finish(0.01) == told
        assert _mirror(ledger, server.open).deliver_all(lock_timeout_seconds=0.01) == told
        assert server.calls == []
        mirror = _mirror(ledger, server.open)
        mirror.start()
        _poll(lambda: mirror.trouble is not None)
    assert mirror.finish(LONG) is None
    assert server.runs == [run(1)]


_KILLED = textwrap.dedent(
    """
    import json, os, sys
    from pathlib import Path
    from pytest_tipbench.store.ledger import Ledger
    from pytest_tipbench.store.mirror import Mirror
    from tests.unit.store_samples import RUBRIC, Server, TrackingDouble, run, session

    path, sent, kill_at, when = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]

    class Store(TrackingDouble):
        def put_run(self, record, parent, *, session=None, may_exist):
            if record.run_id == run(kill_at).run_id and when == "before":
                os._exit(9)
            if not (may_exist and record.run_id in sent.read_text()):
                with sent.open("a") as file:
                    file.write(json.dumps([record.run_id, parent]) + "\\n")
            if record.run_id == run(kill_at).run_id:
                os._exit(9)
            return record.run_id

    with Ledger.open(path) as ledger:
        ledger.add_session(session("s1"))
        for number in range(6):
            ledger.add_run(run(number))
        undelivered = Mirror(ledger, lambda: Store(Server()), "target", RUBRIC).deliver_all()
        sys.exit(0 if undelivered is None else 1)
    """
)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_killed_process_is_completed_by_the_next_one(tmp_path: Path, when: str) -> None:
    sent = tmp_path / "sent.jsonl"
    sent.touch()
    ends = [
        subprocess.run(
            [sys.executable, "-c", _KILLED, tmp_path / "ledger.db", sent, str(kill_at), when],
            check=False,
        ).returncode
        for kill_at in (3, 99)
    ]
    assert ends == [9, 0]
    lines = [json.loads(line) for line in sent.read_text().splitlines()]
    assert lines == [[run(number).run_id, "session-s1"] for number in range(6)]


# --- pull ---------------------------------------------------------------------------------------


def test_a_pull_brings_what_others_made(tmp_path: Path, ledger: Ledger, server: Server) -> None:
    ledger.add_session(session("s1"))
    ledger.add_run(run(1))
    said = [judgement(tip) for tip in run(1).tips]
    ledger.add_apply(applied(said), said)
    _mirror(ledger, server.open).deliver_all()
    elsewhere = memory_ledger(tmp_path / "elsewhere.db")
    stores: list[TrackingDouble] = []

    def open_store() -> TrackingDouble:
        stores.append(server.open())
        return stores[-1]

    report = _mirror(elsewhere, open_store).pull(EXPERIMENT, now=START)
    assert (report.sessions, report.runs, report.judgements, report.applies) == (1, 1, 2, 1)
    assert elsewhere.runs(EXPERIMENT) == [run(1)]
    report = _mirror(elsewhere, open_store).pull(EXPERIMENT, now=START)
    assert (report.sessions, report.runs, report.judgements, report.applies) == (0, 0, 0, 0)
    assert _mirror(elsewhere, open_store).deliver_all() is None
    assert len(server.runs) == len(server.sessions) == len(server.applies) == 1
    assert all(store.is_closed for store in stores)


def test_a_pull_that_fails_changes_nothing(ledger: Ledger, server: Server) -> None:
    server.runs.append(run(1))
    mirror = _mirror(ledger, server.open)
    for error in (AWAY, TrackingRefusedError("wrong password")):
        server.fault = lambda _name, error=error: Fault("before", error)  # type: ignore[misc] # bound at once
        with pytest.raises(type(error)):
            mirror.pull(EXPERIMENT, now=START)
    assert ledger.runs(EXPERIMENT) == []


def test_a_pull_while_the_mirror_runs_sends_nothing_back(ledger: Ledger, server: Server) -> None:
    server.sessions.append(session("theirs"))
    for number in range(50, 60):
        server.runs.append(run(number, session_id="theirs"))
        server.parents.append("session-theirs")
    ledger.add_session(session("s1"))
    mirror = _mirror(ledger, server.open)
    mirror.start()
    for number in range(10):
        ledger.add_run(run(number))
        mirror.notify()
    mirror.pull(EXPERIMENT, now=START)
    mirror.notify()
    assert mirror.finish(LONG) is None
    assert Counter(each.run_id for each in server.runs) == Counter(
        run(number).run_id for number in (*range(10), *range(50, 60))
    )
