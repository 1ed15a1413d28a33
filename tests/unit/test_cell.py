from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from pytest_tipbench import __version__
from pytest_tipbench.errors import (
    CompletionTimeoutError,
    ModelMissingError,
    ProviderBusyError,
    ProviderError,
    ProviderUnreachableError,
    ResidencyError,
    UnsizableModelError,
)
from pytest_tipbench.evaluation import EvaluationSet
from pytest_tipbench.records import (
    Completion,
    ModelDescription,
    Outcome,
    RunRecord,
    SamplingOptions,
    configuration_sha256,
    fingerprint,
    from_json,
    to_json,
)
from tests.unit.bench_samples import (
    COMPLETION,
    START,
    TIPS,
    FakeGuard,
    FakeProvider,
    a_cell,
    a_reference,
    a_runner,
    cell_options,
    evaluation,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytest_tipbench.records import CompletionRequest, ModelReference


def raising(error: BaseException) -> Callable[[Any], Any]:
    def act(_given: object) -> Any:
        raise error

    return act


def completing(text: str, **facts: Any) -> Callable[[CompletionRequest], Completion]:
    return lambda _request: Completion(text=text, latency_seconds=1.0, **facts)


# --- a whole cell -----------------------------------------------------------------------------


def test_a_cell_becomes_a_record_of_all_that_is_known_of_it(tmp_path: Path) -> None:
    provider, guard = FakeProvider(), FakeGuard()
    cell = a_cell()
    record = a_runner(tmp_path, provider, guard=guard).run(cell)
    evaluated = evaluation(tmp_path)
    configuration = configuration_sha256(
        "digest of fake/small", evaluated.prompt("v1").sha256, SamplingOptions(), 2
    )
    assert record.outcome is Outcome.OK
    assert record.tips == TIPS
    assert record.error is None
    assert (record.session_id, record.experiment) == ("this session", "tip-bench")
    assert record.tipbench_version == __version__
    assert record.cell == cell
    assert record.configuration_sha256 == configuration
    assert record.fingerprint == fingerprint(configuration, evaluated.scenario("s01").sha256, 7)
    assert record.scenario == evaluated.scenario("s01")
    assert record.scenario_sha256 == evaluated.scenario("s01").sha256
    assert record.prompt_sha256 == evaluated.prompt("v1").sha256
    assert record.rubric_sha256 == evaluated.rubric.sha256
    assert record.prompt.user == "Give 2 tips for Zoë."
    assert record.completion == COMPLETION
    assert record.diversity == {}
    assert (record.started_at, record.finished_at) == (START, START + timedelta(seconds=1))
    assert len(record.run_id) == 32
    assert guard.held == [("fake/small", "model")]


def test_the_provider_is_asked_with_everything_that_is_recorded(tmp_path: Path) -> None:
    provider = FakeProvider()
    sampling = SamplingOptions(temperature=0.1, num_ctx=512, num_predict=64)
    a_runner(tmp_path, provider, sampling=sampling, n_tips=3, completion_timeout_seconds=12.5).run(
        a_cell(prompt_version="v2", scenario="s02")
    )
    (request,) = provider.requests
    assert request.prompt.user == "Just 3 tips."
    assert (request.prompt_version, request.scenario, request.repeat) == ("v2", "s02", 1)
    assert (request.n_tips, request.seed, request.sampling) == (3, 7, sampling)
    assert (request.residency, request.timeout_seconds) == ("model", 12.5)
    assert request.model.digest == "digest of fake/small"


def test_each_run_has_an_id_of_its_own(tmp_path: Path) -> None:
    runner = a_runner(tmp_path)
    assert runner.run(a_cell()).run_id != runner.run(a_cell()).run_id


@pytest.mark.parametrize(("repeat", "seed"), [(1, 7), (2, 8), (5, 11)])
def test_repeats_have_the_seeds_seed_seed_plus_one_and_so_on(
    tmp_path: Path, repeat: int, seed: int
) -> None:
    provider = FakeProvider()
    record = a_runner(tmp_path, provider).run(a_cell(repeat=repeat, repeats=5))
    assert record.seed == provider.requests[0].seed == seed
    assert provider.requests[0].repeat == repeat


def test_repeats_are_one_configuration_with_fingerprints_of_their_own(tmp_path: Path) -> None:
    runner = a_runner(tmp_path)
    first, second = (runner.run(a_cell(repeat=k, repeats=2)) for k in (1, 2))
    assert first.configuration_sha256 == second.configuration_sha256
    assert first.fingerprint != second.fingerprint


def test_a_model_is_described_once(tmp_path: Path) -> None:
    provider = FakeProvider()
    runner = a_runner(tmp_path, provider)
    runner.run(a_cell())
    runner.run(a_cell(scenario="s02"))
    runner.run(a_cell(model=a_reference("fake/other")))
    assert provider.described == ["fake/small", "fake/other"]


def test_what_the_controller_has_described_is_not_asked_again(tmp_path: Path) -> None:
    provider = FakeProvider()
    known = ModelDescription(reference=a_reference(), digest="known", local=False)
    record = a_runner(tmp_path, provider, descriptions={"fake/small": known}).run(a_cell())
    assert record.model == known
    assert provider.described == []


@pytest.mark.parametrize(
    ("asked", "provider", "expected"),
    [
        (None, "ollama", "call"),
        (None, "llamacpp", "model"),
        (None, "acme", "model"),
        ("model", "ollama", "model"),
        ("call", "llamacpp", "call"),
    ],
)
def test_residency_is_as_asked_else_as_the_provider_has_it(
    asked: str | None, provider: str, expected: str
) -> None:
    assert cell_options(residency=asked).residency_for(provider) == expected


def test_diversity_is_logged_where_asked_for(tmp_path: Path) -> None:
    record = a_runner(tmp_path, diversity=True).run(a_cell())
    # 5 and 7 words make 4 + 6 bigrams, no two alike.
    assert record.diversity["distinct_2"] == 1.0
    assert set(record.diversity) == {"distinct_2", "self_similarity"}


def test_a_models_own_failure_is_an_outcome_with_its_text(tmp_path: Path) -> None:
    provider = FakeProvider(complete=completing("", stop_reason="stop"))
    record = a_runner(tmp_path, provider).run(a_cell())
    assert record.outcome is Outcome.EMPTY
    assert record.error is None
    assert record.is_measured
    assert record.tips_missing == 2


def test_what_a_model_wrote_survives_whatever_it_is(tmp_path: Path) -> None:
    anything = 'NUL \0, lone \ud800, \x1b[31mANSI, <script>"\u2028'
    text = json.dumps({"tips": [f"Write the report {anything}", "Call the pharmacy today"]})
    provider = FakeProvider(complete=completing(text + anything))
    record = a_runner(tmp_path, provider).run(a_cell())
    assert record.completion is not None
    assert record.completion.text == text + anything
    assert from_json(RunRecord, to_json(record)) == record


# --- the fingerprint --------------------------------------------------------------------------


def _with_scenario_text(root: Path) -> EvaluationSet:
    evaluated = evaluation(root)
    first = evaluated.scenarios[0]
    other = first.model_copy(
        update={"time_slot": first.time_slot.model_copy(update={"local_time": "06:00"})}
    )
    return EvaluationSet((other,), evaluated.prompts, evaluated.rubric, root)


def _with_prompt_text(root: Path, part: str) -> EvaluationSet:
    evaluated = evaluation(root)
    other = evaluated.prompts[0].model_copy(update={part: "Anything else."})
    return EvaluationSet(evaluated.scenarios, (other,), evaluated.rubric, root)


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 8},
        {"n_tips": 3},
        {"sampling": SamplingOptions(temperature=0.71)},
        {"sampling": SamplingOptions(num_ctx=4097)},
        {"sampling": SamplingOptions(num_predict=1023)},
    ],
    ids=str,
)
def test_every_option_that_shapes_an_answer_is_in_the_fingerprint(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    one, other = a_runner(tmp_path).run(a_cell()), a_runner(tmp_path, **changes).run(a_cell())
    assert one.fingerprint != other.fingerprint
    is_same_row = one.configuration_sha256 == other.configuration_sha256
    assert is_same_row == ("seed" in changes)  # other seeds join the row


@pytest.mark.parametrize("part", ["system", "template"])
def test_the_prompts_text_is_in_the_fingerprint(tmp_path: Path, part: str) -> None:
    other = a_runner(tmp_path, evaluated=_with_prompt_text(tmp_path, part)).run(a_cell())
    assert other.fingerprint != a_runner(tmp_path).run(a_cell()).fingerprint


def test_the_scenarios_content_is_in_the_fingerprint(tmp_path: Path) -> None:
    other = a_runner(tmp_path, evaluated=_with_scenario_text(tmp_path)).run(a_cell())
    assert other.fingerprint != a_runner(tmp_path).run(a_cell()).fingerprint


def test_the_models_digest_is_in_the_fingerprint(tmp_path: Path) -> None:
    def newer(model: ModelReference) -> ModelDescription:
        return ModelDescription(reference=model, digest="a newer build", local=True)

    other = a_runner(tmp_path, FakeProvider(describe=newer)).run(a_cell())
    assert other.fingerprint != a_runner(tmp_path).run(a_cell()).fingerprint


@pytest.mark.parametrize(
    "changes",
    [
        {"residency": "call"},
        {"completion_timeout_seconds": 1.0},
        {"diversity": True},
        {"session_id": "another"},
        {"experiment": "another"},
    ],
    ids=str,
)
def test_what_shapes_no_answer_is_not_in_the_fingerprint(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    other = a_runner(tmp_path, **changes).run(a_cell())
    assert other.fingerprint == a_runner(tmp_path).run(a_cell()).fingerprint


# --- resume -----------------------------------------------------------------------------------


def test_a_finished_run_of_the_fingerprint_is_taken_and_nothing_is_generated(
    tmp_path: Path,
) -> None:
    finished = a_runner(tmp_path, session_id="an earlier session").run(a_cell())
    provider, guard = FakeProvider(), FakeGuard()
    kept = {finished.fingerprint: finished}
    record = a_runner(tmp_path, provider, guard=guard, find_finished=kept.get).run(a_cell())
    assert record == finished
    assert provider.requests == []
    assert guard.held == []


def test_a_cell_without_a_finished_run_is_generated(tmp_path: Path) -> None:
    provider = FakeProvider()
    finished = a_runner(tmp_path).run(a_cell())
    kept = {finished.fingerprint: finished}
    record = a_runner(tmp_path, provider, find_finished=kept.get).run(a_cell(scenario="s02"))
    assert record.run_id != finished.run_id
    assert len(provider.requests) == 1


def test_a_store_that_cannot_be_read_does_not_lose_the_cell(tmp_path: Path) -> None:
    from pytest_tipbench.errors import LedgerError

    find = raising(LedgerError("ledger.db: database is locked"))
    record = a_runner(tmp_path, find_finished=find).run(a_cell())
    assert record.outcome in (Outcome.OK, Outcome.PROVIDER_ERROR)


def test_without_a_description_no_run_is_looked_up(tmp_path: Path) -> None:
    asked: list[str] = []
    provider = FakeProvider(describe=raising(ProviderUnreachableError("nothing answers")))
    a_runner(tmp_path, provider, find_finished=asked.append).run(a_cell())
    assert asked == []


# --- a machine's faults -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (CompletionTimeoutError("600 s have passed"), Outcome.TIMEOUT),
        (ProviderError("out of memory, no timeout"), Outcome.PROVIDER_ERROR),
        (ProviderUnreachableError("nothing answers"), Outcome.PROVIDER_ERROR),
        (ProviderBusyError("still busy"), Outcome.PROVIDER_ERROR),
        (ModelMissingError("gone", remedy="ollama pull x"), Outcome.PROVIDER_ERROR),
        (ResidencyError("qwen is still resident"), Outcome.PROVIDER_ERROR),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_fault_while_completing_is_an_outcome_with_its_reason(
    tmp_path: Path, error: Exception, outcome: Outcome
) -> None:
    record = a_runner(tmp_path, FakeProvider(complete=raising(error))).run(a_cell())
    assert record.outcome is outcome
    assert record.error == str(error)
    assert record.completion is None
    assert record.tips == ()
    assert not record.is_measured
    assert record.model is not None


@pytest.mark.parametrize(
    "error",
    [ValueError("bad\njson"), KeyError("content"), RecursionError("deep"), AssertionError()],
    ids=lambda error: type(error).__name__,
)
def test_anything_that_a_provider_raises_is_a_provider_error(
    tmp_path: Path, error: Exception
) -> None:
    record = a_runner(tmp_path, FakeProvider(complete=raising(error))).run(a_cell())
    assert record.outcome is Outcome.PROVIDER_ERROR
    assert record.error is not None
    assert record.error.startswith(type(error).__name__)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(2)], ids=repr)
