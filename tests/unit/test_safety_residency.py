from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import pytest

from pytest_tipbench.errors import (
    CompletionTimeoutError,
    LockTimeoutError,
    ProviderError,
    ProviderUnreachableError,
    ResidencyError,
    UserMistakeError,
)
from pytest_tipbench.safety.residency import ResidencyGuard
from tests.unit.safety_samples import Child, Clock, Weights, description, resident

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from contextlib import AbstractContextManager

    from pytest_tipbench.providers.base import Provider
    from pytest_tipbench.records import ModelDescription, Residency

QWEN = description("qwen2.5:0.5b")
LLAMA = description("llama3.2:1b")
GEMMA = description("gemma3:1b")
EMBEDDED = description("llamacpp/gemma3-270m", provider="llamacpp")
OTHER_FILE = description("llamacpp/other.gguf", provider="llamacpp")
HOSTED = description("openai/gpt", None, provider="openai", local=False)
EXPECTED_POLLS = [0.05, 0.1, 0.2, 0.4, 0.5, 0.5]


class Scene:
    """A guard with a server and a child, on a clock that passes by sleeping alone."""

    def __init__(
        self,
        *,
        evict: bool = False,
        inherited: Collection[str] = (),
        talking_to: Callable[[ModelDescription], AbstractContextManager[None]] | None = None,
    ) -> None:
        self.clock = Clock()
        self.ollama = Weights(self.clock)
        self.llamacpp = Child()
        self.lines: list[str] = []
        self.guard = ResidencyGuard(
            self._provider_of,
            evict=evict,
            talking_to=talking_to or (lambda _: nullcontext()),
            say=self.lines.append,
            inherited=inherited,
            monotonic=self.clock.monotonic,
            sleep=self.clock.sleep,
        )

    def _provider_of(self, name: str) -> Provider:
        providers: dict[str, Provider] = {"ollama": self.ollama, "llamacpp": self.llamacpp}
        return providers[name]

    def cell(self, model: ModelDescription, residency: Residency = "call") -> None:
        """Complete a prompt: the model is loaded, and goes at once with ``call``."""
        with self.guard.holding(model, residency):
            self.load(model)
            if residency == "call":
                self.gone(model)

    def load(self, model: ModelDescription) -> None:
        if model.reference.provider == "ollama":
            self.gone(model)
            self.ollama.memory.append(resident(model))

    def gone(self, model: ModelDescription) -> None:
        self.ollama.memory = [each for each in self.ollama.memory if each.digest != model.digest]

    def waited(self, started: float = 1_000.0) -> float:
        return self.clock.now - started


# --- a model gives way to another -----------------------------------------------------------------


def test_the_next_model_loads_when_the_server_lists_nothing() -> None:
    scene = Scene()
    scene.cell(QWEN)
    scene.cell(LLAMA)
    assert scene.clock.pauses == []
    assert scene.ollama.asked == []  # the server was told to unload by keep_alive 0


def test_the_next_model_waits_with_back_off_until_the_former_is_gone() -> None:
    scene = Scene()
    with scene.guard.holding(QWEN, "call"):
        scene.load(QWEN)
    scene.clock.after(1.2, lambda: scene.gone(QWEN))
    with scene.guard.holding(LLAMA, "call"):
        assert scene.ollama.memory == []
    assert scene.clock.pauses == EXPECTED_POLLS[:5]  # 0.05 + 0.1 + 0.2 + 0.4 + 0.5 = 1.25 s
    assert scene.ollama.asked == []


def test_after_two_seconds_the_server_is_asked_to_unload() -> None:
    scene = Scene()
    with scene.guard.holding(QWEN, "call"):
        scene.load(QWEN)
    with scene.guard.holding(LLAMA, "call"):
        assert scene.ollama.memory == []
    assert scene.ollama.asked == ["qwen2.5:0.5b"]
    assert scene.ollama.asked_at[0] - 1_000.0 == pytest.approx(2.25)  # the first look past 2 s


