from __future__ import annotations

import random
from collections import Counter
from datetime import timedelta

import krippendorff
import pytest
from sklearn.metrics import cohen_kappa_score

from pytest_tipbench.board import build_board
from pytest_tipbench.gates import Verdict
from pytest_tipbench.records import DroppedTip, Outcome, RenderedPrompt
from pytest_tipbench.reports.report import build_report
from pytest_tipbench.reports.report_records import (
    Report,
    ReportRow,
    ReportRowChange,
    ReportScenarioChange,
)
from tests.unit.board_samples import (
    OTHER_RUBRIC,
    RUBRIC,
    SIX,
    START,
    a_matrix,
    a_run,
    judged,
)
from tests.unit.report_samples import (
    TIP_RUBRIC,
    an_apply,
    lifelike_change,
    lifelike_judgements,
    lifelike_report,
    lifelike_runs,
    lifelike_scenarios,
    report_of,
)


def plain_report(*args: object, **kwargs: object) -> Report:
    return report_of(*args, rubric=RUBRIC, gates=(), **kwargs)  # type: ignore[arg-type]


class TestRows:
    def test_say_what_the_board_says(self) -> None:
        runs, judgements = a_matrix({("a", "v1"): [(5, 4)] * 3, ("b", "v2"): [(2, 1)] * 3})
        board = build_board(runs, judgements, RUBRIC)
        report = plain_report(runs, judgements)

        assert [row.label for row in report.rows] == ["a × v1", "b × v2"]
        own = {"score_counts", "server_versions", "seeds", "residency"}
        for ours, theirs in zip(report.rows, board.rows, strict=True):
            for name in ReportRow.model_fields.keys() - own:
                assert getattr(ours, name) == getattr(theirs, name), name
        assert report.least_significant_difference == board.least_significant_difference
        assert report.shared_scenarios == ("s01", "s02", "s03")

    def test_count_every_judges_scores(self) -> None:
        run = a_run()
        judgements = judged(run, (4, 2), (5, 2)) + judged(run, (4, 3), (1, 3), judge="ben")
        (row,) = plain_report([run], judgements).rows
        assert row.score_counts == {
            "relevance": {"1": 1, "2": 0, "3": 0, "4": 2, "5": 1},
            "tone": {"1": 0, "2": 2, "3": 2, "4": 0, "5": 0},
        }

    def test_know_their_seeds_servers_and_residency(self) -> None:
        one, other = a_run(), a_run(repeat=2)
        assert one.model is not None
        newer = one.model_copy(
            update={"model": one.model.model_copy(update={"server_version": "0.33.1"})}
        )
        (row,) = plain_report([newer, other], []).rows
        assert (row.seeds, row.server_versions, row.residency) == ((1, 2), ("0.33.1",), ("call",))

    def test_of_older_configurations_stand_apart_and_their_cells_are_left_out(self) -> None:
        old = a_run(digest="digest-old")
        new = a_run(minutes=5)
        report = plain_report([old, new], judged(old, 4, 4))
        (older,) = report.older_rows
        assert older.model == "small:1b"
        assert older.reason == "the model's digest changed from digest-old to digest-a"
        assert older.composite == 4
        assert [cell.run_id for cell in report.cells] == [new.run_id]

    def test_tell_what_was_scored_under_another_rubric(self) -> None:
        run = a_run()
        judgements = judged(run, 5, 5, rubric=OTHER_RUBRIC) + judged(run, 2, 2)
        report = plain_report([run], judgements)
        (other,) = report.other_rubrics
        assert other.rubric_sha256 == OTHER_RUBRIC.sha256
        assert other.criterion_means == {"relevance": 5, "tone": 5}
        (cell,) = report.cells
        assert cell.tips[0].scores == {"anna": {"relevance": 2, "tone": 2}}

    def test_need_all_runs_of_the_board(self) -> None:
        run = a_run()
        board = build_board([run], [], RUBRIC)
        with pytest.raises(ValueError, match=f"runs of the board are not given: {run.run_id}"):
            build_report(
                board=board,
                runs=[],
                judgements=[],
                applies=[],
                rubric=RUBRIC,
                verdicts=[],
                environment={},
            )


