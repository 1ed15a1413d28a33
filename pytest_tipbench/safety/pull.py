"""Owns fetching missing models within the cap (``--pull``); imports no pytest and no httpx."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from pytest_tipbench.errors import ModelMissingError, PreflightError, ProviderError, TipbenchError
from pytest_tipbench.safety.cap import admit, no_count, rounded_billions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_tipbench.records import ModelDescription, ModelReference
    from pytest_tipbench.safety.cap import CountParameters

    OnProgress = Callable[[str, int | None, int | None], None]

SECONDS_BETWEEN_LINES = 5.0

_SIZE = re.compile(
    r"(?<![a-z0-9.])(?P<effective>e)?(?:\d+x)?(?P<number>\d+(?:\.\d+)?)(?P<unit>[mbt])(?![a-z0-9])"
)
"""A size in a tag or name: ``8b``, ``0.5b``, ``270m``, ``e4b``, ``8x7b`` (of which 7 are sure to be
there). ``a3b``, the active part of a mixture, is no size."""
_BILLIONS = {"m": 1e-3, "b": 1.0, "t": 1e3}
_WHOLE_TO_EFFECTIVE = 1.7
"""A model called ``e4b`` leaves its embeddings out of that number; known ones hold at least this
many times as much."""


def pull_missing(
    models: Sequence[ModelReference],
    describe: Callable[[ModelReference], ModelDescription],
    pull: Callable[[str, OnProgress], None],
    cap_billions: float,
    say: Callable[[str], None],
    *,
    count: CountParameters = no_count,
    monotonic: Callable[[], float] = time.monotonic,
) -> tuple[ModelReference, ...]:
    """Fetch the Ollama models that are not installed, and return them.

    Before a byte is fetched, everything that would be refused anyway is: a name that says a size
    over the cap, and every model that is there and may not run. What a name does not tell, the
    count does once the model is there (:func:`pytest_tipbench.safety.cap.admit`).

    Args:
        models: all that the session needs.
        describe: asks a model's provider.
        pull: :meth:`OllamaProvider.pull <pytest_tipbench.providers.ollama.OllamaProvider.pull>`.
        cap_billions: the cap, in billions of parameters.
        say: told in a line how far it is, now and then.
        count: as for :func:`pytest_tipbench.safety.cap.admit`.
        monotonic: a clock in seconds.

    Raises:
        PreflightError: a model may not run, or could not be pulled; all are in the message.
    """
    missing = [model for model in models if _is_missing(model, describe)]
    within_cap = [model for model in missing if over_cap_by_name(model.name, cap_billions) is None]

    def describe_or_refuse(model: ModelReference) -> ModelDescription:
        reason = over_cap_by_name(model.name, cap_billions) if model in missing else None
        if reason is not None:
            raise ProviderError(reason)
        return describe(model)

    there = [model for model in models if model not in within_cap]
    admit(there, describe_or_refuse, cap_billions, count=count)
    problems = []
    for model in within_cap:
        try:
            pull(model.name, ProgressLines(model.name, say, monotonic))
        except ProviderError as error:
            problems.append(f"{model}: {error}")
        else:
            say(f"pulled {model.name}")
    if problems:
        failed = len(problems)
        raise PreflightError(
            f"{failed} model{'s' if failed != 1 else ''} could not be pulled; no item was run",
            problems,
        )
    return tuple(within_cap)


def over_cap_by_name(name: str, cap_billions: float) -> str | None:
    """Return why a model is over the cap by its name alone; None where it may be within it.

    The tag tells, else the name's last part. A size is taken for the smallest count that would be
    rounded to it, and of several sizes the smallest counts: only what is clear is refused.
    """
    model, _, tag = name.rpartition("/")[2].lower().partition(":")
    least = _least_billions(tag)
    if least is None:
        least = _least_billions(model)
    if least is None or rounded_billions(int(least * 1e9)) <= cap_billions:
        return None
    return (
        f"{name}: over the cap of {cap_billions:g}B by its name (--max-model-b); it was not pulled"
    )


def _least_billions(text: str) -> float | None:
    sizes = list(_SIZE.finditer(text))
    # "1m" beside "7b" is a length of context.
    in_billions = [size for size in sizes if size["unit"] != "m"] or sizes
    return min((_least_of(size) for size in in_billions), default=None)


def _least_of(size: re.Match[str]) -> float:
    decimals = len(size["number"].partition(".")[2])
    least = (float(size["number"]) - 0.5 * 0.1**decimals) * _BILLIONS[size["unit"]]
    return least * _WHOLE_TO_EFFECTIVE if size["effective"] else least


def _is_missing(
    model: ModelReference, describe: Callable[[ModelReference], ModelDescription]
) -> bool:
    """Say whether the model can be pulled; whatever else is wrong with it shows on admission."""
    if model.provider != "ollama":
        return False
    try:
        describe(model)
    except ModelMissingError:
        return True
    except TipbenchError:
        return False
    return False


class ProgressLines:
    """Says how far a pull is: at once, and then not more often than every five seconds."""

    def __init__(
        self,
        name: str,
        say: Callable[[str], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._say = say
        self._monotonic = monotonic
        self._said_at: float | None = None

    def __call__(self, status: str, completed: int | None, total: int | None) -> None:
        """Take what Ollama says of the pull: status, bytes completed and in all."""
        now = self._monotonic()
        if self._said_at is not None and now - self._said_at < SECONDS_BETWEEN_LINES:
            return
        self._said_at = now
        self._say(f"pulling {self._name}: {_how_far(completed, total) or status}")


def _how_far(completed: object, total: object) -> str | None:
    """Return ``1.2 GB of 2.5 GB (48 %)``; Ollama leaves ``completed`` out while it is 0."""
    if not isinstance(total, int) or total <= 0:
        return None
    done = completed if isinstance(completed, int) and completed > 0 else 0
    return f"{_human_bytes(done)} of {_human_bytes(total)} ({100 * done // total} %)"


def _human_bytes(count: int) -> str:
    """Return the count in decimal units, as Ollama prints it."""
    if count >= 1e9:
        return f"{count / 1e9:.1f} GB"
    if count >= 1e6:
        return f"{count / 1e6:.0f} MB"
    return f"{count / 1e3:.0f} kB"