def test_another_clients_keep_alive_on_our_model_is_overcome_by_asking_again() -> None:
    scene = Scene()
    with scene.guard.holding(QWEN, "call"):
        scene.load(QWEN)
    scene.ollama.unload_obeyed = False
    scene.clock.after(5.0, lambda: setattr(scene.ollama, "unload_obeyed", True))
    with scene.guard.holding(LLAMA, "call"):
        pass
    assert scene.ollama.asked == ["qwen2.5:0.5b"] * 3  # at 2.25, 4.25 and 6.25 s
    assert scene.waited() < 7


def test_a_ctrl_c_amid_the_last_proof_leaves_it_to_the_next_call() -> None:
    scene = Scene()
    with scene.guard.holding(QWEN, "model"):
        scene.load(QWEN)
    scene.ollama.unload_obeyed = False

    def interrupt() -> None:
        scene.ollama.unload_obeyed = True
        raise KeyboardInterrupt

    scene.clock.after(1.0, interrupt)
    with pytest.raises(KeyboardInterrupt):
        scene.guard.finish()
    assert scene.ollama.memory != []
    scene.guard.finish()
    assert scene.ollama.memory == []
    assert scene.guard.evidence.proofs == 2  # before it loaded, and now


def test_a_model_that_does_not_go_within_thirty_seconds_ends_all_local_cells() -> None:
    scene = Scene()
    with scene.guard.holding(QWEN, "call"):
        scene.load(QWEN)
    scene.ollama.unload_obeyed = False
    with pytest.raises(ResidencyError, match=r"qwen2.5:0.5b is still resident after 30 s"):
        scene.cell(LLAMA)
    assert scene.waited() == pytest.approx(30, abs=0.5)
    before = scene.clock.now
    for model in (GEMMA, LLAMA, QWEN, EMBEDDED):
        with pytest.raises(ResidencyError, match=r"no further model may be loaded: qwen2.5"):
            scene.cell(model)
    assert scene.clock.now == before
    scene.cell(HOSTED)


def test_cells_of_one_model_follow_each_other_without_a_look() -> None:
    scene = Scene()
    scene.cell(QWEN, "model")
    scene.ollama.problems.append(ProviderError("not to be asked"))
    scene.cell(QWEN, "model")
    scene.cell(QWEN, "model")
    assert scene.guard.evidence.loads == 1


def test_an_alias_of_the_model_is_the_same_model() -> None:
    scene = Scene()
    alias = description("my-qwen", digest=QWEN.digest)
    scene.cell(QWEN, "model")
    scene.cell(alias, "model")
    assert scene.guard.evidence.loads == 1
    scene.cell(LLAMA, "model")
    assert scene.ollama.asked[:1] == ["my-qwen"]
    assert "waiting" not in " ".join(scene.lines)


def test_a_model_listed_under_another_name_is_known_by_its_digest() -> None:
    scene = Scene()
    with scene.guard.holding(QWEN, "call"):
        scene.ollama.memory.append(resident(QWEN, name="my-qwen:latest"))
    scene.cell(LLAMA)
    assert scene.lines == []
    assert scene.ollama.asked == ["my-qwen:latest"]


# --- a server that hesitates ----------------------------------------------------------------------


def test_a_look_that_blocks_for_five_seconds_is_waited_for() -> None:
    scene = Scene()
    with scene.guard.holding(QWEN, "call"):
        scene.load(QWEN)
        scene.gone(QWEN)
    scene.ollama.look_seconds = 5.0
    scene.cell(LLAMA)
    assert scene.waited() == 5.0


def test_a_look_that_fails_once_is_repeated() -> None:
    scene = Scene()
    scene.cell(QWEN)
    scene.ollama.problems.append(ProviderError("Ollama (500): oops"))
    scene.cell(LLAMA)
    assert scene.waited() == pytest.approx(0.05)
    assert scene.lines == []


