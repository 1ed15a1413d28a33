"""What a person reads in the terminal: whole and in order, whatever its width and encoding."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

import pytest

from pytest_tipbench.options import OPTIONS
from tests.acceptance.conftest import make_project
from tests.acceptance.pseudo_terminal import (
    COLOUR,
    PROGRESS,
    by_columns,
    columns_of,
    run_on_terminal,
    seen,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.conftest import Project
    from tests.ollama_double import OllamaDouble

EXPERIMENT = "実験 \x1b[2J\u202e première"
EXPERIMENT_SEEN = r"実験 \x1b[2J\u202e première"
MODELS = ("replay/Tee-日本語モデル-ü.jsonl", "replay/a-rather-long-name-3b-instruct-q4_K_M.jsonl")
PROMPTS = ("v1", "v2-ceremony")
SCENARIOS = ("ami-soir", "ami-the-evening-after-the-long-conference", "ami-night")
CELLS = len(MODELS) * len(PROMPTS) * len(SCENARIOS)
TIPS = (
    "\x1b[31mLook\x1b[0m \x1b]0;title\x07out of the \x1b[2Jwindow for a minute.",
    "\u202eBackwards\u202c is a way too: שלום עולם, עכשיו.",
    "Say “no” – it’s fine to rest 👩\u200d⚕️ once e\u0301veryone\x00 is\x9b gone.",
    "Take the long way home, " + "and then a little longer, " * 8 + "静かに" * 20,
)

SCENARIOS_FILE = """
[[personas]]
id = "ami"
name = "網 (Ami) Ünlü"
description = "Übersetzt aus dem 日本語 und עברית 🎏."

[[time_slots]]
id = "soir"
label = "Soirée 🌙"
local_time = "20:15"
"""
SCENARIO = """
[[scenarios]]
id = "{id}"
persona = "ami"
time_slot = "soir"
[[scenarios.tasks]]
title = "Übung: 復習する – {id} 🎉"
"""
PROMPT = """+++
description = "Höflich — 丁寧に"
+++
{{{{ scenario.persona.name }}}}: さあ {version}, {{{{ n_tips }}}} Tipps für {{{{ scenario.id }}}}!
"""


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory, shared_home: Path) -> Project:
    """A project full of what terminals stumble over: two models, two prompts, three scenarios.

    Prompt v1 is judged by two judges; v2-ceremony is pending.
    """
    made = make_project(tmp_path_factory.mktemp("odd"), shared_home)
    evals = made.root / "evals"
    for path in (evals / "anchors.toml", *(evals / "prompts").iterdir()):
        path.unlink()
    scenarios = "".join(SCENARIO.format(id=scenario) for scenario in SCENARIOS)
    made.write("evals/scenarios.toml", SCENARIOS_FILE + scenarios)
    for version in PROMPTS:
        made.write(f"evals/prompts/{version}.md", PROMPT.format(version=version))
    for model in MODELS:
        cells = {
            (version, scenario): (f"{model} begins in {version}’s way 🥤.", *TIPS)
            for version in PROMPTS
            for scenario in SCENARIOS
        }
        made.write_replay(model.removeprefix("replay/"), cells)
    made.write_configuration(tipbench_evals="evals", tipbench_models=", ".join(MODELS))
    made.environment |= {"MLFLOW_EXPERIMENT_NAME": EXPERIMENT, "COLUMNS": "80"}
    assert made.run("evals").code == 0
    for judge in ("美咲", "bob"):
        sheet = made.export("--prompts", "v1", "--judge-name", judge, name=f"{judge}.json")
        made.judge(sheet, lambda item: 5 if MODELS[0] in item["tip"] else 3, judge)
        applied = made.run("--judge-apply", sheet.name)
        assert applied.code == 0, applied.text
    return made


@pytest.fixture
def odd_project(odd: Project, tmp_path: Path) -> Project:
    """A copy of :func:`odd`."""
    return odd.copied_to(tmp_path / "odd")


@pytest.fixture(params=["alone", "n2"])
def odd_either_way(request: pytest.FixtureRequest, odd_project: Project) -> Project:
    """The same, run by one process and by two workers of xdist."""
    if request.param == "n2":
        odd_project.workers = ("-n", "2")
    return odd_project


IS_PYTESTS_OWN = re.compile(r"platform |plugins: |rootdir: |\[gw\d\]|evals/test_tips\.py::")
IS_COMMAND = re.compile(r" +pytest --")


def ours(text: str) -> list[str]:
    """Return the lines that have to fit: pytest's node ids and facts, and commands, need not."""
    return [
        line
        for line in text.splitlines()
        if not IS_PYTESTS_OWN.match(line) and not IS_COMMAND.match(line)
    ]


