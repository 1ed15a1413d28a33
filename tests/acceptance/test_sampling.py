"""``--temperature``, ``--num-ctx`` and ``--num-predict``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_tipbench.records import SamplingOptions
from tests.acceptance.conftest import ONE_CELL

if TYPE_CHECKING:
    from tests.acceptance.conftest import Project
    from tests.ollama_double import OllamaDouble


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), {"temperature": 0.7, "num_ctx": 4096, "num_predict": 1024}),
        (
            ("--temperature", "0", "--num-ctx", "2048", "--num-predict", "512"),
            {"temperature": 0.0, "num_ctx": 2048, "num_predict": 512},
        ),
    ],
)
def test_all_three_are_sent_in_the_options_and_recorded(
    either_way: Project,
    ollama: OllamaDouble,
    arguments: tuple[str, ...],
    expected: dict[str, float],
) -> None:
    outcome = either_way.run("evals", *ONE_CELL, *arguments)
    assert outcome.code == 0, outcome.text
    (asked,) = ollama.completions()
    assert {name: asked["options"][name] for name in expected} == expected
    assert not expected.keys() & asked.keys()
    (run,) = either_way.runs()
    assert run.sampling == SamplingOptions.model_validate(expected)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--temperature", "0.2", "temperature changed from 0.7 to 0.2"),
        ("--num-ctx", "2048", "num_ctx changed from 4096 to 2048"),
        ("--num-predict", "512", "num_predict changed from 1024 to 512"),
    ],
)
def test_another_value_is_another_configuration(
    ollama_project: Project, option: str, value: str, said: str
) -> None:
    ollama_project.run("evals", *ONE_CELL)
    outcome = ollama_project.run("evals", *ONE_CELL, option, value)
    assert "1 row, 1 scenario" in outcome.text
    assert said in outcome.words


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--temperature", "-0.1"),
        ("--temperature", "nan"),
        ("--temperature", "inf"),
        ("--temperature", "warm"),
        ("--num-ctx", "0"),
        ("--num-ctx", "4k"),
        ("--num-predict", "-1"),
        ("--temperature", "1e+300"),
        ("--num-ctx", "99999999999"),
        ("--num-predict", "2147483648"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_4(
    ollama_project: Project, option: str, value: str
) -> None:
    ollama_project.run("evals", option, value).assert_mistake(option, value)
    ini = f"tipbench_{option.removeprefix('--').replace('-', '_')}"
    ollama_project.write_configuration(**{ini: value})
    ollama_project.run("evals").assert_mistake(ini, value)


def test_what_the_context_window_does_not_hold_is_never_cut(
    ollama_project: Project, ollama: OllamaDouble
) -> None:
    outcome = ollama_project.run("evals", *ONE_CELL, "--num-ctx", "64")
    assert outcome.code == 1
    (asked,) = ollama.completions()
    assert asked["truncate"] is False
    assert asked["shift"] is False
    (run,) = ollama_project.runs()
    assert run.outcome == "provider_error"
    assert "context" in (run.error or "")


def test_a_completion_ends_at_num_predict(ollama_project: Project) -> None:
    ollama_project.run("evals", *ONE_CELL, "--num-predict", "40")
    (run,) = ollama_project.runs()
    assert run.completion is not None
    assert run.completion.stop_reason == "length"
    assert run.completion.completion_tokens == 40