def test_a_server_that_never_says_proves_nothing() -> None:
    scene = Scene()
    scene.cell(QWEN)
    scene.ollama.problems.extend([ProviderError("Ollama (500): oops")] * 1_000)
    with pytest.raises(ResidencyError, match=r"what is resident cannot be known after 30 s"):
        scene.cell(LLAMA)
    assert scene.lines == ["asking again what is resident: Ollama (500): oops"]
    with pytest.raises(ResidencyError, match=r"no further model may be loaded"):
        scene.cell(QWEN)


def test_a_server_that_is_gone_is_not_waited_for_thirty_seconds() -> None:
    scene = Scene()
    scene.cell(QWEN)
    scene.ollama.problems.extend([ProviderUnreachableError("no Ollama server answers")] * 1_000)
    with pytest.raises(ResidencyError, match="cannot be known: no Ollama server answers"):
        scene.cell(LLAMA)
    assert scene.waited() == pytest.approx(10, abs=0.5)


def test_a_server_that_is_started_again_is_taken() -> None:
    scene = Scene()
    scene.cell(QWEN)
    # 0.05 + 0.1 + 0.2 + 0.4 + 10 × 0.5 s
    scene.ollama.problems.extend([ProviderUnreachableError("no Ollama server answers")] * 14)
    scene.cell(LLAMA)
    assert scene.waited() == pytest.approx(5.75)


def test_a_server_that_does_not_take_an_unload_request_is_looked_at_all_the_same() -> None:
    scene = Scene()
    scene.cell(QWEN, "model")
    scene.ollama.release_problem = ProviderError("Ollama (500): oops")
    scene.cell(LLAMA)
    assert scene.lines == ["unloading qwen2.5:0.5b: Ollama (500): oops"]
    assert scene.ollama.asked == ["qwen2.5:0.5b"]  # two seconds later


# --- models of others -----------------------------------------------------------------------------


def test_at_the_start_an_empty_server_is_no_wait() -> None:
    scene = Scene()
    scene.guard.start("ollama")
    scene.guard.start("llamacpp")
    assert scene.clock.pauses == []


def test_at_the_start_a_model_of_others_is_waited_for() -> None:
    scene = Scene()
    scene.load(GEMMA)
    scene.clock.after(20.0, lambda: scene.gone(GEMMA))
    scene.guard.start("ollama")
    assert 20 <= scene.waited() < 21
    assert scene.lines == ["waiting up to 30 s for gemma3:1b, not loaded by this session, to go"]
    assert scene.ollama.asked == []


def test_at_the_start_a_model_of_others_that_stays_is_a_mistake_that_names_it() -> None:
    scene = Scene()
    scene.load(GEMMA)
    scene.load(QWEN)
    with pytest.raises(UserMistakeError) as caught:
        scene.guard.start("ollama")
    assert str(caught.value) == (
        "gemma3:1b, qwen2.5:0.5b are still resident after 30 s and not loaded by this session: end "
        "what uses it, wait for its keep-alive, or unload it with --evict"
    )
    assert scene.waited() == pytest.approx(30, abs=0.5)
    assert scene.ollama.asked == []


def test_at_the_start_a_model_that_the_session_is_about_to_use_is_foreign_too() -> None:
    scene = Scene()
    scene.load(QWEN)
    with pytest.raises(UserMistakeError, match=r"qwen2.5:0.5b is still resident"):
        scene.guard.start("ollama")


def test_at_the_start_a_server_that_does_not_say_is_a_mistake() -> None:
    scene = Scene()
    scene.ollama.problems.extend([ProviderUnreachableError("no Ollama server answers")] * 1_000)
    with pytest.raises(UserMistakeError, match="no Ollama server answers"):
        scene.guard.start("ollama")


def test_evict_unloads_at_once_and_says_so() -> None:
    scene = Scene(evict=True)
    scene.load(GEMMA)
    scene.guard.start("ollama")
    assert scene.ollama.asked == ["gemma3:1b"]
    assert scene.lines == ["unloading gemma3:1b, not loaded by this session"]
    assert scene.waited() == pytest.approx(0.05)


