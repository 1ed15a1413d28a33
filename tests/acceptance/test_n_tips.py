from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.acceptance.conftest import ONE_CELL

if TYPE_CHECKING:
    from tests.acceptance.conftest import Project
    from tests.ollama_double import OllamaDouble


@pytest.mark.parametrize(("arguments", "count"), [((), 5), (("--n-tips", "2"), 2)])
def test_so_many_tips_are_asked_for_and_kept(
    either_way: Project, ollama: OllamaDouble, arguments: tuple[str, ...], count: int
) -> None:
    outcome = either_way.run("evals", *ONE_CELL, *arguments)
    assert outcome.code == 0, outcome.text
    (asked,) = ollama.completions()
    tips = asked["format"]["properties"]["tips"]
    assert (tips["minItems"], tips["maxItems"]) == (count, count)
    assert tips["items"] == {"type": "string", "maxLength": 280}
    (run,) = either_way.runs()
    assert run.n_tips == count
    assert len(run.tips) == count
    assert run.outcome == "ok"


def test_fewer_than_asked_for_is_short_and_more_are_left_out(
    ollama_project: Project, ollama: OllamaDouble
) -> None:
    ollama.fail("say", nth=1, text='{"tips": ["Open the notes and write one line now."]}')
    three = '["Open the notes now.", "Call the dentist at nine.", "Walk to the window first."]'
    ollama.fail("say", nth=2, text=f'{{"tips": {three}}}')
    outcome = ollama_project.run(
        "evals", "--n-tips", "2", "--prompts", "v1", "--scenarios", "zoe-m*"
    )
    assert outcome.code == 0, outcome.text
    short, full = ollama_project.runs()
    assert (short.outcome, len(short.tips), short.tips_missing) == ("short", 1, 1)
    assert (full.outcome, full.tips) == (
        "ok",
        ("Open the notes now.", "Call the dentist at nine."),
    )
    assert [dropped.text for dropped in full.dropped] == ["Walk to the window first."]


def test_another_number_is_another_configuration(ollama_project: Project) -> None:
    ollama_project.run("evals", *ONE_CELL, "--n-tips", "1")
    outcome = ollama_project.run("evals", *ONE_CELL, "--n-tips", "2")
    assert "older configuration, apart: qwen2.5:0.5b × v1" in outcome.words
    assert "n_tips changed from 1 to 2" in outcome.words


@pytest.mark.parametrize("value", ["0", "-1", "2.5", "some"])
def test_a_mistake_is_one_line_and_exit_code_4(ollama_project: Project, value: str) -> None:
    ollama_project.run("evals", "--n-tips", value).assert_mistake("--n-tips", value)
