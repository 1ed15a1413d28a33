"""Owns what one process evaluates: its matrix, its providers, its cell runner; imports no pytest.

The controller has a bench to know the cells, and so has every process that runs items. It is made
lazily: a pytest run that collects no cell loads no file and makes no provider.
"""

from __future__ import annotations

import os
from datetime import datetime, timezone
from functools import cached_property
from typing import TYPE_CHECKING

from pytest_tipbench.errors import (
    LedgerError,
    LockTimeoutError,
    ProviderError,
    ResidencyError,
    UserMistakeError,
)
from pytest_tipbench.providers.base import ListsInstalledModels
from pytest_tipbench.safety.placement import Placement, hosts_with_worker, unserved_line
from pytest_tipbench.safety.serial import MemoryLocks, ollama_hosts, talk_locks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import AbstractContextManager

    from pytest_tipbench.cell import CellRunner
    from pytest_tipbench.evaluation import EvaluationSet
    from pytest_tipbench.providers.base import Provider
    from pytest_tipbench.providers.registry import Providers
    from pytest_tipbench.records import (
        Cell,
        ModelDescription,
        ModelReference,
        PromptVersion,
        RenderedPrompt,
        RunRecord,
        SamplingOptions,
        Scenario,
    )
    from pytest_tipbench.safety.evidence import Evidence
    from pytest_tipbench.safety.installed import Server
    from pytest_tipbench.safety.residency import ResidencyGuard
    from pytest_tipbench.safety.serial import OllamaHost
    from pytest_tipbench.settings import Settings


class Hooked:
    """What a project's pytest hooks add; each is asked for when it is first needed."""

    def __init__(
        self,
        scenarios: Callable[[], Iterable[Scenario]],
        prompts: Callable[[], Iterable[PromptVersion]],
        providers: Callable[[], Mapping[str, Callable[[], Provider]]],
    ) -> None:
        self.scenarios = scenarios
        self.prompts = prompts
        self.providers = providers


