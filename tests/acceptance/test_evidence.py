"""What a session saw of memory is on its runs, in its summary, on the board and in reports."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.ollama_double import CATALOGUE

if TYPE_CHECKING:
    from tests.acceptance.conftest import Project
    from tests.ollama_double import OllamaDouble

MODELS = ("qwen2.5:0.5b", "llama3.2:1b", "qwen2.5:1.5b")
NARROW = ("--models", ",".join(MODELS), "--prompts", "v1", "--scenarios", "zoe-m*")
"""Three models of two cells each, the largest last."""
LARGEST = CATALOGUE[MODELS[-1]].resident_bytes
SAID = (
    f"memory: models resident together: 1; largest resident size: {LARGEST / 2**30:.2f} GiB "
    f"({LARGEST // 2 / 2**30:.2f} GiB in VRAM); "
)
"""The double holds half of a model in VRAM."""


def test_with_residency_model_each_model_loads_once(
    either_way: Project, ollama: OllamaDouble
) -> None:
    ollama.generate_seconds = 0.2
    ollama.memory.load_seconds = 0.1
    outcome = either_way.run("evals", *NARROW, "--residency", "model")
    assert outcome.code == 0, outcome.text
    assert list(ollama.loads().values()) == [1] * len(MODELS)
    assert f"{SAID}loads: 3; proved empty: 4 times" in outcome.words
    assert "cap: 4B parameters; residency: model" in outcome.text
    for run in either_way.runs():
        double = CATALOGUE[run.cell.model.text]
        assert run.completion is not None
        assert run.completion.resident_bytes == double.resident_bytes
        assert run.completion.resident_vram_bytes == double.resident_bytes // 2
        assert run.completion.foreign_models == ()
        assert run.completion.load_seconds is not None
        assert run.model is not None
        assert run.model.digest == double.digest
        assert run.model.quantization == "Q4_K_M"
        assert run.model.server_version == "0.33.0"
        assert run.residency == "model"
    first, second = either_way.runs()[:2]
    assert first.completion is not None
    assert second.completion is not None
    assert (first.completion.load_seconds or 0) >= 0.1 > (second.completion.load_seconds or 0)


def test_with_residency_call_each_cell_loads(either_way: Project, ollama: OllamaDouble) -> None:
    ollama.generate_seconds = 0.2
    outcome = either_way.run("evals", *NARROW)
    assert outcome.code == 0, outcome.text
    assert list(ollama.loads().values()) == [2] * len(MODELS)
    assert f"{SAID}loads: 6; proved empty: 4 times" in outcome.words


def test_the_board_and_reports_state_it_from_the_store(
    ollama_project: Project, ollama: OllamaDouble
) -> None:
    ollama.generate_seconds = 0.2
    assert ollama_project.run("evals", *NARROW).code == 0
    ollama.close()
    outcome = ollama_project.run("--leaderboard", "--tipbench-report", "report.json")
    assert outcome.code == 0, outcome.text
    assert f"largest resident size: {LARGEST / 2**30:.2f} GiB" in outcome.text
    assert "memory:" not in outcome.text  # nothing was run
    report = json.loads((ollama_project.root / "report.json").read_text(encoding="utf-8"))
    cells = {cell["model"]: cell for cell in report["cells"]}
    for name in MODELS:
        assert cells[name]["resident_bytes"] == CATALOGUE[name].resident_bytes
        assert cells[name]["resident_vram_bytes"] == CATALOGUE[name].resident_bytes // 2
    assert report["largest_resident_bytes"] == LARGEST
    assert report["models_resident_together"] == 1
