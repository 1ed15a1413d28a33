"""Owns recorded completions, reading and writing them; imports records and errors only."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ConfigDict, Field, ValidationError

from pytest_tipbench.errors import ModelMissingError, ProviderError, SourceFileError
from pytest_tipbench.records import Completion, ModelDescription, Record, sha256_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_tipbench.records import CompletionRequest, ModelReference, RunRecord

_MOST_FAULTS_LISTED = 20
_FILE_AND_MODEL = re.compile(r"(?P<file>.*?\.jsonl)#(?P<model>.+)", re.DOTALL)


class RecordedCompletion(Record):
    """One line of a replay file."""

    model_config = ConfigDict(strict=True)

    prompt_version: str
    scenario: str
    """The scenario's id."""
    completion: str
    """The model's text, raw and whole."""
    model: str | None = None
    """Which model it came from; a file of one model need not say."""
    repeat: int = Field(default=1, ge=1)
    latency_seconds: float | None = Field(default=None, ge=0)
    prompt_tokens: int | None = Field(default=None, ge=0)
    completion_tokens: int | None = Field(default=None, ge=0)

    @property
    def key(self) -> tuple[str, str, int]:
        """Which cell of its model it completes."""
        return self.prompt_version, self.scenario, self.repeat


@dataclass(frozen=True)
class _Recording:
    """One model's completions, and the hash of where they come from."""

    digest: str
    completions: dict[tuple[str, str, int], RecordedCompletion]


class ReplayProvider:
    """Completes from a file of completions that were made elsewhere, one JSON object a line.

    ``replay/FILE.jsonl`` takes a file of one model. Where the lines name several,
    ``replay/FILE.jsonl#MODEL`` takes those of one. A line without ``latency_seconds`` is given 0.
    """

    name = "replay"

    def __init__(self, root: Path) -> None:
        self._root = root
        self._recordings: dict[str, _Recording] = {}

    def describe(self, model: ModelReference) -> ModelDescription:
        """Read the whole file; its content (and the model chosen) is the digest.

        Raises:
            ModelMissingError: no such file, or no such model in it.
            SourceFileError: lines are malformed, or several models are there to choose from.
        """
        recording = self._recordings[model.name] = _read(model.name, self._root)
        return ModelDescription(reference=model, digest=recording.digest, local=False)

    def complete(self, request: CompletionRequest) -> Completion:
        """Return the recorded completion of the request's prompt version, scenario and repeat.

        Raises:
            ProviderError: the file has none.
        """
        name = request.model.reference.name
        recording = self._recordings.get(name) or _read(name, self._root)
        self._recordings[name] = recording
        recorded = recording.completions.get(
            (request.prompt_version, request.scenario, request.repeat)
        )
        if recorded is None:
            raise ProviderError(
                f"replay/{name} has no completion for prompt_version {request.prompt_version!r}, "
                f"scenario {request.scenario!r}, repeat {request.repeat}"
            )
        return Completion(
            text=recorded.completion,
            latency_seconds=recorded.latency_seconds or 0.0,
            prompt_tokens=recorded.prompt_tokens,
            completion_tokens=recorded.completion_tokens,
        )

    def release(self, model: ModelDescription) -> None:
        """Do nothing: there are no weights."""

    def close(self) -> None:
        """Forget what was read; may be called twice."""
        self._recordings.clear()


def recorded_line(record: RunRecord) -> str:
    """Return the run as one line of a replay file, without the line's end.

    The line is ASCII and keeps every character of the model's text.

    Raises:
        ValueError: the run has no completion, because the machine failed.
    """
    completion = record.completion
    if completion is None:
        raise ValueError(f"{record.cell.id} has no completion to record")
    recorded = RecordedCompletion(
        model=record.cell.model.text,
        prompt_version=record.cell.prompt_version,
        scenario=record.cell.scenario,
        repeat=record.cell.repeat,
        completion=completion.text,
        latency_seconds=completion.latency_seconds,
        prompt_tokens=completion.prompt_tokens,
        completion_tokens=completion.completion_tokens,
    )
    return json.dumps(recorded.model_dump(mode="json", exclude_none=True))