def test_what_ends_the_session_is_not_taken_for_a_cells_fault(
    tmp_path: Path, error: BaseException
) -> None:
    with pytest.raises(type(error)):
        a_runner(tmp_path, FakeProvider(complete=raising(error))).run(a_cell())


class FromOutside(BaseException):
    """As pytest's own way to fail a test is no ``Exception``."""


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (FromOutside("Timeout (>2.0s) from\npytest-timeout."), Outcome.TIMEOUT),
        (FromOutside("the test timed out"), Outcome.TIMEOUT),
        (FromOutside("enough"), Outcome.PROVIDER_ERROR),
    ],
    ids=str,
)
def test_what_breaks_in_from_outside_is_recorded_and_goes_on_its_way(
    tmp_path: Path, error: BaseException, outcome: Outcome
) -> None:
    kept: list[RunRecord] = []
    runner = a_runner(tmp_path, FakeProvider(complete=raising(error)))
    with pytest.raises(FromOutside) as caught:
        runner.run(a_cell(), keep_broken_off=kept.append)
    assert caught.value is error
    (record,) = kept
    assert record.outcome is outcome
    assert record.error == f"FromOutside: {' '.join(str(error).split())}"
    assert record.fingerprint == a_runner(tmp_path).run(a_cell()).fingerprint
    assert record.started_at < record.finished_at
    assert not record.is_measured


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(2), ArithmeticError()], ids=repr)
def test_what_ends_the_session_leaves_no_record(tmp_path: Path, error: BaseException) -> None:
    """pytest's exception for it is an ``Exception``, so that it has to be named."""
    kept: list[RunRecord] = []
    runner = a_runner(tmp_path, FakeProvider(complete=raising(error)))
    with pytest.raises(type(error)):
        runner.run(a_cell(), ends=(ArithmeticError,), keep_broken_off=kept.append)
    assert kept == []


