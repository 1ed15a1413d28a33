from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from pytest_tipbench.errors import (
    LedgerError,
    TrackingRefusedError,
    TrackingUnreachableError,
)
from pytest_tipbench.records import Outcome
from pytest_tipbench.store.deliveries import Deliveries, tracking_target
from pytest_tipbench.store.delivery import Delivery, DeliveryStoppedError
from pytest_tipbench.store.ledger import Ledger, SessionEnding
from pytest_tipbench.store.pulls import Pulls
from pytest_tipbench.store.scores import run_scores
from tests.unit.store_samples import (
    EXPERIMENT,
    RUBRIC,
    START,
    Fault,
    KilledError,
    Server,
    applied,
    judgement,
    memory_ledger,
    minutes,
    run,
    session,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pytest_tipbench.judgement_records import Judgement, Rubric
    from pytest_tipbench.records import RunRecord

TARGET = "http://127.0.0.1:5000"
AWAY = TrackingUnreachableError("MLflow does not answer")
NO = TrackingRefusedError("MLflow refused")


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return memory_ledger(tmp_path / "ledger.db")


@pytest.fixture
def server() -> Server:
    return Server()


def _delivery(ledger: Ledger, *, rubric: Rubric = RUBRIC, session_id: str = "s1") -> Delivery:
    return Delivery(ledger, TARGET, rubric, session_id=session_id)


def _apply(ledger: Ledger, *judgements: Judgement, nonce: str = "sheet-1") -> None:
    ledger.add_apply(applied(judgements, nonce=nonce), judgements)


def _whole(record: RunRecord, score: int = 4, *, nonce: str = "sheet-1") -> list[Judgement]:
    return [judgement(tip, (score,) * 3, nonce=nonce) for tip in record.tips]


def _ending(session_id: str = "s1", text: str = "the board") -> SessionEnding:
    return SessionEnding(
        session_id=session_id, board_text=text, metrics={"cells": 2.0}, failed=False
    )


def _fail_once(call: str, fault: Fault, *, at: int = 1) -> Callable[[str], Fault | None]:
    """Let the ``at``-th call of that name fail, and no other."""
    seen = 0

    def decide(name: str) -> Fault | None:
        nonlocal seen
        seen += name == call
        return fault if name == call and seen == at else None

    return decide


def _fail_record(server: Server, record_id: str, fault: Fault) -> Callable[[str], Fault | None]:
    """Let every call for one record fail."""
    return lambda _name: fault if server.calls[-1].endswith(record_id) else None


# --- order --------------------------------------------------------------------------------------


def test_parents_come_before_cells_and_scores_after_and_applied_sheets_last(
    ledger: Ledger, server: Server
) -> None:
    one, failed = run(1), run(2, outcome=Outcome.EMPTY)
    ledger.add_session(session("s1"))
    for record in (one, failed):
        ledger.add_run(record)
    _apply(ledger, *_whole(one))
    ledger.end_session(_ending())
    _delivery(ledger).run(server.open())
    assert server.calls == [
        "put_session s1",
        f"put_run {one.run_id}",
        f"put_run {failed.run_id}",
        f"put_scores {one.run_id}",
        f"put_scores {failed.run_id}",
        "finish_session session-s1",
        f"put_apply {applied(_whole(one)).apply_id}",
    ]
    assert server.parents == ["session-s1", "session-s1"]
    assert server.boards == {"session-s1": "the board {'cells': 2.0} False"}
    assert server.judgements == _whole(one)


def test_nothing_is_delivered_twice(ledger: Ledger, server: Server) -> None:
    ledger.add_session(session("s1"))
    ledger.add_run(run(1))
    _apply(ledger, *_whole(run(1)))
    ledger.end_session(_ending())
    delivery = _delivery(ledger)
    delivery.run(server.open())
    calls = len(server.calls)
    delivery.run(server.open())
    _delivery(ledger).run(server.open())
    assert len(server.calls) == calls


def test_a_later_run_costs_one_call(ledger: Ledger, server: Server) -> None:
    ledger.add_session(session("s1"))
    delivery = _delivery(ledger)
    for number in range(3):
        ledger.add_run(run(number))
        server.calls.clear()
        delivery.run(server.open())
        expected = ["put_session s1"] if number == 0 else []
        assert server.calls == [*expected, f"put_run {run(number).run_id}"]


def test_the_current_session_goes_before_what_earlier_ones_left(
    ledger: Ledger, server: Server
) -> None:
    for session_id in ("old", "s1"):
        ledger.add_session(session(session_id))
    for number in range(60):
        ledger.add_run(run(number, session_id="old"))
    for number in range(60, 63):
        ledger.add_run(run(number, session_id="s1"))
    _delivery(ledger).run(server.open())
    assert server.runs[:3] == [run(number, session_id="s1") for number in range(60, 63)]
    assert server.runs[3:] == [run(number, session_id="old") for number in range(60)]


def test_a_cell_delivered_later_hangs_under_its_own_sessions_parent(
    ledger: Ledger, server: Server
) -> None:
    ledger.add_session(session("old"))
    ledger.add_run(run(1, session_id="old"))
    server.fault = lambda name: Fault("before", AWAY) if name in ("put_run", "check") else None
    with pytest.raises(TrackingUnreachableError):
        _delivery(ledger, session_id="old").run(server.open())
    server.fault = lambda _name: None
    ledger.add_session(session("s1"))
    ledger.add_run(run(2, session_id="s1"))
    _delivery(ledger).run(server.open())
    assert dict(zip([each.run_id for each in server.runs], server.parents, strict=True)) == {
        run(1).run_id: "session-old",
        run(2).run_id: "session-s1",
    }
    assert len(server.sessions) == 2
    # And the store is told which session that was, of whose code it bears the commit.
    assert server.makers == [session("s1"), session("old")]


def test_a_run_whose_session_nobody_kept_has_no_parent(ledger: Ledger, server: Server) -> None:
    ledger.add_run(run(1, session_id="unknown"))
    _delivery(ledger).run(server.open())
    assert server.parents == [None]
    assert server.makers == [None]


def test_a_second_ending_is_delivered_again(ledger: Ledger, server: Server) -> None:
    ledger.add_session(session("s1"))
    for text in ("first", "second"):
        ledger.end_session(_ending(text=text))
        _delivery(ledger).run(server.open())
    assert server.boards["session-s1"].startswith("second")
    assert server.calls.count("finish_session session-s1") == 2


# --- scores -------------------------------------------------------------------------------------


def test_a_machines_fault_and_an_unjudged_run_get_no_scores(ledger: Ledger, server: Server) -> None:
    ledger.add_run(run(1))
    ledger.add_run(run(2, outcome=Outcome.TIMEOUT))
    _delivery(ledger).run(server.open())
    assert server.scores == {}
    assert Deliveries(ledger, TARGET).count() == 0


def test_a_tip_that_is_judged_already_brings_its_scores_along(
    ledger: Ledger, server: Server
) -> None:
    _apply(ledger, *_whole(run(1)))
    made_again = run(2, tips=run(1).tips)
    ledger.add_run(made_again)
    _delivery(ledger).run(server.open())
    assert server.latest_scores(made_again) == run_scores(made_again, _whole(run(1)), RUBRIC)


def test_scores_are_written_again_only_where_they_changed(ledger: Ledger, server: Server) -> None:
    # All in one scenario, so that every judgement makes all of them worth a look.
    records = [run(number) for number in range(3)]
    for record in records:
        ledger.add_run(record)
    delivery = _delivery(ledger)
    delivery.run(server.open())
    _apply(ledger, *_whole(records[0], 4), nonce="one")
    delivery.run(server.open())
    _apply(ledger, *_whole(records[1], 2, nonce="two"), nonce="two")
    delivery.run(server.open())
    _apply(ledger, *_whole(records[0], 4), nonce="one")  # the same file again
    delivery.run(server.open())
    given = {
        key: [each.metrics["composite"] for each in all_] for key, all_ in server.scores.items()
    }
    assert given == {f"run-{records[0].run_id}": [4.0], f"run-{records[1].run_id}": [2.0]}


def test_a_correction_replaces_the_scores(ledger: Ledger, server: Server) -> None:
    record = run(1)
    ledger.add_run(record)
    delivery = _delivery(ledger)
    for score, nonce in ((1, "one"), (5, "two")):
        corrected = [
            each.model_copy(update={"judged_at": minutes(score)})
            for each in _whole(record, score, nonce=nonce)
        ]
        _apply(ledger, *corrected, nonce=nonce)
        delivery.run(server.open())
    assert [each.metrics["composite"] for each in server.scores[f"run-{record.run_id}"]] == [1, 5]


def test_partial_judgements_reach_the_run_as_pending(ledger: Ledger, server: Server) -> None:
    record = run(1)
    first, second = _whole(record)
    ledger.add_run(record)
    delivery = _delivery(ledger)
    _apply(ledger, first, nonce="one")
    delivery.run(server.open())
    _apply(ledger, second, nonce="two")
    delivery.run(server.open())
    half, whole = server.scores[f"run-{record.run_id}"]
    assert (half.judge_pending, half.metrics, half.judgements) == (True, {}, (first,))
    assert not whole.judge_pending
    assert whole.metrics["composite"] == pytest.approx(4.0)


def test_whole_scores_stand_until_another_rubrics_are_whole(ledger: Ledger, server: Server) -> None:
    other = RUBRIC.model_copy(update={"text": "Other words."})
    record = run(1)
    ledger.add_run(record)
    _apply(ledger, *_whole(record))
    _delivery(ledger).run(server.open())
    first, second = (judgement(tip, (2, 2, 2), rubric=other, nonce="other") for tip in record.tips)
    _apply(ledger, first, nonce="half")
    _delivery(ledger, rubric=other).run(server.open())
    assert [each.rubric_sha256 for each in server.scores[f"run-{record.run_id}"]] == [RUBRIC.sha256]
    _apply(ledger, second, nonce="whole")
    _delivery(ledger, rubric=other).run(server.open())
    newest = server.latest_scores(record)
    assert newest is not None
    assert newest.rubric_sha256 == other.sha256
    assert newest.metrics["composite"] == pytest.approx(2.0)


def test_another_rubric_scores_a_run_without_tips_anew(ledger: Ledger, server: Server) -> None:
    harsher = RUBRIC.model_copy(update={"missing_tip_score": 0.0})
    record = run(1, outcome=Outcome.REFUSED)
    ledger.add_run(record)
    _delivery(ledger).run(server.open())
    _delivery(ledger, rubric=harsher).run(server.open())
    _delivery(ledger, rubric=harsher).run(server.open())
    given = server.scores[f"run-{record.run_id}"]
    assert [each.metrics["composite"] for each in given] == [1.0, 0.0]


# --- what goes wrong ----------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    "call", ["put_session", "put_run", "put_scores", "finish_session", "put_apply"]
)
@pytest.mark.parametrize("error", [AWAY, KilledError()], ids=["unreachable", "killed"])
def test_what_breaks_off_is_completed_once(
    tmp_path: Path, call: str, when: str, error: BaseException
) -> None:
    server = Server()
    with Ledger.open(tmp_path / "ledger.db") as ledger:
        ledger.add_session(session("s1"))
        for number in (1, 2):
            ledger.add_run(run(number))
        _apply(ledger, *_whole(run(1)), *_whole(run(2)))
        ledger.end_session(_ending())
        broken = Fault("after" if when == "after" else "before", error)
        failing = _fail_once(call, broken)
        server.fault = lambda name: Fault("before", AWAY) if name == "check" else failing(name)
        with pytest.raises(type(error)):
            _delivery(ledger).run(server.open())
        assert Deliveries(ledger, TARGET).count() > 0
    server.fault = lambda _name: None
    with Ledger.open(tmp_path / "ledger.db") as ledger:
        _delivery(ledger).run(server.open())
        assert Deliveries(ledger, TARGET).count() == 0
    assert server.sessions == [session("s1")]
    assert server.runs == [run(1), run(2)]
    assert server.parents == ["session-s1", "session-s1"]
    assert len(server.applies) == 1
    assert len(server.judgements) == 4
    assert server.boards.keys() == {"session-s1"}
    for number in (1, 2):
        scores = server.latest_scores(run(number))
        assert scores is not None
        assert scores.metrics["composite"] == pytest.approx(4.0)


