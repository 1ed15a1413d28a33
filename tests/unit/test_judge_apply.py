from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_tipbench.board_rows import newest_judgements
from pytest_tipbench.errors import JudgeFileError
from pytest_tipbench.judge.anchors import anchors_sha256
from pytest_tipbench.judge.apply import AppliedSheet, check_sheet, experiment_of
from pytest_tipbench.judge.files import sealed, sheet_json
from pytest_tipbench.judge.reading import read_sheet
from pytest_tipbench.judgement_records import Criterion
from pytest_tipbench.store.ledger import Ledger
from tests.unit.judge_samples import (
    APPLIED_AT,
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
    from collections.abc import Callable, Sequence

    from pytest_tipbench.judgement_records import Anchor, Judgement, Rubric
    from pytest_tipbench.records import RunRecord

PATH = Path("scores.json")
SCENARIOS = tuple(make_scenario(f"s{number:02}") for number in range(4))
TIPS = tuple(f"Do the useful thing number {number}." for number in range(6))
RUNS = tuple(make_run(scenario, TIPS) for scenario in SCENARIOS[:2])
ANCHORS = tuple(
    make_anchor(scenario, f"Known advice {n}.", (3, 3, 3))
    for scenario in SCENARIOS[:2]
    for n in range(3)
)


def check(
    document: object,
    *,
    experiment: str | None = None,
    rubric: Rubric = RUBRIC,
    runs: Sequence[RunRecord] = RUNS,
    anchors: Sequence[Anchor] = ANCHORS,
    prior: Sequence[Judgement] = (),
    judge_name: str | None = None,
    login_name: str = "login",
    max_drift: float = 0.75,
    accept_drift: bool = False,
    later: timedelta = timedelta(0),
) -> AppliedSheet:
    return check_sheet(
        PATH,
        document if isinstance(document, bytes) else to_bytes(document),
        experiment=experiment,
        rubric=rubric,
        runs=runs,
        anchors=anchors,
        prior_judgements=prior,
        judge_name=judge_name,
        login_name=login_name,
        max_drift=max_drift,
        accept_drift=accept_drift,
        now=APPLIED_AT + later,
    )


def faults_of(document: object, **arguments: Any) -> tuple[str, ...]:
    with pytest.raises(JudgeFileError) as caught:
        check(document, **arguments)
    assert caught.value.path == PATH
    return caught.value.faults


def ids_of(applied: AppliedSheet) -> list[str]:
    return [judgement.judgement_id for judgement in applied.judgements]


def rate(document: dict[str, Any], relevance: int) -> None:
    score(document, lambda _: (relevance, 3, 3))


@pytest.fixture
def document() -> dict[str, Any]:
    """Five anchors among twelve tips, all scored 3: no drift."""
    document = document_of(export(RUNS, anchors=ANCHORS, anchor_count=5))
    score(document, lambda _: (3, 3, 3))
    return document


@pytest.fixture
def plain() -> dict[str, Any]:
    """The twelve tips alone, unscored."""
    return document_of(export(RUNS))


class TestJudgements:
    def test_every_scored_tip_is_one_judgement_and_no_anchor_is(
        self, document: dict[str, Any]
    ) -> None:
        document["judge"] = "ada"
        tip = next(item for item in document["items"] if item["tip"] in TIPS)
        tip["note"] = "kurz \u2026 & gut\x00"
        applied = check(document)
        assert applied.apply is not None
        assert applied.apply.judgements == len(applied.judgements) == 12
        assert applied.apply.anchors_scored == 5
        assert applied.items_left == 0
        made = {(s.sha256, tip) for s in SCENARIOS[:2] for tip in TIPS}
        assert {(j.key.scenario_sha256, j.key.tip) for j in applied.judgements} == made
        for judgement in applied.judgements:
            assert judgement.key.rubric_sha256 == RUBRIC.sha256
            assert judgement.judge == "ada"
            assert judgement.scores == {"relevance": 3, "actionability": 3, "tone": 3}
            assert judgement.judged_at == APPLIED_AT
            assert judgement.sheet_nonce == NONCE
        assert [j.note for j in applied.judgements if j.note] == ["kurz \u2026 & gut\x00"]

    def test_notes_are_kept(self, plain: dict[str, Any]) -> None:
        score(plain, lambda _: (1, 2, 3))
        plain["items"][4]["note"] = " wörtlich\u202e\n"
        del plain["items"][5]["note"]
        plain["items"][6]["note"] = None
        notes = [judgement.note for judgement in check(plain).judgements]
        assert notes == ["", "", "", "", " wörtlich\u202e\n", "", "", *[""] * 5]

    def test_scores_go_to_the_tip_that_the_id_stands_for(self, plain: dict[str, Any]) -> None:
        score(plain, lambda tip: (1 + TIPS.index(tip) % 5, 2, 5))
        plain["items"][0]["scores"] = {"tone": 5, "relevance": 4, "actionability": 2}
        first = plain["items"][0]["tip"]
        for judgement in check(plain).judgements[1:]:
            assert judgement.scores["relevance"] == 1 + TIPS.index(judgement.key.tip) % 5
        judgement = check(plain).judgements[0]
        assert (judgement.key.tip, list(judgement.scores.items())) == (
            first,
            [("relevance", 4), ("actionability", 2), ("tone", 5)],
        )

    def test_null_items_stay_pending(self, plain: dict[str, Any]) -> None:
        plain["items"][3]["scores"] = {"relevance": 1, "actionability": 1, "tone": 1}
        applied = check(plain)
        assert len(applied.judgements) == 1
        assert applied.items_left == 11

    def test_a_sheet_without_a_score_is_no_fault(self, plain: dict[str, Any]) -> None:
        applied = check(plain)
        assert applied.apply is None
        assert applied.judgements == ()
        assert applied.lines == ("no item is scored: nothing to apply",)

    def test_anchors_alone_are_an_apply(self, document: dict[str, Any]) -> None:
        for item in document["items"]:
            if not item["tip"].startswith("Known"):
                item["scores"] = dict.fromkeys(RUBRIC.criterion_names)
        applied = check(document)
        assert applied.judgements == ()
        assert applied.apply is not None
        assert (applied.apply.judgements, applied.apply.anchors_scored) == (0, 5)

    def test_an_anchor_that_became_a_tip_since_is_both(self, document: dict[str, Any]) -> None:
        since = make_run(SCENARIOS[0], [f"Known advice {n}." for n in range(3)])
        applied = check(document, runs=[*RUNS, since])
        assert applied.apply is not None
        assert applied.apply.anchors_scored == 5
        assert applied.apply.judgements > 12

    def test_runs_of_any_machine_will_do(self, document: dict[str, Any]) -> None:
        others = [make_run(scenario, TIPS[::-1], model="elsewhere") for scenario in SCENARIOS]
        assert check(document, runs=others[::-1]).judgements == check(document).judgements


class TestIdentity:
    def test_the_same_file_again_is_the_same(self, document: dict[str, Any]) -> None:
        document["judge"] = "ada"
        first = check(document)
        again = check(document, prior=first.judgements, later=timedelta(days=3))
        assert first.apply is not None
        assert again.apply is not None
        assert again.apply.apply_id == first.apply.apply_id
        assert again.judgements == first.judgements
        assert (first.judgements_new, again.judgements_new) == (12, 0)
        assert again.lines[0] == "judged by ada: tips scored: 12, none of them new"
        assert again.lines[1:] == first.lines[1:]

    def test_on_a_machine_that_does_not_know_of_it_yet_it_is_the_same_too(
        self, document: dict[str, Any]
    ) -> None:
        here, there = check(document), check(document, later=timedelta(hours=1))
        assert here.apply is not None
        assert there.apply is not None
        assert here.apply.apply_id == there.apply.apply_id
        assert ids_of(here) == ids_of(there)

    def test_what_another_machine_has_of_it_is_completed_by_the_same(
        self, document: dict[str, Any]
    ) -> None:
        whole = check(document)
        completed = check(document, prior=whole.judgements[:5], later=timedelta(hours=1))
        assert whole.apply is not None
        assert completed.apply is not None
        assert ids_of(completed) == ids_of(whole)
        assert completed.apply.apply_id == whole.apply.apply_id
        assert completed.lines[0] == "judged by login: tips scored: 12, 7 of them new"

    @pytest.mark.parametrize(
        "edit",
        [
            lambda d: d["items"][0].update(note="other"),
            lambda d: d["items"][0]["scores"].update(tone=2),
            lambda d: d.update(judge="bob"),
        ],
    )
    def test_another_score_note_or_judge_is_another_judgement(
        self, plain: dict[str, Any], edit: Callable[[dict[str, Any]], None]
    ) -> None:
        score(plain, lambda _: (3, 3, 3))
        first = check(plain)
        edit(plain)
        changed = check(plain)
        assert first.judgements[0].judgement_id != changed.judgements[0].judgement_id
        assert first.apply is not None
        assert changed.apply is not None
        assert first.apply.apply_id != changed.apply.apply_id

    def test_a_correction_that_is_taken_back_is_kept(
        self, plain: dict[str, Any], tmp_path: Path
    ) -> None:
        applied = []
        with Ledger.open(tmp_path / "ledger.db") as ledger:
            for days, relevance in enumerate((5, 2, 5, 5)):
                rate(plain, relevance)
                sheet = check(plain, prior=ledger.judgements(), later=timedelta(days=days))
                assert sheet.apply is not None
                new = ledger.add_apply(sheet.apply, sheet.judgements)
                assert new == sheet.judgements_new == (12 if days < 3 else 0)
                said = {given.scores["relevance"] for given in newest_judgements(sheet.judgements)}
                current = ledger.current_judgements(RUBRIC.sha256)
                assert {given.scores["relevance"] for given in current} == said == {relevance}
                applied.append(sheet)
            assert len(ledger.judgements()) == 3 * 12
            assert len(ledger.applies("garden")) == 3
        first, second, third, again = applied
        assert len({*ids_of(first), *ids_of(second), *ids_of(third)}) == 36
        assert again.judgements == third.judgements

    def test_only_what_is_corrected_is_new(self, plain: dict[str, Any]) -> None:
        score(plain, lambda _: (3, 3, 3))
        first = check(plain)
        plain["items"][4]["scores"]["tone"] = 5
        corrected = check(plain, prior=first.judgements, later=timedelta(days=1))
        both = zip(corrected.judgements, first.judgements, strict=True)
        assert [number for number, (new, old) in enumerate(both) if new is not old] == [4]
        assert corrected.lines[0] == "judged by login: tips scored: 12, 1 of them new"

    def test_the_same_correction_on_two_machines_is_one(self, plain: dict[str, Any]) -> None:
        score(plain, lambda _: (3, 3, 3))
        first = check(plain).judgements
        score(plain, lambda _: (4, 3, 3))
        here = check(plain, prior=first, later=timedelta(days=1))
        there = check(plain, prior=first, later=timedelta(days=2))
        assert here.apply is not None
        assert there.apply is not None
        assert ids_of(here) == ids_of(there)
        assert here.apply.apply_id == there.apply.apply_id

    def test_two_variants_of_a_sheet_applied_in_either_order_leave_the_last_word(
        self, plain: dict[str, Any]
    ) -> None:
        for order in ((5, 2), (2, 5)):
            prior: tuple[Judgement, ...] = ()
            for days, relevance in enumerate(order):
                rate(plain, relevance)
                prior += check(plain, prior=prior, later=timedelta(days=days)).judgements
            said = newest_judgements(prior)
            assert {given.scores["relevance"] for given in said} == {order[-1]}

    def test_a_correction_is_the_newest_although_another_machines_clock_went_ahead(
        self, plain: dict[str, Any]
    ) -> None:
        rate(plain, 5)
        ahead = check(plain, later=timedelta(hours=1)).judgements
        rate(plain, 2)
        corrected = check(plain, prior=ahead).judgements
        said = newest_judgements([*corrected, *ahead])
        assert {given.scores["relevance"] for given in said} == {2}

    def test_what_another_sheet_said_since_stays_when_this_one_comes_again(
        self, plain: dict[str, Any]
    ) -> None:
        rate(plain, 5)
        first = check(plain).judgements
        since = make_judgement(
            SCENARIOS[0],
            TIPS[0],
            judge="login",
            scores=(1, 1, 1),
            judged_at=APPLIED_AT + timedelta(1),
        )
        again = check(plain, prior=[*first, since], later=timedelta(days=2))
        assert again.judgements == first

    def test_another_sheet_is_another_judgement(self) -> None:
        identities = set()
        for nonce in ("one", "two"):
            document = document_of(export(RUNS[:1], nonce=nonce))
            score(document, lambda _: (3, 3, 3))
            identities |= {j.judgement_id for j in check(document).judgements}
        assert len(identities) == 12

    def test_anchors_that_are_known_better_since_make_no_other_apply(
        self, document: dict[str, Any]
    ) -> None:
        better = [
            anchor.model_copy(update={"scores": {**anchor.scores, "tone": 4}}) for anchor in ANCHORS
        ]
        first, again = check(document).apply, check(document, anchors=better).apply
        assert first is not None
        assert again is not None
        assert first.drift != again.drift
        assert first.apply_id == again.apply_id

    def test_anchors_scored_later_are_another_apply(self, document: dict[str, Any]) -> None:
        whole = check(document)
        anchor = next(i for i in document["items"] if i["tip"].startswith("Known"))
        anchor["scores"] = dict.fromkeys(RUBRIC.criterion_names)
        part = check(document)
        assert part.judgements == whole.judgements
        assert part.apply is not None
        assert whole.apply is not None
        assert part.apply.apply_id != whole.apply.apply_id


class TestJudge:
    @pytest.mark.parametrize(
        ("named", "in_file", "login", "judge"),
        [
            ("cli", "file", "login", "cli"),
            (None, "file", "login", "file"),
            (None, None, "login", "login"),
            (None, "  ", "login", "login"),
            (" ", "file", "login", "file"),
            (None, " Zoe\u0308 ", "login", "Zo\u00eb"),
            (None, "a\x1b[31m", "login", "a\x1b[31m"),
        ],
    )
    def test_who_judged(
        self,
        document: dict[str, Any],
        named: str | None,
        in_file: str | None,
        login: str,
        judge: str,
    ) -> None:
        document["judge"] = in_file
        applied = check(document, judge_name=named, login_name=login)
        assert applied.judge == judge
        assert applied.apply is not None
        assert applied.apply.judge == judge
        assert {j.judge for j in applied.judgements} == {judge}
        for line in applied.lines:
            assert line.isprintable()

    def test_nobody_is_a_fault(self, document: dict[str, Any]) -> None:
        assert faults_of(document, login_name="") == (
            "judge is empty: write a name there, or give one with --judge-name",
        )

    def test_a_name_has_at_most_100_characters(self, document: dict[str, Any]) -> None:
        document["judge"] = "a" * 100
        assert check(document).judge == "a" * 100
        document["judge"] = "a" * 101
        (fault,) = faults_of(document)
        assert fault.startswith('judge: "aaaa')
        assert fault.endswith("… has 101 characters, a name has at most 100")
        assert faults_of(document, judge_name="b" * 5000)[0].endswith(
            "has 5000 characters, a name has at most 100"
        )
        assert check(document, judge_name="bob").judge == "bob"

    def test_the_named_one_before_the_files_is_said(self, document: dict[str, Any]) -> None:
        document["judge"] = "bob"
        assert check(document, judge_name="ada").notices == (
            "the sheet names bob as its judge; --judge-name counts",
        )
        assert check(document, judge_name="bob").notices == ()


class TestFaults:
    def test_the_form_of_the_file(self, document: dict[str, Any]) -> None:
        (fault,) = faults_of(to_bytes(document)[:-40])
        assert fault.startswith("not JSON at line 1, column ")
        assert faults_of(b"\xff{}")[0].startswith("not UTF-8")

    def test_another_rubric(self, document: dict[str, Any]) -> None:
        other = RUBRIC.model_copy(
            update={"version": "tip-v10", "criteria": (Criterion(name="wit", weight=1),)}
        )
        assert faults_of(document, rubric=other) == (
            (
                f"it was judged by rubric tip-v9 ({RUBRIC.sha256[:12]}), the one in force is "
                f"tip-v10 ({other.sha256[:12]}): bring that rubric back, or score a fresh export"
            ),
        )

    def test_another_experiment_than_the_named_one(self, document: dict[str, Any]) -> None:
        assert check(document, experiment="garden").experiment == "garden"
        # The runs of the named experiment know none of the items: that is not said on top.
        assert faults_of(document, experiment="orchard", runs=()) == (
            "it is a sheet of experiment garden, and --experiment names orchard",
        )

    def test_an_edited_tip_is_named(self, document: dict[str, Any]) -> None:
        item = document["items"][2]
        item["tip"] += " Really."
        edited, checksum = faults_of(document)
        assert edited == f"item {item['id']}: its tip was edited"
        assert checksum == (
            "checksum: something beyond scores, notes and judge was changed, most likely what is "
            "named above; undo it, or score a fresh export"
        )

    def test_an_edited_scenario_is_named(self, document: dict[str, Any]) -> None:
        item = document["items"][2]
        item["scenario"]["persona"]["name"] = "Bob"
        edited, _ = faults_of(document)
        assert edited == f"item {item['id']}: its scenario was edited"

    def test_a_forged_checksum_does_not_help(self, document: dict[str, Any]) -> None:
        item = document["items"][2]
        item["tip"] = TIPS[0] + "!"
        sheet = read_sheet(to_bytes(document)).sheet
        assert sheet is not None
        data = sheet_json(sealed(sheet)).encode("utf-8")
        assert faults_of(data) == (f"item {item['id']}: its tip was edited",)

    def test_an_edited_rubric_is_named(self, document: dict[str, Any]) -> None:
        document["rubric"]["text"] = "Give fives."
        edited, checksum = faults_of(document)
        assert edited == "rubric was edited"
        assert "most likely what is named above" in checksum

    @pytest.mark.parametrize(
        "edit",
        [
            lambda d: d["items"].pop(),
            lambda d: d["items"].reverse(),
            lambda d: d.update(experiment="orchard"),
            lambda d: d.update(instructions="Give fives."),
            lambda d: d.update(checksum="0"),
        ],
    )
    def test_an_edit_that_nothing_points_to(
        self, document: dict[str, Any], edit: Callable[[dict[str, Any]], None]
    ) -> None:
        edit(document)
        (fault,) = faults_of(document)
        assert fault == (
            "checksum: something beyond scores, notes and judge was changed, perhaps items were "
            "removed or moved, or experiment, exported_at, instructions or checksum were edited; "
            "undo it, or score a fresh export"
        )

    @pytest.mark.parametrize("scores", [None, [1, 2, 3], "x", 3, True])
    def test_scores_that_are_no_object(self, document: dict[str, Any], scores: object) -> None:
        first, second, third = document["items"][:3]
        first["scores"] = scores
        del second["scores"]
        third["scores"]["tone"] = 9
        no_object = "scores is not an object with a score for each criterion"
        assert faults_of(document) == (
            f"item {first['id']}: {no_object}",
            f"item {second['id']}: {no_object}",
            f"item {third['id']}: tone is 9, outside 1 to 5",
        )

    def test_an_unknown_id(self, document: dict[str, Any]) -> None:
        document["items"][2]["id"] = "feedfacefeedface"
        unknown, _ = faults_of(document)
        assert unknown == (
            "item feedfacefeedface: unknown id: no run and no anchor here has this tip; if the id "
            "was not edited, its run is elsewhere (--tracking-uri, --ledger) or its anchor was "
            "changed since"
        )

    def test_an_anchor_that_is_gone_is_an_unknown_id(self, document: dict[str, Any]) -> None:
        faults = faults_of(document, anchors=())
        ids = [i["id"] for i in document["items"] if i["tip"].startswith("Known")]
        assert [fault.split(": ")[0] for fault in faults] == [f"item {i}" for i in ids]

    def test_a_repeated_id(self, document: dict[str, Any]) -> None:
        document["items"].append(document["items"][0])
        repeated, _ = faults_of(document)
        assert repeated == f"item {document['items'][0]['id']}: stands 2 times on the sheet"

    def test_runs_that_are_not_here(self, document: dict[str, Any]) -> None:
        (fault,) = faults_of(document, runs=())
        ids = ", ".join(item["id"] for item in document["items"][:3])
        assert fault == (
            f"none of its 17 items ({ids}, …) is known here: the runs of experiment garden are not "
            "in this store (pull them with --tracking-uri, or name their --ledger), or the nonce "
            "was edited"
        )

    def test_an_edited_nonce(self, document: dict[str, Any]) -> None:
        document["nonce"] = "other"
        unknown, checksum = faults_of(document)
        assert unknown.endswith("or the nonce was edited")
        assert checksum.startswith("checksum: ")

    def test_every_fault_at_once(self, document: dict[str, Any]) -> None:
        items = document["items"]
        identities = [item["id"] for item in items]
        items[0]["scores"]["tone"] = True
        items[1]["scores"]["charm"] = 3
        items[2]["scores"]["tone"] = None
        items[3]["tip"] = "Another."
        items[4]["id"] = "feedfacefeedface"
        del items[5]["scores"]["tone"]
        items.append(items[6])
        faults = faults_of(document, experiment="garden", login_name="")
        for number in (0, 1, 2, 3, 5, 6):
            assert sum(fault.startswith(f"item {identities[number]}: ") for fault in faults) == 1
        assert sum(fault.startswith("item feedfacefeedface: ") for fault in faults) == 1
        assert sum(fault.startswith("judge is empty") for fault in faults) == 1
        assert sum(fault.startswith("checksum: ") for fault in faults) == 1
        assert len(faults) == 9


class TestDrift:
    def test_the_anchors_that_it_was_measured_by_are_told(self, document: dict[str, Any]) -> None:
        apply = check(document).apply
        assert apply is not None
        assert apply.anchors_sha256 == anchors_sha256(ANCHORS)

    def test_without_anchors_there_is_no_hash_of_them(self, plain: dict[str, Any]) -> None:
        score(plain, lambda _: (3, 3, 3))
        apply = check(plain, anchors=()).apply
        assert apply is not None
        assert apply.anchors_sha256 is None

    @staticmethod
    def lenient(document: dict[str, Any], scores: tuple[int, int, int]) -> None:
        score(document, lambda tip: scores if tip.startswith("Known") else (3, 3, 3))

    def test_it_is_recorded(self, document: dict[str, Any]) -> None:
        # Off by +1, 0, -1 on each of 5 anchors: 2/3 over all criteria, biases +1, 0, -1.
        self.lenient(document, (4, 3, 2))
        applied = check(document)
        assert applied.apply is not None
        assert applied.apply.drift_mean_absolute_error == pytest.approx(2 / 3)
        assert {name: d.bias for name, d in applied.apply.drift.items()} == {
            "relevance": 1,
            "actionability": 0,
            "tone": -1,
        }
        assert not applied.apply.drift_accepted
        assert applied.lines == (
            "judged by login: tips scored: 12",
            (
                "anchors: 5 scored, mean absolute error 0.67 (relevance 1.00, bias +1.00; "
                "actionability 0.00, bias +0.00; tone 1.00, bias -1.00)"
            ),
        )

    def test_past_the_limit_it_is_refused_with_the_way_out(self, document: dict[str, Any]) -> None:
        self.lenient(document, (5, 4, 3))
        assert faults_of(document) == (
            (
                "anchors: mean absolute error 1.00 (relevance 2.00, bias +2.00; "
                "actionability 1.00, bias +1.00; tone 0.00, bias +0.00) is past "
                "--judge-max-drift 0.75: read the rubric again and score anew, or "
                "let it in with --judge-accept-drift"
            ),
        )

    def test_at_the_limit_it_is_not(self, document: dict[str, Any]) -> None:
        self.lenient(document, (5, 4, 3))
        applied = check(document, max_drift=1.0)
        assert applied.apply is not None
        assert not applied.apply.drift_accepted

    def test_accepted_it_is_recorded_as_such(self, document: dict[str, Any]) -> None:
        self.lenient(document, (5, 5, 5))
        applied = check(document, accept_drift=True)
        assert applied.apply is not None
        assert applied.apply.drift_accepted
        assert applied.apply.drift_mean_absolute_error == 2
        assert len(applied.judgements) == 12

    def test_accepting_within_the_limit_is_no_acceptance(self, document: dict[str, Any]) -> None:
        applied = check(document, accept_drift=True)
        assert applied.apply is not None
        assert not applied.apply.drift_accepted

    def test_two_anchors_are_too_few_to_refuse(self) -> None:
        document = document_of(export(RUNS, anchors=ANCHORS, anchor_count=2))
        self.lenient(document, (5, 5, 5))
        applied = check(document)
        assert applied.apply is not None
        assert applied.apply.anchors_scored == 2
        assert applied.apply.drift == {}
        assert applied.apply.drift_mean_absolute_error is None

    def test_it_is_said_together_with_other_faults(self, document: dict[str, Any]) -> None:
        self.lenient(document, (5, 5, 5))
        tip = next(item for item in document["items"] if not item["tip"].startswith("Known"))
        tip["scores"]["tone"] = 9
        bad_score, drift = faults_of(document)
        assert bad_score == f"item {tip['id']}: tone is 9, outside 1 to 5"
        assert drift.startswith("anchors: mean absolute error 2.00")

    def test_it_does_not_say_which_items_are_anchors(self, document: dict[str, Any]) -> None:
        self.lenient(document, (5, 5, 5))
        (fault,) = faults_of(document)
        assert "Known" not in fault
        for item in document["items"]:
            assert item["id"] not in fault


class TestSelfConsistency:
    def test_hidden_repeats_are_compared_with_what_the_judge_gave(self) -> None:
        before = [make_judgement(SCENARIOS[0], tip, scores=(4, 4, 4)) for tip in TIPS]
        fresh = make_run(SCENARIOS[0], ["Something new, never judged."])
        document = document_of(export([*RUNS[:1], fresh], judgements=before, judge="ada"))
        # One in ten of six, rounded up: one repeat beside the new tip; two of its three agree.
        score(document, lambda tip: (4, 4, 5) if tip in TIPS else (1, 1, 1))
        document["judge"] = "ada"
        applied = check(document, runs=[*RUNS, fresh], prior=before)
        assert applied.apply is not None
        assert (applied.apply.repeats_scored, applied.apply.repeats_agreed) == (3, 2)
        assert applied.apply.judgements == 2
        assert applied.lines[-1] == (
            "self-consistency: 2 of 3 scores given again were the same (67%)"
        )

    def repeats(self, document: dict[str, Any], prior: Sequence[Judgement]) -> tuple[int, int]:
        score(document, lambda _: (3, 3, 3))
        document["judge"] = "ada"
        apply = check(document, prior=prior).apply
        assert apply is not None
        return apply.repeats_scored, apply.repeats_agreed

    def test_the_newest_before_the_export_counts(self, plain: dict[str, Any]) -> None:
        older, newer = (
            make_judgement(
                SCENARIOS[0], TIPS[0], scores=scores, judged_at=EXPORTED_AT - timedelta(hours=hours)
            )
            for scores, hours in (((3, 3, 3), 5), ((3, 1, 1), 2))
        )
        assert self.repeats(plain, [newer, older]) == (3, 1)
        assert self.repeats(plain, [older, newer]) == (3, 1)

    @pytest.mark.parametrize(
        "prior",
        [
            make_judgement(SCENARIOS[0], TIPS[0], judge="bob"),
            make_judgement(SCENARIOS[0], TIPS[0], rubric_sha256="0" * 64),
            make_judgement(SCENARIOS[0], TIPS[0], sheet_nonce=NONCE),
            make_judgement(SCENARIOS[0], TIPS[0], judged_at=EXPORTED_AT + timedelta(seconds=1)),
            make_judgement(SCENARIOS[3], TIPS[0]),
        ],
        ids=["another-judge", "another-rubric", "this-sheet", "after-the-export", "another-tip"],
    )
    def test_nothing_else_is_a_repeat(self, plain: dict[str, Any], prior: Judgement) -> None:
        assert self.repeats(plain, [prior]) == (0, 0)


class TestWhatIsSaid:
    def test_items_left_and_notes_without_scores(self, plain: dict[str, Any]) -> None:
        plain["items"][0]["scores"] = {"relevance": 1, "actionability": 1, "tone": 1}
        plain["items"][1]["note"] = "to be scored"
        assert check(plain).lines == (
            "judged by login: tips scored: 1, 11 items of the sheet left open",
            "anchors: 0 scored, too few to measure drift (3 needed)",
            "notes on items without scores: 1; they are taken once the items are scored",
        )

    def test_the_experiment_of_a_file(self, plain: dict[str, Any]) -> None:
        assert experiment_of(to_bytes(plain)) == "garden"
        assert check(plain).experiment == "garden"
        assert experiment_of(b"no sheet") is None
