"""Owns running one cell, from prompt to run record; imports no pytest and no store."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_tipbench import __version__
from pytest_tipbench.diversity import cell_diversity
from pytest_tipbench.errors import CompletionTimeoutError, TipbenchError
from pytest_tipbench.records import (
    CompletionRequest,
    Outcome,
    RunRecord,
    SamplingOptions,
    configuration_sha256,
    fingerprint,
)
from pytest_tipbench.tips import parse_tips

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from pytest_tipbench.evaluation import EvaluationSet
    from pytest_tipbench.providers.registry import Providers
    from pytest_tipbench.records import Cell, ModelDescription, RenderedPrompt, Residency
    from pytest_tipbench.safety.residency import ResidencyGuard

DEFAULT_RESIDENCY: dict[str, Residency] = {"ollama": "call"}
"""A shared server's memory is given back after each response; a child of ours is ours alone."""
_SAYS_TIMEOUT = re.compile(r"time[ -]?out|timed out", re.IGNORECASE)


@dataclass(frozen=True)
class CellOptions:
    """What every cell of a session shares."""

    session_id: str
    experiment: str
    n_tips: int
    seed: int
    """Of the first repeat; the next ones count up from it."""
    sampling: SamplingOptions
    residency: Residency | None
    completion_timeout_seconds: float
    diversity: bool

    def residency_for(self, provider: str) -> Residency:
        """Return when weights are unloaded: as asked, else the provider's own default."""
        return self.residency or DEFAULT_RESIDENCY.get(provider, "model")