def test_a_record_that_is_refused_is_marked_and_the_rest_goes_on(
    ledger: Ledger, server: Server
) -> None:
    for number in (1, 2, 3):
        ledger.add_run(run(number))
    server.fault = _fail_record(server, run(2).run_id, Fault("before", NO))
    delivery = _delivery(ledger)
    delivery.run(server.open())
    delivery.run(server.open())
    assert server.runs == [run(1), run(3)]
    assert delivery.refused == {("run", run(2).run_id): "MLflow refused"}
    assert server.calls.count(f"put_run {run(2).run_id}") == 1, "not again in this session"
    deliveries = Deliveries(ledger, TARGET)
    assert (deliveries.count(), deliveries.refusals()) == (1, ["MLflow refused"])
    server.fault = lambda _name: None
    _delivery(ledger).run(server.open())
    assert server.runs == [run(1), run(3), run(2)]
    assert (deliveries.count(), deliveries.refusals()) == (0, [])


def test_refused_scores_are_marked_and_the_rest_goes_on(ledger: Ledger, server: Server) -> None:
    for number in (1, 2):
        ledger.add_run(run(number, outcome=Outcome.EMPTY))
    server.fault = _fail_once("put_scores", Fault("before", NO))
    delivery = _delivery(ledger)
    delivery.run(server.open())
    delivery.run(server.open())
    assert delivery.refused == {("scores", run(1).run_id): "MLflow refused"}
    assert server.scores.keys() == {f"run-{run(2).run_id}"}
    assert Deliveries(ledger, TARGET).refusals() == ["MLflow refused"]
    _delivery(ledger).run(server.open())
    assert len(server.scores) == 2
    assert Deliveries(ledger, TARGET).refusals() == []