def test_evict_asks_again_and_names_what_comes_back() -> None:
    scene = Scene(evict=True)
    scene.load(GEMMA)
    scene.ollama.unload_obeyed = False
    with pytest.raises(UserMistakeError, match="something loads it again, end that"):
        scene.guard.start("ollama")
    assert len(scene.ollama.asked) == 15  # at 0, and at 2.25, 4.25 … 28.25 s
    assert len(scene.lines) == 1


def test_a_model_of_others_found_later_is_waited_for_by_the_next_model() -> None:
    scene = Scene()
    scene.cell(QWEN)
    scene.load(GEMMA)
    scene.cell(QWEN)  # the same model goes on
    scene.clock.after(12.0, lambda: scene.gone(GEMMA))
    scene.cell(LLAMA)
    assert 12 <= scene.waited() < 13
    assert scene.guard.evidence.foreign == ["gemma3:1b"]
    assert scene.ollama.asked == []


def test_a_model_of_others_that_stays_ends_the_remaining_local_cells() -> None:
    scene = Scene()
    scene.cell(QWEN)
    scene.load(GEMMA)
    with pytest.raises(ResidencyError, match=r"gemma3:1b is still resident .* --evict"):
        scene.cell(LLAMA)
    scene.gone(GEMMA)
    with pytest.raises(ResidencyError, match=r"no further model may be loaded: gemma3:1b"):
        scene.cell(QWEN)
    assert scene.ollama.asked == []


def test_evict_holds_later_too() -> None:
    scene = Scene(evict=True)
    scene.cell(QWEN)
    scene.load(GEMMA)
    scene.cell(LLAMA)
    assert scene.ollama.asked == ["gemma3:1b"]
    assert scene.waited() == pytest.approx(0.05)


def test_a_model_that_was_ours_and_was_proved_gone_is_foreign_when_it_comes_back() -> None:
    scene = Scene()
    scene.cell(QWEN)
    scene.cell(LLAMA)
    scene.load(QWEN)  # by another client
    scene.clock.after(8.0, lambda: scene.gone(QWEN))
    scene.cell(GEMMA)
    assert scene.ollama.asked == []
    assert scene.guard.evidence.foreign == ["qwen2.5:0.5b"]


# --- residency model: one load --------------------------------------------------------------------


def test_the_last_cell_of_a_model_unloads_it() -> None:
    scene = Scene()
    scene.cell(QWEN, "model")
    scene.cell(QWEN, "model")
    scene.guard.leave(QWEN)
    assert scene.ollama.asked == ["qwen2.5:0.5b"]
    scene.cell(LLAMA, "model")
    assert scene.ollama.asked == ["qwen2.5:0.5b"]  # once is enough
    assert scene.guard.evidence.loads == 2


def test_without_leave_the_next_model_unloads_it() -> None:
    scene = Scene()
    scene.cell(QWEN, "model")
    scene.cell(LLAMA, "model")
    assert scene.ollama.asked == ["qwen2.5:0.5b"]
    assert scene.clock.pauses == []


def test_leaving_a_model_that_unloads_by_itself_asks_nothing() -> None:
    scene = Scene()
    scene.cell(QWEN, "call")
    scene.guard.leave(QWEN)
    assert scene.ollama.asked == []


def test_leaving_another_model_does_nothing() -> None:
    scene = Scene()
    scene.guard.leave(QWEN)
    scene.cell(QWEN, "model")
    scene.guard.leave(LLAMA)
    scene.guard.leave(HOSTED)
    assert scene.ollama.asked == []


def test_a_cell_that_comes_after_its_model_was_left_starts_from_an_empty_memory() -> None:
    scene = Scene()
    scene.cell(QWEN, "model")
    scene.ollama.unload_obeyed = False
    scene.guard.leave(QWEN)
    scene.clock.after(0.3, lambda: scene.gone(QWEN))
    scene.cell(QWEN, "model")
    assert scene.waited() == pytest.approx(0.35)
    assert scene.guard.evidence.loads == 2


