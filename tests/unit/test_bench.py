from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_tipbench.bench import Bench, Hooked, counted
from pytest_tipbench.errors import SourceFileError, UnknownNameError, UserMistakeError
from pytest_tipbench.records import Outcome
from pytest_tipbench.safety import serial
from pytest_tipbench.settings import _worker_count
from pytest_tipbench.store.ledger import Ledger
from tests.unit.bench_samples import PROMPTS, FakeProvider, settings
from tests.unit.board_samples import a_scenario
from tests.unit.test_evaluation import PROMPT, RUBRIC, SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Make = Callable[..., Bench]

NOBODY = ("127.0.0.1:9",)
"""An address at which nothing answers, so that no real server's models are seen."""


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Make the bench of a small project, with the fake provider as ``fake/…``."""
    # Sessions of others on this machine are no neighbours of this test's.
    monkeypatch.setattr(serial, "_runtime_folder", lambda: tmp_path / "runtime")
    made: list[Bench] = []
    (tmp_path / "evals" / "prompts").mkdir(parents=True)
    (tmp_path / "evals" / "scenarios.toml").write_text(SCENARIOS, encoding="utf-8")
    (tmp_path / "evals" / "prompts" / "v1.md").write_text(PROMPT, encoding="utf-8")
    (tmp_path / "rubric.md").write_text(RUBRIC, encoding="utf-8")

    def bench(
        provider: FakeProvider | None = None,
        *,
        further_scenarios: Any = (),
        further_prompts: Any = (),
        model_names: tuple[str, ...] | None = None,
        **changes: Any,
    ) -> Bench:
        fake = provider or FakeProvider()
        hooked = Hooked(
            lambda: further_scenarios, lambda: further_prompts, lambda: {"fake": lambda: fake}
        )
        made.append(
            Bench(
                settings(
                    tmp_path, **({"models": ("fake/small",), "ollama_host": NOBODY} | changes)
                ),
                hooked,
                say=lambda _line: None,
                session_id="session",
                model_names=model_names,
            )
        )
        return made[-1]

    yield bench
    for each in made:
        each.settle()


# --- the matrix -------------------------------------------------------------------------------


def test_nothing_is_loaded_until_it_is_asked_for(make: Make, tmp_path: Path) -> None:
    (tmp_path / "rubric.md").unlink()
    bench = make()
    assert bench.settle() == []
    with pytest.raises(SourceFileError, match=r"rubric\.md"):
        _ = bench.cells


def test_the_matrix_is_models_by_prompts_by_scenarios_by_repeats(make: Make) -> None:
    bench = make(
        further_scenarios=[a_scenario("s01")],
        further_prompts=[PROMPTS[1]],
        models=("fake/a", "fake/b"),
        repeats=2,
    )
    assert len(bench.cells) == 2 * 2 * 2 * 2
    assert bench.cells[0].id == "fake/a-v1-zoe-dawn-r1"
    assert list(bench.cells_by_id) == [cell.id for cell in bench.cells]
    assert "matrix: 2 models × 2 prompts × 2 scenarios × 2 repeats = 16 cells" in (
        bench.header_lines()
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"prompts": ("v9",)}, "unknown prompt version 'v9'"),
        ({"scenarios": ("s99",)}, "unknown scenario 's99'"),
    ],
)
def test_unknown_parts_offer_the_nearest(make: Make, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UnknownNameError, match=said):
        _ = make(**changes).cells


def test_no_model_is_a_mistake_with_the_two_ways_out(make: Make) -> None:
    with pytest.raises(UserMistakeError, match="--models, or set tipbench_models"):
        _ = make(models=()).cells


def test_one_model_under_two_names_is_refused(make: Make) -> None:
    with pytest.raises(UserMistakeError, match=r"'qwen2.5:0.5b' is named twice"):
        _ = make(models=("ollama/qwen2.5:0.5b", "qwen2.5:0.5b")).cells


def test_what_the_controller_expanded_is_taken_as_it_is(make: Make) -> None:
    bench = make(models=("installed",), model_names=("fake/a", "fake/b"))
    assert [model.text for model in bench.models] == ["fake/a", "fake/b"]


@pytest.mark.parametrize("host", ["ftp://x", "http://x:port"])
def test_a_host_that_is_none_is_a_mistake_where_there_are_cells(make: Make, host: str) -> None:
    bench = make(ollama_host=(host,))
    assert bench.settle() == []  # a call that only reads the store asks no server
    with pytest.raises(UserMistakeError, match="Ollama host"):
        _ = bench.cells


# --- the header -------------------------------------------------------------------------------


def test_the_header_tells_cap_residency_and_matrix(make: Make) -> None:
    assert make().header_lines()[:2] == [
        "matrix: 1 model × 1 prompt × 1 scenario = 1 cell",
        "cap: 4B parameters; residency: call for Ollama, model for llama.cpp",
    ]
    assert "cap: 7.5B parameters; residency: call" in (
        make(max_model_b=7.5, residency="call").header_lines()
    )


def test_the_header_names_the_hosts_where_ollama_is_needed(make: Make) -> None:
    named = make(models=("qwen2.5:0.5b",), ollama_host=("10.0.0.7", "gpu:1234")).header_lines()
    (line,) = [line for line in named if line.startswith("Ollama: ")]
    assert line == "Ollama: http://10.0.0.7:11434, http://gpu:1234"
    assert not [line for line in make().header_lines() if line.startswith("Ollama")]


def test_the_header_shows_no_credentials(make: Make) -> None:
    hosts = ("http://user:secret@127.0.0.1:1", "http://user:secret@127.0.0.1:2")
    text = "\n".join(make(models=("qwen2.5:0.5b",), ollama_host=hosts).header_lines())
    assert "Ollama: http://127.0.0.1:1, http://127.0.0.1:2" in text
    assert "secret" not in text


THREE = ("127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3")
SECOND, THIRD = "http://127.0.0.1:2", "http://127.0.0.1:3"


@pytest.mark.parametrize(
    ("workers", "unserved"),
    [(0, [SECOND, THIRD]), (1, [SECOND, THIRD]), (2, [THIRD]), (3, []), (4, [])],
)
def test_the_header_names_hosts_without_a_worker(
    make: Make, workers: int, unserved: list[str]
) -> None:
    bench = make(models=("qwen2.5:0.5b",), ollama_host=THREE, worker_count=workers)
    reason = "(each host needs a worker of its own, give -n 3)"
    lines = [line for line in bench.header_lines() if line.startswith("not used")]
    assert lines == ([f"not used: {', '.join(unserved)} {reason}"] if unserved else [])


def test_the_header_says_that_a_child_lets_one_host_serve_alone(make: Make) -> None:
    models = ("qwen2.5:0.5b", "llamacpp/tiny.gguf")
    bench = make(models=models, ollama_host=THREE[:2], worker_count=2)
    assert bench.header_lines()[-1] == (
        "not used: http://127.0.0.1:2 (beside llama.cpp everything local runs on the first host)"
    )


@pytest.mark.parametrize(
    ("dist", "tx", "count"),
    [
        ("load", ["popen", "popen"], 2),
        ("load", ["3*popen//python=python3", "popen"], 4),
        ("load", ["ssh=a*b"], 1),
        ("load", [], 0),
        ("no", ["popen"], 0),
    ],
)
def test_workers_are_counted_as_xdist_does(dist: str, tx: list[str], count: int) -> None:
    config: Any = SimpleNamespace(option=SimpleNamespace(dist=dist, tx=tx))
    assert _worker_count(config) == count
    without_xdist: Any = SimpleNamespace(option=SimpleNamespace())
    assert _worker_count(without_xdist) == 0


# --- running ----------------------------------------------------------------------------------


def test_a_cell_runs_with_the_settings(make: Make) -> None:
    provider = FakeProvider()
    bench = make(provider, n_tips=2, seed=9, temperature=0.1, completion_timeout=3.0)
    record = bench.runner.run(bench.cells[0])
    assert record.outcome is Outcome.OK
    (request,) = provider.requests
    assert (request.n_tips, request.seed, request.timeout_seconds) == (2, 9, 3.0)
    assert request.sampling.temperature == 0.1
    assert request.prompt.user == "Give 2 tips for Zoë."
    assert bench.settle() == []
    assert provider.released == ["fake/small"]
    assert provider.is_closed


def test_settling_twice_is_no_fault(make: Make) -> None:
    bench = make()
    bench.runner.run(bench.cells[0])
    assert bench.settle() == []
    assert bench.settle() == []


# --- resume -----------------------------------------------------------------------------------


def kept(make: Make, **changes: Any) -> Any:
    """Keep one finished cell in the project's ledger, with some things changed."""
    bench = make(n_tips=2)
    record = bench.runner.run(bench.cells[0]).model_copy(update=changes)
    bench.settle()
    with Ledger.open(bench.settings.ledger) as ledger:
        ledger.add_run(record)
    return record


