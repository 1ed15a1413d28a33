"""Owns what the tests of the bench's middle share: settings, an evaluation set, a provider."""

from __future__ import annotations

import json
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from pytest_tipbench.cell import CellOptions, CellRunner
from pytest_tipbench.evaluation import EvaluationSet
from pytest_tipbench.options import OPTIONS
from pytest_tipbench.prompts import render
from pytest_tipbench.records import (
    Cell,
    Completion,
    ModelDescription,
    ModelReference,
    PromptVersion,
    SamplingOptions,
)
from pytest_tipbench.settings import Settings
from tests.unit.board_samples import RUBRIC, a_scenario

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pytest_tipbench.providers.base import Provider
    from pytest_tipbench.records import CompletionRequest, Residency, RunRecord

START = datetime(2026, 4, 27, 8, 0, tzinfo=timezone.utc)
TIPS = (
    "Write the report before lunch",
    "Call the pharmacy on the way home",
)
COMPLETION = Completion(
    text=json.dumps({"tips": TIPS}),
    stop_reason="stop",
    latency_seconds=1.5,
    load_seconds=0.25,
    prompt_tokens=100,
    completion_tokens=40,
    tokens_per_second=32.0,
    resident_bytes=500_000_000,
    resident_vram_bytes=0,
)
PROMPTS = (
    PromptVersion(
        version="v1",
        description="plain",
        system="Be kind.",
        template="Give {{ n_tips }} tips for {{ scenario.persona.name }}.",
    ),
    PromptVersion(version="v2", description="", system="", template="Just {{ n_tips }} tips."),
)


def settings(root: Path, **changes: Any) -> Settings:
    """Every option's default, in a project at ``root``; what is changed counts as in the ini."""
    values = {option.field: option.default for option in OPTIONS} | {
        "root": root,
        "evals": root / "evals",
        "rubric": root / "rubric.md",
        "prompts": None,
        "scenarios": None,
        "named": frozenset(),
        "ledger": root / ".tipbench" / "ledger.db",
    }
    return Settings(**(values | changes))


def evaluation(root: Path) -> EvaluationSet:
    """Two scenarios, two prompts, the samples' rubric, and no anchors."""
    return EvaluationSet(
        scenarios=(a_scenario("s01"), a_scenario("s02")),
        prompts=PROMPTS,
        rubric=RUBRIC,
        anchors_path=root / "anchors.toml",
    )


def a_reference(text: str = "fake/small", provider: str = "fake") -> ModelReference:
    return ModelReference(text=text, provider=provider, name=text.removeprefix(f"{provider}/"))


def a_cell(
    *,
    model: ModelReference | None = None,
    prompt_version: str = "v1",
    scenario: str = "s01",
    repeat: int = 1,
    repeats: int = 1,
) -> Cell:
    return Cell(
        model=model or a_reference(),
        prompt_version=prompt_version,
        scenario=scenario,
        repeat=repeat,
        repeats=repeats,
    )


class FakeProvider:
    """Completes as a test tells it to."""

    name = "fake"

    def __init__(
        self,
        *,
        complete: Callable[[CompletionRequest], Completion] = lambda _request: COMPLETION,
        describe: Callable[[ModelReference], ModelDescription] | None = None,
    ) -> None:
        self.requests: list[CompletionRequest] = []
        self.described: list[str] = []
        self.released: list[str] = []
        self.is_closed = False
        self._complete = complete
        self._describe = describe

    def describe(self, model: ModelReference) -> ModelDescription:
        self.described.append(model.text)
        if self._describe is not None:
            return self._describe(model)
        return ModelDescription(
            reference=model, digest=f"digest of {model.text}", parameter_count=1, local=True
        )

    def complete(self, request: CompletionRequest) -> Completion:
        self.requests.append(request)
        return self._complete(request)

    def release(self, model: ModelDescription) -> None:
        self.released.append(model.reference.text)

    def close(self) -> None:
        self.is_closed = True


class FakeProviders:
    """One provider under every name."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    def get(self, name: str) -> Provider:
        return self._provider


class FakeGuard:
    """Notes who asked for room, and refuses it where a test says so."""

    def __init__(self, refuse: Exception | None = None) -> None:
        self.held: list[tuple[str, Residency]] = []
        self.left: list[str] = []
        self._refuse = refuse

    @contextmanager
    def holding(self, model: ModelDescription, residency: Residency) -> Iterator[None]:
        if self._refuse is not None:
            raise self._refuse
        self.held.append((model.reference.text, residency))
        yield

    def leave(self, model: ModelDescription) -> None:
        self.left.append(model.reference.text)


class Clock:
    """Wall time that passes by a second whenever it is looked at."""

    def __init__(self) -> None:
        self._seconds = -1

    def now(self) -> datetime:
        self._seconds += 1
        return START + timedelta(seconds=self._seconds)


def cell_options(**changes: Any) -> CellOptions:
    values: dict[str, Any] = {
        "session_id": "this session",
        "experiment": "tip-bench",
        "n_tips": 2,
        "seed": 7,
        "sampling": SamplingOptions(),
        "residency": None,
        "completion_timeout_seconds": 60.0,
        "diversity": False,
    }
    return CellOptions(**(values | changes))


def a_runner(
    root: Path,
    provider: Provider | None = None,
    *,
    guard: FakeGuard | None = None,
    find_finished: Callable[[str], RunRecord | None] = lambda _fingerprint: None,
    descriptions: dict[str, ModelDescription] | None = None,
    evaluated: EvaluationSet | None = None,
    **changes: Any,
) -> CellRunner:
    """A runner over fakes; ``changes`` are cell options."""
    options = cell_options(**changes)
    with_what = evaluated or evaluation(root)
    return CellRunner(
        options,
        with_what,
        FakeProviders(provider or FakeProvider()),  # type: ignore[arg-type]  # a double
        guard or FakeGuard(),  # type: ignore[arg-type]  # a double
        render=lambda cell: render(
            with_what.prompt(cell.prompt_version), with_what.scenario(cell.scenario), options.n_tips
        ),
        descriptions={} if descriptions is None else descriptions,
        find_finished=find_finished,
        now=Clock().now,
    )
