from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

from pytest_tipbench.errors import UserMistakeError
from pytest_tipbench.options import OPTIONS
from pytest_tipbench.settings import (
    Settings,
    _configuring_words,
    carried_on,
    joined_file_options,
    login_name,
    names_a_path,
    project_root,
    read_settings,
)
from tests.unit.bench_samples import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    Configure = Callable[..., pytest.Config]
    Read = Callable[..., Settings]


@pytest.fixture
def configure(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Configure:
    """Give the project a ``pytest.ini`` and let pytest read it, as far as its configuration."""
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)

    def make(*arguments: str | Path, ini: str = "tipbench_evals = evals\n") -> pytest.Config:
        pytester.makefile(".ini", pytest=f"[pytest]\n{ini}")
        return pytester.parseconfig(*arguments)

    return make


@pytest.fixture
def read(configure: Configure) -> Read:
    def make(
        *arguments: str | Path,
        ini: str = "tipbench_evals = evals\n",
        environ: Mapping[str, str] | None = None,
    ) -> Settings:
        return read_settings(configure(*arguments, ini=ini), environ or {})

    return make


# --- defaults ---------------------------------------------------------------------------------


def test_the_defaults_are_those_that_are_promised(read: Read, pytester: pytest.Pytester) -> None:
    given = read()
    root = pytester.path
    assert given.root == root
    assert (given.evals, given.rubric) == (root / "evals", root / "rubric.md")
    assert (given.models, given.prompts, given.scenarios) == ((), None, None)
    assert given.experiment == "tip-bench"
    assert given.named == frozenset()
    assert (given.n_tips, given.repeats, given.seed) == (5, 1, 20260427)
    assert (given.temperature, given.num_ctx, given.num_predict) == (0.7, 4096, 1024)
    assert given.max_model_b == 4.0
    assert (given.residency, given.ollama_host) == (None, ())
    assert (given.completion_timeout, given.lock_timeout) == (600.0, 600.0)
    assert given.tracking_uri is None
    assert given.ledger == root / ".tipbench" / "ledger.db"
    assert (given.judge_name, given.judge_limit, given.judge_anchors) == (None, None, 5)
    assert given.judge_max_drift == 0.75
    assert (given.judge_export, given.judge_apply, given.record) == (None, (), None)
    assert (given.min_composite, given.gate, given.baseline) == (None, (), None)
    assert (given.max_drop, given.gate_pending) == (0.0, "fail")
    for switch in (
        "diversity",
        "pull",
        "evict",
        "resume",
        "show_tips",
        "tracking_sync",
        "offline",
        "judge_accept_drift",
        "judge_schema",
        "leaderboard",
    ):
        assert getattr(given, switch) is False
    assert not given.has_command


# --- one precedence ---------------------------------------------------------------------------

ENVIRONMENT = [
    ("experiment", "MLFLOW_EXPERIMENT_NAME", "tip-bench"),
    ("tracking_uri", "MLFLOW_TRACKING_URI", None),
    ("ollama_host", "OLLAMA_HOST", ()),
]


@pytest.mark.parametrize(("field", "variable", "default"), ENVIRONMENT)
def test_command_line_then_environment_then_ini_then_default(
    read: Read, field: str, variable: str, default: object
) -> None:
    flag, ini = f"--{field.replace('_', '-')}", f"tipbench_{field} = from-ini\n"
    environ = {variable: "from-environment"}

    def given(*arguments: str, **more: Any) -> object:
        value = getattr(read(*arguments, **more), field)
        return value[0] if isinstance(value, tuple) and value else value

    assert given(ini="tipbench_evals = evals\n") == default
    assert given(ini=ini) == "from-ini"
    assert given(ini=ini, environ=environ) == "from-environment"
    assert given(flag, "from-call", ini=ini, environ=environ) == "from-call"


@pytest.mark.parametrize("value", ["", "  "])
def test_an_empty_variable_is_none(read: Read, value: str) -> None:
    given = read(ini="tipbench_experiment = from-ini\n", environ={"MLFLOW_EXPERIMENT_NAME": value})
    assert given.experiment == "from-ini"


