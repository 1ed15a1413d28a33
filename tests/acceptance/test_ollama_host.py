from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.acceptance.conftest import NOBODY, ONE_CELL
from tests.acceptance.loopback_names import OTHER_NAMES
from tests.ollama_double import OllamaDouble

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.acceptance.conftest import Project


@pytest.fixture
def other() -> Iterator[OllamaDouble]:
    with OllamaDouble() as double:
        yield double


def port_of(double: OllamaDouble) -> str:
    return double.url.rpartition(":")[2]


@pytest.mark.parametrize(
    "form",
    [
        "http://127.0.0.1:{port}",
        "http://127.0.0.1:{port}/",
        "127.0.0.1:{port}",
        "localhost:{port}",
        ":{port}",
        "0.0.0.0:{port}",
        '" http://localhost:{port} "',
        *OTHER_NAMES,
    ],
)
def test_every_form_of_the_address_finds_the_server(
    project: Project, ollama: OllamaDouble, form: str
) -> None:
    host = form.format(port=port_of(ollama))
    outcome = project.run("evals", "--models", "qwen2.5:0.5b", *ONE_CELL, "--ollama-host", host)
    assert outcome.code == 0, outcome.text
    assert len(ollama.completions()) == 1


def test_the_environment_names_the_host(project: Project, ollama: OllamaDouble) -> None:
    outcome = project.run(
        "evals",
        *("--models", "qwen2.5:0.5b", *ONE_CELL),
        environment={"OLLAMA_HOST": f":{port_of(ollama)}"},
    )
    assert outcome.code == 0, outcome.text
    assert len(ollama.completions()) == 1


@pytest.mark.parametrize(
    "form",
    ["http://", "127.0.0.1:port", "ftp://127.0.0.1", "127.0.0.1:99999", "foo bar", "1:2:3"],
)
def test_what_is_no_address_is_a_mistake(project: Project, form: str) -> None:
    outcome = project.run("evals", "--models", "qwen2.5:0.5b", *ONE_CELL, "--ollama-host", form)
    outcome.assert_mistake(form)


def test_several_hosts_in_one_are_told_to_be_repeated(project: Project) -> None:
    outcome = project.run(
        "evals",
        *("--models", "qwen2.5:0.5b", *ONE_CELL, "--ollama-host", "127.0.0.1,127.0.0.2"),
    )
    outcome.assert_mistake("'127.0.0.1,127.0.0.2'", "repeat --ollama-host")


def test_a_bad_variable_is_no_concern_of_a_call_that_only_reads(
    generated_project: Project,
) -> None:
    bad = {"OLLAMA_HOST": "foo bar"}
    outcome = generated_project.run("--leaderboard", environment=bad)
    assert outcome.code == 0, outcome.text
    generated_project.run("evals", environment=bad).assert_mistake("Ollama host 'foo bar'")


def test_credentials_are_sent_and_never_shown(
    ollama_project: Project, ollama: OllamaDouble
) -> None:
    host = ollama.url.replace("://", "://user:secret@")
    ollama.fail("error", times=1)
    outcome = ollama_project.run(
        "evals",
        *("--prompts", "v1", "--scenarios", "zoe-m*", "--ollama-host", host),
        *("--tipbench-report", "report.json", "--junitxml", "junit.xml"),
    )
    assert outcome.code == 1, outcome.text
    assert f"Ollama: {ollama.url}" in outcome.text
    assert "secret" not in outcome.text
    kept = [path for path in ollama_project.root.rglob("*") if path.is_file()]
    assert [path for path in kept if b"secret" in path.read_bytes()] == []
    assert ollama_project.ledger_path in kept


def test_nobody_there_is_exit_code_4_before_any_item(either_way: Project) -> None:
    outcome = either_way.run("evals", *ONE_CELL, "--ollama-host", NOBODY)
    outcome.assert_mistake("no Ollama server answers at http://127.0.0.1:9")
    assert not either_way.ledger_path.exists()


def test_two_hosts_share_the_models_and_each_holds_one(
    ollama_project: Project, ollama: OllamaDouble, other: OllamaDouble
) -> None:
    ollama_project.workers = ("-n", "2")
    outcome = ollama_project.run(
        "evals",
        *("--models", "qwen2.5:0.5b,llama3.2:1b", "--prompts", "v1", "--scenarios", "zoe-m*"),
        *("--ollama-host", ollama.url, "--ollama-host", other.url),
    )
    assert outcome.code == 0, outcome.text
    assert len(ollama_project.runs()) == 4
    asked = [{request["model"] for request in host.completions()} for host in (ollama, other)]
    assert sorted(map(sorted, asked)) == [["llama3.2:1b"], ["qwen2.5:0.5b"]]
    assert ollama.max_resident_together() == other.max_resident_together() == 1
    assert ollama.url in outcome.text
    assert other.url in outcome.text


def test_one_process_with_two_hosts_runs_everything(
    ollama_project: Project, ollama: OllamaDouble, other: OllamaDouble
) -> None:
    outcome = ollama_project.run(
        "evals",
        *("--models", "qwen2.5:0.5b,llama3.2:1b", *ONE_CELL),
        *("--ollama-host", ollama.url, "--ollama-host", other.url),
    )
    assert outcome.code == 0, outcome.text
    assert len(ollama.completions()) == 2
    assert other.requests == []
    assert outcome.words.count(f"not used: {other.url} (each host needs a worker") == 1
    assert "give -n 2" in outcome.text


@pytest.mark.parametrize("form", ["localhost:{port}/", *OTHER_NAMES])
def test_two_names_of_one_host_are_one_host(
    ollama_project: Project, ollama: OllamaDouble, form: str
) -> None:
    """Two workers of one server would load two models side by side."""
    ollama.generate_seconds = 0.1
    ollama_project.workers = ("-n", "2")
    outcome = ollama_project.run(
        "evals",
        *("--models", "qwen2.5:0.5b,llama3.2:1b", "--prompts", "v1", "--scenarios", "zoe-m*"),
        *("--ollama-host", ollama.url, "--ollama-host", form.format(port=port_of(ollama))),
    )
    assert outcome.code == 0, outcome.text
    (line,) = (line for line in outcome.text.splitlines() if line.startswith("Ollama: "))
    assert line.count(port_of(ollama)) == 1
    assert ollama.max_resident_together() == 1