def test_a_provider_that_returns_something_else_fails_this_cell_alone(tmp_path: Path) -> None:
    provider = FakeProvider(complete=lambda _request: None)  # type: ignore[arg-type,return-value]  # the fault
    record = a_runner(tmp_path, provider).run(a_cell())
    assert record.outcome is Outcome.PROVIDER_ERROR
    assert record.error is not None


def test_memory_that_could_not_be_emptied_is_a_provider_error(tmp_path: Path) -> None:
    provider = FakeProvider()
    guard = FakeGuard(refuse=ResidencyError("qwen2.5:0.5b is still resident after 30 s"))
    record = a_runner(tmp_path, provider, guard=guard).run(a_cell())
    assert record.outcome is Outcome.PROVIDER_ERROR
    assert record.error == "qwen2.5:0.5b is still resident after 30 s"
    assert provider.requests == []


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ProviderUnreachableError("nothing answers"), Outcome.PROVIDER_ERROR),
        (UnsizableModelError("safetensors"), Outcome.PROVIDER_ERROR),
        (CompletionTimeoutError("too slow"), Outcome.TIMEOUT),
        (TimeoutError("a package's provider waited"), Outcome.TIMEOUT),
        (ValueError("a package's provider"), Outcome.PROVIDER_ERROR),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_model_that_cannot_be_described_is_an_outcome_too(
    tmp_path: Path, error: Exception, outcome: Outcome
) -> None:
    record = a_runner(tmp_path, FakeProvider(describe=raising(error))).run(a_cell())
    assert record.outcome is outcome
    assert record.model is None
    assert record.error is not None
    assert str(error) in record.error