def test_only_three_variables_are_read() -> None:
    assert {(o.field, o.environment) for o in OPTIONS if o.environment} == {
        (field, variable) for field, variable, _ in ENVIRONMENT
    }


def test_named_is_what_the_call_itself_gave(read: Read) -> None:
    given = read(
        "--models",
        "a",
        "--offline",
        ini="tipbench_prompts = v1\ntipbench_models = b\n",
        environ={"MLFLOW_EXPERIMENT_NAME": "x"},
    )
    assert given.named == {"models", "offline"}


def test_offline_leaves_the_ledger_alone(read: Read) -> None:
    uri = ("--tracking-uri", "http://mlflow:5000")
    assert read(*uri).tracking_target == "http://mlflow:5000"
    assert read(*uri, "--offline").tracking_target is None
    assert read(ini="tipbench_tracking_uri = embedded\n").tracking_target == "embedded"


# --- lists ------------------------------------------------------------------------------------


def test_lists_are_comma_separated_and_repeatable_and_keep_their_order(read: Read) -> None:
    given = read("--models", "c, a", "--models", "b", "--prompts", "v2,v1", "--scenarios=x*,y")
    assert given.models == ("c", "a", "b")
    assert given.prompts == ("v2", "v1")
    assert given.scenarios == ("x*", "y")


def test_ini_lists_have_a_line_or_a_comma_for_each(read: Read) -> None:
    given = read(
        ini="tipbench_models =\n    a, b\n    c\ntipbench_gate =\n    composite>=3\n    tone>=2\n"
    )
    assert given.models == ("a", "b", "c")
    assert given.gate == ("composite>=3", "tone>=2")


def test_the_command_lines_list_replaces_the_inis(read: Read) -> None:
    assert read("--models", "x", ini="tipbench_models = a,b\n").models == ("x",)


@pytest.mark.parametrize("flag", ["--models", "--prompts", "--scenarios"])
def test_the_same_name_twice_is_refused(read: Read, flag: str) -> None:
    with pytest.raises(UserMistakeError, match=f"{flag}: 'a' is named twice"):
        read(flag, "a,b", flag, "a")
    with pytest.raises(UserMistakeError, match="named twice"):
        read(ini=f"tipbench_{flag[2:]} = a,a\n")


# --- ini files of every kind ------------------------------------------------------------------

