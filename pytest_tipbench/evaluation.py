"""Owns what a project evaluates with, loaded once; imports no pytest."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from pytest_tipbench.errors import UserMistakeError
from pytest_tipbench.judge.anchors import load_anchors
from pytest_tipbench.prompts import load_prompts
from pytest_tipbench.rubric import load_rubric
from pytest_tipbench.scenarios import load_scenarios

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from pytest_tipbench.judgement_records import Anchor, Rubric
    from pytest_tipbench.records import PromptVersion, Scenario

Named = TypeVar("Named")


@dataclass(frozen=True)
class EvaluationSet:
    """The fixed scenarios, the prompt versions, the rubric, and the judge's anchors."""

    scenarios: tuple[Scenario, ...]
    prompts: tuple[PromptVersion, ...]
    rubric: Rubric
    anchors_path: Path

    @cached_property
    def anchors(self) -> tuple[Anchor, ...]:
        """The anchors, read when first asked for; none where the project has no such file.

        Raises:
            SourceFileError: the file is malformed.
        """
        if not self.anchors_path.exists():
            return ()
        return load_anchors(self.anchors_path, self.scenarios, self.rubric)

    def scenario(self, scenario_id: str) -> Scenario:
        """Return the scenario of that id; it must exist."""
        return next(item for item in self.scenarios if item.id == scenario_id)

    def prompt(self, version: str) -> PromptVersion:
        """Return the prompt of that version; it must exist."""
        return next(item for item in self.prompts if item.version == version)

    @cached_property
    def scenario_hashes(self) -> dict[str, str]:
        """Each scenario's hash by its id, worked out once for all the cells that bear it."""
        return {scenario.id: scenario.sha256 for scenario in self.scenarios}

    @cached_property
    def prompt_hashes(self) -> dict[str, str]:
        """Each prompt's hash by its version."""
        return {prompt.version: prompt.sha256 for prompt in self.prompts}

    @cached_property
    def rubric_hash(self) -> str:
        """The rubric's hash."""
        return self.rubric.sha256


def load_evaluation_set(
    evals: Path,
    rubric: Path,
    *,
    further_scenarios: Iterable[Scenario] = (),
    further_prompts: Iterable[PromptVersion] = (),
) -> EvaluationSet:
    """Load the project's folder, and add what its hooks give.

    Raises:
        SourceFileError: a file is missing or malformed.
        UserMistakeError: a hook gives a name that is already taken.
    """
    scenarios = (*load_scenarios(evals / "scenarios.toml"), *further_scenarios)
    prompts = (*load_prompts(evals / "prompts"), *further_prompts)
    _refuse_duplicates("scenario", scenarios, lambda item: item.id)
    _refuse_duplicates("prompt version", prompts, lambda item: item.version)
    _refuse_twins(prompts)
    return EvaluationSet(scenarios, prompts, load_rubric(rubric), evals / "anchors.toml")


def _refuse_duplicates(kind: str, items: Sequence[Named], name_of: Callable[[Named], str]) -> None:
    names = [name_of(item) for item in items]
    for name in names:
        if names.count(name) > 1:
            raise UserMistakeError(f"{kind} {name!r} is given twice: by a file and by a hook")


def _refuse_twins(prompts: Sequence[PromptVersion]) -> None:
    """Refuse one text under two versions: their cells would be the same cells."""
    by_text: dict[str, str] = {}
    for prompt in prompts:
        twin = by_text.setdefault(prompt.sha256, prompt.version)
        if twin != prompt.version:
            raise UserMistakeError(
                f"prompt versions {twin!r} and {prompt.version!r} have the same text: change one, "
                "or remove it"
            )
