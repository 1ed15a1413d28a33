"""Runs the double as a process of its own: prints its URL, serves until it is ended."""

from __future__ import annotations

import argparse
import json
import sys
import threading
from pathlib import Path

from tests.ollama_double import DEFAULT_INSTALLED, OllamaDouble


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.ollama_double")
    parser.add_argument("--models-file", type=Path, help="JSON list of names or model objects")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--load-seconds", type=float, default=0.0)
    parser.add_argument("--unload-seconds", type=float, default=0.0)
    parser.add_argument("--generate-seconds", type=float, default=0.0)
    parser.add_argument("--ps-block-seconds", type=float, default=0.0)
    parser.add_argument("--max-loaded-models", type=int)
    parser.add_argument("--until-stdin-closes", action="store_true")
    options = parser.parse_args()
    models = DEFAULT_INSTALLED
    if options.models_file is not None:
        models = json.loads(options.models_file.read_text(encoding="utf-8"))
    with OllamaDouble(
        models,
        port=options.port,
        load_seconds=options.load_seconds,
        unload_seconds=options.unload_seconds,
        generate_seconds=options.generate_seconds,
        ps_block_seconds=options.ps_block_seconds,
        max_loaded_models=options.max_loaded_models,
    ) as double:
        print(double.url, flush=True)
        if options.until_stdin_closes:
            sys.stdin.read()
        else:
            threading.Event().wait()


if __name__ == "__main__":
    main()