EXPECTED: dict[str, object] = {
    "models": ("a", "b"),
    "n_tips": 3,
    "temperature": 0.5,
    "max_model_b": 4.0,
    "resume": True,
    "offline": False,
    "residency": "model",
    "gate_pending": "ignore",
    "gate": ("composite>=3.5",),
    "judge_limit": 10,
    "min_composite": 3.25,
}
INI = """
tipbench_models = a,b
tipbench_n_tips = 3
tipbench_temperature = 0.5
tipbench_max_model_b = 4
tipbench_resume = true
tipbench_offline = no
tipbench_residency = model
tipbench_gate_pending = ignore
tipbench_gate = composite>=3.5
tipbench_judge_limit = 10
tipbench_min_composite = 3.25
"""
NATIVE = """
tipbench_models = ["a", "b"]
tipbench_n_tips = 3
tipbench_temperature = 0.5
tipbench_max_model_b = 4
tipbench_resume = true
tipbench_offline = false
tipbench_residency = "model"
tipbench_gate_pending = "ignore"
tipbench_gate = ["composite>=3.5"]
tipbench_judge_limit = 10
tipbench_min_composite = 3.25
"""


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pytest.ini", f"[pytest]\n{INI}"),
        ("tox.ini", f"[pytest]\n{INI}"),
        ("setup.cfg", f"[tool:pytest]\n{INI}"),
        ("pyproject.toml", f"[tool.pytest.ini_options]\n{NATIVE}"),
        ("pyproject.toml", f"[tool.pytest]\n{NATIVE}"),
        ("pytest.toml", f"[pytest]\n{NATIVE}"),
    ],
    ids=["pytest.ini", "tox.ini", "setup.cfg", "ini_options", "tool.pytest", "pytest.toml"],
)
def test_each_kind_of_file_gives_the_same_settings(
    pytester: pytest.Pytester, name: str, text: str
) -> None:
    if int(pytest.__version__.split(".")[0]) < 9 and "ini_options" not in text and ".toml" in name:
        pytest.skip("native TOML came with pytest 9")
    (pytester.path / name).write_text(text, encoding="utf-8")
    given = read_settings(pytester.parseconfig(), {})
    assert {field: getattr(given, field) for field in EXPECTED} == EXPECTED


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("tipbench_n_tips = 0", "must be at least 1, got 0"),
        ("tipbench_n_tips = three", "three"),
        ("tipbench_n_tips = 1.5", "1.5"),
        ("tipbench_n_tips =", ""),
        ("tipbench_seed = -1", "must be at least 0, got -1"),
        ("tipbench_repeats = 0", "must be at least 1, got 0"),
        ("tipbench_temperature = hot", "hot"),
        ("tipbench_temperature = nan", "expected a number, got 'nan'"),
        ("tipbench_max_model_b = 0", "must be above 0, got 0"),
        ("tipbench_residency = never", "expected call or model, got 'never'"),
        ("tipbench_gate_pending = x", "expected fail or ignore, got 'x'"),
        ("tipbench_resume = maybe", "maybe"),
        ("tipbench_models = a,,b", "names separated by commas"),
        ("tipbench_experiment =", "expected a text, got an empty one"),
        ("tipbench_judge_limit = 0", "must be at least 1, got 0"),
        ("tipbench_max_drop = -1", "must be at least 0, got -1"),
    ],
)
def test_a_bad_value_in_a_file_is_one_line_with_file_key_and_rule(
    read: Read, pytester: pytest.Pytester, line: str, rule: str
) -> None:
    with pytest.raises(UserMistakeError) as mistake:
        read(ini=f"{line}\n")
    message = str(mistake.value)
    assert message.startswith(f"{pytester.path / 'pytest.ini'}: {line.split(maxsplit=1)[0]}: ")
    assert rule in message
    assert len(message.splitlines()) == 1


@pytest.mark.skipif(
    int(pytest.__version__.split(".")[0]) < 9, reason="native TOML came with pytest 9"
)
@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ('tipbench_n_tips = "3"', "int"),
        ("tipbench_n_tips = true", "int"),
        ('tipbench_models = "a"', "list"),
        ("tipbench_experiment = 3", "string"),
        ("tipbench_n_tips = 0", "must be at least 1, got 0"),
        ("tipbench_evals = 3", "string"),
    ],
)
def test_a_bad_native_value_names_file_key_and_rule(
    pytester: pytest.Pytester, line: str, rule: str
) -> None:
    path = pytester.path / "pytest.toml"
    path.write_text(f"[pytest]\n{line}\n", encoding="utf-8")
    with pytest.raises(UserMistakeError) as mistake:
        read_settings(pytester.parseconfig(), {})
    message = str(mistake.value)
    assert str(path) in message
    assert message.count(line.split(maxsplit=1)[0]) == 1
    assert rule in message


@pytest.mark.parametrize(
    "line", ["tipbench_n_tips = 0", "tipbench_n_tips = x", "tipbench_residency = x"]
)
@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "n2"])
def test_a_bad_value_ends_pytest_with_one_line_and_code_4(
    pytester: pytest.Pytester, line: str, workers: tuple[str, ...]
) -> None:
    pytester.makefile(".ini", pytest=f"[pytest]\n{line}\n")
    pytester.makepyfile("def test_x(): pass")
    result = pytester.runpytest_subprocess(*workers, "-p", "no:cacheprovider")
    assert result.ret == 4
    said = [each for each in result.errlines if each.strip()]
    assert len(said) == 1
    assert said[0].startswith("ERROR: ")
    assert line.split(maxsplit=1)[0] in said[0]
    assert "Traceback" not in result.stdout.str() + result.stderr.str()


def test_an_override_counts_as_the_ini(read: Read) -> None:
    assert read("-o", "tipbench_n_tips=2", ini="tipbench_n_tips = 3\n").n_tips == 2