class TestCells:
    def test_carry_everything_of_a_run(self) -> None:
        run = a_run(outcome=Outcome.SHORT, resident_bytes=1000, foreign_models=("other:1b",))
        assert run.completion is not None
        completion = run.completion.model_copy(
            update={
                "text": "raw \ud800\x00",
                "thinking": "hm",
                "stop_reason": "length",
                "load_seconds": 0.5,
                "prompt_tokens": 7,
                "completion_tokens": 9,
                "resident_vram_bytes": 400,
            }
        )
        run = run.model_copy(
            update={
                "completion": completion,
                "thinking_stripped": True,
                "dropped": (DroppedTip(text="tip", reason="too short"),),
                "prompt": RenderedPrompt(system="be kind", user="for Zoë"),
            }
        )
        (cell,) = plain_report([run], judged(run, (4, 2))).cells
        assert cell.model_dump(mode="json") == {
            "run_id": run.run_id,
            "model": "small:1b",
            "prompt_version": "v1",
            "scenario": "s01",
            "repeat": 1,
            "seed": 1,
            "outcome": "short",
            "error": None,
            "is_measured": True,
            "is_pending": False,
            # Of two tips asked for one is missing and counts 1: (4 + 1) / 2 and (2 + 1) / 2.
            "scores": {"relevance": 2.5, "tone": 1.5},
            "composite": (3 * 2.5 + 1.5) / 4,
            "tips": [
                {
                    "text": "small:1b v1 s01 r1 tip 1",
                    "scores": {"anna": {"relevance": 4, "tone": 2}},
                    "notes": {},
                    "judged_at": {"anna": "2026-04-28T08:00:00Z"},
                    "composite": 3.5,
                }
            ],
            "tips_missing": 1,
            "dropped": [{"text": "tip", "reason": "too short"}],
            "prompt": {"system": "be kind", "user": "for Zoë"},
            "completion": "raw \ud800\x00",
            "thinking": "hm",
            "thinking_stripped": True,
            "stop_reason": "length",
            "latency_seconds": 2.0,
            "load_seconds": 0.5,
            "prompt_tokens": 7,
            "completion_tokens": 9,
            "tokens_per_second": 50.0,
            "resident_bytes": 1000,
            "resident_vram_bytes": 400,
            "foreign_models": ["other:1b"],
            "configuration_sha256": run.configuration_sha256,
            "fingerprint": run.fingerprint,
            "started_at": "2026-04-27T07:59:58Z",
            "finished_at": "2026-04-27T08:00:00Z",
        }

    def test_of_a_machines_fault_are_not_measured(self) -> None:
        run = a_run(outcome=Outcome.PROVIDER_ERROR).model_copy(update={"error": "no answer"})
        (cell,) = plain_report([run], []).cells
        assert (cell.is_measured, cell.is_pending, cell.composite) == (False, False, None)
        assert (cell.error, cell.completion, cell.latency_seconds) == ("no answer", None, None)

    def test_are_pending_until_every_tip_is_judged(self) -> None:
        run = a_run()
        (cell,) = plain_report([run], judged(run, 4)).cells
        assert cell.is_pending
        assert cell.scores is None
        assert [tip.composite for tip in cell.tips] == [4.0, None]
        assert cell.tips[1].scores == {}

    def test_have_the_newest_score_of_each_judge_and_the_notes(self) -> None:
        run = a_run(tips=["One good tip"])
        (later,) = judged(run, 5, minutes=9)
        judgements = [
            *judged(run, 2),
            later.model_copy(update={"note": "better than I thought"}),
            *judged(run, 3, judge="ben"),
        ]
        (cell,) = plain_report([run], judgements).cells
        (tip,) = cell.tips
        assert {judge: scores["tone"] for judge, scores in tip.scores.items()} == {
            "anna": 5,
            "ben": 3,
        }
        assert tip.notes == {"anna": "better than I thought"}
        assert tip.composite == 4.0

    def test_bear_their_rows_names_and_stand_in_the_boards_order(self) -> None:
        runs = [
            a_run("ollama/small:1b", scenario="s02", name="small:1b"),
            a_run("small:1b", scenario="s01", repeat=2, minutes=2),
            a_run("small:1b", scenario="s01", minutes=1),
        ]
        report = plain_report(runs, [])
        # The board's scenarios are in the order of first appearance.
        assert [(cell.model, cell.scenario, cell.repeat) for cell in report.cells] == [
            ("small:1b", "s02", 1),
            ("small:1b", "s01", 1),
            ("small:1b", "s01", 2),
        ]