def test_a_session_that_is_refused_holds_its_cells_back_and_no_others(
    ledger: Ledger, server: Server
) -> None:
    for number, session_id in enumerate(("old", "s1"), start=1):
        ledger.add_session(session(session_id))
        ledger.add_run(run(number, session_id=session_id))
        ledger.end_session(_ending(session_id))
    server.fault = _fail_record(server, "put_session old", Fault("before", NO))
    delivery = _delivery(ledger)
    delivery.run(server.open())
    assert server.runs == [run(2, session_id="s1")]
    assert server.boards.keys() == {"session-s1"}
    assert set(delivery.refused) == {
        ("session", "old"),
        ("run", run(1).run_id),
        ("ending", "old"),
    }
    server.fault = lambda _name: None
    _delivery(ledger).run(server.open())
    assert server.parents == ["session-s1", "session-old"]


def test_refused_credentials_stop_everything(ledger: Ledger, server: Server) -> None:
    for number in range(5):
        ledger.add_run(run(number))
    server.fault = lambda _name: Fault("before", TrackingRefusedError("wrong password"))
    delivery = _delivery(ledger)
    with pytest.raises(TrackingRefusedError, match="wrong password"):
        delivery.run(server.open())
    assert server.calls == [f"put_run {run(0).run_id}", "check"]
    assert delivery.refused == {}


