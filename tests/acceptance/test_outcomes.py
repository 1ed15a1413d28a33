"""How a cell can end: a machine's fault is an ERROR, a model's own failure a FAILED."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.conftest import ONE_CELL

if TYPE_CHECKING:
    from tests.acceptance.conftest import Project
    from tests.ollama_double import OllamaDouble
    from tests.ollama_double.faults import FaultKind

TWO_CELLS = ("--prompts", "v1", "--scenarios", "zoe-m*")
TIP = "Open the notes and write the first line now."
SAID = {
    "ok": json.dumps({"tips": [TIP, "Call the dentist at nine, then stop."]}),
    "short": json.dumps({"tips": [TIP]}),
    "refused": "I'm sorry, but I can't help with that request.",
    "malformed": '{"tips": []}',
    "empty": "  \n ",
}
"""By outcome, with two tips asked for."""


def test_what_a_model_says_decides(either_way: Project, ollama: OllamaDouble) -> None:
    """Five scenarios in the file's order; `ok` and `short` pass, a model's failure fails."""
    for number, text in enumerate(SAID.values(), start=1):
        ollama.fail("say", nth=number, text=text)
    outcome = either_way.run(
        *("evals", "--prompts", "v1", "--n-tips", "2", "--scenarios"),
        "maya-*,zoe-evening-*,zoe-morning-*",
    )
    assert outcome.code == 1, outcome.text
    assert "3 failed, 2 passed" in outcome.counts
    assert "error" not in outcome.counts
    runs = either_way.runs()
    assert [run.outcome.value for run in runs] == list(SAID)
    assert [len(run.tips) for run in runs] == [2, 1, 0, 0, 0]
    assert [run.completion and run.completion.text for run in runs] == list(SAID.values())
    assert all(run.error is None for run in runs)
    for failure in ("refused", "malformed", "empty"):
        assert f"{failure}: no usable tip" in outcome.text
    assert "40%" in outcome.text  # 2 of 5 are usable


def test_what_ends_by_length_is_looping_truncated_or_has_its_whole_tips(
    ollama_project: Project, ollama: OllamaDouble
) -> None:
    ollama.fail("endless_whitespace", nth=1)
    ollama.fail("thinking_only", nth=2)
    ollama.fail("say", nth=3, text='{"tips": ["' + TIP + '", "Call the dentist ' + "and " * 9999)
    outcome = ollama_project.run(
        *("evals", "--prompts", "v1", "--n-tips", "2", "--scenarios", "maya-*"),
    )
    assert outcome.code == 1, outcome.text
    runs = ollama_project.runs()
    assert [run.outcome.value for run in runs] == ["looping", "truncated", "short"]
    assert {run.completion and run.completion.stop_reason for run in runs} == {"length"}
    assert runs[2].tips == (TIP,)


def test_a_cell_without_a_tip_has_its_scores_at_once(
    ollama_project: Project, ollama: OllamaDouble
) -> None:
    """Every missing tip scores 1 on every criterion, so the row's composite is 1."""
    ollama.fail("say", times=None, text='{"tips": []}')
    outcome = ollama_project.run("evals", "--prompts", "v1", "--scenarios", "maya-*")
    assert outcome.code == 1, outcome.text
    assert "3/3" in outcome.text
    assert "1.00 ±0.00" in outcome.text
    assert "0%" in outcome.text
    assert "judge-export" not in outcome.text


def test_thinking_is_stripped_and_flagged(ollama_project: Project, ollama: OllamaDouble) -> None:
    ollama.fail("thinking_in_text")
    outcome = ollama_project.run("evals", *ONE_CELL)
    assert outcome.code == 0, outcome.text
    (run,) = ollama_project.runs()
    assert run.outcome == "ok"
    assert run.thinking_stripped
    assert not any("think" in tip for tip in run.tips)