def test_with_resume_a_finished_cell_is_taken_from_the_store(make: Make) -> None:
    record = kept(make)
    provider = FakeProvider()
    bench = make(provider, n_tips=2, resume=True)
    assert bench.runner.run(bench.cells[0]) == record
    assert provider.requests == []


def test_without_resume_it_is_generated_again(make: Make) -> None:
    record = kept(make)
    provider = FakeProvider()
    bench = make(provider, n_tips=2)
    assert bench.runner.run(bench.cells[0]).run_id != record.run_id
    assert len(provider.requests) == 1


@pytest.mark.parametrize("outcome", [Outcome.TIMEOUT, Outcome.PROVIDER_ERROR, Outcome.MISSING])
def test_a_machines_fault_is_run_again(make: Make, outcome: Outcome) -> None:
    kept(make, outcome=outcome, tips=(), completion=None)
    provider = FakeProvider()
    bench = make(provider, n_tips=2, resume=True)
    assert bench.runner.run(bench.cells[0]).outcome is Outcome.OK
    assert len(provider.requests) == 1


@pytest.mark.parametrize("outcome", [Outcome.SHORT, Outcome.MALFORMED, Outcome.REFUSED])
def test_a_models_own_failure_stands_as_it_was(make: Make, outcome: Outcome) -> None:
    kept(make, outcome=outcome, tips=())
    provider = FakeProvider()
    bench = make(provider, n_tips=2, resume=True)
    assert bench.runner.run(bench.cells[0]).outcome is outcome
    assert provider.requests == []


def test_another_experiments_run_is_none_of_ours(make: Make) -> None:
    kept(make, experiment="another")
    provider = FakeProvider()
    bench = make(provider, n_tips=2, resume=True)
    bench.runner.run(bench.cells[0])
    assert len(provider.requests) == 1


def test_resume_with_an_empty_store_generates(make: Make, tmp_path: Path) -> None:
    provider = FakeProvider()
    bench = make(provider, n_tips=2, resume=True)
    assert bench.runner.run(bench.cells[0]).outcome is Outcome.OK
    assert len(provider.requests) == 1
    assert not (tmp_path / ".tipbench").exists()


@pytest.mark.parametrize(("count", "said"), [(0, "0 cells"), (1, "1 cell"), (36, "36 cells")])
def test_counts_have_their_noun(count: int, said: str) -> None:
    assert counted(count, "cell") == said
