"""Owns ``/api/pull`` of the double: progress, and failures amid the stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.ollama_double.models import CATALOGUE, DoubleModel, full_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.ollama_double.faults import Fault


def progress(
    name: str, fault: Fault | None, install: Callable[[DoubleModel], object]
) -> Iterator[dict[str, Any]]:
    """Yield the lines of a pull; the model is installed before the last one says so."""
    yield {"status": "pulling manifest"}
    model = CATALOGUE.get(full_name(name))
    if model is None:
        yield {"error": "pull model manifest: file does not exist"}
        return
    for share in (0, 1, 2, 4):
        yield {
            "status": f"pulling {model.digest[:12]}",
            "digest": f"sha256:{model.digest}",
            "total": model.file_bytes,
            "completed": model.file_bytes * share // 4,
        }
        if share == 2 and fault is not None and fault.kind in ("pull_breaks", "pull_stops"):
            if fault.kind == "pull_breaks":
                yield {"error": fault.text or "max retries exceeded: unexpected EOF"}
            return
    for status in ("verifying sha256 digest", "writing manifest"):
        yield {"status": status}
    install(model)
    yield {"status": "success"}
