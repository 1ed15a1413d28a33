"""Owns what was seen of the memory promise, as numbers and as a line; imports records only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pytest_tipbench.records import ResidentModel, RunRecord


@dataclass
class Evidence:
    """What one process saw; the controller adds its runs and what its workers saw."""

    loads: int = 0
    """How often weights were loaded through us, as far as a client can tell."""
    proofs: int = 0
    """How often it was proved that nothing of ours is in memory any more."""
    together: int = 0
    """The largest number of models seen in one memory at one time, one of ours among them."""
    largest_resident_bytes: int | None = None
    """The largest size seen of a model of ours; None where no server told."""
    largest_vram_bytes: int | None = None
    """The largest part of one that was seen in a graphics card's memory."""
    foreign: list[str] = field(default_factory=list)
    """Models of others that were seen resident."""

    def see(self, ours: Sequence[ResidentModel], others: Sequence[ResidentModel]) -> None:
        """Take in what a server lists at one moment, whoever loaded it."""
        self._take(
            together=len(ours) + len(others) if ours else 0,
            resident_bytes=_largest(model.resident_bytes for model in ours),
            vram_bytes=_largest(model.resident_vram_bytes for model in ours),
            foreign=[model.name for model in others],
        )

    def add_run(self, run: RunRecord) -> None:
        """Take in what a run of this session recorded; a hosted model's says nothing."""
        completion = run.completion
        if run.model is not None and run.model.local and completion is not None:
            self._take(
                together=completion.models_resident_together,
                resident_bytes=completion.resident_bytes,
                vram_bytes=completion.resident_vram_bytes,
                foreign=completion.foreign_models,
            )

    def add(self, told: Mapping[str, Any]) -> None:
        """Take in what another process saw, as ``dataclasses.asdict`` gives it."""
        self.loads += told["loads"]
        self.proofs += told["proofs"]
        self._take(
            together=told["together"],
            resident_bytes=told["largest_resident_bytes"],
            vram_bytes=told["largest_vram_bytes"],
            foreign=told["foreign"],
        )

    def line(self) -> str:
        """Return all of it in one line."""
        size = (
            "size not told"
            if self.largest_resident_bytes is None
            else f"largest resident size: {_gibibytes(self.largest_resident_bytes)}"
        )
        if self.largest_vram_bytes:
            size += f" ({_gibibytes(self.largest_vram_bytes)} in VRAM)"
        parts = [
            f"models resident together: {self.together}",
            size,
            f"loads: {self.loads}",
            f"proved empty: {'once' if self.proofs == 1 else f'{self.proofs} times'}",
        ]
        if self.foreign:
            parts.append(f"loaded by others: {', '.join(self.foreign)}")
        return f"memory: {'; '.join(parts)}"

    def _take(
        self,
        *,
        together: int,
        resident_bytes: int | None,
        vram_bytes: int | None,
        foreign: Sequence[str],
    ) -> None:
        self.together = max(self.together, together)
        self.largest_resident_bytes = _largest([self.largest_resident_bytes, resident_bytes])
        self.largest_vram_bytes = _largest([self.largest_vram_bytes, vram_bytes])
        self.foreign += [name for name in dict.fromkeys(foreign) if name not in self.foreign]


def _largest(sizes: Iterable[int | None]) -> int | None:
    return max((size for size in sizes if size is not None), default=None)


def _gibibytes(count: int) -> str:
    return f"{count / 2**30:.2f} GiB"
