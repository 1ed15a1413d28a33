from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import pytest

from pytest_tipbench.board import build_board
from pytest_tipbench.board_baseline import compare_with_baseline
from pytest_tipbench.commands import Finding
from pytest_tipbench.gates import Verdict
from pytest_tipbench.safety.evidence import Evidence
from pytest_tipbench.summary import next_step, resume_step, summary_lines
from tests.unit.bench_samples import settings
from tests.unit.board_samples import RUBRIC, a_run, judged

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_tipbench.board_records import Board

PENDING = build_board([a_run(), a_run(scenario="s02")], [], RUBRIC)


def done() -> Board:
    run = a_run()
    return build_board([run], judged(run, 4, 4), RUBRIC)


def lines(root: Path, **changes: Any) -> list[str]:
    given: dict[str, Any] = {
        "settings": settings(root),
        "findings": (Finding(PENDING),),
        "told": (),
        "evidence": None,
        "afterwards": (),
        "problems": (),
        "to_resume": None,
        "width": 100,
        "ascii_only": False,
        "verbose": False,
    }
    return list(summary_lines(**(given | changes)))


def command_in(line: str) -> list[str]:
    return shlex.split(line.split(": ", maxsplit=2)[2])


def test_what_is_pending_is_counted_and_the_command_is_whole(tmp_path: Path) -> None:
    said = next_step(settings(tmp_path), PENDING)
    assert said == "next: 4 tips in 2 cells to be judged: pytest --judge-export scores.json"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"models": ("a", "b c")}, ["--models", "a,b c"]),
        ({"prompts": ("v1",)}, ["--prompts", "v1"]),
        ({"scenarios": ("zoe-*", "it's")}, ["--scenarios", "zoe-*,it's"]),
        ({"tracking_uri": "http://x:5000/?a=b&c"}, ["--tracking-uri", "http://x:5000/?a=b&c"]),
        ({"tracking_host_header": "mlflow.lan"}, ["--tracking-host-header", "mlflow.lan"]),
        ({"offline": True}, ["--offline"]),
        ({"experiment": "tip-bench"}, ["--experiment", "tip-bench"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_this_call_was_given_is_carried_on_and_quoted(
    tmp_path: Path, changes: dict[str, Any], words: list[str]
) -> None:
    given = settings(tmp_path, named=frozenset(changes), **changes)
    start = ["pytest", "--judge-export", "scores.json"]
    assert command_in(next_step(given, PENDING)) == [*start, *words]


def test_a_ledger_is_carried_on_by_its_whole_path(tmp_path: Path) -> None:
    ledger = tmp_path / "my ledger.db"
    given = settings(tmp_path, ledger=ledger, named=frozenset({"ledger"}))
    assert command_in(next_step(given, PENDING))[-2:] == ["--ledger", str(ledger)]


@pytest.mark.parametrize("field", ["models", "prompts", "scenarios", "tracking_uri", "ledger"])
def test_what_the_configuration_gives_need_not_be_said(tmp_path: Path, field: str) -> None:
    given = settings(tmp_path, **{field: tmp_path if field == "ledger" else ("x",)})
    assert "--" not in next_step(given, PENDING).replace("--judge-export", "")


def test_another_experiments_board_names_it(tmp_path: Path) -> None:
    given = settings(tmp_path, experiment="another one")
    assert command_in(next_step(given, PENDING))[-2:] == ["--experiment", "tip-bench"]


def test_the_order_is_told_board_memory_next_afterwards_problems(tmp_path: Path) -> None:
    said = lines(
        tmp_path,
        told=["first this"],
        evidence=Evidence(loads=2, proofs=3, together=1, largest_resident_bytes=2**30),
        afterwards=["see the runs: mlflow ui"],
        problems=["MLflow lacks 3 records"],
    )
    places = [
        next(number for number, line in enumerate(said) if start in line)
        for start in (
            "first this",
            "small:1b",
            "models resident together: 1",
            "next: 4 tips in 2 cells",
            "see the runs",
            "PROBLEM: MLflow lacks 3 records",
        )
    ]
    assert places == sorted(places)
    assert said[-1] == "PROBLEM: MLflow lacks 3 records"


def test_with_nothing_pending_there_is_no_next_step(tmp_path: Path) -> None:
    assert not [line for line in lines(tmp_path, findings=(Finding(done()),)) if "next:" in line]


def test_without_cells_nothing_is_said_of_memory(tmp_path: Path) -> None:
    assert not [line for line in lines(tmp_path) if line.startswith("memory:")]


def test_verdicts_stand_under_their_board(tmp_path: Path) -> None:
    verdict = Verdict(name="composite>=3", status="FAIL", detail="1 of 1 row short of it")
    said = lines(tmp_path, findings=(Finding(done(), (verdict,)),))
    assert "FAIL composite>=3: 1 of 1 row short of it" in said


def test_changes_since_a_baseline_stand_between_the_board_and_its_verdicts(tmp_path: Path) -> None:
    verdict = Verdict(name="change from tip-bench", status="PASS", detail="none")
    comparison = compare_with_baseline(done(), done())
    said = lines(tmp_path, findings=(Finding(done(), (verdict,), comparison=comparison),))
    starts = ("tip-bench: 1 row", "compared with tip-bench, after − before", "PASS change from")
    places = [
        next(number for number, line in enumerate(said) if line.startswith(start))
        for start in starts
    ]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("status", "fails"), [("PASS", False), ("FAIL", True), ("UNDECIDED", True)]
)
def test_a_finding_fails_with_any_gate_that_did_not_pass(status: Any, fails: bool) -> None:
    passed = Verdict(name="a", status="PASS", detail="")
    assert Finding(PENDING, (passed, Verdict(name="b", status=status, detail=""))).fails is fails
    assert not Finding(PENDING).fails


def test_several_experiments_have_a_board_and_a_next_step_each(tmp_path: Path) -> None:
    other = PENDING.model_copy(update={"experiment": "other"})
    said = lines(tmp_path, findings=(Finding(PENDING), Finding(other)))
    steps = [line for line in said if line.startswith("next: ")]
    assert len(steps) == 2
    assert "--experiment other" in steps[1]


def test_no_line_breaks_where_nothing_was_read(tmp_path: Path) -> None:
    assert lines(tmp_path, findings=()) == []


@pytest.mark.parametrize(
    ("call", "command"),
    [
        ([], "pytest --resume"),
        (["evals", "-k", "a b", "-n", "2"], "pytest evals -k 'a b' -n 2 --resume"),
        (["--resume", "evals"], "pytest evals --resume"),
        (["evals", "--", "-odd.py"], "pytest evals --resume -- -odd.py"),
        (["evals", "--record", "r.jsonl", "-x"], "pytest evals -x --resume"),
        (["--record=r.jsonl", "evals"], "pytest evals --resume"),
        (
            ["evals", "--tracking-uri", "https://host/x@y?a@b", "-q"],
            "pytest evals --tracking-uri 'https://host/x@y?a@b' -q --resume",
        ),
        (
            ["evals", "--tracking-uri=https://ada:s3cr@t@host/x"],
            "pytest evals --tracking-uri=https://host/x --resume",
        ),
    ],
)
def test_an_interrupted_call_goes_on_with_its_own_words(call: list[str], command: str) -> None:
    assert resume_step(call, 2) == f"next: 2 cells to be run: {command}"


def test_a_call_that_does_not_go_on_has_no_such_step() -> None:
    assert resume_step(None, 2) is None
    assert resume_step(["evals"], 0) is None
    assert resume_step(["evals"], 1) == "next: 1 cell to be run: pytest evals --resume"


def test_what_has_not_run_comes_before_judging(tmp_path: Path) -> None:
    step = "next: 1 cell to be run: pytest evals --resume"
    said = lines(tmp_path, to_resume=step)
    assert [line for line in said if line.startswith("next:")] == [step]
    assert step in lines(tmp_path, findings=(), to_resume=step)
