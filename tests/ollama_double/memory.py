"""Owns what the double holds in memory: loading, keep-alive, unloading, and their time line."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.ollama_double.models import DoubleModel

_TICK_SECONDS = 0.005


@dataclass(frozen=True)
class Event:
    """Something that happened at ``at`` (monotonic seconds).

    Kinds: ``load`` (memory is taken), ``loaded`` (``ps`` lists it), ``unload`` (asked for or
    expired), ``gone`` (memory is free), ``cloud`` (someone asked for a cloud model).
    """

    at: float
    kind: str
    model: str
    digest: str
    foreign: bool = False


@dataclass
class Resident:
    """A model in memory, from the begin of its loading to the end of its unloading."""

    model: DoubleModel
    name: str
    foreign: bool
    keep_alive_seconds: float
    is_loading: bool = True
    in_use: int = 0
    expires_at: float = math.inf
    gone_at: float | None = None
    turn: threading.Lock = field(default_factory=threading.Lock)
    """One completion at a time, as with OLLAMA_NUM_PARALLEL=1."""

    def ps_entry(self) -> dict[str, Any]:
        left = min(self.expires_at - time.monotonic(), 100 * 365 * 86_400.0)
        expires_at = datetime.now(timezone.utc) + timedelta(seconds=left)
        return {
            "name": self.name,
            "model": self.name,
            "size": self.model.resident_bytes,
            "digest": self.model.digest,
            "details": self.model.details(),
            "expires_at": expires_at.isoformat(),
            "size_vram": self.model.resident_bytes // 2,
            "context_length": 4096,
        }


class Memory:
    """The server's memory and scheduler; safe to use from many threads."""

    def __init__(
        self, *, load_seconds: float, unload_seconds: float, max_models: int | None
    ) -> None:
        self.load_seconds = load_seconds
        self.unload_seconds = unload_seconds
        self.max_models = max_models
        self._lock = threading.RLock()
        self._residents: dict[str, Resident] = {}
        self._events: list[Event] = []

    # --- using a model ------------------------------------------------------------------------

    @contextlib.contextmanager
    def using(
        self,
        model: DoubleModel,
        name: str,
        keep_alive_seconds: float,
        wait: Callable[[float], None],
    ) -> Iterator[Resident]:
        """Hold the model in memory, loading it first where needed; then keep it alive.

        ``wait`` waits so many seconds, or raises because the client has gone.
        """
        resident = self._acquire(model, name, keep_alive_seconds, wait)
        try:
            while not resident.turn.acquire(blocking=False):
                wait(_TICK_SECONDS)
            try:
                yield resident
            finally:
                resident.turn.release()
        finally:
            with self._lock:
                self._leave(resident)
                self._settle()

    def _acquire(
        self,
        model: DoubleModel,
        name: str,
        keep_alive_seconds: float,
        wait: Callable[[float], None],
    ) -> Resident:
        while True:
            resident, must_load = self._claim(model, name, keep_alive_seconds)
            if resident is None:
                wait(_TICK_SECONDS)
                continue
            try:
                if must_load:
                    wait(self.load_seconds)
                    with self._lock:
                        resident.is_loading = False
                        self._note("loaded", resident, time.monotonic())
                while resident.is_loading and self._residents.get(model.digest) is resident:
                    wait(_TICK_SECONDS)
            except BaseException:  # the client went away: so does what it was loading
                with self._lock:
                    self._leave(resident)
                    if must_load:
                        self._drop(resident)
                raise
            if not resident.is_loading:
                return resident

    def _claim(
        self, model: DoubleModel, name: str, keep_alive_seconds: float
    ) -> tuple[Resident | None, bool]:
        """Return the model's place in memory and whether it has to be loaded into it."""
        with self._lock:
            self._settle()
            resident = self._residents.get(model.digest)
            if resident is not None and resident.gone_at is None:
                resident.in_use += 1
                resident.keep_alive_seconds = keep_alive_seconds
                return resident, False
            if resident is None and self._has_room():
                resident = Resident(model, name, False, keep_alive_seconds, in_use=1)
                self._residents[model.digest] = resident
                self._note("load", resident, time.monotonic())
                return resident, True
            return None, False

    def _leave(self, resident: Resident) -> None:
        resident.in_use -= 1
        resident.expires_at = time.monotonic() + resident.keep_alive_seconds

    def place(self, model: DoubleModel, name: str, keep_alive_seconds: float) -> None:
        """Put a model into memory at once, as another client; or keep a resident one alive."""
        with self._lock:
            self._settle()
            resident = self._residents.get(model.digest)
            if resident is None:
                resident = Resident(model, name, True, keep_alive_seconds, is_loading=False)
                self._residents[model.digest] = resident
                now = time.monotonic()
                self._note("load", resident, now)
                self._note("loaded", resident, now)
            resident.keep_alive_seconds = keep_alive_seconds
            resident.expires_at = time.monotonic() + keep_alive_seconds

    def _has_room(self) -> bool:
        """Say whether one more fits; where not, let an idle model go, as Ollama does."""
        if self.max_models is None or len(self._residents) < self.max_models:
            return True
        idle = [each for each in self._residents.values() if not each.in_use]
        if idle and all(each.gone_at is None for each in self._residents.values()):
            self._unload(min(idle, key=lambda each: each.expires_at), time.monotonic())
            self._settle()
        return len(self._residents) < self.max_models

    # --- unloading ----------------------------------------------------------------------------

    def unload(self, model: DoubleModel) -> None:
        """Let the model go as soon as nobody uses it; the memory is free some time later."""
        with self._lock:
            self._settle()
            resident = self._residents.get(model.digest)
            if resident is not None:
                resident.keep_alive_seconds = 0
                resident.expires_at = time.monotonic()
                self._settle()

    def crash(self, model: DoubleModel) -> None:
        """Lose the model at once, as when its runner dies."""
        with self._lock:
            resident = self._residents.get(model.digest)
            if resident is not None:
                self._drop(resident)

    def _drop(self, resident: Resident) -> None:
        now = time.monotonic()
        if self._residents.get(resident.model.digest) is resident:
            del self._residents[resident.model.digest]
            self._note("unload", resident, now)
            self._note("gone", resident, now)

    def _unload(self, resident: Resident, at: float) -> None:
        resident.gone_at = at + self.unload_seconds
        self._note("unload", resident, at)

    def _settle(self) -> None:
        """Bring about what time has brought about: expiries, and ends of unloading."""
        now = time.monotonic()
        for resident in list(self._residents.values()):
            idle = not resident.in_use and not resident.is_loading
            if idle and resident.gone_at is None and resident.expires_at <= now:
                self._unload(resident, resident.expires_at)
            if resident.gone_at is not None and resident.gone_at <= now:
                del self._residents[resident.model.digest]
                self._note("gone", resident, resident.gone_at)

    # --- seeing -------------------------------------------------------------------------------

    def listed(self) -> list[Resident]:
        """Return what ``ps`` lists: not what is loading, but still what is unloading."""
        with self._lock:
            self._settle()
            shown = [each for each in self._residents.values() if not each.is_loading]
        return sorted(shown, key=lambda each: -each.expires_at)

    def is_unloading(self) -> bool:
        with self._lock:
            self._settle()
            return any(each.gone_at is not None for each in self._residents.values())

    def note_cloud(self, name: str) -> None:
        """Record that someone asked for a model that would run in the cloud."""
        with self._lock:
            self._events.append(Event(time.monotonic(), "cloud", name, ""))

    def _note(self, kind: str, resident: Resident, at: float) -> None:
        self._events.append(Event(at, kind, resident.name, resident.model.digest, resident.foreign))

    def events(self) -> list[Event]:
        """Return everything that happened, in the order of time."""
        with self._lock:
            self._settle()
            return sorted(self._events, key=lambda event: event.at)

    def max_together(self) -> int:
        """Return the largest number of models that held memory at one time."""
        most = now = 0
        for event in self.events():
            now += {"load": 1, "gone": -1}.get(event.kind, 0)
            most = max(most, now)
        return most

    def loads(self, *, foreign: bool) -> Counter[str]:
        """Return how often each digest was loaded, by foreign clients or by the others."""
        return Counter(
            event.digest
            for event in self.events()
            if event.kind == "load" and event.foreign == foreign
        )