class Bench:
    """The matrix and the means to run it, each made when first asked for."""

    def __init__(
        self,
        settings: Settings,
        hooked: Hooked,
        *,
        say: Callable[[str], None],
        session_id: str,
        host_index: int = 0,
        model_names: tuple[str, ...] | None = None,
        inherited: tuple[str, ...] = (),
    ) -> None:
        """Make the bench; nothing is loaded yet.

        Args:
            settings: every option's value.
            hooked: what the project's pytest hooks add.
            say: told, in one line, what is waited for.
            session_id: the controller's.
            host_index: which of the session's Ollama hosts this process talks to.
            model_names: the models with ``installed`` and globs expanded, where the controller did.
            inherited: digests that a process of this session may have left in memory when it died.
        """
        self.settings = settings
        self.session_id = session_id
        self.descriptions: dict[str, ModelDescription] = {}
        """What is known of the models, by reference."""
        self._hooked = hooked
        self._say = say
        self._host_index = host_index
        self._model_names = model_names
        self._inherited = inherited
        self._at_hosts: dict[int, Bench] = {host_index: self}
        self._rendered: dict[tuple[str, str], RenderedPrompt] = {}
        self._left_out: tuple[str, ...] = ()
        """Installed models that were asked for and may not run, a line each."""

    @cached_property
    def hosts(self) -> tuple[OllamaHost, ...]:
        """The session's Ollama hosts.

        Raises:
            UserMistakeError: an address that is none.
        """
        return ollama_hosts(self.settings.ollama_host)

    @property
    def host(self) -> OllamaHost:
        """The Ollama host that this process talks to."""
        return self.hosts[self._host_index]

    @cached_property
    def placement(self) -> Placement:
        """Which host runs which model, on the controller."""
        return Placement(len(self.hosts))

    @cached_property
    def evaluation(self) -> EvaluationSet:
        """Scenarios, prompts, rubric and anchors.

        Raises:
            UserMistakeError: a file is missing or malformed, or a name is taken twice.
        """
        from pytest_tipbench.evaluation import load_evaluation_set

        return load_evaluation_set(
            self.settings.evals,
            self.settings.rubric,
            further_scenarios=self._hooked.scenarios(),
            further_prompts=self._hooked.prompts(),
        )

    @cached_property
    def providers(self) -> Providers:
        """The providers, each made at its first use.

        Raises:
            UserMistakeError: an Ollama host that is none.
        """
        from pytest_tipbench.providers.registry import Providers

        return Providers(
            root=self.settings.root,
            ollama_host=self.host.url,
            environ=os.environ,
            extra=self._hooked.providers(),
            say=self._say,
        )

    @cached_property
    def model_names(self) -> tuple[str, ...]:
        """The models' names as the matrix has them, ``installed`` and globs expanded.

        Raises:
            UserMistakeError: no model is named, a glob matches none, or Ollama cannot be asked.
        """
        if self._model_names is not None:
            return self._model_names
        if not self.settings.models:
            raise UserMistakeError(
                "no model is named: give --models, or set tipbench_models in the configuration"
            )
        from pytest_tipbench.safety.installed import needs_installed

        if needs_installed(self.settings.models, parse=self.providers.parse):
            return self._expanded_model_names()
        return self.settings.models

    def _expanded_model_names(self) -> tuple[str, ...]:
        from pytest_tipbench.safety.installed import InstalledModels, expand_models

        servers: dict[str, Server] = {}
        for index in hosts_with_worker(len(self.hosts), self.settings.worker_count):
            ollama = self.at_host(index).providers.get("ollama")
            assert isinstance(ollama, ListsInstalledModels)  # noqa: S101 - Ollama does
            servers[self.hosts[index].shown] = ollama
        cap = self.settings.max_model_b
        installed = InstalledModels(servers, cap, first_alone=self._has_child)
        names, self._left_out = expand_models(
            self.settings.models,
            installed.models,
            installed.describe,
            cap,
            parse=self.providers.parse,
        )
        return names

    @property
    def _has_child(self) -> bool:
        """True where llama.cpp is in the matrix, so that everything local runs in one process."""
        named = self.settings.models if self._model_names is None else self._model_names
        return any(self.providers.parse(name).provider == "llamacpp" for name in named)

    @cached_property
    def models(self) -> tuple[ModelReference, ...]:
        """The models of the matrix, in order.

        Raises:
            UserMistakeError: a reference is malformed, or two name the same model.
        """
        references = tuple(self.providers.parse(name) for name in self.model_names)
        for reference in references:
            if references.count(reference) > 1:
                raise UserMistakeError(f"--models: {reference.text!r} is named twice; name it once")
        return references

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Every cell of the matrix, in order.

        Raises:
            UserMistakeError: an unknown or malformed model, prompt or scenario.
        """
        from pytest_tipbench.matrix import build_matrix, select_prompts, select_scenarios

        return build_matrix(
            self.models,
            select_prompts(self.settings.prompts, self.evaluation.prompts),
            select_scenarios(self.settings.scenarios, self.evaluation.scenarios),
            self.settings.repeats,
        )

    @cached_property
    def cells_by_id(self) -> dict[str, Cell]:
        """The matrix by cell id."""
        return {cell.id: cell for cell in self.cells}

    @cached_property
    def sampling(self) -> SamplingOptions:
        """The sampling options that every cell shares."""
        from pytest_tipbench.records import SamplingOptions

        return SamplingOptions(
            temperature=self.settings.temperature,
            num_ctx=self.settings.num_ctx,
            num_predict=self.settings.num_predict,
        )

    @cached_property
    def guard(self) -> ResidencyGuard:
        """Keeps one model's weights at most in memory."""
        from pytest_tipbench.safety.residency import ResidencyGuard

        return ResidencyGuard(
            self.providers.get,
            evict=self.settings.evict,
            talking_to=self.talking_to,
            say=self._say,
            inherited=self._inherited,
        )

    @cached_property
    def runner(self) -> CellRunner:
        """Runs cells in this process."""
        from pytest_tipbench.cell import CellOptions, CellRunner

        return CellRunner(
            CellOptions(
                session_id=self.session_id,
                experiment=self.settings.experiment,
                n_tips=self.settings.n_tips,
                seed=self.settings.seed,
                sampling=self.sampling,
                residency=self.settings.residency,
                completion_timeout_seconds=self.settings.completion_timeout,
                diversity=self.settings.diversity,
            ),
            self.evaluation,
            self.providers,
            self.guard,
            render=self.render,
            descriptions=self.descriptions,
            find_finished=self._find_finished,
            now=lambda: datetime.now(timezone.utc),
        )

    @cached_property
    def evidence(self) -> Evidence:
        """What was seen of the memory promise: here, and in the workers that have ended."""
        return self.guard.evidence

    def header_lines(self) -> list[str]:
        """Return what the matrix is and how it will be run, in a few lines."""
        settings = self.settings
        prompts = {cell.prompt_version for cell in self.cells}
        scenarios = {cell.scenario for cell in self.cells}
        parts = [
            counted(len(self.models), "model"),
            counted(len(prompts), "prompt"),
            counted(len(scenarios), "scenario"),
        ]
        if settings.repeats > 1:
            parts.append(counted(settings.repeats, "repeat"))
        residency = settings.residency or "call for Ollama, model for llama.cpp"
        lines = [
            f"matrix: {' × '.join(parts)} = {counted(len(self.cells), 'cell')}",
            f"cap: {settings.max_model_b:g}B parameters; residency: {residency}",
        ]
        if any(model.provider == "ollama" for model in self.models):
            addresses = [host.shown for host in self.hosts]
            lines.append(f"Ollama: {', '.join(addresses)}")
            unserved = unserved_line(addresses, settings.worker_count, has_child=self._has_child)
            lines += [unserved] if unserved is not None else []
        return [*lines, *(f"left out: {line}" for line in self._left_out)]

    def render(self, cell: Cell) -> RenderedPrompt:
        """Return what is sent to the model for a cell.

        Raises:
            SourceFileError: the prompt's template fails on the cell's scenario.
        """
        key = (cell.prompt_version, cell.scenario)  # models and repeats are given the same text
        if key not in self._rendered:
            from pytest_tipbench.prompts import render

            self._rendered[key] = render(
                self.evaluation.prompt(cell.prompt_version),
                self.evaluation.scenario(cell.scenario),
                self.settings.n_tips,
            )
        return self._rendered[key]

    def at_host(self, index: int) -> Bench:
        """Return this bench as it talks to another of the session's hosts; on the controller."""
        if index not in self._at_hosts:
            self._at_hosts[index] = Bench(
                self.settings,
                self._hooked,
                say=self._say,
                session_id=self.session_id,
                host_index=index,
                model_names=self._model_names,
            )
        return self._at_hosts[index]

    def local_digests(self) -> tuple[str, ...]:
        """Return the digests of the models that this session may put into memory."""
        return tuple(sorted({m.digest for m in self.descriptions.values() if m.local}))

    def settle(self) -> list[str]:
        """Give all memory back, and return what went wrong with that; may be called twice."""
        problems: list[str] = []
        for bench in self._at_hosts.values():
            if bench is not self:
                problems += bench.settle()
        if "guard" in self.__dict__:
            try:
                self.guard.finish()
            except (ResidencyError, ProviderError, LockTimeoutError) as error:
                problems.append(str(error))
        if "providers" in self.__dict__:
            self.providers.close()
        return problems

    def talking_to(self, model: ModelDescription) -> AbstractContextManager[None]:
        """Return what holds the talk locks of the memory that the model is put into."""
        host = self.host if model.reference.provider == "ollama" else None
        return MemoryLocks(
            talk_locks(host, self.hosts),
            "talk",
            timeout_seconds=self.settings.lock_timeout,
            on_wait=self._say,
        ).held()

    def _find_finished(self, fingerprint: str) -> RunRecord | None:
        if not self.settings.resume:
            return None
        from pytest_tipbench.store.ledger import Ledger

        try:
            with Ledger.open(self.settings.ledger, read_only=True) as ledger:
                run = ledger.latest_run(self.settings.experiment, fingerprint)
        except LedgerError:
            return None  # it is generated again, which costs time and no more
        return run if run is not None and run.is_measured else None


def counted(count: int, noun: str) -> str:
    """Return ``1 model``, ``2 models``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
