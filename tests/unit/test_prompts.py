from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_tipbench.errors import SourceFileError
from pytest_tipbench.prompts import load_prompts, render
from pytest_tipbench.records import (
    Persona,
    PromptVersion,
    RenderedPrompt,
    Scenario,
    Task,
    TimeSlot,
)
from pytest_tipbench.scenarios import load_scenarios

ROOT = Path(__file__).parents[2]

SCENARIO = Scenario(
    id="zoe-morning",
    persona=Persona(id="zoe", name="Zoë & Co <z@x>", description="A nurse."),
    time_slot=TimeSlot(id="morning", label="Morning", local_time="08:00"),
    tasks=(Task(title="Tax", minutes=75), Task(title="{{ n_tips }} runs")),
)

HEAD = '+++\ndescription = "D"\n'


def _write(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    path.write_bytes(content.encode())
    return path


def _load(folder: Path, content: str) -> PromptVersion:
    _write(folder, "v1.md", content)
    (prompt,) = load_prompts(folder)
    return prompt


def _refused(folder: Path, content: str) -> str:
    with pytest.raises(SourceFileError) as caught:
        _load(folder, content)
    return str(caught.value).replace(f"{folder / 'v1.md'}:", "")


class TestLoad:
    def test_a_sound_prompt(self, tmp_path: Path) -> None:
        content = '+++\ndescription = "Plain"\nsystem = " Be kind. "\n+++\n\nGive {{ n_tips }}.\n\n'
        assert _load(tmp_path, content) == PromptVersion(
            version="v1", description="Plain", system="Be kind.", template="Give {{ n_tips }}."
        )

    def test_the_system_text_may_be_left_out(self, tmp_path: Path) -> None:
        assert _load(tmp_path, HEAD + "+++\nGo.").system == ""

    def test_they_are_sorted_with_numbers_by_value(self, tmp_path: Path) -> None:
        for version in ("v10", "v2-mentor", "v1", "plain", "v2"):
            _write(tmp_path, f"{version}.md", HEAD + "+++\nGo.")
        versions = [prompt.version for prompt in load_prompts(tmp_path)]
        assert versions == ["plain", "v1", "v2", "v2-mentor", "v10"]

    def test_other_files_are_left_alone(self, tmp_path: Path) -> None:
        _write(tmp_path, "v1.md", HEAD + "+++\nGo.")
        _write(tmp_path, "README.md", "# What these are")
        _write(tmp_path, "notes.txt", "x")
        assert [prompt.version for prompt in load_prompts(tmp_path)] == ["v1"]

    def test_line_ends_do_not_change_the_hash(self, tmp_path: Path) -> None:
        content = HEAD + "+++\nGive\n{{ n_tips }}.\n"
        plain = _load(tmp_path, content)
        assert _load(tmp_path, "\ufeff" + content.replace("\n", "\r\n")).sha256 == plain.sha256

    def test_a_missing_folder(self, tmp_path: Path) -> None:
        with pytest.raises(SourceFileError, match="no such folder"):
            load_prompts(tmp_path / "prompts")

    def test_a_file_for_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(SourceFileError, match="no such folder"):
            load_prompts(_write(tmp_path, "prompts", ""))

    def test_an_empty_folder(self, tmp_path: Path) -> None:
        with pytest.raises(SourceFileError, match=r"at least one prompt, a file VERSION\.md"):
            load_prompts(tmp_path)

    @pytest.mark.parametrize("name", ["my prompt.md", "größe.md", "-v1.md", "a,b.md"])
    def test_a_name_that_no_option_could_take(self, tmp_path: Path, name: str) -> None:
        _write(tmp_path, name, HEAD + "+++\nGo.")
        with pytest.raises(SourceFileError, match="file name should be ASCII letters"):
            load_prompts(tmp_path)

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            ("Give tips.", "1: expected TOML front matter"),
            (HEAD + "Give tips.", "1: expected a second line '+++'"),
            ("+++\n+++\nGo.", "2: key 'description' is missing"),
            (HEAD + "sytem = 'x'\n+++\nGo.", "3: unknown key 'sytem' (did you mean system?)"),
            (HEAD + "system = 3\n+++\nGo.", "3: 'system' should be a valid string, got 3"),
            (HEAD + "+++\n\n", "4: expected a template after the front matter"),
            (HEAD + "+++\n{# nothing #}\n", "4: expected a template after the front matter"),
            # The template begins on line 5: a blank line precedes it.
            (HEAD + "+++\n\none\n{% for %}\n", "6: the template is not Jinja2: Expected an"),
            (HEAD + "+++\none\n\n{{ x | nope }}\n", "6: the template is not Jinja2: No filter"),
            (HEAD + "+++\none\n{{ n_tip }}\n", "5: the template does not render with 'scenario'"),
            (HEAD + "+++\none\n{{ n_tip }}\n", "'n_tip' is undefined"),
            (HEAD + "+++\n{{ scenario.task }}\n", "has no attribute 'task'"),
            (HEAD + "+++\none\n{{ n_tips / 0 }}", "5: the template does not render"),
            (HEAD + "+++\n{{ n_tips.__class__.__mro__ }}", "4: the template does not render"),
            (HEAD + "+++\n{% include 'other' %}", "4: the template does not render"),
            (
                HEAD + "+++\n{% macro m(t) %}\n{{ t.nope.nope }}\n{% endmacro %}\n{{ m(n_tips) }}",
                "5: the template does not render",
            ),
            (HEAD + "+++\n{{ lipsum() }}", "'lipsum' is undefined"),
            (HEAD + "+++\n{{ [1, 2] | random }}", "No filter named 'random'"),
            (HEAD + "\nsystem = 'Hi {{ name }}'\n+++\nGo.", "4: 'system' does not render"),
            (HEAD + "system = '{% if %}'\n+++\nGo.", "3: 'system' does not render"),
        ],
    )
    def test_a_mistake(self, tmp_path: Path, content: str, expected: str) -> None:
        assert expected in _refused(tmp_path, content)

    def test_a_fault_that_only_a_task_without_facts_brings_out(self, tmp_path: Path) -> None:
        line = "{% for task in scenario.tasks %}{{ task.minutes + 1 }}{% endfor %}"
        message = _refused(tmp_path, HEAD + "+++\n" + line)
        assert message.startswith("4: the template does not render")


