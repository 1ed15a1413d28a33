"""What pytest's users know works as they know it."""

from __future__ import annotations

import time
import xml.etree.ElementTree as ET
from itertools import pairwise
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.acceptance.conftest import NOBODY, ONE_CELL

if TYPE_CHECKING:
    from tests.acceptance.conftest import Project
    from tests.ollama_double import OllamaDouble

TWO_CELLS = ("--prompts", "v1", "--scenarios", "zoe-m*")
"""zoe-morning-after-nights, then zoe-midday-day-off."""


def test_k_selects_cells(either_way: Project, ollama: OllamaDouble) -> None:
    outcome = either_way.run("evals", *TWO_CELLS, "-k", "midday")
    assert outcome.code == 0, outcome.text
    assert [run.cell.scenario for run in either_way.runs()] == ["zoe-midday-day-off"]
    assert len(ollama.completions()) == 1


def test_a_node_id_selects_a_cell(either_way: Project) -> None:
    node_id = "evals/test_tips.py::test_tips[qwen2.5:0.5b-v1-zoe-midday-day-off]"
    outcome = either_way.run(node_id)
    assert outcome.code == 0, outcome.text
    assert "1 passed" in outcome.counts
    assert len(either_way.runs()) == 1


def test_m_selects_a_test_of_the_projects_own(ollama_project: Project) -> None:
    ollama_project.write_configuration(markers="nightly: long ones")
    ollama_project.write(
        "evals/test_nightly.py",
        "import pytest\n\n\n@pytest.mark.nightly\ndef test_short(tip_run):\n"
        "    assert all(len(tip) <= 280 for tip in tip_run.tips)\n",
    )
    outcome = ollama_project.run("evals", *ONE_CELL, "-m", "nightly")
    assert outcome.code == 0, outcome.text
    assert "1 passed, 1 deselected" in outcome.counts
    assert len(ollama_project.runs()) == 1


def test_m_tells_cells_from_other_tests(either_way: Project) -> None:
    either_way.write("evals/test_plain.py", "def test_plain(): pass\n")
    either_way.addopts += " --strict-markers"
    either_way.write_configuration()
    outcome = either_way.run("evals", *ONE_CELL, "-m", "tipbench")
    assert outcome.code == 0, outcome.text
    assert "1 passed" in outcome.counts
    assert len(either_way.runs()) == 1
    outcome = either_way.run("evals", *ONE_CELL, "-m", "not tipbench")
    assert "1 passed" in outcome.counts
    assert len(either_way.runs()) == 1


def test_markers_lists_ours(ollama_project: Project) -> None:
    outcome = ollama_project.run("--markers")
    assert outcome.code == 0, outcome.text
    assert "@pytest.mark.tipbench: given to each item that is a cell" in outcome.text


def test_lf_runs_the_failed_cells_again(ollama_project: Project, ollama: OllamaDouble) -> None:
    ollama.fail("say", nth=2, text="{}")
    assert ollama_project.run("evals", *TWO_CELLS).code == 1
    outcome = ollama_project.run("evals", *TWO_CELLS, "--lf")
    assert outcome.code == 0, outcome.text
    assert "1 passed" in outcome.counts
    assert [run.cell.scenario for run in ollama_project.runs()].count("zoe-midday-day-off") == 2


def test_sw_stops_at_a_failure_and_goes_on_there(
    ollama_project: Project, ollama: OllamaDouble
) -> None:
    ollama.fail("say", text="{}")
    stopped = ollama_project.run("evals", *TWO_CELLS, "--sw")
    assert stopped.code == 2  # pytest's own code for a stepwise stop
    assert len(ollama.completions()) == 1
    outcome = ollama_project.run("evals", *TWO_CELLS, "--sw")
    assert outcome.code == 0, outcome.text
    assert "2 passed" in outcome.counts


def test_x_stops_at_the_first_failure_and_the_board_is_printed(
    ollama_project: Project, ollama: OllamaDouble
) -> None:
    ollama.fail("say", text="{}")
    outcome = ollama_project.run("evals", *TWO_CELLS, "-x")
    assert outcome.code == 1
    assert len(ollama_project.runs()) == 1
    assert "tip-bench: 1 row, 1 scenario" in outcome.text


def test_collect_only_needs_no_server_and_leaves_no_trace(either_way: Project) -> None:
    either_way.environment["OLLAMA_HOST"] = NOBODY
    outcome = either_way.run("evals", *TWO_CELLS, "--collect-only", "-q")
    assert outcome.code == 0, outcome.text
    assert "test_tips.py::test_tips[qwen2.5:0.5b-v1-zoe-midday-day-off]" in outcome.text
    assert not either_way.ledger_path.exists()


