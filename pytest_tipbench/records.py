"""Owns the frozen records of the field; imports pydantic and nothing of ours.

A record is plain data: it knows its own shape, its identity (hashes) and its JSON, and nothing of
providers, stores or pytest. Texts that a model produced may hold anything, lone surrogates too, so
JSON goes through :func:`to_json` (always ASCII) and hashing through :func:`sha256_of`.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from enum import Enum
from typing import Any, Literal, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field

Residency = Literal["call", "model"]

_SAFE_IN_IDS = "".join(set(map(chr, range(ord(" "), ord("~") + 1))) - {"\\"})


class Record(BaseModel):
    """Base of every record: frozen, no unknown field, floats finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


RecordType = TypeVar("RecordType", bound=BaseModel)


def jsonable(record: BaseModel) -> Any:
    """Return the record as JSON-safe Python values."""
    return record.model_dump(mode="json")


def to_json(record: BaseModel) -> str:
    """Return the record as one line of ASCII JSON that keeps every character of every text."""
    return json.dumps(jsonable(record), separators=(",", ":"))


def from_json(record_type: type[RecordType], text: str | bytes) -> RecordType:
    """Read back what :func:`to_json` wrote.

    Raises:
        ValueError: the text is not JSON, or not of this record (pydantic's ``ValidationError``).
    """
    return record_type.model_validate(json.loads(text))


def sha256_of(value: object) -> str:
    """Return the hex SHA-256 of a JSON-safe value's canonical form (sorted keys, ASCII)."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


# --- what a user edits ------------------------------------------------------------------------


class Persona(Record):
    """Whom the tips are for."""

    id: str
    name: str
    description: str


class TimeSlot(Record):
    """When the tips are read; ``local_time`` is the persona's wall clock as ``HH:MM``."""

    id: str
    label: str
    local_time: str


class Task(Record):
    """One thing on the persona's list."""

    title: str
    due: str | None = None
    """When it is due, as the persona would write it: ``16:00``, ``tomorrow``."""
    minutes: int | None = Field(default=None, gt=0)
    """Estimated effort in minutes."""
    energy: Literal["low", "medium", "high"] | None = None
    notes: str | None = None


class Scenario(Record):
    """A fixed context, persona × time slot × tasks, that every model and prompt is given."""

    id: str
    persona: Persona
    time_slot: TimeSlot
    tasks: tuple[Task, ...]

    @property
    def sha256(self) -> str:
        """Hash of everything in the scenario, its id included."""
        return sha256_of(self.model_dump(mode="json"))


class PromptVersion(Record):
    """A named prompt: a system text and a Jinja2 template over ``scenario`` and ``n_tips``."""

    version: str
    description: str
    system: str
    template: str

    @property
    def sha256(self) -> str:
        """Hash of what reaches the model: system text and template, not name or description."""
        return sha256_of([self.system, self.template])


class RenderedPrompt(Record):
    """What is sent to the model for one scenario."""

    system: str
    user: str


# --- models and sampling ----------------------------------------------------------------------


class ModelReference(Record):
    """A model as the user named it: ``text`` as typed, ``provider`` and the provider's ``name``."""

    text: str
    provider: str
    name: str

    def __str__(self) -> str:
        return self.text


class ModelDescription(Record):
    """What a provider knows of a model without loading it."""

    reference: ModelReference
    digest: str
    """Content hash of the weights (or of a replay file): tells one build from the next."""
    parameter_count: int | None = None
    """Exact number of parameters: mixture-of-experts in full, projector included."""
    quantization: str | None = None
    family: str | None = None
    capabilities: tuple[str, ...] = ()
    server_version: str | None = None
    local: bool
    """True when completing with it puts weights into this machine's memory."""


class SamplingOptions(Record):
    """What is always sent and always recorded; ``num_ctx`` and ``num_predict`` are in tokens."""

    temperature: float = Field(default=0.7, ge=0)
    num_ctx: int = Field(default=4096, gt=0)
    num_predict: int = Field(default=1024, gt=0)


class CompletionRequest(Record):
    """Everything a provider needs to complete one prompt."""

    model: ModelDescription
    prompt: RenderedPrompt
    prompt_version: str
    scenario: str
    """The scenario's id."""
    repeat: int
    n_tips: int
    seed: int
    sampling: SamplingOptions
    residency: Residency
    timeout_seconds: float
    """Total deadline: queueing, loading and generating together."""


class Completion(Record):
    """What a model returned, raw, and what was measured; None = the provider did not say."""

    text: str
    thinking: str | None = None
    """Thinking text that the provider had already separated from ``text``."""
    stop_reason: str | None = None
    """``stop``, ``length``, or the provider's own word."""
    latency_seconds: float
    """Wall time from sending the request to the whole answer."""
    load_seconds: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    tokens_per_second: float | None = None
    """Generation speed alone, without load and prompt processing."""
    resident_bytes: int | None = None
    resident_vram_bytes: int | None = None
    foreign_models: tuple[str, ...] = ()
    """Models of others that were resident beside ours while this was generated."""
    seen_together: int | None = None
    """The largest number of models that one look showed resident, ours among them; None where no
    look showed ours (and in old records)."""

    @property
    def models_resident_together(self) -> int:
        """The largest number of models resident at one time, as far as it is known."""
        if self.seen_together is not None:
            return self.seen_together
        return 1 + len(self.foreign_models)


class ResidentModel(Record):
    """A model in a server's memory, whoever loaded it."""

    name: str
    digest: str
    resident_bytes: int
    resident_vram_bytes: int


