from __future__ import annotations

import re
from argparse import ArgumentTypeError

import pytest

from pytest_tipbench.options import OPTIONS, Option

PROMISED = """
--models --prompts --scenarios --experiment --n-tips --repeats --seed --temperature --num-ctx
--num-predict --diversity --max-model-b --residency --ollama-host --pull --tracking-uri --resume
--judge-export --judge-apply --judge-name --judge-limit --judge-anchors --judge-max-drift
--leaderboard --min-composite --gate --baseline --max-drop --gate-pending --tipbench-report
--completion-timeout --lock-timeout --evict --judge-accept-drift --judge-schema --ledger --offline
--tracking-sync --tracking-host-header --show-tips --record
"""

ACTS_ONCE = {
    "--judge-export",
    "--judge-apply",
    "--judge-accept-drift",
    "--judge-schema",
    "--leaderboard",
    "--tracking-sync",
    "--pull",
    "--evict",
    "--record",
    "--tipbench-report",
}
BY_FLAG = {option.flag: option for option in OPTIONS}


def test_every_promised_option_is_there_and_no_other() -> None:
    assert sorted(BY_FLAG) == sorted(PROMISED.split())


def test_settings_have_an_ini_twin_and_what_acts_once_has_none() -> None:
    assert {option.flag for option in OPTIONS if option.ini is None} == ACTS_ONCE & set(BY_FLAG)


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.flag)
def test_an_options_names_belong_together(option: Option) -> None:
    assert option.ini_name == f"tipbench_{option.field}"
    assert re.fullmatch(r"[a-z][a-z0-9_]*", option.field)
    assert (option.metavar is None) == (option.default is False)
    assert option.default == () or not option.repeatable or option.default_words


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.flag)
def test_an_option_that_takes_a_file_says_so(option: Option) -> None:
    assert option.names_a_file == (option.metavar in {"FILE", "PATH"})


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.flag)
def test_a_default_is_one_that_the_option_would_take(option: Option) -> None:
    if option.metavar is None or option.default in (None, ()):
        return
    assert option.parse(str(option.default)) == option.default


NUMBERS = {option.flag for option in OPTIONS if option.ini in {"int", "float"}}


@pytest.mark.parametrize("flag", sorted(NUMBERS))
@pytest.mark.parametrize("absurd", ["9" * 300, "-" + "9" * 300])
def test_no_absurd_number_passes(flag: str, absurd: str) -> None:
    with pytest.raises(ArgumentTypeError, match=r"must be (at most|at least|above)"):
        BY_FLAG[flag].parse(absurd)


@pytest.mark.parametrize(
    ("flag", "largest"),
    [
        ("--n-tips", 100),
        ("--repeats", 1_000),
        ("--seed", 2_147_483_647),
        ("--num-ctx", 2_147_483_647),
        ("--num-predict", 2_147_483_647),
        ("--completion-timeout", 7 * 24 * 60 * 60),
        ("--lock-timeout", 7 * 24 * 60 * 60),
    ],
)
def test_the_largest_value_passes_and_one_more_does_not(flag: str, largest: int) -> None:
    assert BY_FLAG[flag].parse(str(largest)) == largest
    with pytest.raises(ArgumentTypeError, match=f"must be at most {largest}, got {largest + 1}"):
        BY_FLAG[flag].parse(str(largest + 1))


def test_every_seed_of_every_repeat_is_one_that_llama_cpp_takes() -> None:
    """``LLAMA_DEFAULT_SEED`` of ``llama.h``, 0xFFFFFFFF, is no seed: it asks for a random one."""
    seed, repeats = (BY_FLAG[flag].parse for flag in ("--seed", "--repeats"))
    assert seed("2147483647") + repeats("1000") - 1 < 0xFFFFFFFF


@pytest.mark.parametrize(
    ("flag", "fact"),
    [
        ("--n-tips", "default: 5; ini: tipbench_n_tips"),
        ("--max-drop", "default: 0.0; ini: tipbench_max_drop"),
        ("--max-model-b", "default: 4.0"),
        ("--diversity", "default: off; ini: tipbench_diversity"),
        ("--pull", "default: off"),
        ("--prompts", "default: all found"),
        ("--residency", "default: call for Ollama, model for llama.cpp"),
        ("--experiment", "default: tip-bench; environment: MLFLOW_EXPERIMENT_NAME; ini:"),
        ("--ollama-host", "environment: OLLAMA_HOST; ini: tipbench_ollama_host; repeatable"),
        ("--gate-pending", "default: fail"),
        ("--judge-apply", "repeatable"),
    ],
)
def test_the_help_tells_default_environment_and_ini(flag: str, fact: str) -> None:
    assert fact in BY_FLAG[flag].full_help


def test_the_help_groups_them_and_ends_well(pytester: pytest.Pytester) -> None:
    pytester.makefile(".ini", pytest="[pytest]\ntipbench_evals = evals\n")
    result = pytester.runpytest("--help", "-p", "no:cacheprovider")
    assert result.ret == 0
    text = result.stdout.str()
    group = text[text.index("\ntipbench") :]
    for flag in BY_FLAG:
        assert f"  {flag}" in group
    for option in OPTIONS:
        assert (f"tipbench_{option.field}" in text) == (option.ini is not None)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--n-tips", "0"], "argument --n-tips: must be at least 1, got 0"),
        (["--n-tips", "x"], "argument --n-tips: expected a whole number, got 'x'"),
        (["--seed=-1"], "argument --seed: must be at least 0, got -1"),
        (["--repeats", "0"], "argument --repeats: must be at least 1, got 0"),
        (["--models", ""], "argument --models: expected names separated by commas, got ''"),
        (["--max-model-b", "0"], "argument --max-model-b: must be above 0, got 0"),
        (["--temperature", "inf"], "argument --temperature: expected a number, got 'inf'"),
        (["--residency", "x"], "argument --residency: expected call or model, got 'x'"),
        (["--record", "x.txt"], "argument --record: expected a file ending in .jsonl"),
        (["--judge-limit", "0"], "argument --judge-limit: must be at least 1, got 0"),
        (["--completion-timeout", "0"], "argument --completion-timeout: must be above 0, got 0"),
        (
            ["--completion-timeout", "1e300"],
            "argument --completion-timeout: must be at most 604800",
        ),
        (
            ["--num-ctx", "99999999999"],
            "argument --num-ctx: must be at most 2147483647, got 999999",
        ),
        (["--experiment", " "], "argument --experiment: expected a text, got an empty one"),
    ],
)
def test_a_bad_value_is_named_with_its_rule_and_code_4(
    pytester: pytest.Pytester, words: list[str], said: str
) -> None:
    pytester.makefile(".ini", pytest="[pytest]\ntipbench_evals = evals\n")
    result = pytester.runpytest(*words, "-p", "no:cacheprovider")
    assert result.ret == 4
    assert said in result.stderr.str()


def test_a_project_without_a_key_keeps_its_own_models_option(pytester: pytest.Pytester) -> None:
    pytester.makefile(".ini", pytest="[pytest]\n")
    pytester.makeconftest(
        "def pytest_addoption(parser): parser.addoption('--models', default='mine')"
    )
    pytester.makepyfile("def test_x(pytestconfig): assert pytestconfig.getoption('models') == 'm'")
    result = pytester.runpytest_subprocess("--models", "m", "-W", "error", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)