def test_a_record_that_the_server_does_not_answer_keeps_back_no_other(
    ledger: Ledger, server: Server
) -> None:
    for number in range(4):
        ledger.add_run(run(number))
    server.fault = _fail_record(server, run(1).run_id, Fault("before", AWAY))
    delivery = _delivery(ledger)
    for _ in range(2):
        with pytest.raises(TrackingUnreachableError, match="does not answer"):
            delivery.run(server.open())
        assert server.runs == [run(0), run(2), run(3)]
    assert delivery.refused == {}
    server.fault = lambda _name: None
    delivery.run(server.open())
    assert server.runs == [run(0), run(2), run(3), run(1)]


def test_a_server_that_answers_and_takes_nothing_is_not_asked_for_ever(
    ledger: Ledger, server: Server
) -> None:
    for number in range(50):
        ledger.add_run(run(number))
    server.fault = lambda name: None if name == "check" else Fault("before", AWAY)
    with pytest.raises(TrackingUnreachableError):
        _delivery(ledger).run(server.open())
    assert sum(call.startswith("put_run") for call in server.calls) == 3


def test_a_fault_of_ours_in_one_record_keeps_back_no_other(ledger: Ledger, server: Server) -> None:
    for number in (1, 2):
        ledger.add_run(run(number))
    server.fault = _fail_record(server, run(1).run_id, Fault("before", ZeroDivisionError("ours")))
    delivery = _delivery(ledger)
    delivery.run(server.open())
    assert server.runs == [run(2)]
    assert delivery.refused == {("run", run(1).run_id): "ZeroDivisionError: ours"}


def test_a_ledger_that_fails_ends_the_pass(ledger: Ledger, server: Server) -> None:
    ledger.add_run(run(1))
    ledger.execute("PRAGMA query_only = ON")
    with pytest.raises(LedgerError):
        _delivery(ledger).run(server.open())
    assert server.runs == [], "nothing is sent that was not marked before"


def test_a_pass_can_be_stopped_between_records(ledger: Ledger, server: Server) -> None:
    for number in range(10):
        ledger.add_run(run(number))
    delivery = Delivery(ledger, TARGET, RUBRIC, should_stop=lambda: len(server.runs) == 4)
    with pytest.raises(DeliveryStoppedError):
        delivery.run(server.open())
    assert len(server.runs) == 4


# --- targets ------------------------------------------------------------------------------------


def test_two_targets_each_get_everything(ledger: Ledger) -> None:
    ledger.add_session(session("s1"))
    ledger.add_run(run(1))
    servers = {"embedded": Server(), TARGET: Server()}
    for target, server in servers.items():
        Delivery(ledger, target, RUBRIC).run(server.open())
    assert all(server.runs == [run(1)] for server in servers.values())


def test_two_names_of_one_server_do_not_double_its_runs(ledger: Ledger, server: Server) -> None:
    ledger.add_session(session("s1"))
    ledger.add_run(run(1, outcome=Outcome.EMPTY))
    for target in ("http://127.0.0.1:5000", "http://tracking.example:5000"):
        Delivery(ledger, target, RUBRIC).run(server.open())
    assert len(server.sessions) == len(server.runs) == 1


