from __future__ import annotations

import base64
import gzip
import json
from typing import TYPE_CHECKING, Any

from pytest_tipbench.records import DroppedTip, Outcome, Task
from pytest_tipbench.reports.charts import letters
from pytest_tipbench.reports.page_data import packed, page_data, shortened_text
from tests.unit.board_samples import RUBRIC, a_matrix, a_run, judged
from tests.unit.report_samples import lifelike_report, report_of

if TYPE_CHECKING:
    from pytest_tipbench.reports.report_records import Report


def data_of(report: Report) -> dict[str, Any]:
    return page_data(report, tuple(letters(len(report.rows))))


def plain_data(*args: object) -> dict[str, Any]:
    return data_of(report_of(*args, rubric=RUBRIC, gates=()))  # type: ignore[arg-type]


class TestPageData:
    def test_holds_every_tip_with_its_scores_and_notes(self) -> None:
        run = a_run()
        (first, second) = judged(run, (4, 2), (5, 3))
        noted = first.model_copy(update={"note": "short"})
        (cell,) = plain_data([run], [noted, second])["cells"]
        assert (cell["row"], cell["scenario"]) == (0, 0)
        assert cell["tips"][0] == {
            "text": "small:1b v1 s01 r1 tip 1",
            "composite": 3.5,
            "judges": [["anna", [4, 2], "short"]],
        }

    def test_holds_each_prompt_once(self) -> None:
        data = data_of(lifelike_report(scenarios=4))
        # Three prompt versions: a system text each, and a user text for each of four scenarios;
        # v1 and v2-mentor have the same user text.
        assert len(data["prompts"]) == 3 + 2 * 4
        assert len(set(data["prompts"])) == len(data["prompts"])
        assert len(data["cells"]) == 12 * 4

    def test_tells_what_was_measured(self) -> None:
        run = a_run(resident_bytes=3 * 2**29, foreign_models=("other:1b",))
        assert run.completion is not None
        completion = run.completion.model_copy(
            update={
                "load_seconds": 0.25,
                "prompt_tokens": 7,
                "completion_tokens": 9,
                "stop_reason": "length",
            }
        )
        run = run.model_copy(update={"completion": completion, "thinking_stripped": True})
        (cell,) = plain_data([run], [])["cells"]
        assert cell["facts"] == [
            "2.00 s",
            "0.25 s of it loading",
            "50.0 tokens/s",
            "7 prompt tokens",
            "9 completion tokens",
            "1.50 GiB resident",
            "ended by length",
            "thinking left out",
            "beside other:1b in memory",
        ]

    def test_leaves_out_what_is_not_known(self) -> None:
        (cell,) = plain_data([a_run(outcome=Outcome.TIMEOUT)], [])["cells"]
        assert (cell["facts"], cell["completion"], cell["missing"]) == ([], None, 0)

    def test_counts_missing_tips_and_dropped_strings(self) -> None:
        dropped = tuple(DroppedTip(text=f"scrap {n}", reason="too short") for n in range(25))
        run = a_run(outcome=Outcome.EMPTY).model_copy(update={"dropped": dropped})
        (cell,) = plain_data([run], [])["cells"]
        assert cell["missing"] == 2
        assert len(cell["dropped"]) == 20
        assert cell["dropped_more"] == 5

    def test_begins_with_the_scenario_in_which_rows_differ_most(self) -> None:
        scores = {
            ("a", "v1"): [(4, 4), (5, 5), (4, 4)],
            ("b", "v1"): [(3, 3), (1, 1), (3, 3)],
        }
        data = plain_data(*a_matrix(scores))
        assert data["scenarios"][data["first_scenario"]]["id"] == "s02"

    def test_describes_the_scenario(self) -> None:
        run = a_run()
        tasks = (
            Task(title="Report", due="16:00", minutes=30, energy="low", notes="at last"),
            Task(title="Rest"),
        )
        content = run.scenario.model_copy(update={"tasks": tasks})
        run = run.model_copy(update={"scenario": content, "scenario_sha256": content.sha256})
        (scenario,) = plain_data([run], [])["scenarios"]
        assert scenario == {
            "id": "s01",
            "who": "Zoë",
            "description": "A nurse on nights.",
            "when": "05:30, Dawn",
            "tasks": [["Report", "due 16:00, 30 min, low energy", "at last"], ["Rest", "", ""]],
        }

    def test_shows_what_nobody_would_see(self) -> None:
        run = a_run(tips=["safe \u202eevil\x00"])
        (cell,) = plain_data([run], [])["cells"]
        assert cell["tips"][0]["text"] == "safe [U+202E]evil␀"

    def test_cuts_what_is_very_long_and_says_so(self) -> None:
        run = a_run()
        assert run.completion is not None
        completion = run.completion.model_copy(update={"text": "x" * 10_000_000})
        (cell,) = plain_data([run.model_copy(update={"completion": completion})], [])["cells"]
        assert cell["completion"].endswith("… [9,996,000 more characters: see the JSON report]")
        assert len(cell["completion"]) < 4_100


def test_a_text_of_the_limit_is_left_whole() -> None:
    assert shortened_text("1234", 4) == "1234"
    assert shortened_text("12345", 4) == "1234… [1 more characters: see the JSON report]"


def test_packed_data_hold_nothing_that_could_end_a_script_and_are_the_same_each_time() -> None:
    data = plain_data([a_run(tips=["</script><!-- 美咲 \ud800"])], [])
    text = packed(data)
    assert text == packed(data)
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")
    assert json.loads(gzip.decompress(base64.b64decode(text))) == json.loads(json.dumps(data))