def summary(text: str) -> list[str]:
    """Return our summary, from its title to the line before pytest's last one."""
    lines = text.splitlines()
    start = next(number for number, line in enumerate(lines) if "= tipbench: " in line)
    end = next(number for number, line in enumerate(lines) if re.search(r"=+ .* in \d", line))
    assert lines[end + 1 :] in ([], [""]), "something stands after the summary"
    return lines[start:end]


def table(text: str) -> list[str]:
    """Return the board's table, by columns: its header, its rule, its rows."""
    lines = summary(text)
    rule = next(number for number, line in enumerate(lines) if re.fullmatch(r"[- ]+", line))
    end = lines.index("", rule)
    return [by_columns(line) for line in lines[rule - 1 : end]]


# --- widths -----------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_nothing_of_ours_is_wider_than_the_terminal(odd_either_way: Project, columns: int) -> None:
    outcome = odd_either_way.run(
        *("evals", "-v", "--show-tips", "--gate", "composite>=4", "--gate", "lower:relevance>=2"),
        *("--gate-pending", "ignore"),
        environment={"COLUMNS": str(columns)},
    )
    assert outcome.code == 1, outcome.text
    assert [line for line in ours(outcome.text) if columns_of(line) > columns] == []
    for words in (
        "FAIL composite>=4",
        "UNDECIDED lower:relevance>=2",
        "agreement of 2 judges",
        "judged by bob, 美咲",
        "±",
    ):
        assert words in outcome.words, outcome.text
    assert EXPERIMENT_SEEN in outcome.words


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_the_boards_columns_stand_under_each_other(odd_project: Project, columns: int) -> None:
    outcome = odd_project.run("--leaderboard", environment={"COLUMNS": str(columns)})
    assert outcome.code == 0, outcome.text
    header, rule, *rows = table(outcome.text)
    assert header.split()[:3] == ["tier", "model", "prompt"]
    assert len(rows) == len(MODELS) * len(PROMPTS)
    gaps = [place for place, char in enumerate(rule) if char == " "]
    for line in (header, *rows):
        assert len(line) <= len(rule)
        assert {line[place] for place in gaps if place < len(line)} == {" "}, line
    if columns == 200:
        assert {row.replace("\0", "").split()[1] for row in rows} == set(MODELS)


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_the_next_command_is_whole_and_works(odd_project: Project, columns: int) -> None:
    words = ("--prompts", "v2-ceremony", "--ledger", str(odd_project.ledger_path))
    outcome = odd_project.run("--leaderboard", *words, environment={"COLUMNS": str(columns)})
    (line,) = (line for line in outcome.text.splitlines() if "pytest --judge-export" in line)
    _, *arguments = shlex.split(line[line.index("pytest --") :])
    assert odd_project.run(*arguments).code == 0
    assert (odd_project.root / "scores.json").exists()


def test_a_long_name_keeps_the_title_on_one_line(odd_project: Project) -> None:
    outcome = odd_project.run("evals", "--experiment", "試み" * 40, environment={"COLUMNS": "60"})
    assert outcome.code == 0, outcome.text
    title = summary(outcome.text)[0]
    assert columns_of(title) <= 60
    assert re.fullmatch("= tipbench: (試み)+試?…み?(試み)+ =+", title)
    too_wide = [line for line in ours(outcome.text) if columns_of(line) > 60]
    assert {line.strip() for line in too_wide} <= {"試み" * 40}  # whole, so that it can be copied