def test_a_target_that_is_forgotten_gets_everything_again_looked_up_first(
    ledger: Ledger, server: Server
) -> None:
    ledger.add_session(session("s1"))
    for number in (1, 2):
        ledger.add_run(run(number, outcome=Outcome.EMPTY))
    _apply(ledger, *_whole(run(3)))
    _delivery(ledger).run(server.open())
    del server.runs[0], server.parents[0]
    server.scores.clear()
    Deliveries(ledger, TARGET).forget()
    _delivery(ledger).run(server.open())
    assert server.runs == [run(2, outcome=Outcome.EMPTY), run(1, outcome=Outcome.EMPTY)]
    assert len(server.sessions) == len(server.applies) == 1
    assert len(server.scores) == 2


@pytest.mark.parametrize(
    ("uri", "target"),
    [
        ("embedded", "embedded"),
        ("http://localhost:5000", "http://127.0.0.1:5000"),
        ("http://LOCALHOST:5000/", "http://127.0.0.1:5000"),
        ("http://[::1]:5000", "http://127.0.0.1:5000"),
        ("http://0.0.0.0:5000", "http://127.0.0.1:5000"),
        ("http://ann:secret@mlflow.example", "http://mlflow.example:80"),
        ("https://MLflow.Example/team//", "https://mlflow.example:443/team"),
        (" https://mlflow.example:8443/Team ", "https://mlflow.example:8443/Team"),
        ("http://[2001:db8::1]:5000", "http://[2001:db8::1]:5000"),
        ("http://host:port", "http://host:port"),
        ("http://[broken", "http://[broken"),
        ("databricks", "databricks"),
    ],
)
def test_a_target_is_the_server_however_it_is_spelt(uri: str, target: str) -> None:
    assert tracking_target(uri) == target


# --- pulls --------------------------------------------------------------------------------------


def _pull(ledger: Ledger, server: Server, *, rubric: Rubric = RUBRIC) -> Pulls:
    pulls = Pulls(ledger, TARGET)
    pulled = server.open().pull(EXPERIMENT, pulls.cursor(EXPERIMENT))
    pulls.merge(EXPERIMENT, pulled, rubric_sha256=rubric.sha256, now=START)
    return pulls


@pytest.fixture
def elsewhere(tmp_path: Path) -> Ledger:
    """Another machine's ledger."""
    return memory_ledger(tmp_path / "elsewhere.db")


def test_what_was_pulled_is_never_made_again(
    ledger: Ledger, elsewhere: Ledger, server: Server
) -> None:
    ledger.add_session(session("s1"))
    for number in (1, 2):
        ledger.add_run(run(number))
    _apply(ledger, *_whole(run(1)))
    _delivery(ledger).run(server.open())
    _pull(elsewhere, server)
    assert elsewhere.runs(EXPERIMENT) == ledger.runs(EXPERIMENT)
    assert elsewhere.judgements() == ledger.judgements()
    assert elsewhere.applies(EXPERIMENT) == ledger.applies(EXPERIMENT)
    assert elsewhere.sessions(EXPERIMENT) == ledger.sessions(EXPERIMENT)
    assert Deliveries(elsewhere, TARGET).count() == 0
    server.calls.clear()
    _delivery(elsewhere).run(server.open())
    assert server.calls == [], "neither made again nor scored again"


def test_a_pull_of_what_is_known_changes_nothing(ledger: Ledger, server: Server) -> None:
    ledger.add_session(session("s1"))
    ledger.add_run(run(1))
    _apply(ledger, *_whole(run(1)))
    _delivery(ledger).run(server.open())
    pulls = Pulls(ledger, TARGET)
    everything = server.open().pull(EXPERIMENT, None)
    for _ in range(2):
        report = pulls.merge(EXPERIMENT, everything, rubric_sha256=RUBRIC.sha256, now=START)
        assert (report.sessions, report.runs, report.judgements, report.applies) == (0, 0, 0, 0)
    server.calls.clear()
    _delivery(ledger).run(server.open())
    assert server.calls == []


