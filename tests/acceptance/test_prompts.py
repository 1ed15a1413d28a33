from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Project
    from tests.ollama_double import OllamaDouble

ONE = ("--scenarios", "maya-morning-deadline")


def test_only_the_named_versions_run(either_way: Project, ollama: OllamaDouble) -> None:
    outcome = either_way.run("evals", *ONE, "--prompts", "v1,v2-mentor")
    assert outcome.code == 0, outcome.text
    assert [run.cell.prompt_version for run in either_way.runs()] == ["v1", "v2-mentor"]
    assert len(ollama.completions()) == 2


def test_all_that_are_found_run_by_default(ollama_project: Project) -> None:
    outcome = ollama_project.run("evals", *ONE)
    assert outcome.code == 0, outcome.text
    found = {path.stem for path in (ollama_project.root / "evals/prompts").glob("*.md")}
    assert len(found) >= 3
    assert {run.cell.prompt_version for run in ollama_project.runs()} == found


def test_the_order_named_is_the_order_run_and_the_option_may_be_repeated(
    ollama_project: Project,
) -> None:
    ollama_project.run("evals", *ONE, "--prompts", "v2-mentor", "--prompts", "v1")
    assert [run.cell.prompt_version for run in ollama_project.runs()] == ["v2-mentor", "v1"]


def test_each_version_sends_its_own_system_text_and_template(
    ollama_project: Project, ollama: OllamaDouble
) -> None:
    ollama_project.write(
        "evals/prompts/own.md",
        '+++\ndescription = "Own"\nsystem = "Speak like a sailor."\n+++\n'
        "{{ scenario.persona.name }} wants {{ n_tips }}.\n",
    )
    ollama_project.run("evals", *ONE, "--prompts", "own", "--n-tips", "3")
    messages = ollama.completions()[0]["messages"]
    assert [message["role"] for message in messages] == ["system", "user"]
    assert messages[0]["content"] == "Speak like a sailor."
    assert messages[1]["content"].strip() == "Maya Okafor wants 3."
    (run,) = ollama_project.runs()
    assert run.prompt.user == messages[1]["content"]


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ("v2-mentr", ("unknown prompt version 'v2-mentr'", "v2-mentor")),
        ("v1,v1", ("--prompts: 'v1' is named twice",)),
        ("", ("--prompts", "expected names separated by commas")),
        ("v1,,v2-mentor", ("--prompts", "expected names separated by commas")),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_4(
    ollama_project: Project, ollama: OllamaDouble, value: str, parts: tuple[str, ...]
) -> None:
    ollama_project.run("evals", "--prompts", value).assert_mistake(*parts)
    assert ollama.requests == []


def test_the_ini_twin_names_one_a_line(ollama_project: Project) -> None:
    ollama_project.write_configuration(tipbench_prompts="\n    v1\n    v2-mentor")
    outcome = ollama_project.run("evals", *ONE, "--collect-only", "-q")
    assert [line.split("[")[1] for line in outcome.text.splitlines() if "[" in line] == [
        "qwen2.5:0.5b-v1-maya-morning-deadline]",
        "qwen2.5:0.5b-v2-mentor-maya-morning-deadline]",
    ]


def test_a_changed_text_under_the_same_name_is_a_row_of_its_own(ollama_project: Project) -> None:
    ollama_project.run("evals", *ONE, "--prompts", "v1")
    ollama_project.edit("evals/prompts/v1.md", "You write short,", "You write very short,")
    outcome = ollama_project.run("evals", *ONE, "--prompts", "v1")
    first, second = ollama_project.runs()
    assert first.prompt_sha256 != second.prompt_sha256
    assert first.configuration_sha256 != second.configuration_sha256
    assert "1 row," in outcome.text
    assert "older configuration, apart: qwen2.5:0.5b × v1" in outcome.words
    assert "the prompt's text changed" in outcome.words