# --- a line per cell --------------------------------------------------------------------------

CELL_LINE = re.compile(r"  (?P<names>\S+ \S+ \S+): ok, 5/5 tips, \d+\.\d s(?P<left>, \d+ s left)?")


@pytest.mark.parametrize("columns", [80, 200])
def test_verbose_has_a_line_for_each_cell(odd_either_way: Project, columns: int) -> None:
    outcome = odd_either_way.run("evals", "-v", environment={"COLUMNS": str(columns)})
    assert outcome.code == 0, outcome.text
    lines = outcome.text.splitlines()
    found = [match for line in lines if (match := CELL_LINE.fullmatch(line))]
    assert len(found) == CELLS, outcome.text
    assert [match["left"] is None for match in found] == [False] * (CELLS - 1) + [True]
    if columns == 200:
        names = {f"{m} {p} {s}" for m in MODELS for p in PROMPTS for s in SCENARIOS}
        assert {match["names"] for match in found} == names
    around = zip(lines, lines[1:], lines[2:], strict=False)
    for above, below in [(a, b) for a, line, b in around if CELL_LINE.fullmatch(line)][:-1]:
        assert "::test_tips[" in above, outcome.text
        assert "::test_tips[" in below, outcome.text


def test_where_a_cells_line_has_no_room_its_names_stay_whole(odd_project: Project) -> None:
    outcome = odd_project.run("evals", "-v", environment={"COLUMNS": "60"})
    for scenario in SCENARIOS:
        whole = rf"{re.escape(MODELS[1])} v2-ceremony {scenario}: ok, 5/5 tips, \d\.\d s"
        assert re.search(whole, outcome.words), outcome.text


def test_without_v_pytests_own_progress_stands_alone(odd_either_way: Project) -> None:
    outcome = odd_either_way.run("evals")
    assert "5/5 tips" not in outcome.text
    assert re.search(rf"\.{{{CELLS}}} +\[100%\]", outcome.text), outcome.text


def test_the_ini_of_pytests_own_verbosity_is_heeded(odd_project: Project) -> None:
    odd_project.write_configuration(verbosity_test_cases="1")
    assert odd_project.run("evals").text.count("5/5 tips") == CELLS
    odd_project.write_configuration(verbosity_test_cases="0")
    assert "5/5 tips" not in odd_project.run("evals", "-v").text


# --- tips -------------------------------------------------------------------------------------


@pytest.mark.parametrize("verbosity", [(), ("-v",)])
def test_show_tips_puts_them_under_their_cell(
    odd_either_way: Project, verbosity: tuple[str, ...]
) -> None:
    outcome = odd_either_way.run("evals", "--show-tips", "--prompts", "v1", *verbosity)
    assert outcome.code == 0, outcome.text
    lines = outcome.text.splitlines()
    starts = [number for number, line in enumerate(lines) if CELL_LINE.fullmatch(line)]
    assert len(starts) == CELLS / len(PROMPTS), outcome.text
    for start in starts:
        block = []
        for line in lines[start + 1 :]:
            if not re.match(r" {4,7}\S", line):
                break
            block.append(line)
        words = " ".join(line.strip() for line in block)
        assert re.findall(r"(?:^| )(\d)\. ", words) == ["1", "2", "3", "4", "5"], outcome.text
        for part in (
            "2. Look ]0;titleout of the window for a minute.",
            "3. Backwards is a way too: שלום עולם, עכשיו. 4.",
            "4. Say “no” – it’s fine to rest 👩\u200d⚕️ once éveryone is gone.",
        ):
            assert part in words, outcome.text
        assert all(line.replace("\u200d", "").isprintable() for line in block)
        assert "".join(words.split()).endswith("静かに" * 20)  # broken between letters, none lost


