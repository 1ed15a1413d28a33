from __future__ import annotations

import pytest

from pytest_tipbench.errors import UserMistakeError
from pytest_tipbench.providers.ollama_names import (
    canonical_name,
    host_key,
    is_cloud_name,
    normalise_host,
)
from tests.unit.machine_samples import Machine, machine

__all__ = ["machine"]

# What Ollama's own client makes of OLLAMA_HOST (envconfig.Host), with bind addresses replaced by
# the loopback that a client can reach.
HOSTS = [
    (None, "http://127.0.0.1:11434"),
    ("", "http://127.0.0.1:11434"),
    ("   ", "http://127.0.0.1:11434"),
    ("example.com", "http://example.com:11434"),
    ("example.com:1234", "http://example.com:1234"),
    (":1234", "http://127.0.0.1:1234"),
    ("1.2.3.4", "http://1.2.3.4:11434"),
    ("1.2.3.4:5678", "http://1.2.3.4:5678"),
    ("http://1.2.3.4", "http://1.2.3.4:80"),
    ("https://1.2.3.4", "https://1.2.3.4:443"),
    ("http://1.2.3.4:8080", "http://1.2.3.4:8080"),
    ("https://1.2.3.4:8080/", "https://1.2.3.4:8080"),
    ("example.com/ollama", "http://example.com:11434/ollama"),
    ("https://example.com/a/b/", "https://example.com:443/a/b"),
    ("HTTP://Example.COM", "http://example.com:80"),
    ("0.0.0.0", "http://127.0.0.1:11434"),
    ("0.0.0.0:1234", "http://127.0.0.1:1234"),
    ("http://0.0.0.0:1234/", "http://127.0.0.1:1234"),
    ("::", "http://[::1]:11434"),
    ("[::]:1234", "http://[::1]:1234"),
    ("::1", "http://[::1]:11434"),
    ("[::1]", "http://[::1]:11434"),
    ("[::1]:1234", "http://[::1]:1234"),
    ("2001:db8::5", "http://[2001:db8::5]:11434"),
    ("https://[2001:db8::5]", "https://[2001:db8::5]:443"),
    (' "example.com:1234" ', "http://example.com:1234"),
    ("'http://1.2.3.4'", "http://1.2.3.4:80"),
    ('" 1.2.3.4 "', "http://1.2.3.4:11434"),
    ("http://user:secret@example.com:1/x", "http://user:secret@example.com:1/x"),
    ("localhost", "http://localhost:11434"),
    # Spellings of the loopback that a server's own check of the name would not know.
    ("LOCALHOST.:1234", "http://localhost:1234"),
    ("http://ollama.localhost.", "http://ollama.localhost:80"),
    ("127.1:1234", "http://127.0.0.1:1234"),
    ("127.0.1", "http://127.0.0.1:11434"),
    ("2130706433", "http://127.0.0.1:11434"),
    ("0", "http://127.0.0.1:11434"),
    ("[::ffff:127.0.0.1]:1234", "http://127.0.0.1:1234"),
    ("::ffff:1.2.3.4", "http://1.2.3.4:11434"),
    ("[::ffff:0.0.0.0]", "http://127.0.0.1:11434"),
    # Names and short addresses of other machines are left to the resolver.
    ("gpu_1.lan.", "http://gpu_1.lan.:11434"),
    ("münchen", "http://münchen:11434"),
    ("10.1", "http://10.1:11434"),
]


@pytest.mark.parametrize(("text", "url"), HOSTS)
def test_every_form_of_ollama_host(text: str | None, url: str) -> None:
    assert normalise_host(text) == url