def test_a_pull_goes_on_where_the_last_one_ended(
    ledger: Ledger, elsewhere: Ledger, server: Server
) -> None:
    pulls = Pulls(elsewhere, TARGET)
    assert (pulls.cursor(EXPERIMENT), pulls.pulled_at(EXPERIMENT)) == (None, None)
    ledger.add_run(run(1))
    _delivery(ledger).run(server.open())
    _pull(elsewhere, server)
    assert pulls.cursor(EXPERIMENT) == "0 1 0 0"
    assert pulls.pulled_at(EXPERIMENT) == START
    assert pulls.cursor("another") is None
    assert Pulls(elsewhere, "embedded").cursor(EXPERIMENT) is None
    ledger.add_run(run(2))
    _delivery(ledger).run(server.open())
    pulled = server.open().pull(EXPERIMENT, pulls.cursor(EXPERIMENT))
    assert pulled.runs == (run(2),)
    report = pulls.merge(EXPERIMENT, pulled, rubric_sha256=RUBRIC.sha256, now=minutes(5))
    assert report.runs == 1
    assert elsewhere.runs(EXPERIMENT) == [run(1), run(2)]
    assert pulls.pulled_at(EXPERIMENT) == minutes(5)


def test_a_run_that_was_sent_and_not_marked_is_found_by_the_pull(
    ledger: Ledger, server: Server
) -> None:
    ledger.add_session(session("s1"))
    ledger.add_run(run(1, outcome=Outcome.EMPTY))
    server.fault = _fail_once("put_run", Fault("after", KilledError()))
    with pytest.raises(KilledError):
        _delivery(ledger).run(server.open())
    _pull(ledger, server)
    server.calls.clear()
    _delivery(ledger).run(server.open())
    assert server.calls == [f"put_scores {run(1).run_id}"]


def test_a_pull_does_not_forget_what_is_known_of_a_session(ledger: Ledger, server: Server) -> None:
    ledger.add_session(session("s1"))
    _delivery(ledger).run(server.open())
    _pull(ledger, server)
    ledger.add_run(run(1))
    server.calls.clear()
    _delivery(ledger).run(server.open())
    assert server.calls == [f"put_run {run(1).run_id}"]
    assert server.parents == ["session-s1"]


def test_export_on_one_machine_and_apply_on_another(
    ledger: Ledger, elsewhere: Ledger, server: Server
) -> None:
    record = run(1)
    ledger.add_session(session("s1"))
    ledger.add_run(record)
    _delivery(ledger).run(server.open())
    _pull(elsewhere, server)
    _apply(elsewhere, *_whole(record))
    _delivery(elsewhere).run(server.open())
    assert server.latest_scores(record) == run_scores(record, _whole(record), RUBRIC)
    _pull(ledger, server)
    assert ledger.judgements() == _whole(record)
    _delivery(ledger).run(server.open())
    assert len(server.scores[f"run-{record.run_id}"]) == 1, "who judged has written it already"


def test_two_judges_on_two_machines_both_reach_the_run(
    ledger: Ledger, elsewhere: Ledger, server: Server
) -> None:
    record = run(1)
    ledger.add_run(record)
    _delivery(ledger).run(server.open())
    said = {}
    for place, judge, score in ((ledger, "ann", 2), (elsewhere, "bob", 4)):
        _pull(place, server)
        said[judge] = [
            judgement(tip, (score,) * 3, judge=judge, nonce=judge) for tip in record.tips
        ]
        place.add_apply(applied(said[judge], judge=judge, nonce=judge), said[judge])
        _delivery(place).run(server.open())
    newest = server.latest_scores(record)
    assert newest is not None
    assert newest.judges == ("ann", "bob")
    assert newest.metrics["composite"] == pytest.approx(3.0)


def test_of_two_judges_who_did_not_know_of_each_other_none_is_lost(
    ledger: Ledger, elsewhere: Ledger, server: Server
) -> None:
    record = run(1)
    ledger.add_run(record)
    _delivery(ledger).run(server.open())
    _pull(elsewhere, server)
    for place, judge, score in ((ledger, "ann", 2), (elsewhere, "bob", 4)):
        said = [judgement(tip, (score,) * 3, judge=judge, nonce=judge) for tip in record.tips]
        place.add_apply(applied(said, judge=judge, nonce=judge), said)
    for place in (ledger, elsewhere):
        _delivery(place).run(server.open())
    for place in (ledger, elsewhere):
        _pull(place, server)
        _delivery(place).run(server.open())
    newest = server.latest_scores(record)
    assert newest is not None
    assert newest.judges == ("ann", "bob")


def test_a_pulled_run_whose_tips_are_judged_here_gets_their_scores(
    ledger: Ledger, elsewhere: Ledger, server: Server
) -> None:
    # The other machine made the same tip again and does not know that it is judged.
    _apply(ledger, *_whole(run(1)))
    made_again, unjudged = run(2, tips=run(1).tips), run(3)
    for record in (made_again, unjudged):
        elsewhere.add_run(record)
    _delivery(elsewhere).run(server.open())
    assert server.scores == {}
    _pull(ledger, server)
    _delivery(ledger).run(server.open())
    assert server.scores.keys() == {f"run-{made_again.run_id}"}


