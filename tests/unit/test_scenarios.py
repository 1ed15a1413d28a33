from __future__ import annotations

from pathlib import Path

import pytest

from pytest_tipbench.errors import SourceFileError
from pytest_tipbench.records import Persona, Scenario, Task, TimeSlot, from_json, to_json
from pytest_tipbench.scenarios import load_scenarios
from pytest_tipbench.source_files import read_toml

SHIPPED = Path(__file__).parents[2] / "evals" / "scenarios.toml"

SOUND = """\
[[personas]]
id = "zoe"
name = "Zoë"
description = "A nurse."

[[time_slots]]
id = "morning"
label = "Morning"
local_time = "08:00"

[[scenarios]]
id = "zoe-morning"
persona = "zoe"
time_slot = "morning"

[[scenarios.tasks]]
title = "Tax return"
due = "tomorrow"
minutes = 75
energy = "high"
notes = "All papers are in one folder."

[[scenarios.tasks]]
title = "Sleep"
"""


def _load(folder: Path, content: str) -> tuple[Scenario, ...]:
    path = folder / "scenarios.toml"
    path.write_bytes(content.encode())
    return load_scenarios(path)


def _refused(folder: Path, content: str) -> str:
    """Return the message without the folder."""
    with pytest.raises(SourceFileError) as caught:
        _load(folder, content)
    return str(caught.value).replace(f"{folder / 'scenarios.toml'}:", "")


def test_a_sound_file(tmp_path: Path) -> None:
    assert _load(tmp_path, SOUND) == (
        Scenario(
            id="zoe-morning",
            persona=Persona(id="zoe", name="Zoë", description="A nurse."),
            time_slot=TimeSlot(id="morning", label="Morning", local_time="08:00"),
            tasks=(
                Task(
                    title="Tax return",
                    due="tomorrow",
                    minutes=75,
                    energy="high",
                    notes="All papers are in one folder.",
                ),
                Task(title="Sleep"),
            ),
        ),
    )


def test_a_scenario_equals_itself_read_back_from_a_store(tmp_path: Path) -> None:
    (scenario,) = _load(tmp_path, SOUND)
    again = from_json(Scenario, to_json(scenario))
    assert again == scenario
    assert again.sha256 == scenario.sha256


def test_line_ends_do_not_change_the_hash(tmp_path: Path) -> None:
    (plain,) = _load(tmp_path, SOUND)
    (windows,) = _load(tmp_path, "\ufeff" + SOUND.replace("\n", "\r\n"))
    assert windows.sha256 == plain.sha256