class TestJudges:
    def test_agreement_is_that_of_the_field(self) -> None:
        runs = [a_run(scenario=name) for name in SIX]
        anna = [4, 2, 5, 3, 1, 4, 4, 5, 2, 3, 3, 4]
        ben = [4, 3, 5, 3, 2, 4, 2, 5, 2, 4, 3, 5]
        judgements = [
            said
            for judge, scores in (("anna", anna), ("ben", ben))
            for place, run in enumerate(runs)
            for said in judged(run, *scores[2 * place : 2 * place + 2], judge=judge)
        ]
        agreement = plain_report(runs, judgements).agreement["relevance"]

        assert agreement.tips == 12
        assert agreement.exact_rate == 7 / 12
        assert agreement.adjacent_rate == 11 / 12
        assert agreement.quadratic_weighted_kappa == pytest.approx(
            cohen_kappa_score(anna, ben, weights="quadratic")
        )
        assert agreement.krippendorff_alpha == pytest.approx(
            krippendorff.alpha([anna, ben], level_of_measurement="ordinal")
        )
        assert agreement.krippendorff_alpha_low is not None
        assert agreement.krippendorff_alpha is not None
        assert agreement.krippendorff_alpha_high is not None
        assert (
            agreement.krippendorff_alpha_low
            < agreement.krippendorff_alpha
            < agreement.krippendorff_alpha_high
            <= 1
        )

    def test_more_than_two_judges_have_no_kappa(self) -> None:
        run = a_run()
        judgements = [
            said
            for judge, score in (("anna", 4), ("ben", 3), ("cleo", 4))
            for said in judged(run, score, 5, judge=judge)
        ]
        agreement = plain_report([run], judgements).agreement["tone"]
        assert agreement.quadratic_weighted_kappa is None
        assert agreement.krippendorff_alpha is not None

    def test_one_judge_agrees_with_nobody(self) -> None:
        run = a_run()
        assert plain_report([run], judged(run, 4, 4)).agreement == {}

    def test_who_judged_other_tips_is_left_out(self) -> None:
        run, elsewhere = a_run(), a_run(scenario="s09")
        judgements = [
            said for judge in ("anna", "ben") for said in judged(elsewhere, 4, 4, judge=judge)
        ]
        report = plain_report([run], judgements)
        assert (report.agreement, report.judges, report.last_judged_at) == ({}, (), None)

    def test_drift_is_told_oldest_first(self) -> None:
        applies = [an_apply("ben", days=3, accepted=True), an_apply("anna", days=1, error=None)]
        report = plain_report([a_run()], [], applies)
        assert [apply.judge for apply in report.drift_history] == ["anna", "ben"]
        assert report.drift_history[0].drift_mean_absolute_error is None
        assert report.drift_history[1].drift["actionability"].bias == -0.4
        assert report.drift_history[1].drift_accepted