def test_a_judgement_made_here_before_the_pull_is_not_passed_over(
    ledger: Ledger, elsewhere: Ledger, server: Server
) -> None:
    mine, theirs = run(1), run(2)
    for record in (mine, theirs):
        elsewhere.add_run(record)
    _delivery(elsewhere).run(server.open())
    _pull(ledger, server)
    _apply(elsewhere, *_whole(theirs, nonce="theirs"), nonce="theirs")
    _delivery(elsewhere).run(server.open())
    _apply(ledger, *_whole(mine, nonce="mine"), nonce="mine")
    _pull(ledger, server)  # before what was judged here could be delivered
    _delivery(ledger).run(server.open())
    assert server.latest_scores(mine) == run_scores(mine, _whole(mine, nonce="mine"), RUBRIC)


def test_what_was_pulled_from_one_target_is_delivered_to_another(
    ledger: Ledger, elsewhere: Ledger, server: Server
) -> None:
    ledger.add_session(session("s1"))
    ledger.add_run(run(1))
    _apply(ledger, *_whole(run(1)))
    _delivery(ledger).run(server.open())
    _pull(elsewhere, server)
    second = Server()
    Delivery(elsewhere, "embedded", RUBRIC).run(second.open())
    assert (second.sessions, second.runs) == (server.sessions, server.runs)
    assert second.parents == ["session-s1"]
    assert (second.applies, second.judgements) == (server.applies, server.judgements)
    assert second.scores == server.scores


def test_the_parent_of_a_pulled_session_is_looked_up_where_it_is_needed(
    ledger: Ledger, server: Server
) -> None:
    ledger.add_session(session("s1"))
    _delivery(ledger).run(server.open())
    Deliveries(ledger, TARGET).forget()
    _pull(ledger, server)  # tells that the session is there, not under which id
    ledger.add_run(run(1))
    _delivery(ledger).run(server.open())
    assert server.parents == ["session-s1"]
    assert len(server.sessions) == 1


def test_a_large_pull_comes_in_pieces_and_whole(
    ledger: Ledger, elsewhere: Ledger, server: Server
) -> None:
    records = [run(number, session_id="none") for number in range(1203)]
    server.runs.extend(records)
    server.judgements.extend(_whole(records[0]) + _whole(records[-1]))
    _pull(elsewhere, server)
    assert len(elsewhere.runs(EXPERIMENT)) == 1203
    assert Deliveries(elsewhere, TARGET).count() == 0
    del ledger


def test_unreadable_runs_are_told(ledger: Ledger, server: Server) -> None:
    pulled = server.open().pull(EXPERIMENT, None).model_copy(update={"unreadable": ("run 7: ?",)})
    report = Pulls(ledger, TARGET).merge(EXPERIMENT, pulled, rubric_sha256=RUBRIC.sha256, now=START)
    assert report.unreadable == ("run 7: ?",)


# --- any schedule -------------------------------------------------------------------------------


def _random_fault(rng: random.Random) -> Callable[[str], Fault | None]:
    errors: Sequence[Callable[[], BaseException]] = (
        lambda: TrackingUnreachableError("away"),
        lambda: TrackingRefusedError("no"),
        KilledError,
    )

    def decide(_name: str) -> Fault | None:
        if rng.random() > 0.15:
            return None
        return Fault(rng.choice(("before", "after")), rng.choice(errors)())

    return decide