def test_machines_faults_are_errors_and_count_against_nobody(
    ollama_project: Project, ollama: OllamaDouble
) -> None:
    """One fault for each model, the last of which is fine; `fault` tells what befell."""
    faults: dict[str, FaultKind] = {
        "qwen2.5:0.5b": "out_of_memory",
        "qwen2.5:1.5b": "runner_died",
        "qwen3:0.6b": "html",
        "gemma3:1b": "broken_json",
        "qwen3:4b": "load_answer",
    }
    for model, kind in faults.items():
        ollama.fail(kind, model=model, times=None)
    outcome = ollama_project.run(
        *("evals", *ONE_CELL, "--models", ",".join([*faults, "llama3.2:1b"])),
        *("--completion-timeout", "20"),
    )
    assert outcome.code == 1, outcome.text
    assert "1 passed, 5 errors" in outcome.counts
    runs = {run.cell.model.text: run for run in ollama_project.runs()}
    for model in faults:
        assert runs[model].outcome == "provider_error", model
        assert runs[model].error
        assert runs[model].tips == ()
    assert runs["llama3.2:1b"].outcome == "ok"
    assert "memory" in (runs["qwen2.5:0.5b"].error or "")
    assert "not measured, and counted against nobody: 5 provider_error" in outcome.words
    assert ollama.resident() == []
    assert ollama.max_resident_together() == 1


def test_a_row_with_an_unmeasured_cell_is_listed_under_the_ranked_ones(
    ollama_project: Project, ollama: OllamaDouble
) -> None:
    ollama.fail("disconnect", nth=2, times=None, model="qwen2.5:0.5b")
    outcome = ollama_project.run(
        *("evals", "--models", "qwen2.5:0.5b,llama3.2:1b", "--prompts", "v1"),
        *("--scenarios", "zoe-m*", "--completion-timeout", "5"),
    )
    assert outcome.code == 1, outcome.text
    outcomes = {
        (run.cell.model.text, run.cell.scenario): run.outcome.value for run in ollama_project.runs()
    }
    assert outcomes.pop(("qwen2.5:0.5b", "zoe-midday-day-off")) in ("provider_error", "timeout")
    assert set(outcomes.values()) == {"ok"}
    assert "lacks 1 of 2 scenarios (zoe-midday-day-off)" in outcome.words


def test_whatever_a_model_writes_is_an_outcome_shown_escaped(
    either_way: Project, ollama: OllamaDouble
) -> None:
    ollama.fail(
        "say", nth=1, text='{"tips": ["\\u0000\\u001b[31mred alert for all of you\\ud800"]}'
    )
    ollama.fail("say", nth=2, text="\x1b[31m<script>alert(1)</script>\x07")
    outcome = either_way.run("evals", "--prompts", "v1", "--scenarios", "zoe-m*", "-v")
    assert outcome.code == 1, outcome.text
    assert "\x1b[31m<script>" not in outcome.text
    assert "\x07" not in outcome.text
    assert "INTERNALERROR" not in outcome.text
    odd, markup = either_way.runs()
    assert odd.outcome == "short"
    assert odd.tips[0].startswith("red alert for all of you")
    assert markup.completion is not None
    assert markup.completion.text == "\x1b[31m<script>alert(1)</script>\x07"


def test_ten_megabytes_are_an_outcome(ollama_project: Project) -> None:
    line = {
        "prompt_version": "v1",
        "scenario": "maya-morning-deadline",
        "completion": "x" * 10_000_000,
    }
    ollama_project.write("big.jsonl", json.dumps(line) + "\n")
    outcome = ollama_project.run("evals", *ONE_CELL, "--models", "replay/big.jsonl", "-n2")
    assert outcome.code == 1, outcome.text
    assert "1 failed" in outcome.counts
    (run,) = ollama_project.runs()
    assert run.completion is not None
    assert len(run.completion.text) == 10_000_000
    assert len(outcome.text) < 100_000