class TestReport:
    def test_of_nothing(self) -> None:
        report = plain_report([], [])
        assert (report.rows, report.cells, report.scenarios) == ((), (), ())
        assert report.headline == "There is no finished run on this board."
        assert report.last_finished_at is None
        assert report.models_resident_together is None
        assert report.largest_resident_bytes is None

    def test_is_as_of_the_last_run_and_the_last_judgement(self) -> None:
        run = a_run(minutes=30)
        report = plain_report([a_run(scenario="s02"), run], judged(run, 4, minutes=7))
        assert report.last_finished_at == START + timedelta(minutes=30)
        assert report.last_judged_at == START + timedelta(days=1, minutes=7)

    def test_says_how_many_models_were_in_memory_together(self) -> None:
        alone = a_run(resident_bytes=300)
        assert plain_report([alone], []).models_resident_together == 1
        beside = a_run(scenario="s02", resident_bytes=200, foreign_models=("other:1b",))
        report = plain_report([alone, beside], [])
        assert (report.models_resident_together, report.largest_resident_bytes) == (2, 300)
        assert plain_report([a_run()], []).models_resident_together is None

    def test_carries_gates_scenarios_rubric_and_environment(self) -> None:
        run = a_run()
        report = build_report(
            board=build_board([run], [], RUBRIC),
            runs=[run],
            judgements=[],
            applies=[],
            rubric=RUBRIC,
            verdicts=[Verdict(name="composite>=3", status="UNDECIDED", detail="1 cell pending")],
            environment={"system": "Linux", "python": "3.11"},
        )
        assert report.gates[0].model_dump() == {
            "name": "composite>=3",
            "status": "UNDECIDED",
            "detail": "1 cell pending",
        }
        assert report.scenarios[0].content == run.scenario
        assert report.scenarios[0].sha256 == run.scenario_sha256
        assert report.rubric.sha256 == RUBRIC.sha256
        assert list(report.environment) == ["python", "system"]
        assert (report.pending_cells, report.pending_tips) == (1, 2)

    def test_compares_models_and_prompts_as_the_board_does(self) -> None:
        scores = {
            (model, prompt): [(base + lift, base)] * 3
            for model, base in (("a", 3), ("b", 1))
            for prompt, lift in (("v1", 0), ("v2", 1))
        }
        report = plain_report(*a_matrix(scores))
        assert report.comparison_of_models is not None
        assert [group.name for group in report.comparison_of_models.groups] == ["a", "b"]
        assert report.comparison_of_models.averaged_over == ("v1", "v2")
        assert report.comparison_of_prompts is not None
        assert report.pair is None

    def test_compares_with_a_baseline_as_the_board_does(self) -> None:
        made = lifelike_change()
        report = report_of(made.runs, made.judgements, gates=(), baseline=made.baseline)
        ours, theirs = report.comparison, made.comparison
        assert ours is not None
        assert (ours.baseline, ours.outcome) == ("last-week", theirs.outcome)
        assert (ours.notices, ours.scenario_means) == (theirs.notices, theirs.scenario_means)
        for mine, its in zip(ours.rows, theirs.rows, strict=True):
            for name in ReportRowChange.model_fields.keys() - {"scenarios"}:
                assert getattr(mine, name) == getattr(its, name), name
            assert mine.pairs == len(its.paired)
            for one, other in zip(mine.scenarios, its.scenarios, strict=True):
                for name in ReportScenarioChange.model_fields:
                    assert getattr(one, name) == getattr(other, name), name
        # the letters of the page's rows hold for these too
        labels = [row.label for row in report.rows]
        assert [row.label for row in ours.rows][: len(labels)] == labels
        assert plain_report([a_run()], []).comparison is None

    def test_is_the_same_whatever_the_order_of_the_judgements(self) -> None:
        generator = random.Random(4)
        runs = lifelike_runs(lifelike_scenarios(4), ["qwen2.5:0.5b"], generator)
        judgements = lifelike_judgements(runs, "anna", generator)
        judgements += lifelike_judgements(runs, "ben", generator)
        shuffled = random.Random(5).sample(judgements, len(judgements))
        assert report_of(runs, judgements) == report_of(runs, shuffled)

    def test_covers_every_cell_of_a_whole_board(self) -> None:
        report = lifelike_report(scenarios=6)
        cells: Counter[tuple[str, str]] = Counter()
        for cell in report.cells:
            cells[cell.model, cell.prompt_version] += 1
        assert set(cells.values()) == {6}
        assert len(cells) == len(report.rows) == 12
        assert report.rubric.version == TIP_RUBRIC.version