def test_where_there_are_no_tips_it_says_what_came(
    either_way: Project, ollama: OllamaDouble
) -> None:
    """What a model or a server says is shown and does nothing."""
    ollama.fail("say", text="\x1b[31m\u202e\ud800 何も \x00")
    ollama.fail("error", nth=2, text="boom \x1b[2J\u202e 何")
    outcome = either_way.run(
        *("evals", "--show-tips", "--prompts", "v1,v2-mentor"),
        *("--scenarios", "maya-morning-deadline"),
    )
    assert outcome.code == 1, outcome.text
    assert r"    malformed: no usable tip in '\x1b[31m\u202e\ud800 何も \x00'" in outcome.text
    assert re.search(r"^    Ollama at .*: boom \\x1b\[2J\\u202e 何$", outcome.text, re.MULTILINE)
    assert not re.search("[\x00\x1b\u202e\ud800]", outcome.text)


# --- colours and encodings --------------------------------------------------------------------


@pytest.mark.parametrize(
    "environment", [{}, {"NO_COLOR": "1"}, {"TERM": "xterm-256color", "COLORTERM": "truecolor"}]
)
def test_a_pipe_gets_no_escape_sequence(
    odd_either_way: Project, environment: dict[str, str]
) -> None:
    outcome = odd_either_way.run("evals", "-v", "--show-tips", environment=environment)
    assert outcome.code == 0, outcome.text
    assert "\x1b" not in outcome.text


def test_colours_that_were_asked_for_are_all_taken_back(odd_either_way: Project) -> None:
    outcome = odd_either_way.run("evals", "-v", "--show-tips", "--color=yes")
    assert COLOUR.search(outcome.text)
    assert "\x1b" not in COLOUR.sub("", outcome.text)
    for line in outcome.text.splitlines():
        codes = [match["codes"] for match in COLOUR.finditer(line)]
        assert codes == [] or codes[-1] in ("", "0"), line
    plain = odd_either_way.run("evals", "-v", "--show-tips", "--color=no")
    assert summary(COLOUR.sub("", outcome.text)) == summary(plain.text)


