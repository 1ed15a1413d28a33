"""``pytest_tipbench_scenarios``, ``_prompts`` and ``_providers`` in a project's conftest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.acceptance.conftest import ONE_CELL

if TYPE_CHECKING:
    from tests.acceptance.conftest import Project
    from tests.ollama_double import OllamaDouble

SCENARIOS = """
from pytest_tipbench.records import Persona, Scenario, Task, TimeSlot

def pytest_tipbench_scenarios(config):
    return [
        Scenario(
            id="own-desk",
            persona=Persona(id="kim", name="Kim", description="Keeps a shop."),
            time_slot=TimeSlot(id="noon", label="Noon", local_time="12:00"),
            tasks=(Task(title="Count the till", minutes=10),),
        )
    ]
"""
PROMPTS = """
from pytest_tipbench.records import PromptVersion

def pytest_tipbench_prompts(config):
    return [
        PromptVersion(
            version="own",
            description="Own",
            system="Be brief.",
            template="{{ scenario.persona.name }}: {{ n_tips }}",
        )
    ]
"""
PROVIDERS = """
import json

from pytest_tipbench.records import Completion, ModelDescription


class Acme:
    name = "acme"

    def describe(self, model):
        return ModelDescription(reference=model, digest=f"sha256:{model.name}", local=False)

    def complete(self, request):
        if request.model.reference.name == "broken":
            raise RuntimeError("the tape is torn")
        tips = [f"Write line {n} of the notes for {request.scenario}." for n in (1, 2, 3, 4, 5)]
        text = json.dumps({"tips": tips[: request.n_tips]})
        return Completion(text=text, latency_seconds=0.25)

    def release(self, model):
        pass

    def close(self):
        pass


def pytest_tipbench_providers(config):
    return {"acme": Acme}
"""


def test_a_scenario_of_a_hook_is_run_like_any_other(
    either_way: Project, ollama: OllamaDouble
) -> None:
    either_way.write("conftest.py", SCENARIOS)
    outcome = either_way.run("evals", "--prompts", "v1", "--scenarios", "own-*")
    assert outcome.code == 0, outcome.text
    (run,) = either_way.runs()
    assert run.scenario.persona.name == "Kim"
    assert "Count the till" in ollama.completions()[0]["messages"][1]["content"]


def test_a_prompt_of_a_hook_is_run_like_any_other(
    either_way: Project, ollama: OllamaDouble
) -> None:
    either_way.write("conftest.py", PROMPTS)
    outcome = either_way.run(
        "evals", "--prompts", "own", "--scenarios", "maya-morning-deadline", "--n-tips", "2"
    )
    assert outcome.code == 0, outcome.text
    assert ollama.completions()[0]["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Maya Okafor: 2"},
    ]


def test_a_provider_of_a_hook_has_a_prefix_of_its_own(either_way: Project) -> None:
    either_way.write("conftest.py", PROVIDERS)
    outcome = either_way.run("evals", *ONE_CELL, "--models", "acme/tape")
    assert outcome.code == 0, outcome.text
    (run,) = either_way.runs()
    assert (run.cell.model.provider, run.cell.model.name) == ("acme", "tape")
    assert len(run.tips) == 5
    assert "acme/tape" in outcome.text


def test_whatever_a_provider_raises_is_a_provider_error(ollama_project: Project) -> None:
    ollama_project.write("conftest.py", PROVIDERS)
    outcome = ollama_project.run("evals", *ONE_CELL, "--models", "acme/broken,acme/tape")
    assert outcome.code == 1, outcome.text
    assert "1 passed, 1 error" in outcome.counts
    broken = ollama_project.runs()[0]
    assert broken.outcome == "provider_error"
    assert "the tape is torn" in (broken.error or "")


def test_a_name_that_a_file_has_already_is_a_mistake(ollama_project: Project) -> None:
    taken = SCENARIOS.replace("own-desk", "maya-morning-deadline")
    ollama_project.write("conftest.py", taken)
    ollama_project.run("evals").assert_mistake("maya-morning-deadline", "given twice")


def test_a_class_that_is_no_provider_is_a_mistake(ollama_project: Project) -> None:
    ollama_project.write(
        "conftest.py", "def pytest_tipbench_providers(config):\n    return {'acme': object}\n"
    )
    outcome = ollama_project.run("evals", *ONE_CELL, "--models", "acme/tape")
    outcome.assert_mistake("acme", "not a provider", "describe")
