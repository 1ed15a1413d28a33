"""Owns which cells there are, their order and their ids; imports no pytest and no provider.

Records, and pydantic with them, come in only where cells are made: a call that makes none does not
pay for them.
"""

from __future__ import annotations

import fnmatch
import re
from typing import TYPE_CHECKING

from pytest_tipbench.errors import UnknownNameError, UserMistakeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_tipbench.records import Cell, ModelReference, PromptVersion, Scenario, Selection

_PARAMETERS = re.compile(r"::[^\[]*\[(?P<id>.*)\](?:@\S+)?$", re.DOTALL)
"""What a test's function has in brackets: a folder may have some too, and xdist's ``loadgroup``
puts ``@GROUP`` behind them."""


def build_matrix(
    models: Sequence[ModelReference],
    prompts: Sequence[PromptVersion],
    scenarios: Sequence[Scenario],
    repeats: int,
) -> tuple[Cell, ...]:
    """Return every cell, model by model, so that weights are loaded once for all its cells.

    Raises:
        UserMistakeError: two cells would have one id, so that nobody could tell them apart.
    """
    from pytest_tipbench.records import Cell

    cells = tuple(
        Cell(
            model=model,
            prompt_version=prompt.version,
            scenario=scenario.id,
            repeat=repeat,
            repeats=repeats,
        )
        for model in models
        for prompt in prompts
        for scenario in scenarios
        for repeat in range(1, repeats + 1)
    )
    _refuse_one_id_for_two(cells)
    return cells


def select_prompts(
    names: Sequence[str] | None, prompts: Sequence[PromptVersion]
) -> tuple[PromptVersion, ...]:
    """Return the prompts of those versions in the order named; all of them for None.

    Raises:
        UnknownNameError: a version that is not there.
    """
    if names is None:
        return tuple(prompts)
    by_version = {prompt.version: prompt for prompt in prompts}
    for name in names:
        if name not in by_version:
            raise UnknownNameError("prompt version", name, by_version)
    return tuple(by_version[name] for name in names)


def select_scenarios(
    patterns: Sequence[str] | None, scenarios: Sequence[Scenario]
) -> tuple[Scenario, ...]:
    """Return the scenarios that an id or glob names, in their own order; all of them for None.

    Raises:
        UnknownNameError: an id, or a glob, that names none.
    """
    if patterns is None:
        return tuple(scenarios)
    chosen = set(expand_globs("scenario", patterns, [scenario.id for scenario in scenarios]))
    return tuple(scenario for scenario in scenarios if scenario.id in chosen)


def expand_globs(kind: str, patterns: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Return the known names that the patterns name, in the order of the patterns, each once.

    Raises:
        UnknownNameError: a pattern names none.
    """
    chosen: dict[str, None] = {}
    for pattern in patterns:
        matches = [name for name in known if name == pattern] or fnmatch.filter(known, pattern)
        if not matches:
            raise UnknownNameError(kind, pattern, known)
        chosen.update(dict.fromkeys(matches))
    return tuple(chosen)


def stored_selection(
    cells: Iterable[Cell],
    *,
    models: Sequence[str] | None,
    prompts: Sequence[str] | None,
    scenarios: Sequence[str] | None,
) -> Selection:
    """Return what a reading command names, its globs expanded over the cells that the store has.

    Raises:
        UnknownNameError: a name or glob that no stored cell bears.
    """
    from pytest_tipbench.records import Selection

    stored = list(cells)
    known_models = sorted({cell.model.text for cell in stored})
    known_prompts = sorted({cell.prompt_version for cell in stored})
    known_scenarios = sorted({cell.scenario for cell in stored})
    return Selection(
        models=None if models is None else expand_globs("model", models, known_models),
        prompts=None if prompts is None else expand_globs("prompt version", prompts, known_prompts),
        scenarios=(
            None if scenarios is None else expand_globs("scenario", scenarios, known_scenarios)
        ),
    )


def cell_id_of(node_id: str) -> str | None:
    """Return the part of a pytest node id in brackets: for a cell's item, the cell's id."""
    match = _PARAMETERS.search(node_id)
    return match["id"] if match else None


def _refuse_one_id_for_two(cells: Iterable[Cell]) -> None:
    seen: dict[str, Cell] = {}
    for cell in cells:
        other = seen.setdefault(cell.id, cell)
        if other is not cell:
            both = " and ".join(
                f"{each.model}, {each.prompt_version}, {each.scenario}" for each in (other, cell)
            )
            raise UserMistakeError(f"two cells have the id {cell.id!r}: {both}; rename one part")