PLAIN_C = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize(
    "environment",
    [{"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}, PLAIN_C],
    ids=["ascii", "latin-1", "C"],
)
def test_a_terminal_without_unicode_gets_ascii_forms(
    odd_either_way: Project, environment: dict[str, str]
) -> None:
    if environment is PLAIN_C:
        # Nor can Python open files with such names there.
        odd_either_way.write_configuration(tipbench_models=MODELS[1])
    outcome = odd_either_way.run(
        "evals", "-v", "--show-tips", "--gate", "composite>=3", environment=environment
    )
    assert outcome.code == 1, outcome.text
    assert outcome.text.isascii()
    assert "Traceback" not in outcome.text
    assert "??" not in outcome.text
    models = 1 if environment is PLAIN_C else 2
    assert f"matrix: {models} model" in outcome.text
    assert " x 2 prompts x 3 scenarios = " in outcome.text
    assert "+/-" in outcome.text
    assert '4. Say "no" - it\'s fine to rest ' in outcome.text
    assert r"judged by bob, \u7f8e\u54b2" in outcome.words
    assert [line for line in ours(outcome.text) if len(line) > 80] == []


def test_the_c_locale_as_python_takes_it_is_utf_8(odd_project: Project) -> None:
    """Python turns to UTF-8 in the C locale (PEP 538, PEP 540)."""
    outcome = odd_project.run("evals", "-v", environment={"LC_ALL": "C", "LANG": "C"})
    assert outcome.code == 0, outcome.text
    assert f"{MODELS[0]} v1 ami-soir: ok" in outcome.text
    assert "judged by bob, 美咲" in outcome.words


# --- a real terminal --------------------------------------------------------------------------


@pytest.mark.parametrize("verbosity", [(), ("-v",), ("-v", "--show-tips")])
def test_on_a_terminal_the_summary_is_whole(
    odd_either_way: Project, verbosity: tuple[str, ...]
) -> None:
    outcome = run_on_terminal(odd_either_way, "evals", *verbosity)
    assert outcome.code == 0, outcome.text
    screen = seen(outcome.text)
    assert [line for line in ours(screen) if columns_of(line) > 80] == []
    piped = odd_either_way.run("evals", *verbosity)
    assert summary(screen) == summary(piped.text)
    # Workers take turns as they like; the lines are the same.
    found = [sorted(filter(CELL_LINE.fullmatch, t.splitlines())) for t in (screen, piped.text)]
    names = [[line.partition(": ok")[0] for line in lines] for lines in found]
    assert len(names[0]) == len(names[1]) == (CELLS if verbosity else 0)


def test_no_color_is_heeded_on_a_terminal_too(odd_project: Project) -> None:
    outcome = run_on_terminal(odd_project, "evals", "-v", environment={"NO_COLOR": "1"})
    assert outcome.code == 0, outcome.text
    assert "\x1b" not in outcome.text


@pytest.mark.skipif(pytest.version_tuple < (9, 0), reason="pytest 9 brought terminal progress")
@pytest.mark.parametrize("verbosity", [(), ("-v",), ("--show-tips",)])
def test_pytests_terminal_progress_goes_on_beside_ours_and_ends(
    odd_either_way: Project, verbosity: tuple[str, ...]
) -> None:
    outcome = run_on_terminal(odd_either_way, "evals", "-p", "terminalprogress", *verbosity)
    assert outcome.code == 0, outcome.text
    (collecting, *going_on, gone) = PROGRESS.finditer(outcome.text)
    assert (collecting["state"], gone["state"]) == ("3", "0")  # not known how far; none
    assert {match["state"] for match in going_on} == {"1"}
    # pytest tells it when an item's report comes, before it counts the item.
    assert [int(each["percent"]) for each in going_on] == [n * 100 // CELLS for n in range(CELLS)]
    assert gone.end() < outcome.text.index(" tipbench: ")
    assert [line for line in ours(seen(outcome.text)) if columns_of(line) > 80] == []


# --- header and end ---------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_the_header_tells_what_will_run(odd_either_way: Project, columns: int) -> None:
    outcome = odd_either_way.run("evals", environment={"COLUMNS": str(columns)})
    header = outcome.words[: outcome.words.index(" rootdir: ")]
    for part in (
        f": experiment {EXPERIMENT_SEEN} matrix: 2 models × 2 prompts × 3 scenarios = 12 cells",
        "cap: 4B parameters; residency: call for Ollama, model for llama.cpp",
    ):
        assert part in header, outcome.text


def test_the_summary_is_last_also_where_items_failed(
    either_way: Project, ollama: OllamaDouble
) -> None:
    ollama.fail("say", text="{}")
    outcome = either_way.run("evals", "--prompts", "v1", "--scenarios", "zoe-m*")
    assert outcome.code == 1, outcome.text
    assert outcome.text.index("short test summary info") < outcome.text.index("= tipbench: ")
    assert summary(outcome.text)
    assert "1 failed, 1 passed" in outcome.counts


# --- pytest's ways to tell of itself ----------------------------------------------------------


def test_help_has_every_option_with_its_default_and_ini_name(odd_project: Project) -> None:
    outcome = odd_project.run("--help")
    assert outcome.code == 0, outcome.text
    start = outcome.text.index("\ntipbench: ")
    group = outcome.text[start : re.compile(r"\n\n").search(outcome.text, start + 1).start()]  # type: ignore[union-attr]  # a group ends
    assert max(map(len, group.splitlines())) <= 80
    entries = {
        entry.split("=")[0].split()[0]: " ".join(entry.split())
        for entry in re.split(r"\n(?=  --)", group)[1:]
    }
    assert list(entries) == [option.flag for option in OPTIONS]
    for option in OPTIONS:
        entry = entries[option.flag]
        assert f"(default: {option.default_shown or 'none'}" in entry
        assert (f"ini: {option.ini_name}" in entry) == (option.ini is not None)


@pytest.mark.parametrize(
    "informing", ["--fixtures", "--fixtures-per-test", "--markers", "--cache-show", "--version"]
)
def test_what_only_informs_needs_no_model(project: Project, informing: str) -> None:
    outcome = project.run("evals", informing)
    assert outcome.code == 0, outcome.text
    assert "no model is named" not in outcome.text
    assert not project.ledger_path.exists()
    if informing.startswith("--fixtures"):
        assert "\ntip_run -- " in outcome.text
        assert "    The run record of this item's cell: generated now," in outcome.text