@pytest.mark.parametrize("url", [url for _, url in HOSTS])
def test_a_normalised_host_stays_as_it_is(url: str) -> None:
    assert normalise_host(url) == url


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("ftp://example.com", "the scheme is http or https, not ftp"),
        ("example.com:eleven", "'eleven' is not a port"),
        ("example.com:0", "'0' is not a port"),
        ("example.com:65536", "'65536' is not a port"),
        ("[::1]:x", "'x' is not a port"),
        ("1.2.3.4:１２３４", "is not a port"),
        ("foo bar", "'foo bar' is neither a host's name nor an address"),
        ("foo\tbar:1", "is neither a host's name nor an address"),
        ("1:2:3", "'1:2:3' is neither"),
        ("host?x", r"'host\?x' is neither"),
        ("127.0.0.1,127.0.0.2", "one host each: repeat --ollama-host for several"),
        ("http://a:1,http://b:2", "one host each: repeat --ollama-host"),
    ],
)
def test_no_host_is_the_users_mistake(text: str, reason: str) -> None:
    with pytest.raises(UserMistakeError, match=reason):
        normalise_host(text)


@pytest.mark.parametrize(
    "text", ["ftp://user:secret@x", "user:secret@x y", "http://user:secret@x:99999", "u:secret@x,y"]
)
def test_a_mistake_is_told_without_credentials(text: str) -> None:
    with pytest.raises(UserMistakeError) as caught:
        normalise_host(text)
    assert "secret" not in str(caught.value)
    assert "x" in str(caught.value)


def test_all_names_of_the_loopback_are_one_host(machine: Machine) -> None:
    machine.addresses |= {
        "ip6-localhost": ["::1"],
        "debian": ["127.0.1.1"],
        "desk": ["2001:db8::7"],
    }
    names = [
        "",
        "localhost",
        "LOCALHOST:11434/",
        "http://localhost:11434",
        "http://localhost.:11434",
        "http://ollama.localhost:11434",
        "127.0.0.1",
        "http://127.0.0.1:11434/",
        "0.0.0.0",
        "http://0.0.0.0:11434",
        "[::1]",
        "::",
        "http://[::]:11434/",
        "http://user:secret@127.0.0.1:11434",
        "https://127.0.0.1:11434",
        "127.1",
        "127.0.0.2",
        "[::ffff:127.0.0.1]",
        "ip6-localhost",
        "IP6-localhost.",
        # The machine's own name and addresses.
        "Desk.example",
        "desk",
        "debian",
        "198.51.100.7",
        "[2001:db8::7]",
    ]
    assert {host_key(name) for name in names} == {"127.0.0.1:11434"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("127.0.0.1:11434", "127.0.0.1:11435"),
        ("127.0.0.1", "10.0.0.1"),
        ("example.com", "example.org"),
        ("http://example.com:11434/a", "http://example.com:11434/b"),
        ("[::1]", "[2001:db8::5]"),
    ],
)
def test_other_hosts_are_other_hosts(machine: Machine, one: str, other: str) -> None:
    assert host_key(one) != host_key(other)


def test_a_key_reads_as_an_address(machine: Machine) -> None:
    assert host_key("gpu.example.:1") == "gpu.example:1"
    assert host_key("https://Example.com/ollama/") == "example.com:443/ollama"
    assert host_key("2001:DB8::5") == "[2001:db8::5]:11434"


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("tinyllama", "tinyllama:latest"),
        ("TinyLlama", "tinyllama:latest"),
        ("qwen2.5:0.5B", "qwen2.5:0.5b"),
        ("library/qwen3:4b", "qwen3:4b"),
        ("registry.ollama.ai/library/qwen3:4b", "qwen3:4b"),
        ("someone/model", "someone/model:latest"),
        ("hf.co/User/Repo:Q4_K_M", "hf.co/user/repo:q4_k_m"),
        ("localhost:5000/library/x", "localhost:5000/library/x:latest"),
        ("https://registry.ollama.ai/library/x:1", "x:1"),
    ],
)
def test_names_are_compared_in_one_form(name: str, canonical: str) -> None:
    assert canonical_name(name) == canonical


@pytest.mark.parametrize(
    ("name", "cloud"),
    [
        ("gpt-oss:20b-cloud", True),
        ("gpt-oss:20B-CLOUD", True),
        ("kimi-k2:cloud", True),
        ("kimi-k2:Cloud ", True),
        ("my-cloud", True),
        ("cloudy:latest", False),
        ("nimbus:cloud-9", False),
        ("qwen2.5:0.5b", False),
    ],
)
def test_cloud_names(name: str, cloud: bool) -> None:
    assert is_cloud_name(name) is cloud
