from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_tipbench.store.ledger import Ledger
from tests.unit.bench_samples import TIPS
from tests.unit.test_evaluation import PROMPT, RUBRIC, SCENARIOS

WORKERS = pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "n2"])


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose only model is a recording, with a bench of its own in another folder."""
    root = pytester.path
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(root / "runtime"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))  # conftests use our doubles
    for name in ("PYTEST_ADDOPTS", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    (root / "evals" / "prompts").mkdir(parents=True)
    (root / "evals" / "scenarios.toml").write_text(SCENARIOS, encoding="utf-8")
    (root / "evals" / "prompts" / "v1.md").write_text(PROMPT, encoding="utf-8")
    (root / "rubric.md").write_text(RUBRIC, encoding="utf-8")
    (root / "pytest.ini").write_text("[pytest]\ntipbench_evals = evals\n", encoding="utf-8")
    (root / "elsewhere").mkdir()
    test = "def test_mine(tip_run):\n    assert tip_run.outcome.is_usable\n"
    (root / "elsewhere" / "test_mine.py").write_text(test, encoding="utf-8")
    (root / "evals" / "test_tips.py").write_text(test, encoding="utf-8")
    line = {
        "prompt_version": "v1",
        "scenario": "zoe-dawn",
        "completion": json.dumps({"tips": TIPS}),
    }
    for name in ("plain.jsonl", "töne.jsonl"):
        (root / name).write_text(json.dumps(line) + "\n", encoding="utf-8")
    return root


def run(pytester: pytest.Pytester, *words: str) -> pytest.RunResult:
    return pytester.runpytest_subprocess(*words, "-p", "no:cacheprovider", "-p", "no:randomly")


def kept(root: Path) -> list[str]:
    with Ledger.open(root / ".tipbench" / "ledger.db", read_only=True) as ledger:
        return [record.cell.model.text for record in ledger.runs("tip-bench")]


@WORKERS
def test_without_a_model_a_test_elsewhere_fails_with_it_too(
    project: Path, pytester: pytest.Pytester, workers: tuple[str, ...]
) -> None:
    """Where workers run it, the mistake shows at the item alone."""
    result = run(pytester, "elsewhere", *workers)
    assert result.ret == (1 if workers else 4)
    text = result.stdout.str() + result.stderr.str()
    assert "no model is named: give --models" in text
    assert "INTERNALERROR" not in text
    assert not (project / ".tipbench").exists()


@WORKERS
@pytest.mark.parametrize("folder", ["evals", "elsewhere"])
def test_a_cell_is_kept_wherever_its_test_stands(
    project: Path, pytester: pytest.Pytester, folder: str, workers: tuple[str, ...]
) -> None:
    result = run(pytester, folder, "--models", "replay/plain.jsonl", "--n-tips", "2", *workers)
    assert result.ret == 0
    assert kept(project) == ["replay/plain.jsonl"]


@WORKERS
def test_a_model_with_a_name_beyond_ascii_is_kept_too(
    project: Path, pytester: pytest.Pytester, workers: tuple[str, ...]
) -> None:
    result = run(pytester, "evals", "--models", "replay/töne.jsonl", *workers)
    assert result.ret == 0
    assert kept(project) == ["replay/töne.jsonl"]


@WORKERS
@pytest.mark.parametrize("folder", ["evals", "elsewhere"])
def test_no_test_gets_past_the_cap(
    project: Path, pytester: pytest.Pytester, folder: str, workers: tuple[str, ...]
) -> None:
    (project / "conftest.py").write_text(
        "from tests.unit.bench_samples import FakeProvider\n"
        "from pytest_tipbench.records import ModelDescription\n"
        "def huge(model):\n"
        "    return ModelDescription(\n"
        "        reference=model, digest='d', parameter_count=70_000_000_000, local=True)\n"
        "def pytest_tipbench_providers():\n"
        "    return {'fake': lambda: FakeProvider(describe=huge)}\n",
        encoding="utf-8",
    )
    result = run(pytester, folder, "--models", "fake/huge", *workers)
    assert result.ret == 4
    assert "over the cap" in result.stderr.str() + result.stdout.str()


def test_commands_without_a_path_need_no_model(project: Path, pytester: pytest.Pytester) -> None:
    result = run(pytester, "--leaderboard")
    assert result.ret == 0
    assert not (project / ".tipbench").exists()


@WORKERS
def test_a_test_with_other_parameters_is_refused_and_generates_nothing(
    project: Path, pytester: pytest.Pytester, workers: tuple[str, ...]
) -> None:
    (project / "evals" / "test_tips.py").write_text(
        "import pytest\n@pytest.mark.parametrize('x', [1])\ndef test_mine(tip_run, x): pass\n",
        encoding="utf-8",
    )
    result = run(pytester, "evals", "--models", "replay/plain.jsonl", *workers)
    assert result.ret != 0
    assert "takes no other parameter" in result.stdout.str() + result.stderr.str()
    assert not (project / ".tipbench").exists()


@WORKERS
def test_interrupted_at_its_end_a_session_says_so_and_keeps_its_cells(
    project: Path, pytester: pytest.Pytester, workers: tuple[str, ...]
) -> None:
    """As when Ctrl-C ends the wait for an MLflow server, which is stood in for here."""
    (project / "conftest.py").write_text(
        "from pytest_tipbench.keeper import Keeper\n"
        "def interrupted(*given, **named): raise KeyboardInterrupt\n"
        "Keeper.finish = interrupted\n",
        encoding="utf-8",
    )
    result = run(pytester, "evals", "--models", "replay/plain.jsonl", *workers)
    assert result.ret == 2
    text = result.stdout.str() + result.stderr.str()
    assert "PROBLEM: interrupted at its end; the ledger has every finished cell" in text
    assert "Traceback" not in text
    assert "1 passed" in text
    assert "--resume" not in text
    assert kept(project) == ["replay/plain.jsonl"]