def test_junit_has_the_cells_facts(either_way: Project) -> None:
    outcome = either_way.run("evals", *ONE_CELL, "--junitxml", "junit.xml", "--seed", "3")
    assert outcome.code == 0, outcome.text
    (case,) = ET.parse(either_way.root / "junit.xml").iter("testcase")
    properties = {found.attrib["name"]: found.attrib["value"] for found in case.iter("property")}
    (run,) = either_way.runs()
    assert run.model is not None
    assert run.completion is not None
    expected = {
        "tipbench.model": "qwen2.5:0.5b",
        "tipbench.prompt_version": "v1",
        "tipbench.scenario": "maya-morning-deadline",
        "tipbench.repeat": "1",
        "tipbench.outcome": "ok",
        "tipbench.tip_count": "5",
        "tipbench.seed": "3",
        "tipbench.model_digest": run.model.digest,
        "tipbench.completion_tokens": str(run.completion.completion_tokens),
        "tipbench.fingerprint": run.fingerprint,
    }
    assert expected.items() <= properties.items()
    assert all(name.startswith("tipbench.") for name in properties)


def test_junit_takes_what_no_xml_may_hold(ollama_project: Project, ollama: OllamaDouble) -> None:
    ollama.fail("say", text="\x00\x1b[31m\ud800 <b>]]> no list at all")
    outcome = ollama_project.run("evals", *ONE_CELL, "--junitxml", "junit.xml")
    assert outcome.code in (0, 1), outcome.text
    assert ET.parse(ollama_project.root / "junit.xml").getroot() is not None
    assert len(ollama_project.runs()) == 1


SHUFFLERS = {
    "randomly": ("-p no:random_order -p no:syrupy", ("--randomly-seed=1",)),
    "random_order": (
        "-p no:randomly -p no:syrupy",
        ("--random-order", "--random-order-bucket=global", "--random-order-seed=1"),
    ),
}
"""By plugin: ini addopts, and what is given on the command line."""


@pytest.mark.parametrize("shuffler", SHUFFLERS)
@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_a_shuffled_order_keeps_a_models_cells_together(
    ollama_project: Project, ollama: OllamaDouble, shuffler: str, workers: tuple[str, ...]
) -> None:
    ollama_project.addopts, switches = SHUFFLERS[shuffler]
    ollama_project.write_configuration()
    outcome = ollama_project.run(
        *("evals", "--models", "qwen2.5:0.5b,llama3.2:1b", "--scenarios", "zoe-m*"),
        *("--prompts", "v1,v2-mentor", *switches, *workers),
    )
    assert outcome.code == 0, outcome.text
    asked = [request["model"] for request in ollama.completions()]
    assert len(asked) == 8
    assert sum(1 for one, other in pairwise(asked) if one != other) == 1


def test_other_tests_of_the_project_run_beside_the_cells(either_way: Project) -> None:
    either_way.write(
        "tests/test_own.py", "def test_one():\n    pass\n\n\ndef test_two():\n    pass\n"
    )
    outcome = either_way.run("tests", "evals", *ONE_CELL)
    assert outcome.code == 0, outcome.text
    assert "3 passed" in outcome.counts
    assert len(either_way.runs()) == 1


def test_a_test_of_the_projects_own_asks_for_the_cell_alone(ollama_project: Project) -> None:
    ollama_project.write(
        "evals/test_tips.py",
        "def test_cell(tip_cell):\n    assert tip_cell.prompt_version == 'v1'\n",
    )
    outcome = ollama_project.run("evals", *ONE_CELL)
    assert outcome.code == 0, outcome.text
    assert "1 passed" in outcome.counts


def test_dist_each_is_exit_code_4(ollama_project: Project, ollama: OllamaDouble) -> None:
    outcome = ollama_project.run("evals", *ONE_CELL, "-n", "2", "--dist", "each")
    outcome.assert_mistake("--dist each")
    assert ollama.completions() == []


@pytest.mark.parametrize("dist", ["load", "worksteal", "loadfile"])
def test_whatever_dist_says_local_cells_never_overlap(
    ollama_project: Project, ollama: OllamaDouble, dist: str
) -> None:
    ollama.generate_seconds = 0.1
    outcome = ollama_project.run(
        *("evals", "--models", "qwen2.5:0.5b,llama3.2:1b", *TWO_CELLS),
        *("-n", "2", "--dist", dist),
    )
    assert outcome.code == 0, outcome.text
    assert ollama.max_resident_together() == 1
    asked = [request["model"] for request in ollama.completions()]
    assert sum(1 for one, other in pairwise(asked) if one != other) == 1


def test_a_worker_killed_in_mid_cell_leaves_it_missing_and_the_others_run(
    ollama_project: Project, ollama: OllamaDouble
) -> None:
    ollama_project.workers = ("-n", "2")
    ollama.fail("hang")
    started = ollama_project.start("evals", *TWO_CELLS)
    port = int(ollama.url.rpartition(":")[2])
    deadline = time.monotonic() + 60
    while not ollama.completions():
        assert time.monotonic() < deadline, "no completion was asked for"
        time.sleep(0.02)
    talking = [
        child
        for child in psutil.Process(started.pid).children(recursive=True)
        if any(getattr(one.raddr, "port", 0) == port for one in child.net_connections())
    ]
    assert len(talking) == 1
    talking[0].kill()
    text, _ = started.communicate(timeout=120)
    assert started.returncode == 1, text
    runs = {run.cell.scenario: run.outcome.value for run in ollama_project.runs()}
    assert runs == {"zoe-morning-after-nights": "missing", "zoe-midday-day-off": "ok"}
    assert "1 passed" in text
    assert "1 failed" in text or "1 error" in text
    assert ollama.resident() == []
    assert ollama.max_resident_together() == 1