def _read(name: str, root: Path) -> _Recording:
    """Read the completions that a model's name stands for."""
    try:
        path, chosen = _find(name, root)
        content = path.read_bytes()
    except (OSError, RuntimeError, ValueError) as error:  # also no home folder, or a NUL
        raise ModelMissingError(f"replay/{name} cannot be read: {error}") from error
    numbered = _parse(path, content)
    models = list(dict.fromkeys(recorded.model for _, recorded in numbered))
    if chosen is not None and chosen not in models:
        named = [model for model in models if model is not None]
        nearest = difflib.get_close_matches(chosen, named, n=3, cutoff=0.4) or named[:12]
        offer = f"did you mean {', '.join(nearest)}?" if nearest else "its lines name no model"
        raise ModelMissingError(f"{path} has no completions of {chosen!r} ({offer})")
    if chosen is None and len(models) > 1:
        raise SourceFileError(path, _choose_one(name, numbered, models))
    completions = _by_key(path, [each for each in numbered if chosen in (None, each[1].model)])
    digest = hashlib.sha256(content).hexdigest()
    return _Recording(digest if chosen is None else sha256_of([digest, chosen]), completions)


def _find(name: str, root: Path) -> tuple[Path, str | None]:
    """Return the file that a model's name stands for, and the model chosen in it."""
    path = root / Path(name).expanduser()
    match = _FILE_AND_MODEL.fullmatch(name)
    if match is None or path.is_file():
        return path, None
    return root / Path(match["file"]).expanduser(), match["model"]


def _parse(path: Path, content: bytes) -> list[tuple[int, RecordedCompletion]]:
    """Return each line's number and record; blank lines are nothing.

    Raises:
        SourceFileError: every malformed line, by its number.
    """
    numbered = []
    faults = []
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line.decode("utf-8"))
            numbered.append((number, RecordedCompletion.model_validate(value)))
        except ValidationError as error:
            faults.append((number, _explain(error)))
        except UnicodeDecodeError as error:
            faults.append((number, f"not UTF-8 at byte {error.start + 1} of the line"))
        except ValueError as error:
            faults.append((number, f"not JSON: {error}"))
        except RecursionError:
            faults.append((number, "not JSON: nested too deeply"))
    _raise_faults(path, faults)
    if not numbered:
        raise SourceFileError(path, "expected one JSON object a line, and there is none")
    return numbered


def _by_key(
    path: Path, numbered: Sequence[tuple[int, RecordedCompletion]]
) -> dict[tuple[str, str, int], RecordedCompletion]:
    lines: dict[tuple[str, str, int], int] = {}
    faults = []
    for number, recorded in numbered:
        first = lines.setdefault(recorded.key, number)
        if first != number:
            faults.append((number, f"the same prompt_version, scenario and repeat as line {first}"))
    _raise_faults(path, faults)
    return {recorded.key: recorded for _, recorded in numbered}


def _raise_faults(path: Path, faults: Sequence[tuple[int, str]]) -> None:
    if len(faults) == 1:
        raise SourceFileError(path, faults[0][1], faults[0][0])
    if faults:
        listed = [f"  - line {number}: {fault}" for number, fault in faults[:_MOST_FAULTS_LISTED]]
        left_out = len(faults) - len(listed)
        more = [f"  - and {left_out} more"] if left_out else []
        raise SourceFileError(path, "\n".join([f"{len(faults)} lines are bad", *listed, *more]))


def _explain(error: ValidationError) -> str:
    """Return what a line's JSON lacks or has too much, key by key."""
    faults = []
    for fault in error.errors(include_url=False):
        key = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            known = difflib.get_close_matches(key, RecordedCompletion.model_fields, n=1)
            offer = f" (did you mean {known[0]}?)" if known else ""
            faults.append(f"unknown key {key!r}{offer}")
        elif fault["type"] == "missing":
            faults.append(f"the key {key!r} is missing")
        else:
            faults.append(f"{key}: {fault['msg']}" if key else "expected a JSON object")
    return "; ".join(faults)


def _choose_one(
    name: str,
    numbered: Sequence[tuple[int, RecordedCompletion]],
    models: Sequence[str | None],
) -> str:
    named = [f"replay/{name}#{model}" for model in models if model is not None]
    message = f"has completions of several models; choose one: {', '.join(named)}"
    unnamed = [number for number, recorded in numbered if recorded.model is None]
    if unnamed:
        message = (
            f"some lines name a model and line {unnamed[0]} names none; give it one, or {message}"
        )
    return message
