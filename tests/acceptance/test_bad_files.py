"""A malformed file of the user's is exit code 4, with file, line and what was expected."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.acceptance.conftest import ONE_CELL

if TYPE_CHECKING:
    from tests.acceptance.conftest import Project
    from tests.ollama_double import OllamaDouble


@pytest.mark.parametrize(
    ("path", "change", "parts"),
    [
        (
            "evals/scenarios.toml",
            ('id = "zoe-midday-day-off"', 'id = "maya-morning-deadline"'),
            ("'maya-morning-deadline' is already used",),
        ),
        (
            "evals/scenarios.toml",
            (
                'id = "zoe-midday-day-off"\npersona = "zoe"',
                'id = "zoe-midday-day-off"\npersona = "zoë"',
            ),
            ("zoë",),
        ),
        (
            "evals/scenarios.toml",
            ('[[personas]]\nid = "maya"', '[[personas]\nid = "maya"'),
            ("not TOML",),
        ),
        (
            "evals/prompts/v1.md",
            ("{{ scenario.persona.name }}", "{{ scenario.person }}"),
            ("person",),
        ),
        ("evals/prompts/v1.md", ("{{ scenario.persona.name }}", "{{ scenario."), ("v1.md",)),
        ("evals/prompts/v1.md", ('system = "You', 'sistem = "You'), ("sistem", "system")),
        ("rubric.md", ("scale = [1, 5]", "scale = [5, 1]"), ("scale",)),
        ("rubric.md", ("weight = 0.2", 'weight = "0.2"'), ("weight",)),
        ("rubric.md", ("missing_tip_score = 1", "missing_score = 1"), ("missing_score",)),
    ],
)
def test_it_is_told_before_any_server_is_asked(
    ollama_project: Project,
    ollama: OllamaDouble,
    path: str,
    change: tuple[str, str],
    parts: tuple[str, ...],
) -> None:
    ollama_project.edit(path, *change)
    outcome = ollama_project.run("evals", *ONE_CELL)
    outcome.assert_mistake(str(ollama_project.root / path), *parts)
    assert ollama.completions() == []
    assert not ollama_project.ledger_path.exists()


def test_the_line_is_told(either_way: Project) -> None:
    line = either_way.edit("evals/scenarios.toml", 'id = "zoe-midday-day-off"', 'id = "Zoë!"')
    outcome = either_way.run("evals", *ONE_CELL)
    outcome.assert_mistake(f"{either_way.root / 'evals/scenarios.toml'}:{line}: ", "'-' only")


def test_the_line_of_a_rubric_is_told(ollama_project: Project) -> None:
    line = ollama_project.edit("rubric.md", 'name = "tone"', 'nmae = "tone"')
    outcome = ollama_project.run("evals", *ONE_CELL)
    outcome.assert_mistake(f"{ollama_project.root / 'rubric.md'}:", "nmae", "name")
    assert f"rubric.md:{line}: " in outcome.text or f"rubric.md:{line - 1}: " in outcome.text


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("evals/scenarios.toml", "no such file"),
        ("evals/prompts/v1.md", "v1"),
        ("rubric.md", "no such file"),
    ],
)
def test_a_missing_file_is_named(ollama_project: Project, path: str, part: str) -> None:
    (ollama_project.root / path).unlink()
    ollama_project.run("evals", *ONE_CELL).assert_mistake(part)


def test_another_encoding_is_told_with_its_line(ollama_project: Project) -> None:
    path = ollama_project.root / "evals/scenarios.toml"
    text = path.read_text(encoding="utf-8")
    line = text[: text.index("Zoë")].count("\n") + 1
    path.write_bytes(text.replace("Zoë", "Zo\udceb", 1).encode("utf-8", "surrogateescape"))
    outcome = ollama_project.run("evals", *ONE_CELL)
    outcome.assert_mistake(f"scenarios.toml:{line}: ", "UTF-8")


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("tone = 5 }", "tone = 6 }", ("'tone'", "from 1 to 5")),
        ("tone = 5 }", "wit = 5 }", ("wit", "tone")),
        ('scenario = "maya-morning-deadline"', 'scenario = "nobody"', ("nobody",)),
    ],
)
def test_malformed_anchors_are_told_with_the_export(
    generated_project: Project, old: str, new: str, parts: tuple[str, ...]
) -> None:
    path = generated_project.root / "evals/anchors.toml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    outcome = generated_project.run("--judge-export", "s.json")
    outcome.assert_mistake(f"{path}:", *parts)
    assert not (generated_project.root / "s.json").exists()


def test_a_project_of_ones_own_with_other_criteria_works_everywhere(
    ollama_project: Project,
) -> None:
    """Criteria come from the rubric alone."""
    ollama_project.write(
        "rubric.md",
        '+++\nversion = "own-v1"\nscale = [0, 10]\nmissing_tip_score = 0\n\n'
        '[[criteria]]\nname = "wit"\nweight = 1.0\n\n[[criteria]]\nname = "brevity"\nweight = 3.0\n'
        "+++\n# Score\n\nwit: how funny. brevity: how short.\n",
    )
    (ollama_project.root / "evals/anchors.toml").unlink()
    outcome = ollama_project.run("evals", *ONE_CELL, "--n-tips", "1", "--judge-export", "s.json")
    assert outcome.code == 0, outcome.text
    ollama_project.judge(ollama_project.root / "s.json", 8)
    outcome = ollama_project.run("--judge-apply", "s.json", "--gate", "brevity>=8")
    assert outcome.code == 0, outcome.text
    assert "PASS brevity>=8" in outcome.words
    assert "8.00" in outcome.text


def test_the_evals_folder_and_the_rubric_may_lie_elsewhere(ollama_project: Project) -> None:
    root = ollama_project.root
    (root / "evals").rename(root / "bench")
    (root / "rubric.md").rename(root / "bench/our-rubric.md")
    ollama_project.write_configuration(
        tipbench_evals="bench", tipbench_rubric="bench/our-rubric.md"
    )
    outcome = ollama_project.run("bench", *ONE_CELL)
    assert outcome.code == 0, outcome.text
    assert len(ollama_project.runs()) == 1
