"""Owns every option: its name, meaning, default and ini twin; imports pytest, and nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pytest_tipbench.option_types import (
    above,
    at_least,
    at_most,
    comma_separated,
    integer,
    nonempty,
    number,
    one_of,
    with_suffix,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

IniType = Literal["string", "linelist", "int", "float", "bool"]

MOST_TIPS = 100
MOST_REPEATS = 1_000
LARGEST_SEED = 2**31 - 1
"""With the repeats on top it stays below 2**32 - 1, which llama.cpp and so Ollama take for "random"
(``LLAMA_DEFAULT_SEED``); larger ones they cut to 32 bits."""
MOST_TOKENS = 2**31 - 1
"""llama.cpp counts tokens in 32 bits, with a sign."""
WEEK_SECONDS = 604_800
"""Waits that count milliseconds in 32 bits, as poll() does, end at 24 days."""
MILLION = 1_000_000
"""More than any score, count of items, or billions of parameters."""


@dataclass(frozen=True)
class Option:
    """One option: its flag, what it takes and means, and where else its value may come from."""

    flag: str
    help: str
    metavar: str | None = None
    """None for a switch."""
    parse: Callable[[str], Any] = nonempty
    default: Any = None
    default_words: str | None = None
    """How the default reads in the help, where its value alone would not tell."""
    ini: IniType | None = None
    """Type of the ini twin; None for what acts once."""
    environment: str | None = None
    repeatable: bool = False
    names_a_file: bool = False

    @property
    def field(self) -> str:
        """Name of the Settings field."""
        return self.flag.removeprefix("--").removeprefix("tipbench-").replace("-", "_")

    @property
    def ini_name(self) -> str:
        """Name of the ini twin, and of the value in pytest's namespace."""
        return f"tipbench_{self.field}"

    @property
    def default_shown(self) -> str:
        """The default as the help has it; empty where there is none."""
        if self.default_words:
            return self.default_words
        if self.metavar is None:
            return "off"
        return "" if self.default in (None, ()) else str(self.default)

    @property
    def full_help(self) -> str:
        """The help with default, environment variable and ini name."""
        facts = [
            f"{name}: {value}"
            for name, value in (
                ("default", self.default_shown or "none"),
                ("environment", self.environment),
                ("ini", self.ini_name if self.ini else None),
            )
            if value
        ]
        if self.repeatable:
            facts.append("repeatable")
        return f"{self.help} ({'; '.join(facts)})"