class TestRender:
    def test_texts_are_filled_in_as_they_are(self) -> None:
        prompt = PromptVersion(
            version="v1",
            description="D",
            system="For {{ scenario.persona.name }}.",
            template=(
                "{% for task in scenario.tasks -%}\n"
                "- {{ task.title }}{% if task.minutes %}, {{ task.minutes }} min{% endif %}\n"
                "{% endfor %}\n"
                '{"tips": [...]} x {{ n_tips }}\n'
            ),
        )
        # Nothing is escaped, nothing in a scenario is a template, and white space is Jinja2's own.
        assert render(prompt, SCENARIO, 3) == RenderedPrompt(
            system="For Zoë & Co <z@x>.",
            user='- Tax, 75 min\n- {{ n_tips }} runs\n\n{"tips": [...]} x 3',
        )

    def test_a_failure_names_prompt_scenario_and_line(self) -> None:
        prompt = PromptVersion(
            version="v7", description="D", system="", template="one\n{{ scenario.nope.nope }}"
        )
        with pytest.raises(SourceFileError) as caught:
            render(prompt, SCENARIO, 5)
        assert str(caught.value).startswith(
            "v7.md: scenario 'zoe-morning', line 2 of its template: the template does not render"
        )

    def test_a_syntax_error_of_a_prompt_that_no_file_gave(self) -> None:
        prompt = PromptVersion(version="v7", description="D", system="", template="{% if %}")
        with pytest.raises(SourceFileError, match=r"line 1 of its template: .* not Jinja2"):
            render(prompt, SCENARIO, 5)


@pytest.fixture(scope="module")
def prompts() -> tuple[PromptVersion, ...]:
    return load_prompts(ROOT / "evals" / "prompts")


