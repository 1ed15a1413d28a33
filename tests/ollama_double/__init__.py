"""A faithful Ollama server for tests: its API, its errors, its memory, and a record of it all.

``with OllamaDouble() as double:`` serves ``double.url`` from threads of this process;
``python -m tests.ollama_double`` is the same in a process of its own.
"""

from tests.ollama_double.faults import Fault, FaultKind
from tests.ollama_double.memory import Event
from tests.ollama_double.models import CATALOGUE, DEFAULT_INSTALLED, DoubleModel
from tests.ollama_double.server import OllamaDouble

__all__ = [
    "CATALOGUE",
    "DEFAULT_INSTALLED",
    "DoubleModel",
    "Event",
    "Fault",
    "FaultKind",
    "OllamaDouble",
]
