from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import pytest

from pytest_tipbench.errors import LedgerError, TrackingUnreachableError, UserMistakeError
from pytest_tipbench.keeper import Keeper
from pytest_tipbench.records import Completion, from_json
from pytest_tipbench.store import rescue as rescue_module
from pytest_tipbench.store.ledger import Ledger
from pytest_tipbench.store.rescue import rescue_files
from tests.unit.bench_samples import settings
from tests.unit.store_samples import EXPERIMENT, RUBRIC, Fault, Server, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pytest_tipbench.records import RunRecord

    Open = Callable[..., Keeper]


@pytest.fixture
def open_keeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Open keepers of a project's; they are closed at the end."""
    monkeypatch.setattr(rescue_module, "user_data_path", lambda _name: tmp_path / "data")
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "tmp"))
    opened: list[Keeper] = []

    def make(session_id: str | None = "s1", **changes: Any) -> Keeper:
        given = settings(tmp_path, **changes)
        if session_id is None:
            keeper = Keeper.for_commands(given, RUBRIC, lambda _line: None)
        else:
            keeper = Keeper.for_cells(given, RUBRIC, session_id, lambda _line: None)
        opened.append(keeper)
        return keeper

    yield make
    for keeper in opened:
        keeper.close()


@pytest.fixture
def nobody() -> Iterator[str]:
    """Return the URL of a port on which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def full(_record: RunRecord) -> bool:
    raise LedgerError("ledger.db: database or disk is full")


# --- keeping ----------------------------------------------------------------------------------


def test_a_run_is_in_the_ledger_at_once(open_keeper: Open) -> None:
    keeper = open_keeper()
    keeper.keep(run(1))
    with Ledger.open(keeper.ledger.path) as other:
        assert other.runs(EXPERIMENT) == [run(1)]
        assert [session.session_id for session in other.sessions(EXPERIMENT)] == ["s1"]
    assert keeper.finish(None, failed=False, is_hurried=False) == []


def test_a_ledger_that_fails_loses_nothing_and_the_next_session_has_it(
    open_keeper: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = open_keeper()
    with monkeypatch.context() as patched:
        patched.setattr(keeper.ledger, "add_run", full)
        keeper.keep(run(1))
        keeper.keep(run(2))
    waiting = rescue_files(keeper.ledger.path)[0]
    lines = [line for line in waiting.read_text(encoding="ascii").split("\n") if line]
    assert [from_json(type(run(1)), line) for line in lines] == [run(1), run(2)]
    keeper.close()
    after = open_keeper("s2")
    assert after.ledger.runs(EXPERIMENT) == [run(1), run(2)]
    assert not waiting.exists()
    assert any("2" in notice for notice in after.notices)


def test_a_ledger_that_failed_is_a_problem_that_the_exit_code_tells(
    open_keeper: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = open_keeper()
    with monkeypatch.context() as patched:
        patched.setattr(keeper.ledger, "add_run", full)
        keeper.keep(run(1))
    problems = keeper.finish(None, failed=False, is_hurried=False)
    assert any(run(1).cell.id in problem and "disk is full" in problem for problem in problems)


def test_a_session_that_only_reads_takes_no_run_back(
    open_keeper: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = open_keeper()
    with monkeypatch.context() as patched:
        patched.setattr(keeper.ledger, "add_run", full)
        keeper.keep(run(1))
    keeper.close()
    reader = open_keeper(None, leaderboard=True)
    assert reader.ledger.read_only
    assert rescue_files(keeper.ledger.path)[0].exists()


# --- opening ----------------------------------------------------------------------------------


def test_a_ledger_that_cannot_be_made_is_told_before_the_first_cell(
    open_keeper: Open, tmp_path: Path
) -> None:
    (tmp_path / ".tipbench").write_text("in the way", encoding="utf-8")
    with pytest.raises(UserMistakeError, match=r"\.tipbench"):
        open_keeper()


def test_reading_makes_no_file(open_keeper: Open, tmp_path: Path) -> None:
    keeper = open_keeper(None, leaderboard=True)
    assert keeper.ledger.runs(EXPERIMENT) == []
    assert not (tmp_path / ".tipbench").exists()


def test_mlflow_unreachable_before_the_first_cell_names_the_way_out(
    open_keeper: Open, nobody: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UserMistakeError, match="--offline") as mistake:
        open_keeper(tracking_uri=nobody)
    assert nobody.removeprefix("http://") in str(mistake.value)


def test_offline_asks_no_server(open_keeper: Open, nobody: str) -> None:
    keeper = open_keeper(tracking_uri=nobody, offline=True)
    keeper.keep(run(1))
    assert keeper.finish(None, failed=False, is_hurried=False) == []
    assert keeper.afterwards() == []


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    """A tracking server of which every keeper opens the store."""
    made = Server()
    monkeypatch.setattr(Keeper, "_open_store", lambda _keeper: made.open())
    return made


def test_a_session_says_where_its_runs_are_seen(open_keeper: Open, server: Server) -> None:
    keeper = open_keeper(tracking_uri="http://double")
    keeper.keep(run(1))
    assert keeper.finish(None, failed=False, is_hurried=False) == []
    assert server.runs == [run(1)]
    assert keeper.afterwards() == [f"see the runs: http://double/{EXPERIMENT}"]


@pytest.mark.parametrize("hurried", [False, True])
def test_no_page_is_said_where_none_is_known_or_nobody_can_wait(
    open_keeper: Open, server: Server, *, hurried: bool
) -> None:
    fault = Fault("before", TrackingUnreachableError("gone"))
    server.fault = lambda call: fault if call == "runs_page" and not hurried else None
    keeper = open_keeper(tracking_uri="http://double")
    assert keeper.finish(None, failed=False, is_hurried=hurried) == []
    assert keeper.afterwards() == []
    assert any(call.startswith("runs_page") for call in server.calls) is not hurried


def test_commands_make_no_experiment_to_show(open_keeper: Open, server: Server) -> None:
    open_keeper().close()
    keeper = open_keeper(None, tracking_sync=True, tracking_uri="http://double")
    assert keeper.finish(None, failed=False, is_hurried=False) == []
    assert not any(call.startswith("runs_page") for call in server.calls)
    assert keeper.afterwards() == []


def test_commands_that_only_read_go_on_without_mlflow_and_say_as_of_when(
    open_keeper: Open, nobody: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    writer = open_keeper()
    writer.keep(run(1))
    writer.close()
    keeper = open_keeper(None, tracking_uri=nobody, leaderboard=True)
    (said,) = keeper.pull(EXPERIMENT)
    assert said.startswith("not up to date with MLflow (as of: never pulled): ")
    assert keeper.ledger.runs(EXPERIMENT) == [run(1)]
    assert keeper.finish(None, failed=False, is_hurried=False) == []


def test_a_sync_without_a_server_says_what_it_needs(open_keeper: Open) -> None:
    with pytest.raises(UserMistakeError, match="--tracking-uri"):
        open_keeper(None, tracking_sync=True)
    stopped = {"tracking_sync": True, "offline": True, "tracking_uri": "http://x"}
    with pytest.raises(UserMistakeError, match=r"deliver to: leave out --offline$"):
        open_keeper(None, **stopped, named=frozenset({"offline"}))
    with pytest.raises(UserMistakeError, match="deliver to: add -o tipbench_offline=false, as"):
        open_keeper(None, **stopped)
    with pytest.raises(UserMistakeError, match=r"give --tracking-uri and leave out --offline$"):
        open_keeper(None, tracking_sync=True, offline=True, named=frozenset({"offline"}))


def test_closing_twice_is_no_fault(open_keeper: Open) -> None:
    keeper = open_keeper()
    keeper.close()
    keeper.close()


# --- recording --------------------------------------------------------------------------------


def test_completions_are_recorded_for_replay(open_keeper: Open, tmp_path: Path) -> None:
    keeper = open_keeper(record=tmp_path / "out.jsonl")
    text = "lone \ud800, NUL \0"
    made = run(1).model_copy(
        update={"completion": Completion(text=text, latency_seconds=1.5, prompt_tokens=3)}
    )
    keeper.keep(made)
    keeper.close()

    (line,) = (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()
    recorded = json.loads(line)
    assert recorded["completion"] == text
    assert (recorded["prompt_version"], recorded["scenario"]) == ("v1", "monday")
    assert (recorded["model"], recorded["latency_seconds"]) == ("qwen2.5:0.5b", 1.5)


def test_a_recording_that_cannot_be_made_is_told_before_the_first_cell(
    open_keeper: Open, tmp_path: Path
) -> None:
    (tmp_path / "folder").write_text("in the way", encoding="utf-8")
    with pytest.raises(UserMistakeError, match=r"out\.jsonl"):
        open_keeper(record=tmp_path / "folder" / "out.jsonl")
