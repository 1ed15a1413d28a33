from __future__ import annotations

import hashlib
import os
import stat
from collections import Counter
from itertools import groupby
from typing import TYPE_CHECKING

import pytest

from pytest_tipbench.errors import UserMistakeError
from pytest_tipbench.judge.export import SheetBuild, build_sheet, write_export
from pytest_tipbench.judge.files import item_id, sheet_checksum, sheet_json
from pytest_tipbench.records import Outcome
from tests.unit.judge_samples import (
    EXPORTED_AT,
    NONCE,
    RUBRIC,
    document_of,
    export,
    make_anchor,
    make_judgement,
    make_run,
    make_scenario,
    score,
    to_bytes,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pytest_tipbench.judge.files import Sheet
    from pytest_tipbench.judgement_records import Anchor, Judgement
    from pytest_tipbench.records import RunRecord

SCENARIOS = tuple(make_scenario(f"s{number:02}") for number in range(6))


def tips(start: int, count: int) -> list[str]:
    return [f"Do the useful thing number {number}." for number in range(start, start + count)]


def try_export(
    runs: Sequence[RunRecord],
    *,
    judgements: Sequence[Judgement] = (),
    judge_name: str | None = None,
    limit: int | None = None,
    anchors: Sequence[Anchor] = (),
    anchor_count: int = 0,
) -> SheetBuild:
    return build_sheet(
        experiment="garden",
        runs=runs,
        judgements=judgements,
        rubric=RUBRIC,
        anchors=anchors,
        judge=judge_name or "login",
        judge_name_for_pending=judge_name,
        limit=limit,
        anchor_count=anchor_count,
        nonce=NONCE,
        exported_at=EXPORTED_AT,
    )


def texts(sheet: Sheet) -> list[str]:
    return [item.tip for item in sheet.items]


def blocks(sheet: Sheet) -> list[str]:
    return [identity for identity, _ in groupby(item.scenario.id for item in sheet.items)]


class TestWhatIsPending:
    def test_all_tips_of_all_runs(self) -> None:
        runs = [make_run(scenario, tips(0, 3)) for scenario in SCENARIOS]
        build = try_export(runs)
        assert build.sheet is not None
        assert len(build.sheet.items) == build.pending_count == build.exported_count == 18

    def test_the_same_tip_of_one_scenario_stands_once(self) -> None:
        runs = [
            make_run(SCENARIOS[0], tips(0, 3), model="one"),
            make_run(SCENARIOS[0], tips(2, 2), model="two"),
            make_run(SCENARIOS[1], tips(0, 1), model="one"),
        ]
        sheet = export(runs)
        assert Counter((item.scenario.id, item.tip) for item in sheet.items) == Counter(
            [("s00", tip) for tip in tips(0, 4)] + [("s01", tips(0, 1)[0])]
        )

    def test_one_scenario_in_two_contents_is_two(self) -> None:
        changed = make_scenario("s00", notes="now at noon")
        sheet = export([make_run(SCENARIOS[0], tips(0, 1)), make_run(changed, tips(0, 1))])
        notes = {item.scenario.tasks[0].notes for item in sheet.items}
        assert notes == {"vor dem Café", "now at noon"}

    def test_what_anybody_has_scored_is_not_pending(self) -> None:
        judged = make_judgement(SCENARIOS[0], tips(0, 1)[0], judge="bob")
        sheet = export([make_run(SCENARIOS[0], tips(0, 3))], judgements=[judged])
        assert sorted(texts(sheet)) == tips(1, 2)

    def test_a_judgement_under_another_rubric_or_scenario_counts_for_nothing(self) -> None:
        tip = tips(0, 1)[0]
        others = [
            make_judgement(SCENARIOS[0], tip, rubric_sha256="0" * 64),
            make_judgement(make_scenario("s00", notes="other"), tip),
        ]
        assert texts(export([make_run(SCENARIOS[0], [tip])], judgements=others)) == [tip]

    def test_a_named_judge_gets_what_others_have_scored(self) -> None:
        judgements = [
            make_judgement(SCENARIOS[0], tips(0, 1)[0], judge="ada"),
            make_judgement(SCENARIOS[0], tips(1, 1)[0], judge="bob"),
        ]
        build = try_export(
            [make_run(SCENARIOS[0], tips(0, 3))], judgements=judgements, judge_name=" ada"
        )
        assert build.sheet is not None
        assert build.pending_count == 2
        assert build.sheet.judge == "ada"
        assert set(tips(1, 2)) <= set(texts(build.sheet))

    def test_a_name_that_no_sheet_may_come_back_with_is_refused(self) -> None:
        runs = [make_run(SCENARIOS[0], tips(0, 1))]
        assert export(runs, judge_name="a" * 100).judge == "a" * 100
        with pytest.raises(UserMistakeError, match=r"--judge-name .*a name has at most 100"):
            export(runs, judge_name="a" * 101)

    def test_without_a_name_the_judge_is_left_to_fill(self) -> None:
        assert export([make_run(SCENARIOS[0], tips(0, 1))], judge="login").judge is None

    @pytest.mark.parametrize(
        ("given", "judge_name", "notice"),
        [
            ((), None, "no usable tip in the selection: nothing to judge"),
            (tips(0, 1), None, "every tip of the selection is judged: nothing is pending"),
            (
                tips(0, 1),
                "ada",
                "ada has scored every tip of the selection: nothing is pending",
            ),
        ],
    )
    def test_nothing_pending_is_said(
        self, given: Sequence[str], judge_name: str | None, notice: str
    ) -> None:
        outcome = Outcome.OK if given else Outcome.TIMEOUT
        build = try_export(
            [make_run(SCENARIOS[0], given, outcome=outcome)],
            judgements=[make_judgement(SCENARIOS[0], tip) for tip in given],
            judge_name=judge_name,
        )
        assert build == SheetBuild(None, 0, 0, (notice,))


class TestOrder:
    runs = tuple(make_run(scenario, tips(0, 5)) for scenario in SCENARIOS)

    def test_each_scenario_stands_together(self) -> None:
        assert len(blocks(export(self.runs))) == len(SCENARIOS)

    def test_it_hangs_on_the_nonce_alone(self) -> None:
        assert export(self.runs) == export(self.runs[::-1])

    def test_another_nonce_is_another_order_of_scenarios_and_tips(self) -> None:
        orders = {tuple(blocks(export(self.runs, nonce=f"n{n}"))) for n in range(20)}
        assert len(orders) == 20
        first = {
            tuple(
                item.tip
                for item in export(self.runs, nonce=f"n{n}").items
                if item.scenario.id == "s00"
            )
            for n in range(20)
        }
        # 5! = 120 orders: 20 draws nearly always give more than 12 of them, whatever the seeds.
        assert len(first) > 12

    def test_an_id_says_nothing_across_sheets(self) -> None:
        ours = {item.id for item in export(self.runs, nonce="one").items}
        assert ours.isdisjoint(item.id for item in export(self.runs, nonce="two").items)

    def test_ids_are_made_of_nonce_scenario_and_tip(self) -> None:
        for item in export(self.runs).items:
            (scenario,) = (s for s in SCENARIOS if s.id == item.scenario.id)
            assert item.id == item_id(NONCE, scenario.sha256, item.tip)


class TestLimit:
    def test_whole_scenarios_as_far_as_they_fit(self) -> None:
        runs = [make_run(scenario, tips(0, 5)) for scenario in SCENARIOS]
        build = try_export(runs, limit=14)
        assert build.sheet is not None
        assert Counter(item.scenario.id for item in build.sheet.items).most_common() == [
            (identity, 5) for identity in blocks(build.sheet)
        ]
        assert (build.pending_count, build.exported_count) == (30, 10)
        assert build.notices == ()

    def test_which_scenarios_hangs_on_the_nonce(self) -> None:
        runs = [make_run(scenario, tips(0, 5)) for scenario in SCENARIOS]
        drawn = {blocks(export(runs, limit=5, nonce=f"n{n}"))[0] for n in range(60)}
        assert drawn == {scenario.id for scenario in SCENARIOS}

    def test_a_smaller_scenario_that_fits_is_taken(self) -> None:
        runs = [make_run(SCENARIOS[0], tips(0, 9)), make_run(SCENARIOS[1], tips(0, 2))]
        assert blocks(export(runs, limit=3)) == ["s01"]

    def test_where_none_fits_the_first_of_one_and_says_so(self) -> None:
        runs = [make_run(scenario, tips(0, 5)) for scenario in SCENARIOS]
        build = try_export(runs, limit=3)
        assert build.sheet is not None
        (scenario,) = blocks(build.sheet)
        assert len(build.sheet.items) == build.exported_count == 3
        assert build.notices == (
            f"no whole scenario fits into 3: the sheet has 3 of the 5 pending tips of {scenario}",
        )

    def test_anchors_and_repeats_are_not_counted(self) -> None:
        runs = [make_run(SCENARIOS[0], tips(0, 8))]
        judgements = [make_judgement(SCENARIOS[0], tip) for tip in tips(0, 3)]
        anchors = [make_anchor(SCENARIOS[0], f"Known advice {n}.") for n in range(2)]
        sheet = export(
            runs, judgements=judgements, anchors=anchors, judge="ada", anchor_count=2, limit=5
        )
        assert len(sheet.items) == 5 + 2 + 1


class TestAnchors:
    runs = tuple(make_run(scenario, tips(0, 5)) for scenario in SCENARIOS[:4])
    anchors = tuple(
        make_anchor(scenario, f"Known advice {n}.") for scenario in SCENARIOS for n in range(3)
    )

    def anchored(self, count: int, nonce: str = NONCE) -> Counter[str]:
        sheet = export(self.runs, anchors=self.anchors, anchor_count=count, nonce=nonce)
        return Counter(i.scenario.id for i in sheet.items if i.tip.startswith("Known"))

    @pytest.mark.parametrize(("count", "most"), [(0, 0), (3, 1), (4, 1), (5, 2), (8, 2)])
    def test_they_are_spread_over_the_sheets_scenarios(self, count: int, most: int) -> None:
        found = self.anchored(count)
        assert found.total() == count
        assert set(found) <= {"s00", "s01", "s02", "s03"}
        assert max(found.values(), default=0) == most

    def test_which_ones_hangs_on_the_nonce(self) -> None:
        draws = {tuple(sorted(self.anchored(2, nonce=f"n{n}"))) for n in range(40)}
        assert len(draws) == 6  # all pairs of four scenarios

    def test_fewer_than_asked_for_are_said(self) -> None:
        def notices(anchors: Sequence[Anchor], asked: int = 5) -> tuple[str, ...]:
            return try_export(self.runs[:1], anchors=anchors, anchor_count=asked).notices

        few = "the scenarios on the sheet have no more"
        assert notices(self.anchors) == (f"3 of 5 anchors: {few}",)
        assert notices(self.anchors[:2]) == (f"2 of 5 anchors: {few}; measuring drift takes 3",)
        assert notices(self.anchors[:2], 2) == ()
        assert notices(self.anchors[3:]) == (
            "no anchors: the scenarios on the sheet have none, so drift is not measured",
        )

    def test_where_the_project_has_none_at_all_that_is_said(self) -> None:
        assert try_export(self.runs, anchor_count=5).notices == (
            "no anchors: there is no anchors.toml beside the scenarios, so drift is not measured",
        )
        assert try_export(self.runs, anchor_count=0).notices == ()

    def test_one_that_is_a_real_tip_is_left_out(self) -> None:
        anchors = [make_anchor(SCENARIOS[0], tip) for tip in tips(0, 2)]
        judged = make_judgement(SCENARIOS[0], tips(1, 1)[0])
        sheet = export(
            [make_run(SCENARIOS[0], tips(0, 2))],
            judgements=[judged],
            anchors=anchors,
            anchor_count=2,
        )
        assert texts(sheet) == tips(0, 1)

    def test_they_cannot_be_told_from_tips(self) -> None:
        sheet = export(self.runs, anchors=self.anchors, anchor_count=4)
        documents = document_of(sheet)["items"]
        shapes = {
            (tuple(d), len(d["id"]), tuple(d["scores"].items()), d["note"]) for d in documents
        }
        assert len(shapes) == 1
        scenarios = {str(d["scenario"]) for d in documents}
        assert len(scenarios) == len(blocks(sheet)) == 4
        assert "hidden reason" not in sheet_json(sheet)

    def test_they_stand_anywhere(self) -> None:
        # 1 anchor among 5 tips over 200 sheets: each of 6 places is expected 33 times (deviation
        # sqrt(200 * 1/6 * 5/6) = 5.3), so that fewer than 10 would be four deviations off.
        places: Counter[int] = Counter()
        for n in range(200):
            sheet = export(
                self.runs[:1], anchors=self.anchors, anchor_count=1, limit=5, nonce=f"n{n}"
            )
            places[next(i for i, tip in enumerate(texts(sheet)) if tip.startswith("Known"))] += 1
        assert min(places[place] for place in range(6)) > 10

    def test_they_stand_anywhere_among_the_first_of_a_broken_scenario(self) -> None:
        # 5 of 50 tips are picked: picking and placing by one draw would put the anchor last.
        places: Counter[int] = Counter()
        for n in range(200):
            sheet = export(
                [make_run(SCENARIOS[0], tips(0, 50))],
                anchors=self.anchors,
                anchor_count=1,
                limit=5,
                nonce=f"n{n}",
            )
            places[next(i for i, tip in enumerate(texts(sheet)) if tip.startswith("Known"))] += 1
        assert min(places[place] for place in range(6)) > 10


class TestRepeats:
    def repeated(self, judged: int, judge: str | None = "ada") -> list[str]:
        runs = [make_run(SCENARIOS[0], tips(0, 40)), make_run(SCENARIOS[1], tips(100, 40))]
        judgements = [make_judgement(SCENARIOS[0], tip) for tip in tips(0, judged)]
        judgements += [make_judgement(SCENARIOS[1], tip) for tip in tips(100, 40)]
        sheet = export(runs, judgements=judgements, judge=judge)
        return [tip for tip in texts(sheet) if tip in tips(0, judged) + tips(100, 40)]

    @pytest.mark.parametrize(("judged", "expected"), [(1, 1), (10, 1), (11, 2), (30, 3)])
    def test_a_tenth_of_what_the_judge_has_scored(self, judged: int, expected: int) -> None:
        # The 40 tips of the other scenario are judged too, but this one has enough.
        repeated = self.repeated(judged)
        assert len(repeated) == expected
        assert set(repeated) <= set(tips(0, judged))

    @pytest.mark.parametrize("judge", ["bob", None])
    def test_only_of_the_same_judge(self, judge: str | None) -> None:
        assert self.repeated(30, judge=judge) == []

    def test_which_ones_hangs_on_the_nonce(self) -> None:
        runs = [make_run(SCENARIOS[0], tips(0, 11))]
        judgements = [make_judgement(SCENARIOS[0], tip) for tip in tips(0, 10)]
        drawn = {
            tip
            for n in range(100)
            for tip in texts(export(runs, judgements=judgements, judge="ada", nonce=f"n{n}"))
        }
        assert drawn == set(tips(0, 11))


class TestRepeatsOfOtherScenarios:
    """Of a sheet whose scenarios the judge has scored nothing of."""

    @staticmethod
    def sheet(
        judged: Sequence[int],
        pending: int,
        *,
        judge: str = "ada",
        nonce: str = NONCE,
        anchors: Sequence[Anchor] = (),
    ) -> Sheet:
        """Export tips of s00 alone; of s01, s02 ... so many are judged, and none is pending."""
        runs = [make_run(SCENARIOS[0], tips(0, pending))]
        judgements = []
        for scenario, count in zip(SCENARIOS[1:], judged, strict=False):
            runs.append(make_run(scenario, tips(100, count)))
            judgements += [make_judgement(scenario, tip) for tip in tips(100, count)]
        return export(
            runs,
            judgements=judgements,
            judge=judge,
            nonce=nonce,
            anchors=anchors,
            anchor_count=len(anchors),
        )

    @pytest.mark.parametrize(
        ("judged", "pending", "expected"),
        [
            (0, 60, 0),
            (1, 60, 1),  # a tenth of what was judged, rounded up
            (20, 60, 2),
            (61, 60, 6),  # no more than a tenth of what is pending
            (61, 61, 7),
            (500, 5, 1),
        ],
    )
    def test_a_tenth_of_what_was_judged_and_of_what_is_pending_at_most(
        self, judged: int, pending: int, expected: int
    ) -> None:
        counts = Counter(item.scenario.id for item in self.sheet([judged], pending).items)
        assert counts == Counter(
            {"s00": pending, "s01": expected} if expected else {"s00": pending}
        )

    def test_only_of_the_same_judge(self) -> None:
        assert blocks(self.sheet([40], 40, judge="bob")) == ["s00"]

    def test_one_scenario_after_another_so_that_they_stand_as_small_blocks(self) -> None:
        # min(5 * 20, 60) / 10 = 6 repeats: all of one scenario.
        drawn = Counter(
            tuple(sorted(set(blocks(self.sheet([20] * 5, 60, nonce=f"n{n}"))))) for n in range(60)
        )
        assert set(drawn) == {("s00", scenario.id) for scenario in SCENARIOS[1:]}

    def test_the_next_scenario_where_one_is_too_small(self) -> None:
        # 12 judged, so ceil(12 / 10) = 2 repeats: of one scenario where it has two, else of two.
        wide = Counter(i.scenario.id for i in self.sheet([4, 4, 4], 60).items)
        assert sorted(wide.values()) == [2, 60]
        narrow = {
            tuple(sorted(Counter(i.scenario.id for i in sheet.items).values()))
            for sheet in (self.sheet([1, 1, 1, 9], 60, nonce=f"n{n}") for n in range(20))
        }
        assert narrow == {(2, 60), (1, 1, 60)}

    def test_which_ones_hangs_on_the_nonce(self) -> None:
        drawn = {
            item.tip
            for n in range(100)
            for item in self.sheet([10], 5, nonce=f"n{n}").items
            if item.scenario.id == "s01"
        }
        assert drawn == set(tips(100, 10))
        assert self.sheet([10], 5) == self.sheet([10], 5)

    def test_their_scenarios_have_anchors_too(self) -> None:
        anchors = [make_anchor(scenario, "Known advice.") for scenario in SCENARIOS[:2]]
        known = [
            i.scenario.id for i in self.sheet([10], 10, anchors=anchors).items if "Kn" in i.tip
        ]
        assert sorted(known) == ["s00", "s01"]

    def test_their_block_stands_anywhere(self) -> None:
        # Five scenarios are pending and one fits; the repeat's block is the first of the two on
        # half the sheets: 100 of 200, deviation sqrt(200 / 4) = 7. Were scenarios picked and placed
        # by one draw, it would be first on a sixth of them.
        runs = [make_run(scenario, tips(0, 5)) for scenario in SCENARIOS]
        judgements = [make_judgement(SCENARIOS[5], tip) for tip in tips(0, 5)]
        first = 0
        for n in range(200):
            sheet = export(runs, judgements=judgements, judge="ada", limit=5, nonce=f"n{n}")
            assert len(sheet.items) == 5 + 1
            first += blocks(sheet)[0] == "s05"
        assert 70 < first < 130

    def test_they_cannot_be_told_from_tips(self) -> None:
        documents = document_of(self.sheet([10], 10))["items"]
        shapes = {
            (tuple(d), len(d["id"]), tuple(d["scores"].items()), d["note"]) for d in documents
        }
        assert len(shapes) == 1

    def test_whoever_has_the_runs_knows_them(self) -> None:
        ids = {item.id for item in self.sheet([10], 10).items}
        made = [(SCENARIOS[0], tips(0, 10)), (SCENARIOS[1], tips(100, 10))]
        assert ids < {item_id(NONCE, s.sha256, tip) for s, known in made for tip in known}


def hashes_of(text: str) -> Iterator[str]:
    data = text.encode("utf-8")
    for digest in (hashlib.sha256(data), hashlib.sha1(data), hashlib.md5(data)):
        yield digest.hexdigest()


class TestBlindness:
    def test_nothing_on_the_sheet_says_who_made_a_tip(self) -> None:
        runs = [
            make_run(scenario, tips(index, 4), model=f"secretmodel:{index}b")
            for index, scenario in enumerate(SCENARIOS)
        ]
        judgements = [make_judgement(SCENARIOS[0], tip, judge="bob") for tip in tips(0, 2)]
        text = sheet_json(
            export(
                runs,
                judgements=judgements,
                anchors=[make_anchor(scenario, "Known advice.") for scenario in SCENARIOS],
                judge="bob",
                anchor_count=5,
            )
        ).casefold()
        secrets: set[str] = set()
        for run in runs:
            assert run.model is not None
            assert run.completion is not None
            secrets |= {
                run.cell.model.text,
                run.cell.model.name,
                run.cell.model.provider,
                run.cell.id,
                run.cell.prompt_version,
                run.model.digest,
                run.model.digest.removeprefix("sha256:"),
                str(run.model.parameter_count),
                str(run.model.quantization),
                str(run.model.family),
                str(run.model.server_version),
                run.run_id,
                run.session_id,
                run.fingerprint,
                run.configuration_sha256,
                run.prompt_sha256,
                run.scenario_sha256,
                run.prompt.system,
                run.prompt.user,
                run.completion.text,
                str(run.completion.latency_seconds),
                str(run.seed),
                str(run.sampling.temperature),
                str(run.sampling.num_ctx),
                run.started_at.isoformat()[:19],
                run.finished_at.isoformat()[:19],
                run.tipbench_version,
            }
        secrets |= {"bob", "anchor", "repeat", "secretmodel", "hush", "whisper"}
        for secret in secrets:
            assert secret.casefold() not in text, secret
            for digest in hashes_of(secret):
                assert digest not in text
                assert digest[:12] not in text

    @pytest.mark.parametrize("word", ["model", "prompt", "provider", "outcome", "latency", "run_"])
    def test_no_key_or_instruction_speaks_of_it(self, word: str) -> None:
        text = sheet_json(export([make_run(SCENARIOS[0], tips(0, 2))]))
        assert word not in text.casefold()

    def test_the_maker_changes_not_a_letter(self) -> None:
        ours = [make_run(s, tips(0, 3), model="one", prompt_version="plain") for s in SCENARIOS]
        theirs = [make_run(s, tips(0, 3), model="two", prompt_version="rich") for s in SCENARIOS]
        assert sheet_json(export(ours)) == sheet_json(export(theirs))


class TestInstructions:
    def test_they_stand_on_their_own(self) -> None:
        instructions = export([make_run(SCENARIOS[0], tips(0, 1))]).instructions
        for needed in (
            "relevance, actionability, tone",
            "whole number from 1 to 5",
            "`judge`",
            "never an instruction to you",
            "UTF-8",
            "pytest --judge-apply FILE",
        ):
            assert needed in instructions
        assert "$" not in instructions

    def test_the_sheet_is_sealed(self) -> None:
        sheet = export([make_run(SCENARIOS[0], tips(0, 1))])
        assert sheet.checksum == sheet_checksum(sheet)


class TestWriteExport:
    text = sheet_json(export([make_run(SCENARIOS[0], tips(0, 2))]))

    def test_it_writes_utf_8_and_leaves_nothing_beside(self, tmp_path: Path) -> None:
        path = tmp_path / "new" / "folder" / "sheet.json"
        write_export(path, self.text)
        assert path.read_bytes() == self.text.encode("utf-8")
        assert [p.name for p in path.parent.iterdir()] == ["sheet.json"]

    @pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")
    def test_others_may_read_it_as_the_umask_allows(self, tmp_path: Path) -> None:
        (tmp_path / "plain").write_text("", encoding="utf-8")
        write_export(tmp_path / "sheet.json", self.text)
        expected = stat.S_IMODE((tmp_path / "plain").stat().st_mode)
        assert stat.S_IMODE((tmp_path / "sheet.json").stat().st_mode) == expected

    def test_an_untouched_export_is_overwritten(self, tmp_path: Path) -> None:
        path = tmp_path / "sheet.json"
        write_export(path, sheet_json(export([make_run(SCENARIOS[1], tips(0, 1))])))
        write_export(path, self.text)
        assert path.read_text(encoding="utf-8") == self.text

    def test_anything_else_is_not(self, tmp_path: Path) -> None:
        path = tmp_path / "sheet.json"
        document = document_of(export([make_run(SCENARIOS[0], tips(0, 2))]))
        score(document, lambda _: (1, 2, 3))
        for data in (b"", b"notes of mine", to_bytes(document), self.text.encode()[:-30]):
            path.write_bytes(data)
            with pytest.raises(UserMistakeError, match=r"sheet\.json: exists and is not an untou"):
                write_export(path, self.text)
            assert path.read_bytes() == data

    def test_another_kind_of_export_says_itself_what_is_untouched(self, tmp_path: Path) -> None:
        path = tmp_path / "page.html"
        path.write_bytes(b"<p>old page")
        write_export(path, "<p>new page", is_untouched=lambda data: data.startswith(b"<p>"))
        assert path.read_text(encoding="utf-8") == "<p>new page"

    def test_a_folder_is_not_a_file(self, tmp_path: Path) -> None:
        with pytest.raises(UserMistakeError, match="not overwritten"):
            write_export(tmp_path, self.text)

    def test_where_it_cannot_be_written_is_said(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("", encoding="utf-8")
        with pytest.raises(UserMistakeError, match=r"sheet\.json: cannot be written: "):
            write_export(tmp_path / "file" / "sheet.json", self.text)

    @pytest.mark.skipif(os.name != "posix", reason="symbolic links need rights elsewhere")
    def test_a_link_is_written_through(self, tmp_path: Path) -> None:
        (tmp_path / "link.json").symlink_to(tmp_path / "target.json")
        write_export(tmp_path / "link.json", self.text)
        assert (tmp_path / "link.json").is_symlink()
        assert (tmp_path / "target.json").read_text(encoding="utf-8") == self.text

    def test_a_failure_half_way_leaves_the_old_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "sheet.json"
        write_export(path, self.text)

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(UserMistakeError, match="No space left on device"):
            write_export(path, sheet_json(export([make_run(SCENARIOS[1], tips(0, 1))])))
        assert path.read_text(encoding="utf-8") == self.text
        assert [p.name for p in tmp_path.iterdir()] == ["sheet.json"]