OPTIONS: tuple[Option, ...] = (
    Option(
        "--models",
        "model references, comma-separated; order kept",
        "A,B",
        comma_separated,
        default=(),
        ini="linelist",
        repeatable=True,
    ),
    Option(
        "--prompts",
        "prompt versions, comma-separated",
        "V1,V2",
        comma_separated,
        default_words="all found",
        ini="linelist",
        repeatable=True,
    ),
    Option(
        "--scenarios",
        "scenario ids or globs, comma-separated",
        "ID,GLOB",
        comma_separated,
        default_words="all found",
        ini="linelist",
        repeatable=True,
    ),
    Option(
        "--experiment",
        "MLflow experiment, and the name under which the ledger keeps the runs",
        "NAME",
        default="tip-bench",
        ini="string",
        environment="MLFLOW_EXPERIMENT_NAME",
    ),
    Option(
        "--n-tips",
        "tips asked for in each cell",
        "N",
        at_least(1, at_most(MOST_TIPS, integer)),
        default=5,
        ini="int",
    ),
    Option(
        "--repeats",
        "cells per combination, with seeds seed, seed+1, ...",
        "N",
        at_least(1, at_most(MOST_REPEATS, integer)),
        default=1,
        ini="int",
    ),
    Option(
        "--seed",
        "base sampling seed; always recorded",
        "N",
        at_least(0, at_most(LARGEST_SEED, integer)),
        default=20260427,
        ini="int",
    ),
    Option(
        "--temperature",
        "sampling temperature; always sent, always recorded",
        "X",
        at_least(0, at_most(100, number)),
        default=0.7,
        ini="float",
    ),
    Option(
        "--num-ctx",
        "context window in tokens; always sent, always recorded",
        "N",
        at_least(1, at_most(MOST_TOKENS, integer)),
        default=4096,
        ini="int",
    ),
    Option(
        "--num-predict",
        "most tokens of one completion; always sent, always recorded",
        "N",
        at_least(1, at_most(MOST_TOKENS, integer)),
        default=1024,
        ini="int",
    ),
    Option(
        "--diversity", "log diversity metrics and show their columns", default=False, ini="bool"
    ),
    Option(
        "--max-model-b",
        "the cap: largest model admitted, in billions of parameters",
        "X",
        above(0, at_most(MILLION, number)),
        default=4.0,
        ini="float",
    ),
    Option(
        "--residency",
        "when to unload: call = after each response, model = once per model",
        "call|model",
        one_of("call", "model"),
        default_words="call for Ollama, model for llama.cpp",
        ini="string",
    ),
    Option(
        "--ollama-host",
        "Ollama server; one worker per host",
        "URL",
        default=(),
        default_words="http://127.0.0.1:11434",
        ini="linelist",
        environment="OLLAMA_HOST",
        repeatable=True,
    ),
    Option("--pull", "pull missing models first, within the cap", default=False),
    Option(
        "--evict",
        "unload models of others that are found resident",
        default=False,
    ),
    Option(
        "--completion-timeout",
        "total deadline for queueing, loading and generating one completion",
        "SECONDS",
        above(0, at_most(WEEK_SECONDS, number)),
        default=600.0,
        ini="float",
    ),
    Option(
        "--lock-timeout",
        "how long to wait for another session that uses this machine's memory",
        "SECONDS",
        at_least(0, at_most(WEEK_SECONDS, number)),
        default=600.0,
        ini="float",
    ),
    Option(
        "--resume",
        "take cells that already have a finished run from the store",
        default=False,
        ini="bool",
    ),
    Option(
        "--record",
        "write every completion to FILE, to be read again as replay/FILE",
        "FILE",
        with_suffix(".jsonl"),
        names_a_file=True,
    ),
    Option("--show-tips", "show the tips under each cell", default=False, ini="bool"),
    Option(
        "--tracking-uri",
        "MLflow server; 'embedded' starts one",
        "URI",
        default_words="the ledger alone",
        ini="string",
        environment="MLFLOW_TRACKING_URI",
    ),
    Option(
        "--tracking-host-header",
        "Host header to send to the MLflow server",
        "HOST",
        ini="string",
    ),
    Option("--tracking-sync", "deliver to MLflow what it does not have yet", default=False),
    Option(
        "--offline",
        "use the ledger alone, although a tracking URI is set",
        default=False,
        ini="bool",
    ),
    Option(
        "--ledger",
        "the ledger's file",
        "PATH",
        default=".tipbench/ledger.db",
        ini="string",
        names_a_file=True,
    ),
    Option(
        "--judge-export",
        "write pending tips to FILE: .json, or .html for a page to score in",
        "FILE",
        with_suffix(".json", ".html"),
        names_a_file=True,
    ),
    Option(
        "--judge-apply",
        "check FILE whole, write its scores, print the board",
        "FILE",
        default=(),
        repeatable=True,
        names_a_file=True,
    ),
    Option(
        "--judge-name",
        "who judged, or for whom to export",
        "NAME",
        default_words="'judge' in the file, else the login name",
        ini="string",
    ),
    Option(
        "--judge-limit",
        "at most N items on the sheet, whole scenario blocks first",
        "N",
        at_least(1, at_most(MILLION, integer)),
        default_words="all",
        ini="int",
    ),
    Option(
        "--judge-anchors",
        "anchors mixed into an export",
        "N",
        at_least(0, at_most(MILLION, integer)),
        default=5,
        ini="int",
    ),
    Option(
        "--judge-max-drift",
        "mean absolute anchor error above which apply refuses",
        "X",
        at_least(0, at_most(MILLION, number)),
        default=0.75,
        ini="float",
    ),
    Option("--judge-accept-drift", "apply although the drift is past the limit", default=False),
    Option("--judge-schema", "print the JSON Schema of the sheet", default=False),
    Option("--leaderboard", "print the board from the store, run nothing", default=False),
    Option(
        "--min-composite",
        "gate: each row's composite, at least X",
        "X",
        at_least(-MILLION, at_most(MILLION, number)),
        ini="float",
    ),
    Option(
        "--gate",
        "gate: [best:|lower:]METRIC OP NUMBER, e.g. 'lower:composite>=3.3'",
        "EXPR",
        default=(),
        ini="linelist",
        repeatable=True,
    ),
    Option(
        "--baseline",
        "gate: compare rows and scenarios with those of EXPERIMENT",
        "EXPERIMENT",
        ini="string",
    ),
    Option(
        "--max-drop",
        "how far a row may fall below its baseline, on the composite's scale",
        "X",
        at_least(0, at_most(MILLION, number)),
        default=0.0,
        ini="float",
    ),
    Option(
        "--gate-pending",
        "what unjudged cells do to a gate",
        "fail|ignore",
        one_of("fail", "ignore"),
        default="fail",
        ini="string",
    ),
    Option(
        "--tipbench-report",
        "write a report: .html, .md, .json or .csv",
        "FILE",
        with_suffix(".html", ".md", ".json", ".csv"),
        default=(),
        repeatable=True,
        names_a_file=True,
    ),
)

EVALS_INI = "tipbench_evals"
RUBRIC_INI = "tipbench_rubric"


def add_options(parser: pytest.Parser) -> None:
    """Declare every option and ini key."""
    group = parser.getgroup("tipbench", "tipbench: evaluate small local language models")
    for option in OPTIONS:
        arguments: dict[str, Any] = {
            "dest": option.ini_name,
            "default": None,
            "help": option.full_help.replace("%", "%%"),
        }
        if option.metavar is None:
            arguments["action"] = "store_true"
        else:
            arguments |= {"metavar": option.metavar, "type": option.parse}
            arguments["action"] = "append" if option.repeatable else "store"
        group.addoption(option.flag, **arguments)
        if option.ini:
            parser.addini(option.ini_name, f"{option.flag}: {option.help}", option.ini, None)
    parser.addini(EVALS_INI, "folder of scenarios, prompts and anchors", "string", "evals")
    parser.addini(RUBRIC_INI, "the rubric's file", "string", "rubric.md")