TIMER = """\
import signal

import pytest


@pytest.fixture(autouse=True)
def per_test_timeout():
    def end_the_test(number, frame):
        {how}

    former = signal.signal(signal.SIGALRM, end_the_test)
    signal.setitimer(signal.ITIMER_REAL, 2.0)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, former)
"""
"""What pytest-timeout does with its method `signal`: it fails the test from a signal's handler."""
USABLE_GATE = ("--gate", "usable_rate>=0.95")


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="Windows has no such timer")
@pytest.mark.parametrize(
    ("words", "outcome"),
    [("Timeout (>2.0s) from pytest-timeout.", "timeout"), ("enough", "provider_error")],
)
def test_a_cell_that_a_per_test_timeout_ends_is_not_measured(
    either_way: Project, ollama: OllamaDouble, words: str, outcome: str
) -> None:
    either_way.write("conftest.py", TIMER.format(how=f"pytest.fail({words!r})"))
    ollama.fail("hang")
    ended = either_way.run("evals", *TWO_CELLS, "--residency", "model", *USABLE_GATE)
    assert ended.code == 1, ended.text
    assert "1 passed, 1 error" in ended.counts
    assert f"Failed: {words}" in ended.text  # pytest's own report of it
    ended_cell, other = either_way.runs()
    assert (ended_cell.outcome.value, other.outcome.value) == (outcome, "ok")
    assert ended_cell.error == f"Failed: {words}"
    assert ended_cell.started_at < ended_cell.finished_at
    not_measured = f"not measured, and counted against nobody: 1 {outcome}"
    assert not_measured in ended.words
    assert "UNDECIDED usable_rate>=0.95" in ended.text
    assert ollama.resident() == []
    assert ollama.max_resident_together() == 1
    later = either_way.run("--leaderboard", *USABLE_GATE)
    assert later.code == 1
    assert not_measured in later.words
    assert "UNDECIDED usable_rate>=0.95" in later.text


def test_a_cell_whose_setup_fails_before_it_is_missing(
    either_way: Project, ollama: OllamaDouble
) -> None:
    """What a project skips, or expects to fail, is not missing: nobody wanted it measured."""
    either_way.write(
        "conftest.py",
        "import pytest\n\n\n@pytest.fixture(autouse=True)\ndef database(request):\n"
        "    name = request.node.name\n"
        "    if 'midday' in name:\n        raise OSError('no\\ndatabase')\n"
        "    if 'evening' in name:\n        pytest.skip('at night')\n\n\n"
        "def pytest_collection_modifyitems(items):\n"
        "    for item in items:\n        if 'morning' in item.name:\n"
        "            item.add_marker(pytest.mark.xfail(run=False))\n",
    )
    outcome = either_way.run("evals", "--prompts", "v1", "--scenarios", "zoe-*", *USABLE_GATE)
    assert outcome.code == 1, outcome.text
    assert "1 skipped, 1 xfailed, 1 error" in outcome.counts
    (lost,) = either_way.runs()
    assert lost.cell.scenario == "zoe-midday-day-off"
    assert lost.outcome == "missing"
    assert lost.error == "nothing was generated, as the setup failed: OSError: no"
    assert ollama.completions() == []
    assert "UNDECIDED usable_rate>=0.95" in outcome.text
    again = either_way.run(
        *("evals", "--prompts", "v1", "--scenarios", "zoe-midday-*", "--noconftest", "--resume"),
    )
    assert again.code == 0, again.text
    assert "missing" not in either_way.run("--leaderboard").text


def test_pytest_exit_from_a_signal_ends_the_session_and_not_the_cell(
    ollama_project: Project, ollama: OllamaDouble
) -> None:
    ollama_project.write("conftest.py", TIMER.format(how="pytest.exit('enough', 7)"))
    ollama.fail("hang")
    outcome = ollama_project.run("evals", *TWO_CELLS, "--residency", "model")
    assert outcome.code == 7, outcome.text
    assert "Exit: enough" in outcome.text
    assert len(ollama.completions()) == 1
    assert ollama_project.runs() == []
    assert ollama.resident() == []