def test_with_call_every_cell_is_a_load() -> None:
    scene = Scene()
    for model in (QWEN, QWEN, LLAMA):
        scene.cell(model, "call")
    assert scene.guard.evidence.loads == 3


def test_a_cell_that_broke_off_is_loaded_again() -> None:
    scene = Scene()
    scene.cell(QWEN, "model")
    with pytest.raises(ProviderError), scene.guard.holding(QWEN, "model"):
        raise ProviderError("the model's runner died")
    scene.cell(QWEN, "model")
    assert scene.guard.evidence.loads == 2


# --- requests that broke off ----------------------------------------------------------------------


def time_out(scene: Scene, model: ModelDescription, residency: Residency = "call") -> None:
    with pytest.raises(CompletionTimeoutError), scene.guard.holding(model, residency):
        raise CompletionTimeoutError("no whole answer within 600 s")


def test_after_a_request_that_broke_off_the_server_has_to_stay_empty_for_two_seconds() -> None:
    scene = Scene()
    time_out(scene, QWEN)
    scene.cell(LLAMA)
    assert scene.ollama.asked == ["qwen2.5:0.5b"]  # at once
    assert scene.waited() == pytest.approx(2.25)


def test_a_load_that_shows_only_when_it_is_over_is_unloaded() -> None:
    scene = Scene()
    time_out(scene, QWEN)
    scene.clock.after(1.5, lambda: scene.load(QWEN))
    with scene.guard.holding(LLAMA, "call"):
        assert scene.ollama.memory == []
    assert scene.ollama.asked == ["qwen2.5:0.5b", "qwen2.5:0.5b"]
    assert scene.waited() > 1.5 + 2


def test_a_load_that_shows_after_the_proof_is_ours_still() -> None:
    scene = Scene()
    time_out(scene, QWEN)
    scene.cell(LLAMA)
    scene.load(QWEN)
    scene.cell(GEMMA)
    assert scene.ollama.asked == ["qwen2.5:0.5b", "qwen2.5:0.5b"]
    assert scene.guard.evidence.foreign == []


def test_a_request_that_broke_off_and_was_made_again_with_success_is_no_doubt() -> None:
    scene = Scene()
    time_out(scene, QWEN)
    scene.cell(QWEN)
    scene.cell(LLAMA)
    assert scene.clock.pauses == []


def test_an_interrupt_amid_a_cell_is_a_request_that_broke_off() -> None:
    scene = Scene()

    def interrupted() -> None:
        with scene.guard.holding(QWEN, "call"):
            scene.load(QWEN)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    scene.guard.finish()
    assert scene.ollama.memory == []
    assert scene.ollama.asked == ["qwen2.5:0.5b"]
    assert scene.waited() == pytest.approx(2.25)


# --- the end --------------------------------------------------------------------------------------


def test_the_end_proves_that_nothing_of_ours_is_left() -> None:
    scene = Scene()
    with scene.guard.holding(QWEN, "call"):
        scene.load(QWEN)
    scene.clock.after(0.3, lambda: scene.gone(QWEN))
    scene.guard.finish()
    assert scene.waited() == pytest.approx(0.35)
    assert scene.guard.evidence.proofs == 2


def test_the_end_unloads_a_model_kept_for_its_cells() -> None:
    scene = Scene()
    scene.cell(QWEN, "model")
    scene.guard.finish()
    assert scene.ollama.memory == []


def test_the_end_says_what_does_not_go_and_says_it_once() -> None:
    scene = Scene()
    scene.cell(QWEN, "model")
    scene.ollama.unload_obeyed = False
    with pytest.raises(ResidencyError, match=r"qwen2.5:0.5b is still resident after 30 s"):
        scene.guard.finish()
    waited = scene.waited()
    scene.guard.finish()
    assert scene.waited() == waited