def test_a_bad_override_without_a_file_names_the_key(pytester: pytest.Pytester) -> None:
    with pytest.raises(UserMistakeError, match=r"^tipbench_n_tips: must be at least 1"):
        read_settings(pytester.parseconfig("-o", "tipbench_n_tips=0"), {})


def test_a_bad_variable_is_named(read: Read) -> None:
    # Nothing that the environment may hold is refused by its option today but the empty text.
    option = next(each for each in OPTIONS if each.field == "experiment")
    assert option.environment == "MLFLOW_EXPERIMENT_NAME"
    assert read(environ={"MLFLOW_EXPERIMENT_NAME": " a b "}).experiment == "a b"


# --- paths ------------------------------------------------------------------------------------


@pytest.fixture
def below(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder inside the project, from which pytest is called."""
    folder = pytester.mkdir("below")
    pytester.makefile(".ini", pytest="[pytest]\ntipbench_evals = my-evals\ntipbench_ledger = l.db")
    monkeypatch.chdir(folder)
    return folder


def test_ini_paths_are_relative_to_the_root_and_the_calls_to_the_caller(
    pytester: pytest.Pytester, below: Path
) -> None:
    given = read_settings(pytester.parseconfig(), {})
    assert given.root == pytester.path
    assert given.evals == pytester.path / "my-evals"
    assert given.rubric == pytester.path / "rubric.md"
    assert given.ledger == pytester.path / "l.db"
    given = read_settings(
        pytester.parseconfig(
            "--ledger", "x.db", "--judge-export", "../s.json", "--judge-apply=a.json",
            "--record", "r.jsonl",
        ),
        {},
    )  # fmt: skip
    assert given.ledger == below / "x.db"
    assert given.judge_export == pytester.path / "s.json"
    assert given.judge_apply == (below / "a.json",)
    assert given.record == below / "r.jsonl"


def test_a_home_folder_is_understood(
    read: Read, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert read("--ledger", "~/l.db").ledger == tmp_path / "l.db"
    assert read(ini="tipbench_ledger = ~/m.db\n").ledger == tmp_path / "m.db"


def test_the_root_is_found_from_where_pytest_was_called_not_where_the_sheet_is(
    pytester: pytest.Pytester, below: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    sheet = tmp_path_factory.mktemp("elsewhere") / "scores.json"
    sheet.write_text("{}", encoding="utf-8")
    config = pytester.parseconfig("--judge-apply", sheet)
    assert project_root(config) == pytester.path
    assert project_root(pytester.parseconfig(f"--judge-apply={sheet}")) == pytester.path


@pytest.mark.parametrize(
    "words", [["-c", "{}"], ["-c{}"], ["--config-file", "{}"], ["--config-file={}"]]
)
def test_a_configuration_that_the_call_names_comes_first(
    pytester: pytest.Pytester, below: Path, words: list[str]
) -> None:
    other = pytester.mkdir("other") / "my.ini"
    other.write_text("[pytest]\ntipbench_evals = e\n", encoding="utf-8")
    config = pytester.parseconfig(*[word.format(other) for word in words])
    assert project_root(config) == other.parent
    assert read_settings(config, {}).evals == other.parent / "e"


def test_without_a_switching_configuration_the_root_is_pytests(pytester: pytest.Pytester) -> None:
    config = pytester.parseconfig("--leaderboard")
    assert project_root(config) == config.rootpath


# --- what the call is -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["--judge-export=s.json"],
        ["--judge-apply=s.json"],
        ["--judge-schema"],
        ["--leaderboard"],
        ["--tracking-sync"],
    ],
)
def test_what_is_a_command(read: Read, words: list[str]) -> None:
    assert read(*words).has_command


def test_gates_and_settings_are_no_command(read: Read) -> None:
    assert not read("--min-composite=3", "--gate=composite>=3", "--judge-name=a").has_command


@pytest.mark.parametrize(
    ("words", "ini", "expected"),
    [
        (["--leaderboard"], "", False),
        (["evals", "--leaderboard"], "", True),
        (["--leaderboard", "evals/test_tips.py::test_tips"], "", True),
        (["--leaderboard"], "testpaths = evals\n", False),
        (["--leaderboard"], "addopts = evals\n", False),
        (["--judge-export", "s.json"], "", False),
        (["--leaderboard", "-k", "evals"], "", False),
    ],
)
def test_whether_the_call_names_a_path(
    configure: Configure, pytester: pytest.Pytester, words: list[str], ini: str, expected: bool
) -> None:
    pytester.mkdir("evals")
    assert names_a_path(configure(*words, ini=f"tipbench_evals = evals\n{ini}")) is expected


def test_file_options_are_joined_to_their_files() -> None:
    assert joined_file_options(
        ["evals", "--judge-apply", "/a b.json", "-q", "--judge-export", "x.json"]
    ) == ["evals", "--judge-apply=/a b.json", "-q", "--judge-export=x.json"]


@pytest.mark.parametrize("flag", ["--ledger", "--record", "--judge-export", "--judge-apply"])
def test_every_option_that_names_a_file_is_joined(flag: str) -> None:
    assert joined_file_options([flag, "/elsewhere/file"]) == [f"{flag}=/elsewhere/file"]


@pytest.mark.parametrize(
    "words",
    [[], ["evals", "-q"], ["--judge-apply=/a.json"], ["--judge-apply"], ["--models", "a.json"]],
)
def test_there_may_be_nothing_to_join(words: list[str]) -> None:
    assert joined_file_options(words) is None


def test_the_login_name_is_never_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "ada")
    assert login_name() == "ada"

    def unknown() -> str:
        raise OSError("no username set in the environment")

    monkeypatch.setattr("getpass.getuser", unknown)
    assert login_name() == "judge"


# --- what the next call needs -----------------------------------------------------------------


def test_the_next_call_gets_what_this_one_was_given_and_nothing_else(tmp_path: Path) -> None:
    given = settings(
        tmp_path,
        models=("a b", "c"),
        offline=True,
        tracking_uri="http://x",
        ledger=tmp_path / "l.db",
        named=frozenset({"models", "offline", "ledger"}),
    )
    assert carried_on(given, "models", "tracking_uri", "offline", "ledger") == [
        "--models",
        "a b,c",
        "--offline",
        "--ledger",
        str(tmp_path / "l.db"),
    ]
    assert carried_on(given, "tracking_uri") == []


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://ann:hunter2@host:5000/team", "http://host:5000/team"),
        ("https://ann:hunter@2@host", "https://host"),  # the host begins after the last @
        ("http://ann@host", "http://host"),
        ("http://[::1]:5000", "http://[::1]:5000"),
        ("http://host/at@path?x@y", "http://host/at@path?x@y"),
        ("embedded", "embedded"),
    ],
)
def test_the_next_call_is_shown_without_this_ones_password(
    tmp_path: Path, uri: str, shown: str
) -> None:
    given = settings(tmp_path, tracking_uri=uri, named=frozenset({"tracking_uri"}))
    assert carried_on(given, "tracking_uri") == ["--tracking-uri", shown]


def test_every_option_is_a_setting() -> None:
    fields = {field.name for field in dataclasses.fields(Settings)}
    assert {option.field for option in OPTIONS} <= fields


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["evals", "-q"], ()),
        (["-c", "a.ini", "evals"], ("-c", "a.ini")),
        (["-ca.ini", "--config-file=b.ini"], ("-c", "a.ini", "-c", "b.ini")),
        (["-o", "tipbench_seed=7", "-o", "log_level=INFO"], ("-o", "tipbench_seed=7")),
        (["-otipbench_seed=7"], ("-o", "tipbench_seed=7")),
        (["--override-ini", "tipbench_models=a b"], ("-o", "tipbench_models=a b")),
        (["--override-ini=tipbench_gate=tone>=2"], ("-o", "tipbench_gate=tone>=2")),
        (["--", "-c", "a.ini"], ()),
        (["-o"], ()),
    ],
    ids=str,
)
def test_the_words_that_say_what_the_configuration_is(
    arguments: list[str], words: tuple[str, ...]
) -> None:
    assert _configuring_words(arguments) == words
