"""The README's daily commands, word by word, with the double as the Ollama server."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.ollama_double import OllamaDouble

if TYPE_CHECKING:
    from tests.acceptance.conftest import Project

EVALUATE = (
    "evals/",
    *("--models", "qwen2.5:0.5b,llama3.2:3b"),
    *("--prompts", "v1"),
    *("--experiment", "tip-bench-2026-04-27"),
    *("--n-tips", "5"),
    "--diversity",
)
EXPERIMENT = ("--experiment", "tip-bench-2026-04-27")


def test_from_ollama_to_a_judged_board(project: Project) -> None:
    with OllamaDouble(("qwen2.5:0.5b", "llama3.2:3b")) as ollama:
        project.environment["OLLAMA_HOST"] = ollama.url
        outcome = project.run(*EVALUATE)
        assert outcome.code == 0, outcome.text
        assert "28 passed" in outcome.text
        assert ollama.max_resident_together() == 1
        for request in ollama.completions():
            assert request["keep_alive"] == 0
            assert request["stream"] is False
            assert request["format"]["properties"]["tips"]["minItems"] == 5
            options = request["options"]
            assert options["temperature"] == 0.7
            assert options["num_ctx"] == 4096
            assert options["num_predict"] == 1024
            assert options["seed"] == 20260427
    runs = project.runs("tip-bench-2026-04-27")
    assert len(runs) == 2 * 14
    assert all({"distinct_2", "self_similarity"} <= run.diversity.keys() for run in runs)
    for column in ("dist-2", "self-s.", "spec."):
        assert column in outcome.text
    step = re.search(r"pytest --judge-export scores\.json [^\n]*", outcome.text)
    assert step is not None

    # The command that the session itself offers goes on from there, without a server.
    assert project.run(*step.group().split()[1:]).code == 0
    project.judge(project.root / "scores.json")
    applied = project.run("--judge-apply", "scores.json")
    assert applied.code == 0, applied.text
    assert "judged by ada" in applied.text
    board = project.run("--leaderboard", *EXPERIMENT)
    assert board.code == 0
    assert project.run("--leaderboard", *EXPERIMENT, "--min-composite", "3.5").code == 0
    gated = project.run("--leaderboard", *EXPERIMENT, "--min-composite", "4.5")
    assert gated.code == 1
    assert "FAIL composite>=4.5" in gated.text
    assert "llama3.2:3b × v1 4.00" in gated.text


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_over_the_cap_ends_before_any_item(project: Project, workers: tuple[str, ...]) -> None:
    with OllamaDouble(("qwen2.5:0.5b", "llama3.2:3b", "gemma3:4b", "gemma3n:e2b")) as ollama:
        project.environment["OLLAMA_HOST"] = ollama.url
        project.workers = workers
        outcome = project.run("evals/", "--models", "gemma3:4b,qwen2.5:0.5b,gemma3n:e2b")
        assert outcome.code == 4, outcome.text
        assert "2 models cannot be run; no item was run" in outcome.text
        assert "gemma3:4b: 4.3B (4,299,915,632 parameters) is over the cap of 4B" in outcome.text
        assert "gemma3n:e2b: 4.5B" in outcome.text
        assert ollama.completions() == []
        assert ollama.loads() == {}