def test_the_end_leaves_models_of_others_alone() -> None:
    scene = Scene(evict=True)
    scene.cell(QWEN)
    scene.load(GEMMA)
    scene.guard.finish()
    assert scene.ollama.asked == []
    assert scene.clock.pauses == []
    assert scene.guard.evidence.foreign == ["gemma3:1b"]


def test_an_end_without_a_cell_asks_nobody() -> None:
    scene = Scene()
    scene.ollama.problems.append(ProviderError("not to be asked"))
    scene.guard.finish()
    assert scene.ollama.problems


def test_the_end_after_a_failed_change_still_unloads_what_is_ours() -> None:
    scene = Scene()
    scene.cell(QWEN, "model")
    scene.load(GEMMA)
    scene.ollama.unload_obeyed = False
    with pytest.raises(ResidencyError):
        scene.cell(LLAMA)
    scene.ollama.unload_obeyed = True
    scene.guard.finish()
    assert [model.name for model in scene.ollama.memory] == ["gemma3:1b"]


# --- llama.cpp beside Ollama ----------------------------------------------------------------------


def test_the_child_has_ended_before_an_ollama_model_may_load() -> None:
    scene = Scene()
    scene.cell(EMBEDDED, "model")
    with scene.guard.holding(QWEN, "call"):
        assert scene.llamacpp.released == [EMBEDDED.digest]


def test_an_ollama_model_is_proved_gone_before_the_child_starts() -> None:
    scene = Scene()
    with scene.guard.holding(QWEN, "call"):
        scene.load(QWEN)
    scene.clock.after(1.0, lambda: scene.gone(QWEN))
    with scene.guard.holding(EMBEDDED, "model"):
        assert scene.ollama.memory == []
    assert scene.waited() >= 1.0


def test_a_model_of_others_on_the_server_is_seen_between_two_children() -> None:
    scene = Scene()
    scene.guard.start("ollama")
    scene.cell(EMBEDDED, "model")
    scene.load(GEMMA)
    with pytest.raises(ResidencyError, match="gemma3:1b is still resident"):
        scene.cell(OTHER_FILE, "model")


def test_a_session_of_children_alone_asks_no_server() -> None:
    scene = Scene()
    scene.ollama.problems.append(ProviderError("not to be asked"))
    scene.cell(EMBEDDED, "model")
    scene.cell(OTHER_FILE, "model")
    scene.guard.leave(OTHER_FILE)
    scene.guard.finish()
    assert scene.llamacpp.released == [EMBEDDED.digest, OTHER_FILE.digest]
    assert scene.guard.evidence.loads == 2
    assert scene.ollama.problems


def test_a_server_beside_the_children_is_asked_at_the_start_alone() -> None:
    scene = Scene()
    scene.load(GEMMA)
    scene.clock.after(1.0, lambda: scene.gone(GEMMA))
    scene.guard.start_beside(scene.ollama)
    assert 1 <= scene.waited() < 2
    scene.ollama.problems.append(ProviderError("not to be asked"))
    scene.cell(EMBEDDED, "model")
    scene.cell(OTHER_FILE, "model")
    scene.guard.finish()
    assert scene.ollama.problems


@pytest.mark.parametrize(
    "problem", [ResidencyError("the llama.cpp process 7 does not end"), ProviderError("oops")]
)
def test_a_child_that_does_not_end_ends_all_local_cells(problem: Exception) -> None:
    scene = Scene()
    scene.cell(EMBEDDED, "model")
    scene.llamacpp.release_problem = problem
    for model in (QWEN, QWEN, OTHER_FILE):
        with pytest.raises(ResidencyError, match=str(problem)):
            scene.cell(model)
    with pytest.raises(ResidencyError, match=str(problem)):
        scene.guard.finish()