class _Schedule:
    """Two machines that make, judge, deliver and pull at random, with a server that fails."""

    def __init__(self, seed: int, tmp_path: Path) -> None:
        self.rng = random.Random(seed)
        self.server = Server()
        self.ledgers = [memory_ledger(tmp_path / f"{number}.db") for number in range(2)]
        self.own: list[set[str]] = [set(), set()]
        self.made = 0

    def step(self) -> None:
        machine = self.rng.randrange(2)
        ledger = self.ledgers[machine]
        action = self.rng.choice(("make", "make", "judge", "deliver", "deliver", "pull", "end"))
        session_id = f"{machine}-{self.rng.randrange(2)}"
        if action == "make":
            ledger.add_session(session(session_id))
            record = self._record(session_id)
            ledger.add_run(record)
            self.own[machine].add(record.run_id)
        elif action == "judge":
            self._judge(ledger)
        elif action == "end" and session_id in {
            each.session_id for each in ledger.sessions(EXPERIMENT)
        }:
            ledger.end_session(_ending(session_id))
        elif action == "deliver":
            self.deliver(ledger, session_id)
        elif action == "pull":
            self.pull(ledger)

    def deliver(self, ledger: Ledger, session_id: str | None = None) -> None:
        delivery = Delivery(ledger, TARGET, RUBRIC, session_id=session_id)
        for _ in range(self.rng.randrange(1, 4)):
            try:
                delivery.run(self.server.open())
            except (TrackingUnreachableError, TrackingRefusedError):
                continue
            except KilledError:
                return

    def pull(self, ledger: Ledger) -> None:
        try:
            _pull(ledger, self.server)
        except (TrackingUnreachableError, TrackingRefusedError, KilledError):
            return

    def _record(self, session_id: str) -> RunRecord:
        self.made += 1
        outcome = self.rng.choice((Outcome.OK, Outcome.OK, Outcome.EMPTY, Outcome.TIMEOUT))
        # Few different tips, so that the same one is made again here and there.
        tips = tuple(self.rng.sample("ABCDE", 2)) if outcome.is_usable else ()
        return run(
            self.made,
            session_id=session_id,
            outcome=outcome,
            tips=tips,
            scenario_id=self.rng.choice(("monday", "friday")),
        )

    def _judge(self, ledger: Ledger) -> None:
        nonce = f"sheet-{self.rng.randrange(10**9)}"
        said = [
            judgement(
                tip,
                (self.rng.randint(1, 5),) * 3,
                judge=self.rng.choice(("ann", "bob")),
                scenario_id=self.rng.choice(("monday", "friday")),
                judged_at=minutes(self.rng.random() * 100),
                nonce=nonce,
            )
            for tip in self.rng.sample("ABCDE", self.rng.randint(1, 5))
        ]
        ledger.add_apply(applied(said, nonce=nonce), said)


@pytest.mark.parametrize("block", range(12))
def test_whatever_fails_and_whenever_each_record_arrives_exactly_once(
    block: int, tmp_path: Path
) -> None:
    for seed in range(20 * block, 20 * block + 20):
        schedule = _Schedule(seed, tmp_path)
        server = schedule.server
        server.fault = _random_fault(schedule.rng)
        for _ in range(25):
            schedule.step()
        server.fault = lambda _name: None
        for _ in range(2):
            for ledger in schedule.ledgers:
                _pull(ledger, server)
                _delivery(ledger).run(server.open())
        _assert_exactly_once(schedule, f"seed {seed}")


def _assert_exactly_once(schedule: _Schedule, told: str) -> None:
    server = schedule.server
    run_ids = [each.run_id for each in server.runs]
    assert sorted(run_ids) == sorted(set().union(*schedule.own)), told
    assert server.parents == [f"session-{each.session_id}" for each in server.runs], told
    session_ids = [each.session_id for each in server.sessions]
    assert len(session_ids) == len(set(session_ids)), told
    apply_ids = [each.apply_id for each in server.applies]
    assert len(apply_ids) == len(set(apply_ids)), told
    _assert_order(server.calls, told)
    for ledger, own in zip(schedule.ledgers, schedule.own, strict=True):
        assert Deliveries(ledger, TARGET).count() == 0, told
        assert {each.run_id for each in ledger.runs(EXPERIMENT)} == set(run_ids), told
        assert {each.apply_id for each in ledger.applies(EXPERIMENT)} == set(apply_ids), told
        assert own <= set(run_ids)
    _assert_scores(schedule, told)


def _assert_scores(schedule: _Schedule, told: str) -> None:
    first, second = (
        {each.judgement_id: each for each in ledger.judgements()} for ledger in schedule.ledgers
    )
    assert first == second, told
    for record in schedule.server.runs:
        expected = run_scores(record, schedule.ledgers[0].judgements(RUBRIC.sha256), RUBRIC)
        assert schedule.server.latest_scores(record) == expected, told


def _assert_order(calls: Sequence[str], told: str) -> None:
    first: dict[str, int] = {}
    for place, call in enumerate(calls):
        first.setdefault(call, place)
    for call, place in first.items():
        name, _, record_id = call.partition(" ")
        if name == "put_scores":
            assert first[f"put_run {record_id}"] < place, told
        if name == "finish_session":
            assert first[f"put_session {record_id.removeprefix('session-')}"] < place, told


def test_whole_scores_are_never_followed_by_pending_ones(tmp_path: Path) -> None:
    for seed in range(1000, 1060):
        schedule = _Schedule(seed, tmp_path)
        # One machine alone: of two, one may know less than the other.
        schedule.ledgers[1] = schedule.ledgers[0]
        schedule.server.fault = _random_fault(schedule.rng)
        for _ in range(25):
            schedule.step()
        for given in schedule.server.scores.values():
            pending = [each.judge_pending for each in given]
            assert pending == sorted(pending, reverse=True), f"seed {seed}"