# --- one cell ---------------------------------------------------------------------------------


class Cell(Record):
    """One model × prompt version × scenario (× repeat): one pytest item, one run."""

    model: ModelReference
    prompt_version: str
    scenario: str
    """The scenario's id."""
    repeat: int = Field(ge=1)
    """Counts from 1."""
    repeats: int = Field(ge=1)
    """How many repeats the matrix has; only with more than one does the id carry ``-rK``."""

    @property
    def id(self) -> str:
        """``MODEL-PROMPT-SCENARIO``, with ``-rK`` for repeat K where there are repeats.

        What pytest would write otherwise in a node id (all but ASCII, and the backslash) is
        percent-encoded, so that a cell is found again by its item's name.
        """
        suffix = f"-r{self.repeat}" if self.repeats > 1 else ""
        text = f"{self.model.text}-{self.prompt_version}-{self.scenario}{suffix}"
        return quote(text, safe=_SAFE_IN_IDS, errors="surrogatepass")


class Outcome(str, Enum):
    """How a cell ended, one word; decided in the order of this list."""

    TIMEOUT = "timeout"
    PROVIDER_ERROR = "provider_error"
    MISSING = "missing"
    OK = "ok"
    SHORT = "short"
    REFUSED = "refused"
    LOOPING = "looping"
    TRUNCATED = "truncated"
    EMPTY = "empty"
    MALFORMED = "malformed"

    @property
    def is_machine_fault(self) -> bool:
        """True when the cell was not measured and counts against nobody."""
        return self in (Outcome.TIMEOUT, Outcome.PROVIDER_ERROR, Outcome.MISSING)

    @property
    def is_usable(self) -> bool:
        """True when there is at least one usable tip."""
        return self in (Outcome.OK, Outcome.SHORT)


class DroppedTip(Record):
    """A string that did not become a tip, and why."""

    text: str
    reason: str


class ParsedTips(Record):
    """What a completion's text came to."""

    outcome: Outcome
    tips: tuple[str, ...]
    dropped: tuple[DroppedTip, ...]
    thinking_stripped: bool


class RunRecord(Record):
    """Everything known of a finished cell; the store keeps it and the board is made from it."""

    run_id: str
    """Made here, 32 hex digits; MLflow's own run id is the store's affair."""
    session_id: str
    experiment: str
    tipbench_version: str
    cell: Cell
    fingerprint: str
    configuration_sha256: str
    """Model digest, prompt, sampling and n_tips (not the seed): one row of the board."""
    model: ModelDescription | None
    """None where the model could not even be described (a worker died)."""
    scenario: Scenario
    scenario_sha256: str
    prompt_sha256: str
    rubric_version: str
    rubric_sha256: str
    """The rubric in force when the cell ran; judgements carry their own."""
    n_tips: int
    seed: int
    sampling: SamplingOptions
    residency: Residency
    prompt: RenderedPrompt
    outcome: Outcome
    error: str | None = None
    """The machine's fault in one line, where there was one."""
    tips: tuple[str, ...] = ()
    dropped: tuple[DroppedTip, ...] = ()
    thinking_stripped: bool = False
    completion: Completion | None = None
    """None where the machine failed before an answer came."""
    diversity: dict[str, float] = Field(default_factory=dict)
    started_at: datetime
    finished_at: datetime
    """Both in UTC."""

    @property
    def tips_missing(self) -> int:
        """How many of the tips asked for did not come."""
        return max(self.n_tips - len(self.tips), 0)

    @property
    def is_measured(self) -> bool:
        """False for a machine's fault, which counts against nobody."""
        return not self.outcome.is_machine_fault

    @property
    def why_unusable(self) -> str:
        """The outcome and what came instead of tips, in one line."""
        raw = self.completion.text if self.completion is not None else ""
        return f"{self.outcome.value}: no usable tip in {raw[:200]!r}"

    def __repr__(self) -> str:
        return f"<run {self.cell.id}: {self.outcome.value}, {len(self.tips)}/{self.n_tips} tips>"


def configuration_sha256(
    model_digest: str, prompt_sha256: str, sampling: SamplingOptions, n_tips: int
) -> str:
    """Return the identity of a row's configuration: everything but scenario, seed and repeat."""
    return sha256_of([model_digest, prompt_sha256, sampling.model_dump(mode="json"), n_tips])


def fingerprint(configuration: str, scenario_sha256: str, seed: int) -> str:
    """Return the identity of a cell's inputs: its newest finished run is the one that counts."""
    return sha256_of([configuration, scenario_sha256, seed])


# --- sessions and selections ------------------------------------------------------------------


class SessionRecord(Record):
    """One generating session; its cells hang under its parent run in MLflow."""

    session_id: str
    experiment: str
    started_at: datetime
    tipbench_version: str
    environment: dict[str, str] = Field(default_factory=dict)


class Selection(Record):
    """What ``--models``, ``--prompts`` and ``--scenarios`` name; None = no restriction.

    Models are compared by the reference's text; scenarios are ids (globs are expanded before).
    """

    models: tuple[str, ...] | None = None
    prompts: tuple[str, ...] | None = None
    scenarios: tuple[str, ...] | None = None

    def admits(self, cell: Cell) -> bool:
        """Say whether the cell belongs to the selection."""
        return (
            (self.models is None or cell.model.text in self.models)
            and (self.prompts is None or cell.prompt_version in self.prompts)
            and (self.scenarios is None or cell.scenario in self.scenarios)
        )
