"""Owns reading ``scenarios.toml`` into scenarios; imports source_files, records and errors only."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator

from pytest_tipbench.errors import UnknownNameError
from pytest_tipbench.records import Persona, Record, Scenario, Task, TimeSlot
from pytest_tipbench.source_files import Filled, NotEmpty, Slug, read_toml, refuse

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pytest_tipbench.source_files import Fault, TomlSource


def _wall_clock(text: str) -> str:
    if not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", text):
        raise ValueError('should be a time of day such as "07:30"')
    return text


class _Persona(Persona):
    id: Slug
    name: Filled
    description: Filled


class _TimeSlot(TimeSlot):
    id: Slug
    label: Filled
    local_time: Annotated[str, AfterValidator(_wall_clock)]


class _Task(Task):
    title: Filled
    due: Filled | None = None
    notes: Filled | None = None


class _Scenario(Record):
    id: Slug
    persona: str
    time_slot: str
    tasks: Annotated[tuple[_Task, ...], NotEmpty]


class _ScenariosFile(Record):
    personas: Annotated[tuple[_Persona, ...], NotEmpty]
    time_slots: Annotated[tuple[_TimeSlot, ...], NotEmpty]
    scenarios: Annotated[tuple[_Scenario, ...], NotEmpty]


def load_scenarios(path: Path) -> tuple[Scenario, ...]:
    """Read the scenarios of ``scenarios.toml``, in the file's order.

    Raises:
        SourceFileError: the file cannot be read, is malformed, uses an id twice, or names a persona
            or a time slot that it does not define.
    """
    source = read_toml(path)
    file = source.read_as(_ScenariosFile)
    faults = [
        *_repeated_ids(source, "personas", file.personas),
        *_repeated_ids(source, "time_slots", file.time_slots),
        *_repeated_ids(source, "scenarios", file.scenarios),
        *_unknown_parts(source, file),
    ]
    if faults:
        refuse(path, faults)
    # Plain records, not the file's stricter ones: a scenario read back from a store equals this.
    personas = {entry.id: Persona(**entry.model_dump()) for entry in file.personas}
    time_slots = {entry.id: TimeSlot(**entry.model_dump()) for entry in file.time_slots}
    return tuple(
        Scenario(
            id=entry.id,
            persona=personas[entry.persona],
            time_slot=time_slots[entry.time_slot],
            tasks=tuple(Task(**task.model_dump()) for task in entry.tasks),
        )
        for entry in file.scenarios
    )


def _repeated_ids(
    source: TomlSource, array: str, entries: Sequence[_Persona | _TimeSlot | _Scenario]
) -> Iterator[Fault]:
    return source.repeat_faults("id", [entry.id for entry in entries], array, "id")


def _unknown_parts(source: TomlSource, file: _ScenariosFile) -> Iterator[Fault]:
    personas = [entry.id for entry in file.personas]
    time_slots = [entry.id for entry in file.time_slots]
    for index, entry in enumerate(file.scenarios):
        for key, kind, name, known in (
            ("persona", "persona", entry.persona, personas),
            ("time_slot", "time slot", entry.time_slot, time_slots),
        ):
            if name not in known:
                message = str(UnknownNameError(kind, name, known))
                yield source.fault(message, "scenarios", index, key)