def test_the_order_of_the_file_is_kept(tmp_path: Path) -> None:
    _, _, scenario = SOUND.partition("[[scenarios]]")
    more = [f"[[scenarios]]{scenario}".replace("zoe-morning", name) for name in ("b", "a")]
    scenarios = _load(tmp_path, "\n".join([SOUND, *more]))
    assert [scenario.id for scenario in scenarios] == ["zoe-morning", "b", "a"]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            'persona = "zoe"',
            'persona = "zoo"',
            "13: unknown persona 'zoo' (did you mean zoe?)",
        ),
        (
            'time_slot = "morning"',
            'time_slot = "mornin"',
            "14: unknown time slot 'mornin' (did you mean morning?)",
        ),
        ('energy = "high"', 'energy = "lots"', "20: 'energy' should be 'low', 'medium' or 'high'"),
        ("minutes = 75", "minutes = 0", "19: 'minutes' should be greater than 0, got 0"),
        ("minutes = 75", 'minutes = "75"', "19: 'minutes' should be a valid integer"),
        ("minutes = 75", "mintes = 75", "19: unknown key 'mintes' (did you mean minutes"),
        ('title = "Sleep"', "", "23: key 'title' is missing in [scenarios.tasks]"),
        ('title = "Sleep"', 'title = " "', "24: 'title' should not be empty"),
        ('id = "zoe-morning"', 'id = "Zoë morning"', "12: 'id' should be lower-case ASCII"),
        ('id = "zoe-morning"', 'id = ""', "12: 'id' should be lower-case ASCII"),
        ('local_time = "08:00"', 'local_time = "8 am"', "9: 'local_time' should be a time of day"),
        ('local_time = "08:00"', 'local_time = "24:00"', "9: 'local_time' should be a time of day"),
        ("[[time_slots]]", "[[timeslots]]", "6: unknown key 'timeslots' (did you mean time_slots"),
        ("[[time_slots]]", "[[timeslots]]", "1: key 'time_slots' is missing"),
    ],
)
def test_a_mistake(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert SOUND.count(old) == 1
    assert expected in _refused(tmp_path, SOUND.replace(old, new))


def test_a_scenario_without_tasks(tmp_path: Path) -> None:
    head, _, _ = SOUND.partition("\n[[scenarios.tasks]]")
    assert _refused(tmp_path, head) == "11: key 'tasks' is missing in [scenarios]"
    assert _refused(tmp_path, head + "tasks = []") == "15: 'tasks' should have at least one entry"


@pytest.mark.parametrize(
    ("addition", "expected"),
    [
        (
            '[[personas]]\nid = "zoe"\nname = "Z"\ndescription = "D"',
            "27: id 'zoe' is already used on line 2",
        ),
        (
            '[[time_slots]]\nid = "morning"\nlabel = "L"\nlocal_time = "09:00"',
            "27: id 'morning' is already used on line 7",
        ),
        (
            SOUND[SOUND.index("[[scenarios]]") :],
            "27: id 'zoe-morning' is already used on line 12",
        ),
    ],
)
def test_an_id_used_twice_names_both_lines(tmp_path: Path, addition: str, expected: str) -> None:
    assert _refused(tmp_path, f"{SOUND}\n{addition}\n") == expected


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SourceFileError, match="no such file"):
        load_scenarios(tmp_path / "scenarios.toml")


class TestShipped:
    def test_there_are_enough_of_everything(self) -> None:
        scenarios = load_scenarios(SHIPPED)
        assert len(scenarios) >= 12
        assert len({scenario.persona.id for scenario in scenarios}) >= 4
        assert len({scenario.time_slot.id for scenario in scenarios}) >= 3

    def test_names_beyond_ascii_are_among_them(self) -> None:
        names = {scenario.persona.name for scenario in load_scenarios(SHIPPED)}
        assert sum(not name.isascii() for name in names) >= 2

    def test_tasks_vary_in_what_they_state(self) -> None:
        tasks = [task for scenario in load_scenarios(SHIPPED) for task in scenario.tasks]
        for facts in (
            {task.due is None for task in tasks},
            {task.minutes is None for task in tasks},
            {task.notes is None for task in tasks},
        ):
            assert facts == {True, False}
        assert {task.energy for task in tasks} == {"low", "medium", "high", None}

    def test_each_scenario_asks_for_a_choice(self) -> None:
        for scenario in load_scenarios(SHIPPED):
            assert len(scenario.tasks) >= 3, scenario.id
            assert any(task.due for task in scenario.tasks), scenario.id
            assert any(task.notes for task in scenario.tasks), scenario.id

    def test_every_persona_and_time_slot_is_used(self) -> None:
        data = read_toml(SHIPPED).data
        scenarios = load_scenarios(SHIPPED)
        assert {entry["id"] for entry in data["personas"]} == {s.persona.id for s in scenarios}
        assert {entry["id"] for entry in data["time_slots"]} == {s.time_slot.id for s in scenarios}

    def test_the_line_of_each_id_is_where_the_file_has_it(self) -> None:
        source = read_toml(SHIPPED)
        lines = SHIPPED.read_text(encoding="utf-8").split("\n")
        for index, scenario in enumerate(load_scenarios(SHIPPED)):
            assert lines[source.line_of("scenarios", index, "id") - 1] == f'id = "{scenario.id}"'
