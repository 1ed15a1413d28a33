from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.conftest import TWO_SCENARIOS

if TYPE_CHECKING:
    from tests.acceptance.conftest import Project
    from tests.ollama_double import OllamaDouble

NARROW = ("--prompts", "v1", *TWO_SCENARIOS)


def test_each_models_cells_run_and_stand_on_the_board(
    either_way: Project, ollama: OllamaDouble
) -> None:
    outcome = either_way.run("evals", "--models", "qwen2.5:0.5b,llama3.2:1b", *NARROW)
    assert outcome.code == 0, outcome.text
    runs = either_way.runs()
    scenarios = {run.cell.scenario for run in runs}
    assert len(runs) == 2 * len(scenarios)
    assert {run.cell.model.text for run in runs} == {"qwen2.5:0.5b", "llama3.2:1b"}
    assert all(run.outcome == "ok" for run in runs)
    assert all(run.model is not None and run.model.parameter_count for run in runs)
    for name in ("qwen2.5:0.5b", "llama3.2:1b"):
        assert any(line.startswith((name, "|", "-", " ")) for line in outcome.text.splitlines())
    assert ollama.max_resident_together() == 1


def test_a_models_cells_are_asked_for_one_after_the_other(
    either_way: Project, ollama: OllamaDouble
) -> None:
    either_way.run("evals", "--models", "qwen2.5:0.5b,llama3.2:1b", "--scenarios", "zoe-*")
    asked = [request["model"] for request in ollama.completions()]
    changes = sum(1 for one, other in pairwise(asked) if one != other)
    assert changes == 1


def test_the_option_may_be_repeated_and_keeps_its_order(ollama_project: Project) -> None:
    outcome = ollama_project.run(
        "evals",
        "--models",
        "llama3.2:1b",
        "--models",
        "qwen2.5:0.5b",
        "--collect-only",
        "-q",
        *NARROW,
    )
    models = [
        line.split("[")[1].split("-v1-")[0] for line in outcome.text.splitlines() if "[" in line
    ]
    assert list(dict.fromkeys(models)) == ["llama3.2:1b", "qwen2.5:0.5b"]


def test_over_the_cap_and_missing_are_told_together_before_any_item(
    either_way: Project, ollama: OllamaDouble
) -> None:
    outcome = either_way.run("evals", "--models", "qwen2.5:0.5b,gemma3:4b,nope:1b,llama3.1:8b")
    assert outcome.code == 4, outcome.text
    assert "gemma3:4b: 4.3B (4,299,915,632 parameters) is over the cap of 4B" in outcome.text
    assert "ollama pull nope:1b" in outcome.text
    assert "ollama pull llama3.1:8b" in outcome.text
    assert "INTERNALERROR" not in outcome.text
    assert ollama.completions() == []
    assert not (either_way.root / ".tipbench/ledger.db").exists()


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ("qwen2.5:0.5b,qwen2.5:0.5b", "'qwen2.5:0.5b' is named twice"),
        ("qwen2.5:0.5b,ollama/qwen2.5:0.5b", "'qwen2.5:0.5b' is named twice"),
        ("", "expected names separated by commas"),
        ("replay/none.jsonl", "none.jsonl"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_4(
    either_way: Project, models: str, message: str
) -> None:
    outcome = either_way.run("evals", "--models", models, *NARROW)
    assert outcome.code == 4, outcome.text
    assert message in outcome.text
    assert "Traceback" not in outcome.text
    assert "INTERNALERROR" not in outcome.text


def test_without_any_model_the_option_is_named(project: Project) -> None:
    outcome = project.run("evals")
    assert outcome.code == 4
    assert "give --models, or set tipbench_models" in outcome.text


def test_no_server_is_asked_when_nothing_is_run(ollama_project: Project) -> None:
    ollama_project.environment["OLLAMA_HOST"] = "http://127.0.0.1:9"
    assert ollama_project.run("evals", "--collect-only", "-q").code == 0
    outcome = ollama_project.run("evals", "-k", "nothing")
    assert outcome.code == 5, outcome.text


def test_an_unreachable_server_is_exit_code_4(either_way: Project) -> None:
    either_way.environment["OLLAMA_HOST"] = "http://127.0.0.1:9"
    outcome = either_way.run("evals", *NARROW)
    assert outcome.code == 4
    assert "no Ollama server answers at http://127.0.0.1:9" in outcome.text
    assert "ollama serve" in outcome.text
