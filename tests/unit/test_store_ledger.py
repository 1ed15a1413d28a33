from __future__ import annotations

import json
import random
import sqlite3
import subprocess
import sys
import textwrap
import threading
import uuid
from contextlib import closing
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings

from pytest_tipbench.errors import LedgerError
from pytest_tipbench.records import ModelReference, Outcome, RunRecord, Selection
from pytest_tipbench.store.ledger import Ledger, SessionEnding
from tests.unit.mlflow_samples import RUN_RECORDS, TEXTS
from tests.unit.store_samples import (
    EXPERIMENT,
    RUBRIC,
    applied,
    judgement,
    minutes,
    run,
    session,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ANYTHING = (
    "NUL \0, lone \ud800 and \udc80, ANSI \x1b[31m, <b>HTML</b>, é, 漢, 👍, \"'\\\n\r\t\u2028"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".tipbench" / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    with Ledger.open(path) as opened:
        yield opened


def test_a_run_comes_back_as_it_went_in_by_another_process_too(ledger: Ledger, path: Path) -> None:
    record = run()
    assert ledger.add_run(record) is True
    assert ledger.runs(EXPERIMENT) == [record]
    with Ledger.open(path) as other:
        assert other.runs(EXPERIMENT) == [record]


def test_adding_a_run_again_changes_nothing(ledger: Ledger) -> None:
    first, same_id = run(1), run(1, tips=("Something else", "And more"))
    assert ledger.add_run(first) is True
    assert ledger.add_run(first) is False
    assert ledger.add_run(same_id) is False
    assert ledger.runs(EXPERIMENT) == [first]


def test_every_text_survives_whatever_a_model_wrote(ledger: Ledger) -> None:
    record = run(
        experiment=ANYTHING,
        model=ANYTHING,
        prompt_version=ANYTHING,
        scenario_id=ANYTHING,
        tips=(ANYTHING, ANYTHING * 3),
        completion_text=ANYTHING * 100,
        error=ANYTHING,
    )
    ledger.add_run(record)
    selection = Selection(models=(ANYTHING,), prompts=(ANYTHING,), scenarios=(ANYTHING,))
    assert ledger.runs(ANYTHING, selection) == [record]
    assert ledger.experiments() == [ANYTHING]
    said = judgement(ANYTHING, judge=ANYTHING, scenario_id=ANYTHING, note=ANYTHING, nonce=ANYTHING)
    ledger.add_apply(applied([said], judge=ANYTHING, nonce=ANYTHING, experiment=ANYTHING), [said])
    assert ledger.judgements_of(record, RUBRIC.sha256) == [said]
    assert [each.judge for each in ledger.applies(ANYTHING)] == [ANYTHING]


def test_whatever_a_record_holds_it_comes_back_equal(tmp_path: Path) -> None:
    path = tmp_path / "arbitrary.db"
    kept: dict[str, dict[str, RunRecord]] = {}

    def read(ledger: Ledger, experiment: str) -> dict[str, RunRecord]:
        return {record.run_id: record for record in ledger.runs(experiment)}

    with Ledger.open(path) as ledger:

        @given(RUN_RECORDS, TEXTS)
        @settings(max_examples=200, deadline=None, derandomize=True, database=None)
        def keep(made: RunRecord, experiment: str) -> None:
            update = {"run_id": uuid.uuid4().hex, "experiment": experiment}
            record = made.model_copy(update=update)
            assert ledger.add_run(record) is True
            assert read(ledger, experiment)[record.run_id] == record
            kept.setdefault(experiment, {})[record.run_id] = record

        keep()
    assert sum(map(len, kept.values())) >= 200
    with Ledger.open(path, read_only=True) as reopened:
        assert {experiment: read(reopened, experiment) for experiment in kept} == kept


def test_ten_megabytes_of_output_survive(ledger: Ledger) -> None:
    record = run(completion_text="rest " * 2_000_000 + ANYTHING)
    ledger.add_run(record)
    assert ledger.runs(EXPERIMENT) == [record]


def test_a_run_without_a_model_or_a_completion_survives(ledger: Ledger) -> None:
    record = run(outcome=Outcome.MISSING).model_copy(update={"model": None})
    ledger.add_run(record)
    assert ledger.runs(EXPERIMENT) == [record]


def test_what_runs_share_is_kept_once_and_is_one_object(ledger: Ledger) -> None:
    for number in range(1, 4):
        ledger.add_run(run(number))
    ledger.add_run(run(4, scenario_id="friday"))
    runs = ledger.runs(EXPERIMENT)
    assert runs == [run(1), run(2), run(3), run(4, scenario_id="friday")]
    assert runs[0].scenario is runs[1].scenario is runs[2].scenario
    # Two scenarios, one prompt, one model, one set of sampling options.
    assert ledger.execute("SELECT count(*) FROM parts") == [(5,)]


def test_runs_are_the_oldest_first_and_of_one_experiment(ledger: Ledger) -> None:
    late, early = run(1, finished_at=minutes(9)), run(2, finished_at=minutes(1))
    elsewhere = run(3, experiment="another")
    for record in (late, early, elsewhere):
        ledger.add_run(record)
    assert ledger.runs(EXPERIMENT) == [early, late]
    assert ledger.runs("another") == [elsewhere]
    assert ledger.runs("nobody's") == []
    assert ledger.experiments() == [EXPERIMENT, "another"]


def test_moments_are_ordered_by_time_not_by_their_spelling(ledger: Ledger) -> None:
    # As texts, `09:00:00.5` would sort before `09:00:00`, and `10:30+02:00` after both.
    whole = datetime(2026, 11, 2, 9, 0, tzinfo=timezone.utc)
    fraction = whole + timedelta(seconds=0.5)
    elsewhere = datetime(2026, 11, 2, 10, 30, tzinfo=timezone(timedelta(hours=2)))
    for number, moment in enumerate((fraction, whole, elsewhere), start=1):
        ledger.add_run(run(number, finished_at=moment))
    assert [each.finished_at for each in ledger.runs(EXPERIMENT)] == [elsewhere, whole, fraction]


def _matrix() -> list[RunRecord]:
    return [
        run(number, model=model, prompt_version=prompt, scenario_id=scenario_id)
        for number, (model, prompt, scenario_id) in enumerate(
            (model, prompt, scenario_id)
            for model in ("a:1b", "b:2b")
            for prompt in ("v1", "v2-mentor")
            for scenario_id in ("monday", "friday", "sunday")
        )
    ]


@pytest.mark.parametrize(
    "selection",
    [
        Selection(),
        Selection(models=("a:1b",)),
        Selection(prompts=("v2-mentor",), scenarios=("friday", "sunday")),
        Selection(models=("b:2b", "a:1b"), prompts=("v1",), scenarios=("monday",)),
        Selection(models=()),
        Selection(models=("A:1B",)),
        Selection(scenarios=("mon*", "%")),
    ],
)
def test_a_selection_picks_what_it_admits(ledger: Ledger, selection: Selection) -> None:
    matrix = _matrix()
    for record in matrix:
        ledger.add_run(record)
    admitted = [record for record in matrix if selection.admits(record.cell)]
    assert ledger.runs(EXPERIMENT, selection) == admitted
    assert ledger.latest_runs(EXPERIMENT, selection) == admitted


def test_the_latest_run_of_a_fingerprint_is_the_newest_finished(ledger: Ledger) -> None:
    first = run(1, fingerprint="f", finished_at=minutes(1))
    newest = run(2, fingerprint="f", finished_at=minutes(7))
    late_arrival = run(3, fingerprint="f", finished_at=minutes(4))
    other = run(4, fingerprint="g", finished_at=minutes(2))
    for record in (first, newest, late_arrival, other):
        ledger.add_run(record)
    assert ledger.latest_runs(EXPERIMENT) == [other, newest]
    assert ledger.latest_run(EXPERIMENT, "f") == newest
    assert ledger.latest_run(EXPERIMENT, "h") is None
    assert ledger.latest_run("another", "f") is None


def test_of_runs_finished_at_one_moment_the_one_kept_last_counts(ledger: Ledger) -> None:
    for number in (1, 2, 3):
        ledger.add_run(run(number, fingerprint="f", finished_at=minutes(1)))
    assert [each.run_id for each in ledger.latest_runs(EXPERIMENT)] == [run(3).run_id]
    assert ledger.latest_run(EXPERIMENT, "f") == run(3, fingerprint="f", finished_at=minutes(1))


def test_a_machines_fault_never_hides_a_measured_run(ledger: Ledger) -> None:
    measured = run(1, fingerprint="f", outcome=Outcome.MALFORMED, finished_at=minutes(1))
    ledger.add_run(measured)
    for number, fault in enumerate((Outcome.TIMEOUT, Outcome.PROVIDER_ERROR, Outcome.MISSING), 2):
        ledger.add_run(
            run(number, fingerprint="f", outcome=fault, finished_at=minutes(10 * number))
        )
    assert ledger.latest_runs(EXPERIMENT) == [measured]
    assert ledger.latest_run(EXPERIMENT, "f") == measured


def test_where_nothing_was_measured_the_newest_fault_stands(ledger: Ledger) -> None:
    older = run(1, fingerprint="f", outcome=Outcome.TIMEOUT, finished_at=minutes(1))
    newer = run(2, fingerprint="f", outcome=Outcome.PROVIDER_ERROR, finished_at=minutes(2))
    for record in (newer, older):
        ledger.add_run(record)
    assert ledger.latest_runs(EXPERIMENT) == [newer]
    assert ledger.latest_run(EXPERIMENT, "f") == newer


def test_a_selection_does_not_hide_a_run_behind_one_outside_it(ledger: Ledger) -> None:
    # Two names of one digest share their fingerprints.
    named = run(1, fingerprint="f", model="llama3.2", finished_at=minutes(1))
    alias = run(2, fingerprint="f", model="llama3.2:latest", finished_at=minutes(2))
    for record in (named, alias):
        ledger.add_run(record)
    assert ledger.latest_runs(EXPERIMENT, Selection(models=("llama3.2",))) == [named]


def test_the_latest_runs_agree_with_a_plain_walk(ledger: Ledger) -> None:
    rng = random.Random(20260427)
    records = [
        run(
            number,
            fingerprint=rng.choice("abcdef"),
            outcome=rng.choice([Outcome.OK, Outcome.TIMEOUT, Outcome.EMPTY]),
            finished_at=minutes(rng.randrange(20)),
        )
        for number in range(120)
    ]
    for record in records:
        ledger.add_run(record)
    latest: dict[str, RunRecord] = {}
    for record in records:
        held = latest.get(record.fingerprint)
        if held is None or (record.is_measured, record.finished_at) >= (
            held.is_measured,
            held.finished_at,
        ):
            latest[record.fingerprint] = record
    found = ledger.latest_runs(EXPERIMENT)
    assert {each.run_id for each in found} == {each.run_id for each in latest.values()}
    assert [each.finished_at for each in found] == sorted(each.finished_at for each in found)
    for fingerprint, record in latest.items():
        assert ledger.latest_run(EXPERIMENT, fingerprint) == record


def test_applying_a_sheet_again_adds_nothing(ledger: Ledger) -> None:
    said = [judgement("Call the bank first"), judgement("Rest after lunch")]
    sheet = applied(said)
    assert ledger.add_apply(sheet, said) == 2
    assert ledger.add_apply(sheet, said) == 0
    assert ledger.judgements() == said
    assert ledger.applies(EXPERIMENT) == [sheet]


def test_a_sheet_scored_further_adds_what_is_new(ledger: Ledger) -> None:
    first, second = judgement("Call the bank first"), judgement("Rest after lunch")
    ledger.add_apply(applied([first]), [first])
    assert ledger.add_apply(applied([first, second]), [first, second]) == 1
    assert ledger.judgements() == [first, second]
    assert len(ledger.applies(EXPERIMENT)) == 2


def test_judgements_come_by_time_then_as_they_were_kept(ledger: Ledger) -> None:
    late = judgement("A", judged_at=minutes(9))
    early = judgement("B", judged_at=minutes(1))
    also_late = judgement("C", judged_at=minutes(9))
    said = [late, early, also_late]
    ledger.add_apply(applied(said), said)
    assert ledger.judgements() == [early, late, also_late]


def test_judgements_of_another_rubric_are_apart(ledger: Ledger) -> None:
    other = RUBRIC.model_copy(update={"text": "Other words."})
    old, new = judgement("A", rubric=other), judgement("A")
    ledger.add_apply(applied([old, new]), [old, new])
    assert ledger.judgements(RUBRIC.sha256) == [new]
    assert ledger.judgements(other.sha256) == [old]
    assert ledger.judgements("0" * 64) == []


def test_the_newest_judgement_of_each_tip_and_judge_is_current(ledger: Ledger) -> None:
    first = judgement("A", (1, 1, 1), judged_at=minutes(1), nonce="one")
    second = judgement("A", (5, 5, 5), judged_at=minutes(2), nonce="two")
    by_bob = judgement("A", (3, 3, 3), judge="bob", judged_at=minutes(1))
    elsewhere = judgement("A", (2, 2, 2), scenario_id="friday", judged_at=minutes(3))
    said = [second, first, by_bob, elsewhere]
    ledger.add_apply(applied(said), said)
    assert ledger.current_judgements(RUBRIC.sha256) == [by_bob, second, elsewhere]


def test_the_judgements_of_a_run_are_those_of_its_tips_in_its_scenario(ledger: Ledger) -> None:
    record = run(tips=("A", "B"))
    mine = [judgement("A"), judgement("B"), judgement("A", judge="bob")]
    others = [judgement("C"), judgement("A", scenario_id="friday")]
    ledger.add_apply(applied(mine + others), [*others, *mine])
    assert ledger.judgements_of(record, RUBRIC.sha256) == mine
    assert ledger.judgements_of(record, "0" * 64) == []
    assert ledger.judgements_of(run(2, outcome=Outcome.EMPTY), RUBRIC.sha256) == []


def test_sessions_are_kept_once(ledger: Ledger) -> None:
    assert ledger.add_session(session("s1")) is True
    assert ledger.add_session(session("s1")) is False
    ledger.add_session(session("s2", experiment="another"))
    assert ledger.sessions(EXPERIMENT) == [session("s1")]
    assert ledger.sessions("another") == [session("s2", experiment="another")]


def test_an_ending_may_be_replaced(ledger: Ledger) -> None:
    for text in ("first board", "second board"):
        ledger.end_session(
            SessionEnding(session_id="s1", board_text=text, metrics={"cells": 1.0}, failed=False)
        )
    ((record,),) = ledger.execute("SELECT record FROM endings")
    assert json.loads(record)["board_text"] == "second board"


def test_a_sheet_is_applied_whole_or_not_at_all(ledger: Ledger) -> None:
    said = [judgement("A"), judgement("B")]
    ledger.execute(
        "CREATE TRIGGER broken AFTER INSERT ON judgements WHEN new.number > 1"
        " BEGIN SELECT RAISE(ABORT, 'no more'); END"
    )
    with pytest.raises(LedgerError, match="no more"):
        ledger.add_apply(applied(said), said)
    assert ledger.judgements() == []
    assert ledger.applies(EXPERIMENT) == []
    ledger.execute("DROP TRIGGER broken")
    assert ledger.add_apply(applied(said), said) == 2


def test_judgements_wait_for_the_disk_and_runs_do_not(ledger: Ledger) -> None:
    # https://sqlite.org/pragma.html#pragma_synchronous: 1 is NORMAL, 2 is FULL.
    with ledger.transaction(durable=True):
        assert ledger.execute("PRAGMA synchronous") == [(2,)]
    with ledger.transaction():
        assert ledger.execute("PRAGMA synchronous") == [(1,)]
    assert ledger.execute("PRAGMA journal_mode") == [("wal",)]
    seen: list[int] = []
    ledger._connection.create_function("noted", 1, seen.append)
    ledger.execute(
        "CREATE TEMP TRIGGER watch AFTER INSERT ON judgements"
        " BEGIN SELECT noted((SELECT synchronous FROM pragma_synchronous)); END"
    )
    said = [judgement("A")]
    ledger.add_apply(applied(said), said)
    assert seen == [2]


def test_an_interrupt_in_a_transaction_undoes_it_and_leaves_the_ledger_usable(
    ledger: Ledger,
) -> None:
    def interrupted() -> None:
        with ledger.transaction(durable=True) as rows:
            rows.insert_run(run(1))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert ledger.runs(EXPERIMENT) == []
    assert ledger.execute("PRAGMA synchronous") == [(1,)]
    assert ledger.add_run(run(1)) is True


def test_a_block_inside_another_is_part_of_it(ledger: Ledger) -> None:
    def interrupted() -> None:
        with ledger.transaction() as rows:
            rows.insert_run(run(1))
            ledger.add_run(run(2))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert ledger.runs(EXPERIMENT) == []


def test_several_threads_may_write_and_read_at_once(ledger: Ledger) -> None:
    failures: list[BaseException] = []

    def write(first: int) -> None:
        try:
            for number in range(first, first + 40):
                ledger.add_run(run(number))
                ledger.latest_run(EXPERIMENT, run(number).fingerprint)
        except BaseException as error:  # noqa: BLE001 - shown by the assertion below
            failures.append(error)

    threads = [threading.Thread(target=write, args=(100 * index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(ledger.runs(EXPERIMENT)) == 160


def test_what_one_thread_undoes_is_not_anothers(ledger: Ledger) -> None:
    other = threading.Thread(target=ledger.add_run, args=(run(2),))

    def interrupted() -> None:
        with ledger.transaction() as rows:
            rows.insert_run(run(1))
            other.start()
            other.join(0.05)  # it must wait; without a lock it would write now
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    other.join()
    assert ledger.runs(EXPERIMENT) == [run(2)]


def test_a_full_disk_is_said_and_what_is_there_stays(ledger: Ledger, path: Path) -> None:
    ledger.add_run(run(1))
    (page_count,) = ledger.execute("PRAGMA page_count")[0]
    ledger.execute(f"PRAGMA max_page_count = {page_count + 2}")
    with pytest.raises(LedgerError) as caught:
        ledger.add_run(run(2, completion_text="x" * 100_000))
    assert str(path) in str(caught.value)
    assert "no room is left on its disk" in str(caught.value)
    assert ledger.runs(EXPERIMENT) == [run(1)]
    ledger.execute("PRAGMA max_page_count = 1000000")
    assert ledger.add_run(run(2, completion_text="x" * 100_000)) is True


def test_an_unreadable_row_is_named(ledger: Ledger) -> None:
    ledger.add_run(run(1))
    ledger.execute("""UPDATE runs SET record = '{"run_id": 7}'""")
    with pytest.raises(LedgerError, match=r'a run of the ledger cannot be read.*"run_id": 7'):
        ledger.runs(EXPERIMENT)
    ledger.add_session(session("s1"))
    ledger.execute("UPDATE sessions SET record = 'nothing'")
    with pytest.raises(LedgerError, match="a SessionRecord of the ledger cannot be read"):
        ledger.sessions(EXPERIMENT)


def test_a_closed_ledger_says_so(ledger: Ledger) -> None:
    ledger.close()
    ledger.close()
    with pytest.raises(LedgerError, match="closed"):
        ledger.add_run(run(1))


def test_two_sessions_share_the_file(path: Path) -> None:
    with Ledger.open(path) as one, Ledger.open(path) as two:
        for number in range(20):
            (one if number % 2 else two).add_run(run(number))
        assert one.runs(EXPERIMENT) == two.runs(EXPERIMENT) == [run(n) for n in range(20)]
        assert one.add_run(run(0)) is False


def test_a_killed_process_loses_no_finished_cell(path: Path) -> None:
    script = textwrap.dedent(
        """
        import os, sys
        from pathlib import Path
        from pytest_tipbench.store.ledger import Ledger
        from tests.unit.store_samples import run

        ledger = Ledger.open(Path(sys.argv[1]))
        for number in range(25):
            ledger.add_run(run(number))
        with ledger.transaction() as rows:
            rows.insert_run(run(99))
            os._exit(9)
        """
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert done.returncode == 9
    with Ledger.open(path) as ledger:
        assert ledger.notices == ()
        assert ledger.runs(EXPERIMENT) == [run(number) for number in range(25)]


def test_the_columns_are_what_people_would_look_for(ledger: Ledger, path: Path) -> None:
    record = run(1, model="gemma3:café")
    ledger.add_run(record)
    with closing(sqlite3.connect(path)) as plain:
        row = plain.execute("SELECT experiment, model, outcome, measured, cell FROM runs")
        *others, cell = row.fetchone()
    assert others == [EXPERIMENT, "gemma3:caf\\u00e9", "ok", 1]
    assert json.loads(f'"{cell}"') == record.cell.id


def test_a_reference_with_another_spelling_is_another_model(ledger: Ledger) -> None:
    record = run(1, model="ollama/qwen2.5:0.5b")
    assert record.cell.model == ModelReference(
        text="ollama/qwen2.5:0.5b", provider="ollama", name="ollama/qwen2.5:0.5b"
    )
    ledger.add_run(record)
    assert ledger.runs(EXPERIMENT, Selection(models=("qwen2.5:0.5b",))) == []
