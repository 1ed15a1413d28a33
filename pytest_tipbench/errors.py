"""Owns the exception tree; imports nothing of ours.

::

    TipbenchError
    ├── UserMistakeError            one clear line (or list), exit code 4, nothing written
    │   ├── SourceFileError         a file a user edits: file, line, what was expected
    │   ├── UnknownNameError        a name nobody knows, with the nearest known ones
    │   ├── MissingExtraError       an extra that is not installed, with the command
    │   ├── PreflightError          every model that may not or cannot run, in one message
    │   ├── LockTimeoutError        another session holds the machine's memory
    │   └── JudgeFileError          every fault of a judged sheet, in one message
    ├── ProviderError               this cell ends as `provider_error`
    │   ├── ProviderUnreachableError  nothing answers at the address
    │   ├── ProviderBusyError         worth another try until the deadline
    │   ├── ModelMissingError         the provider does not have the model
    │   ├── UnsizableModelError       the exact parameter count cannot be known
    │   └── CompletionTimeoutError    this cell ends as `timeout`
    ├── ResidencyError              weights that should be gone are still resident
    └── StoreError
        ├── LedgerError             the ledger cannot be read or written
        ├── TrackingUnreachableError  no answer from MLflow; worth another try later
        └── TrackingRefusedError      MLflow answered and said no (host check, credentials, limits)
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path


class TipbenchError(Exception):
    """Root of everything this package raises on purpose."""


class UserMistakeError(TipbenchError):
    """A mistake of the user's: what, where and how to mend it, in the message; exit code 4."""


class SourceFileError(UserMistakeError):
    """A file that a user edits is malformed.

    The message reads ``PATH:LINE: what was expected``; the line is left out where it is not known.
    """

    def __init__(self, path: Path, message: str, line: int | None = None) -> None:
        self.path = path
        self.line = line
        super().__init__(f"{path}:{line}: {message}" if line else f"{path}: {message}")


class UnknownNameError(UserMistakeError):
    """A name that is not known, e.g. of a prompt version, with the nearest known names offered."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.name = name
        names = sorted(set(known))
        begun = [known_name for known_name in names if name and known_name.startswith(name)]
        alike = difflib.get_close_matches(name, names, n=3, cutoff=0.4)
        nearest = list(dict.fromkeys([*begun, *alike]))[:3] or names[:12]
        offer = f" (did you mean {', '.join(nearest)}?)" if nearest else " (none are defined)"
        super().__init__(f"unknown {kind} {name!r}{offer}")


class MissingExtraError(UserMistakeError):
    """A part that needs an extra which is not installed."""

    def __init__(self, extra: str, needed_for: str) -> None:
        self.extra = extra
        super().__init__(
            f"{needed_for} needs an extra that is not installed: "
            f"pip install 'pytest-tipbench[{extra}]'"
        )


class PreflightError(UserMistakeError):
    """Every model that may not or cannot run, one reason each, in a single message."""

    def __init__(self, headline: str, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join([headline, *(f"  - {problem}" for problem in problems)]))


class LockTimeoutError(UserMistakeError):
    """Another session held the memory lock for longer than we were willing to wait."""


class JudgeFileError(UserMistakeError):
    """A judged sheet with faults; all of them are listed and nothing was written."""

    def __init__(self, path: Path, faults: Sequence[str]) -> None:
        self.path = path
        self.faults = tuple(faults)
        count = len(self.faults)
        headline = f"{path}: {count} fault{'s' if count != 1 else ''}, nothing was written"
        super().__init__("\n".join([headline, *(f"  - {fault}" for fault in faults)]))


class ProviderError(TipbenchError):
    """A provider failed to complete a prompt; the machine's fault, never the model's."""


class ProviderUnreachableError(ProviderError):
    """Nothing answers at the provider's address."""


class ProviderBusyError(ProviderError):
    """The provider asks to come back later; worth another try until the cell's deadline."""


class ModelMissingError(ProviderError):
    """The provider does not have the model; ``remedy`` is a command that would fetch it."""

    def __init__(self, message: str, remedy: str | None = None) -> None:
        self.remedy = remedy
        super().__init__(message)


class UnsizableModelError(ProviderError):
    """The model's exact parameter count cannot be known (safetensors, cloud, no count)."""


class CompletionTimeoutError(ProviderError):
    """The total deadline of one completion (queueing, loading, generating) has passed."""


class ResidencyError(TipbenchError):
    """Weights that should be gone are still resident; no further local cell may load a model."""


class StoreError(TipbenchError):
    """A store could not keep or give back a record."""


class LedgerError(StoreError):
    """The ledger cannot be read or written."""


class TrackingUnreachableError(StoreError):
    """MLflow does not answer; what was to be written stays in the ledger."""


class TrackingRefusedError(StoreError):
    """MLflow answered and refused: host check, credentials, or a value it does not take."""