class CellRunner:
    """Completes cells, one at a time, in the process that talks to the model."""

    def __init__(
        self,
        options: CellOptions,
        evaluation: EvaluationSet,
        providers: Providers,
        guard: ResidencyGuard,
        *,
        render: Callable[[Cell], RenderedPrompt],
        descriptions: dict[str, ModelDescription],
        find_finished: Callable[[str], RunRecord | None],
        now: Callable[[], datetime],
    ) -> None:
        self._options = options
        self._evaluation = evaluation
        self._providers = providers
        self._guard = guard
        self._render = render
        self._find_finished = find_finished
        self._now = now
        self._descriptions = descriptions

    def run(
        self,
        cell: Cell,
        *,
        ends: tuple[type[BaseException], ...] = (),
        keep_broken_off: Callable[[RunRecord], object] | None = None,
    ) -> RunRecord:
        """Complete the cell, or take its finished run from the store where that is asked for.

        A fault of the machine becomes an outcome, never an exception. What breaks in from outside,
        as a per-test timeout does from a signal's handler, goes on its way once it is recorded.

        Args:
            cell: what to complete.
            ends: exceptions that end the session, beside ``KeyboardInterrupt`` and ``SystemExit``:
                they pass, and leave no record.
            keep_broken_off: given the record of a cell that was broken off from outside.
        """
        passing: tuple[type[BaseException], ...] = (KeyboardInterrupt, SystemExit, *ends)
        started_at = self._now()
        model: ModelDescription | None = None
        try:
            model = self._describe(cell)
            finished = self._find_finished(self._identity(cell, model)[1])
            if finished is not None:
                return finished
            result = self._complete(cell, model)
        except passing:
            raise
        except Exception as error:  # noqa: BLE001 - a provider from elsewhere may raise anything
            result = {"outcome": _outcome(error), "error": _said(error)}
        except BaseException as error:
            if keep_broken_off is not None:
                result = {"outcome": _outcome(error), "error": _said(error)}
                keep_broken_off(self._record(cell, model, started_at, **result))
            raise
        return self._record(cell, model, started_at, **result)

    def missing(self, cell: Cell, error: str) -> RunRecord:
        """Return the record of a cell for which nothing was generated, and why."""
        model = self._descriptions.get(cell.model.text)
        return self._record(cell, model, self._now(), outcome=Outcome.MISSING, error=error)

    def release(self, cell: Cell) -> None:
        """Give the memory of the cell's model back: its last cell is over."""
        model = self._descriptions.get(cell.model.text)
        if model is not None:
            self._guard.leave(model)

    def _describe(self, cell: Cell) -> ModelDescription:
        key = cell.model.text
        if key not in self._descriptions:
            provider = self._providers.get(cell.model.provider)
            self._descriptions[key] = provider.describe(cell.model)
        return self._descriptions[key]

    def _complete(self, cell: Cell, model: ModelDescription) -> dict[str, Any]:
        """Return the fields of the run record that a completion and its tips come to."""
        options = self._options
        request = CompletionRequest(
            model=model,
            prompt=self._render(cell),
            prompt_version=cell.prompt_version,
            scenario=cell.scenario,
            repeat=cell.repeat,
            n_tips=options.n_tips,
            seed=self._seed(cell),
            sampling=options.sampling,
            residency=options.residency_for(cell.model.provider),
            timeout_seconds=options.completion_timeout_seconds,
        )
        with self._guard.holding(model, request.residency):
            completion = self._providers.get(cell.model.provider).complete(request)
        parsed = parse_tips(
            completion.text,
            n_tips=options.n_tips,
            stop_reason=completion.stop_reason,
            thinking=completion.thinking,
        )
        return {
            "outcome": parsed.outcome,
            "tips": parsed.tips,
            "dropped": parsed.dropped,
            "thinking_stripped": parsed.thinking_stripped,
            "completion": completion,
            "diversity": cell_diversity(parsed.tips) if options.diversity else {},
        }

    def _record(
        self, cell: Cell, model: ModelDescription | None, started_at: datetime, **result: Any
    ) -> RunRecord:
        options, evaluation = self._options, self._evaluation
        configuration, cell_fingerprint = self._identity(cell, model)
        scenario = evaluation.scenario(cell.scenario)
        return RunRecord(
            run_id=uuid.uuid4().hex,
            session_id=options.session_id,
            experiment=options.experiment,
            tipbench_version=__version__,
            cell=cell,
            fingerprint=cell_fingerprint,
            configuration_sha256=configuration,
            model=model,
            scenario=scenario,
            scenario_sha256=evaluation.scenario_hashes[cell.scenario],
            prompt_sha256=evaluation.prompt_hashes[cell.prompt_version],
            rubric_version=evaluation.rubric.version,
            rubric_sha256=evaluation.rubric_hash,
            n_tips=options.n_tips,
            seed=self._seed(cell),
            sampling=options.sampling,
            residency=options.residency_for(cell.model.provider),
            prompt=self._render(cell),
            started_at=started_at,
            finished_at=self._now(),
            **result,
        )

    def _identity(self, cell: Cell, model: ModelDescription | None) -> tuple[str, str]:
        """Return the cell's configuration and fingerprint; an unknown digest matches no other."""
        digest = model.digest if model is not None else f"unknown:{cell.model.text}"
        configuration = configuration_sha256(
            digest,
            self._evaluation.prompt_hashes[cell.prompt_version],
            self._options.sampling,
            self._options.n_tips,
        )
        scenario_hash = self._evaluation.scenario_hashes[cell.scenario]
        return configuration, fingerprint(configuration, scenario_hash, self._seed(cell))

    def _seed(self, cell: Cell) -> int:
        return self._options.seed + cell.repeat - 1


def _outcome(error: BaseException) -> Outcome:
    if isinstance(error, (CompletionTimeoutError, TimeoutError)):
        return Outcome.TIMEOUT
    # From outside comes pytest's own way to fail a test, whose words alone tell why.
    if not isinstance(error, Exception) and _SAYS_TIMEOUT.search(str(error)):
        return Outcome.TIMEOUT
    return Outcome.PROVIDER_ERROR


def _said(error: BaseException) -> str:
    """Return the error in one line; one that is none of ours with its type."""
    words = " ".join(str(error).split())
    return words if isinstance(error, TipbenchError) else f"{type(error).__name__}: {words}"