@pytest.fixture(scope="module")
def scenarios() -> tuple[Scenario, ...]:
    return load_scenarios(ROOT / "evals" / "scenarios.toml")


class TestShipped:
    def test_versions(self, prompts: tuple[PromptVersion, ...]) -> None:
        assert [prompt.version for prompt in prompts] == ["v1", "v2-mentor", "v3-few-shot"]

    @pytest.mark.parametrize("n_tips", [1, 5, 8])
    def test_they_ask_for_json_of_so_many_short_tips(
        self, prompts: tuple[PromptVersion, ...], scenarios: tuple[Scenario, ...], n_tips: int
    ) -> None:
        strings = "string" if n_tips == 1 else "strings"
        for prompt in prompts:
            user = " ".join(render(prompt, scenarios[0], n_tips).user.split())
            assert '{"tips": [...]}' in user
            assert f"exactly {n_tips} {strings}," in user
            assert "at most 280 characters" in user

    def test_they_tell_every_fact_of_every_scenario(
        self, prompts: tuple[PromptVersion, ...], scenarios: tuple[Scenario, ...]
    ) -> None:
        for prompt in prompts:
            for scenario in scenarios:
                user = render(prompt, scenario, 5).user
                facts = [scenario.persona.name, scenario.persona.description]
                facts.append(scenario.time_slot.local_time)
                for task in scenario.tasks:
                    facts += [task.title, task.due or "", task.notes or "", str(task.energy or "")]
                    facts.append(str(task.minutes or ""))
                assert [fact for fact in facts if fact not in user] == []
                assert "None" not in user

    def test_each_task_has_a_line_of_its_own(
        self, prompts: tuple[PromptVersion, ...], scenarios: tuple[Scenario, ...]
    ) -> None:
        for prompt in prompts:
            for scenario in scenarios:
                lines = render(prompt, scenario, 5).user.split("\n")
                for task in scenario.tasks:
                    assert sum(task.title in line for line in lines) >= 1
                positions = [
                    next(
                        i
                        for i, line in enumerate(lines)
                        if task.title in line[: len(task.title) + 4]
                    )
                    for task in scenario.tasks
                ]
                first = positions[0]
                assert positions == list(range(first, first + len(scenario.tasks)))

    def test_they_fit_a_small_context(
        self, prompts: tuple[PromptVersion, ...], scenarios: tuple[Scenario, ...]
    ) -> None:
        # English prose runs at four characters a token and more; at a cautious three, 4,500
        # characters are 1,500 tokens, which leaves 2,596 of 4,096 for the answer.
        for prompt in prompts:
            for scenario in scenarios:
                rendered = render(prompt, scenario, 5)
                assert len(rendered.system + rendered.user) < 4500

    def test_worked_examples_are_of_scenarios_of_their_own(
        self, prompts: tuple[PromptVersion, ...], scenarios: tuple[Scenario, ...]
    ) -> None:
        few_shot = next(prompt for prompt in prompts if prompt.version == "v3-few-shot")
        assert "Elena" in few_shot.template
        assert "Tomás" in few_shot.template
        for scenario in scenarios:
            assert scenario.persona.name.split()[0] not in few_shot.template
            assert not any(f"- {task.title}" in few_shot.template for task in scenario.tasks)

    @pytest.mark.parametrize("n_tips", [1, 3, 5])
    def test_worked_examples_show_as_many_tips_as_are_asked_for(
        self, prompts: tuple[PromptVersion, ...], scenarios: tuple[Scenario, ...], n_tips: int
    ) -> None:
        few_shot = next(prompt for prompt in prompts if prompt.version == "v3-few-shot")
        lines = render(few_shot, scenarios[0], n_tips).user.split("\n")
        answers = [json.loads(line) for line in lines if line.startswith('{"tips": ["')]
        assert len(answers) == 2
        for answer in answers:
            assert len(answer["tips"]) == n_tips
            assert all(len(tip) <= 280 for tip in answer["tips"])