def test_a_run_of_unknown_digest_is_no_run_of_a_known_one(tmp_path: Path) -> None:
    unknown = a_runner(
        tmp_path, FakeProvider(describe=raising(ProviderUnreachableError("nothing answers")))
    )
    lost, lost_other = unknown.run(a_cell()), unknown.run(a_cell(model=a_reference("fake/other")))
    known = a_runner(tmp_path).run(a_cell())
    assert len({lost.fingerprint, lost_other.fingerprint, known.fingerprint}) == 3
    assert lost.configuration_sha256 != known.configuration_sha256


def test_a_description_that_failed_is_asked_for_again(tmp_path: Path) -> None:
    provider = FakeProvider(describe=raising(ProviderUnreachableError("nothing answers")))
    runner = a_runner(tmp_path, provider)
    runner.run(a_cell())
    runner.run(a_cell(scenario="s02"))
    assert len(provider.described) == 2


# --- a dead worker, and the end of a model ----------------------------------------------------


def test_a_cell_whose_worker_died_is_missing_with_the_fingerprint_it_would_have_had(
    tmp_path: Path,
) -> None:
    descriptions: dict[str, ModelDescription] = {}
    runner = a_runner(tmp_path, descriptions=descriptions)
    done = runner.run(a_cell())
    lost = runner.missing(a_cell(), "the worker that ran it died")
    assert lost.outcome is Outcome.MISSING
    assert lost.error == "the worker that ran it died"
    assert lost.fingerprint == done.fingerprint
    assert not lost.is_measured


def test_a_missing_cell_of_an_undescribed_model_asks_nobody(tmp_path: Path) -> None:
    provider = FakeProvider()
    lost = a_runner(tmp_path, provider).missing(a_cell(), "the worker died")
    assert lost.model is None
    assert provider.described == []


def test_release_gives_back_a_model_that_was_used_and_no_other(tmp_path: Path) -> None:
    guard = FakeGuard()
    runner = a_runner(tmp_path, guard=guard)
    runner.run(a_cell())
    runner.release(a_cell(scenario="s02"))
    runner.release(a_cell(model=a_reference("fake/never-used")))
    assert guard.left == ["fake/small"]
