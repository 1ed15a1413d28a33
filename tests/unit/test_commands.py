from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

import pytest

from pytest_tipbench.commands import Commands, check_commands, read_gates
from pytest_tipbench.errors import JudgeFileError, UnknownNameError, UserMistakeError
from pytest_tipbench.keeper import Keeper
from pytest_tipbench.records import SessionRecord
from tests.unit.bench_samples import a_cell, a_reference, evaluation, settings
from tests.unit.board_samples import RUBRIC, a_run, judged

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_tipbench.records import RunRecord


class Project:
    """A ledger with runs in it, and commands over it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._keeper: Keeper | None = None

    @property
    def keeper(self) -> Keeper:
        if self._keeper is None:
            self._keeper = Keeper.for_cells(
                settings(self.root), RUBRIC, "session", lambda _line: None
            )
        return self._keeper

    def keep(self, *runs: RunRecord) -> None:
        for run in runs:
            self.keeper.keep(run)

    def commands(self, *, cells: Any = (), **changes: Any) -> Commands:
        changes.setdefault("named", frozenset(changes))
        return Commands(
            settings(self.root, **changes), evaluation(self.root), self.keeper, "ada", cells=cells
        )

    def export(self, name: str = "sheet.json", **changes: Any) -> Path:
        path = self.root / name
        self.commands(judge_export=path, judge_anchors=0, **changes).run()
        return path

    def close(self) -> None:
        if self._keeper is not None:
            self._keeper.close()


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path)
    yield made
    made.close()


def fill(sheet: Path, score: int = 4) -> Path:
    document = json.loads(sheet.read_text(encoding="utf-8"))
    for item in document["items"]:
        item["scores"] = dict.fromkeys(item["scores"], score)
    document["judge"] = "ada"
    sheet.write_text(json.dumps(document), encoding="utf-8")
    return sheet


# --- before anything is done ------------------------------------------------------------------


def test_gates_are_read_with_the_rubrics_criteria(tmp_path: Path) -> None:
    gates = read_gates(settings(tmp_path, gate=("tone>=2",), min_composite=3.5), RUBRIC)
    assert [gate.text for gate in gates] == ["tone>=2", "composite>=3.5"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"gate": ("charm>=2",)}, "unknown gate metric 'charm'"),
        ({"gate": ("tone about 2",)}, "METRIC OP NUMBER"),
    ],
)
def test_a_bad_gate_is_told_before_anything(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserMistakeError, match=said):
        check_commands(settings(tmp_path, **changes), evaluation(tmp_path))


def test_a_limit_on_a_change_from_nothing_is_told_before_anything(tmp_path: Path) -> None:
    given = settings(tmp_path, max_drop=0.5, named=frozenset({"max_drop"}))
    with pytest.raises(UserMistakeError, match=r"--max-drop .* --baseline EXPERIMENT"):
        check_commands(given, evaluation(tmp_path))
    # The project's standing limit waits for a call that names a baseline.
    check_commands(settings(tmp_path, max_drop=0.5), evaluation(tmp_path))


@pytest.mark.parametrize(
    "field", ["judge_export", "judge_apply", "record", "ledger", "rubric", "evals"]
)
def test_a_report_in_the_place_of_something_else_is_told_before_anything(
    tmp_path: Path, field: str
) -> None:
    target = tmp_path / "there.json"
    target.write_text("{}", encoding="utf-8")
    link = tmp_path / "link.json"
    link.symlink_to(target)
    value = {"judge_apply": (target,), "evals": tmp_path}.get(field, target)
    for report in (target, link):
        with pytest.raises(UserMistakeError, match=r"for something else: name another"):
            check_commands(
                settings(tmp_path, **{field: value}, report=(report,)), evaluation(tmp_path)
            )
    assert target.read_text(encoding="utf-8") == "{}"


def test_a_report_that_cannot_be_written_is_told_before_anything(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    (tmp_path / "folder.md").mkdir()
    for target in (tmp_path / "file" / "board.md", tmp_path / "folder.md"):
        with pytest.raises(UserMistakeError, match=r"cannot be written: .* folder"):
            check_commands(settings(tmp_path, report=(target,)), evaluation(tmp_path))
    check_commands(settings(tmp_path, report=(tmp_path / "new/er/b.md",)), evaluation(tmp_path))
    assert not (tmp_path / "new").exists()


def test_a_sheet_that_is_not_there_is_told_before_anything(tmp_path: Path) -> None:
    given = settings(tmp_path, judge_apply=(tmp_path / "none.json",))
    with pytest.raises(UserMistakeError, match=r"none\.json: there is no such file"):
        check_commands(given, evaluation(tmp_path))
    with pytest.raises(UserMistakeError, match="it is a folder"):
        check_commands(settings(tmp_path, judge_apply=(tmp_path,)), evaluation(tmp_path))


def test_a_file_that_is_no_export_is_not_overwritten(tmp_path: Path) -> None:
    target = tmp_path / "mine.json"
    target.write_text('{"mine": 1}', encoding="utf-8")
    with pytest.raises(UserMistakeError, match=r"mine\.json"):
        check_commands(settings(tmp_path, judge_export=target), evaluation(tmp_path))


# --- the board --------------------------------------------------------------------------------


def test_the_board_is_of_the_experiment_alone(project: Project) -> None:
    project.keep(a_run(), a_run("other:1b").model_copy(update={"experiment": "another"}))
    (finding,) = project.commands(leaderboard=True).run()
    assert [row.model for row in finding.board.rows] == ["small:1b"]
    (finding,) = project.commands(experiment="another").run()
    assert [row.model for row in finding.board.rows] == ["other:1b"]


def test_an_empty_experiment_is_an_empty_board(project: Project) -> None:
    (finding,) = project.commands().run()
    assert finding.board.rows == ()


@pytest.mark.parametrize(
    ("changes", "models"),
    [
        ({"models": ("small:1b",)}, ["small:1b"]),
        ({"models": ("*:1b",)}, ["small:1b", "other:1b"]),
        ({"models": ("ollama/other:1b",)}, ["other:1b"]),
        ({"models": ("installed",)}, ["small:1b", "other:1b"]),
        ({"prompts": ("v2",)}, ["other:1b"]),
        ({"scenarios": ("s0*",)}, ["small:1b", "other:1b"]),
    ],
    ids=str,
)
def test_the_call_narrows_the_board(
    project: Project, changes: dict[str, Any], models: list[str]
) -> None:
    project.keep(a_run(), a_run("other:1b", "v2", digest="digest-b"))
    (finding,) = project.commands(**changes).run()
    assert sorted(row.model for row in finding.board.rows) == sorted(models)


def test_the_configuration_narrows_no_board(project: Project) -> None:
    project.keep(a_run(), a_run("other:1b", "v2", digest="digest-b"))
    (finding,) = project.commands(
        models=("small:1b",), prompts=("v1",), scenarios=("s01",), named=frozenset()
    ).run()
    assert len(finding.board.rows) == 2


# --- a baseline -------------------------------------------------------------------------------


def test_a_baseline_is_compared_with_under_the_same_selection(project: Project) -> None:
    for experiment in ("tip-bench", "before"):
        for name in ("s01", "s02", "s03", "t01"):
            run = a_run(scenario=name)
            ids = {"experiment": experiment, "run_id": f"{experiment} {name}"}
            project.keep(run.model_copy(update=ids))
    (finding,) = project.commands(baseline="before", scenarios=("s*",)).run()
    assert finding.comparison is not None
    assert finding.comparison.baseline == "before"
    (row,) = finding.comparison.rows
    assert [change.scenario for change in row.scenarios] == ["s01", "s02", "s03"]
    (verdict,) = finding.verdicts
    assert verdict.name == "change from before, small:1b × v1"
    (finding,) = project.commands().run()
    assert (finding.comparison, finding.verdicts) == (None, ())


def test_what_others_put_into_the_baseline_is_pulled_too_and_trouble_told_once(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    pulled: list[str] = []

    def pull(_keeper: Keeper, experiment: str) -> list[str]:
        pulled.append(experiment)
        return ["MLflow does not answer", f"{experiment} has an odd run"]

    monkeypatch.setattr(Keeper, "pull", pull)
    before = {"experiment": "before", "run_id": "before"}
    project.keep(a_run().model_copy(update=before))
    commands = project.commands(baseline="before")
    commands.run()
    assert pulled == ["tip-bench", "before"]
    assert commands.lines == [
        "MLflow does not answer",
        "tip-bench has an odd run",
        "before has an odd run",
    ]
    pulled.clear()
    project.commands(baseline="tip-bench").run()
    assert pulled == ["tip-bench"]


def test_a_baseline_that_nobody_made_is_said_with_the_nearest_names(project: Project) -> None:
    project.keep(a_run())
    commands = project.commands(baseline="tip-bnch")
    (finding,) = commands.run()
    assert commands.lines == ["--baseline: unknown experiment 'tip-bnch' (did you mean tip-bench?)"]
    assert [verdict.status for verdict in finding.verdicts] == ["UNDECIDED"]


def test_the_report_has_the_comparison(project: Project) -> None:
    project.keep(a_run())
    target = project.root / "board.json"
    project.commands(baseline="tip-bench", report=(target,)).run()
    comparison = json.loads(target.read_text(encoding="utf-8"))["comparison"]
    assert comparison["baseline"] == "tip-bench"
    assert comparison["rows"][0]["scenarios"][0]["left_out_because"] == "not judged in either"


@pytest.mark.parametrize(
    "changes", [{"models": ("smal:1b",)}, {"prompts": ("v9",)}, {"scenarios": ("s99",)}], ids=str
)
def test_a_name_that_no_run_bears_is_unknown(project: Project, changes: dict[str, Any]) -> None:
    project.keep(a_run())
    with pytest.raises(UnknownNameError, match="did you mean"):
        project.commands(**changes).run()


def test_a_model_of_this_call_that_has_no_run_yet_is_known(project: Project) -> None:
    project.keep(a_run())  # and then -x ended the session before the other model's first cell
    matrix = [a_cell(model=a_reference(name, "ollama")) for name in ("small:1b", "other:1b")]
    (finding,) = project.commands(models=("small:1b", "other:1b"), cells=matrix).run()
    assert [row.model for row in finding.board.rows] == ["small:1b"]


def test_the_newest_run_of_a_fingerprint_counts(project: Project) -> None:
    project.keep(a_run(minutes=0), a_run(minutes=5, tips=["A newer tip of its own"]))
    (finding,) = project.commands().run()
    assert finding.board.pending_tips == 1


def test_gates_and_baseline_are_held_against_the_board(project: Project) -> None:
    project.keep(a_run())
    (finding,) = project.commands(
        gate=("usable_rate>=1",), min_composite=3.0, baseline="main"
    ).run()
    assert [verdict.status for verdict in finding.verdicts] == ["PASS", "UNDECIDED", "UNDECIDED"]
    assert finding.verdicts[2].detail == "the baseline has no such row"
    assert finding.fails


def test_a_baseline_without_the_named_model_is_undecided_not_a_mistake(project: Project) -> None:
    before = a_run("old:1b").model_copy(update={"experiment": "main"})
    project.keep(a_run("new:1b"), before)
    (finding,) = project.commands(models=("new:1b",), baseline="main").run()
    assert [verdict.status for verdict in finding.verdicts] == ["UNDECIDED"]
    assert finding.verdicts[0].detail == "the baseline has no such row"


def test_a_gate_on_diversity_needs_no_further_option(project: Project) -> None:
    diverse = {"distinct_2": 0.9, "self_similarity": 0.1}
    project.keep(a_run(diversity=diverse), a_run(scenario="s02", diversity=diverse))
    (finding,) = project.commands(gate=("distinct_2>=0.5",)).run()
    assert finding.verdicts[0].status == "PASS"


# --- sheets out and in ------------------------------------------------------------------------


def test_an_export_says_what_to_do_next_with_all_that_is_needed(project: Project) -> None:
    project.keep(a_run())
    path = project.root / "my sheet.json"
    ledger = project.root / ".tipbench" / "ledger.db"
    commands = project.commands(judge_export=path, judge_anchors=0, ledger=ledger)
    commands.run()
    said = next(line for line in commands.lines if "then: " in line)
    assert "2 of 2 pending tips" in said
    assert shlex.split(said.split("then: ")[1]) == [
        "pytest",
        "--judge-apply",
        str(path),
        "--ledger",
        str(ledger),
    ]


def test_with_nothing_pending_no_file_is_written_and_that_is_said(project: Project) -> None:
    run = a_run()
    project.keep(run)
    fill(project.export())
    project.commands(judge_apply=(project.root / "sheet.json",), judge_max_drift=9).run()
    commands = project.commands(judge_export=project.root / "next.json")
    commands.run()
    assert not (project.root / "next.json").exists()
    assert any("pending" in line for line in commands.lines)


def test_applying_scores_the_board_and_applying_again_changes_nothing(project: Project) -> None:
    project.keep(a_run(), a_run(scenario="s02"))
    sheet = fill(project.export())
    for _ in range(2):
        (finding,) = project.commands(judge_apply=(sheet,)).run()
        assert finding.board.pending_cells == 0
        assert finding.board.rows[0].composite == 4.0
        assert len(project.keeper.ledger.judgements()) == 4
    assert len(finding.applies) == 1


def test_the_sheets_own_experiment_counts_where_none_is_named(project: Project) -> None:
    project.keep(a_run().model_copy(update={"experiment": "another"}))
    sheet = fill(project.export(experiment="another"))
    (finding,) = project.commands(judge_apply=(sheet,), named=frozenset({"judge_apply"})).run()
    assert finding.board.experiment == "another"
    assert finding.board.pending_cells == 0


def test_cells_and_a_sheet_of_another_experiment_show_both_the_cells_first(
    project: Project,
) -> None:
    project.keep(a_run(), a_run().model_copy(update={"experiment": "another", "run_id": "b" * 32}))
    sheet = fill(project.export(experiment="another"))
    findings = project.commands(
        judge_apply=(sheet,), named=frozenset({"judge_apply"}), cells=[a_cell()]
    ).run()
    assert [finding.board.experiment for finding in findings] == ["tip-bench", "another"]


def test_a_sheet_of_another_experiment_than_the_named_one_is_refused(project: Project) -> None:
    project.keep(a_run().model_copy(update={"experiment": "another"}))
    sheet = fill(project.export(experiment="another"))
    with pytest.raises(UserMistakeError, match="another"):
        project.commands(judge_apply=(sheet,), experiment="tip-bench").run()
    assert project.keeper.ledger.judgements() == []


def test_one_faulty_sheet_among_several_writes_nothing_and_all_faults_are_told(
    project: Project,
) -> None:
    project.keep(a_run(), a_run(scenario="s02"))
    good = fill(project.export("good.json"))
    bad, worse = project.root / "bad.json", project.root / "worse.json"
    bad.write_text(good.read_text(encoding="utf-8").replace('"tone": 4', '"tone": 9'), "utf-8")
    worse.write_bytes(b"\xff\xfe{")
    with pytest.raises(UserMistakeError) as mistake:
        project.commands(judge_apply=(good, bad, worse)).run()
    assert str(bad) in str(mistake.value)
    assert str(worse) in str(mistake.value)
    assert project.keeper.ledger.judgements() == []


def test_a_sheet_that_went_away_is_one_clear_line(project: Project) -> None:
    with pytest.raises(UserMistakeError, match=r"--judge-apply .*gone\.json: No such file"):
        project.commands(judge_apply=(project.root / "gone.json",)).run()


@pytest.mark.parametrize(
    "changes",
    [
        {"models": ("nobody:1b",)},
        {"prompts": ("v9",)},
        {"scenarios": ("typo",)},
    ],
    ids=str,
)
def test_a_mistake_in_what_is_read_afterwards_keeps_the_sheet_out(
    project: Project, changes: dict[str, Any]
) -> None:
    project.keep(a_run())
    sheet = fill(project.export())
    with pytest.raises(UnknownNameError):
        project.commands(judge_apply=(sheet,), **changes).run()
    assert project.keeper.ledger.judgements() == []


def test_one_report_of_two_experiments_keeps_both_sheets_out(project: Project) -> None:
    project.keep(a_run(), a_run().model_copy(update={"experiment": "another", "run_id": "b" * 32}))
    sheets = (fill(project.export("a.json")), fill(project.export("b.json", experiment="another")))
    with pytest.raises(UserMistakeError, match="a report is of one"):
        project.commands(
            judge_apply=sheets,
            report=(project.root / "board.md",),
            named=frozenset({"judge_apply", "report"}),
        ).run()
    assert project.keeper.ledger.judgements() == []


def test_a_report_that_fails_takes_nothing_from_the_rest(project: Project) -> None:
    project.keep(a_run())
    sheet = fill(project.export())
    target = project.root / "board.md"
    target.mkdir()  # since it was looked for
    commands = project.commands(judge_apply=(sheet,), report=(target,))
    (finding,) = commands.run()
    assert finding.board.pending_cells == 0
    assert len(project.keeper.ledger.judgements()) == 2
    assert commands.problems == [f"--tipbench-report {target}: cannot be written: Is a directory"]


def test_on_githubs_ci_the_summary_gets_the_board(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.keep(a_run())
    summary = project.root / "summary.md"
    summary.write_text("# The job\n", encoding="utf-8")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    commands = project.commands(leaderboard=True)
    commands.run()
    text = summary.read_text(encoding="utf-8")
    assert text.startswith("# The job\n")
    assert "`small:1b`" in text
    assert commands.problems == []
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(project.root / "nowhere/summary.md"))
    commands.run()
    (problem,) = commands.problems
    assert problem.startswith(f"GITHUB_STEP_SUMMARY {project.root}/nowhere/summary.md: not ")
    assert problem.endswith("No such file or directory")


def test_a_report_tells_of_the_sessions_that_made_it(project: Project) -> None:
    """Not of the machine and the commit that the report is made on."""
    ledger = project.keeper.ledger
    for session_id, python in (("one", "3.10.1"), ("two", "3.12.2"), ("idle", "3.13.3")):
        ledger.add_session(
            SessionRecord(
                session_id=session_id,
                experiment="tip-bench",
                started_at=a_run().started_at,
                tipbench_version="0.1.0",
                environment={"python": python, "system": "Plan 9"},
            )
        )
    project.keep(
        a_run().model_copy(update={"session_id": "one"}),
        a_run(scenario="s02").model_copy(update={"session_id": "two"}),
    )
    target = project.root / "board.json"
    project.commands(report=(target,)).run()
    told = json.loads(target.read_text(encoding="utf-8"))["environment"]
    assert told == {"python": "3.10.1, 3.12.2", "system": "Plan 9"}


def test_a_sheet_has_what_the_board_counts_and_says_what_it_leaves_out(project: Project) -> None:
    older = [a_run(scenario=name, prompt_text="Old.", minutes=1) for name in ("s01", "s02")]
    newer = [a_run(scenario=name, tips=[f"new {name}"], minutes=2) for name in ("s01", "s02")]
    project.keep(*older, *newer)
    path = project.root / "sheet.json"
    commands = project.commands(judge_export=path, judge_anchors=0)
    (finding,) = commands.run()
    items = json.loads(path.read_text(encoding="utf-8"))["items"]
    assert sorted(item["tip"] for item in items) == ["new s01", "new s02"]
    assert finding.board.pending_tips == len(items)
    assert "not on the sheet, as on the board: 2 cells of older configurations" in commands.lines


def test_agreement_is_of_the_selection(project: Project) -> None:
    project.keep(a_run(), a_run(scenario="s02"))
    for judge in ("ada", "bob"):
        sheet = fill(project.export(f"{judge}.json", judge_name=judge))
        project.commands(judge_apply=(sheet,), judge_name=judge).run()
    (whole,) = project.commands(leaderboard=True).run()
    (part,) = project.commands(leaderboard=True, scenarios=("s02",)).run()
    assert {agreement.tips for agreement in whole.agreements} == {4}
    assert {agreement.tips for agreement in part.agreements} == {2}


def test_apply_comes_before_export_and_export_before_the_board(project: Project) -> None:
    project.keep(a_run())
    sheet = fill(project.export())
    target = project.root / "after.json"
    commands = project.commands(judge_apply=(sheet,), judge_export=target)
    (finding,) = commands.run()
    assert not target.exists()  # the sheet judged all there was
    assert finding.board.pending_cells == 0


def test_faults_of_a_judge_file_are_the_users_to_mend() -> None:
    assert issubclass(JudgeFileError, UserMistakeError)
    assert judged(a_run(), 4)[0].judge == "anna"