def test_a_child_that_does_not_end_when_it_is_left_shows_at_the_next_cell() -> None:
    scene = Scene()
    scene.cell(EMBEDDED, "model")
    scene.llamacpp.release_problem = ResidencyError("the llama.cpp process 7 does not end")
    scene.guard.leave(EMBEDDED)
    with pytest.raises(ResidencyError, match="process 7 does not end"):
        scene.cell(EMBEDDED)


def test_a_child_that_broke_off_makes_no_server_wait() -> None:
    scene = Scene()
    scene.guard.start("ollama")
    time_out(scene, EMBEDDED, "model")
    scene.cell(QWEN)
    assert scene.clock.pauses == []
    assert scene.llamacpp.released == [EMBEDDED.digest]


# --- what a dead worker left behind ---------------------------------------------------------------


def test_what_a_dead_worker_of_this_session_left_is_ours_to_unload() -> None:
    scene = Scene(inherited=[QWEN.digest])
    scene.load(QWEN)
    scene.cell(QWEN, "model")
    assert scene.ollama.asked == ["qwen2.5:0.5b"]
    assert scene.lines == []
    assert scene.waited() > 2 + 2  # asked after 2 s, and then quiet for 2 s


def test_the_controller_proves_the_end_of_a_worker_that_died() -> None:
    scene = Scene()
    scene.guard.start("ollama")
    scene.load(QWEN)
    scene.guard.inherit([QWEN.digest])
    scene.guard.finish()
    assert scene.ollama.memory == []
    assert scene.guard.evidence.proofs == 1


# --- the talk locks -------------------------------------------------------------------------------


class Locks:
    """Records in which order talk locks are taken and given back."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.problem: Exception | None = None

    @contextmanager
    def __call__(self, model: ModelDescription) -> Iterator[None]:
        if self.problem is not None:
            raise self.problem
        self.events.append(f"take {model.reference.provider}")
        yield
        self.events.append(f"give {model.reference.provider}")


def test_the_talk_locks_are_held_from_the_first_cell_to_the_end() -> None:
    locks = Locks()
    scene = Scene(talking_to=locks)
    for model in (QWEN, QWEN, LLAMA):
        scene.cell(model)
    assert locks.events == ["take ollama"]
    scene.guard.leave(LLAMA)
    assert locks.events == ["take ollama"]
    scene.guard.finish()
    scene.guard.finish()
    assert locks.events == ["take ollama", "give ollama"]


def test_the_former_model_is_gone_before_its_locks_are() -> None:
    locks = Locks()
    scene = Scene(talking_to=locks)
    scene.cell(EMBEDDED, "model")
    scene.llamacpp.released = locks.events
    scene.cell(QWEN, "model")
    scene.cell(EMBEDDED, "model")
    assert locks.events == [
        "take llamacpp",
        EMBEDDED.digest,
        "give llamacpp",
        "take ollama",
        "give ollama",
        "take llamacpp",
    ]


def test_a_hosted_model_needs_no_lock_and_no_look() -> None:
    locks = Locks()
    scene = Scene(talking_to=locks)
    with scene.guard.holding(HOSTED, "model"):
        pass
    scene.guard.leave(HOSTED)
    scene.guard.finish()
    assert locks.events == []
    assert scene.guard.evidence.loads == 0


def test_a_talk_lock_that_is_not_to_be_had_is_waited_for_once() -> None:
    locks = Locks()
    locks.problem = LockTimeoutError("this machine's memory is in use by another session")
    scene = Scene(talking_to=locks)
    with pytest.raises(ResidencyError, match="in use by another session"):
        scene.cell(QWEN)
    locks.problem = None
    with pytest.raises(ResidencyError, match="in use by another session"):
        scene.cell(QWEN)
    assert locks.events == []


def test_the_locks_are_given_back_though_the_end_fails() -> None:
    locks = Locks()
    scene = Scene(talking_to=locks)
    scene.cell(QWEN, "model")
    scene.ollama.unload_obeyed = False
    with pytest.raises(ResidencyError):
        scene.guard.finish()
    assert locks.events == ["take ollama", "give ollama"]
