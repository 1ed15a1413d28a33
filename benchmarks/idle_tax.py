"""What the installed plugin costs where nobody switched it on, against the same with it blocked.

``python -m benchmarks.idle_tax [PAIRS]``
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from benchmarks.pairs import seconds, told


def main(pairs: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "test_one.py").write_text("def test_one(): pass\n", encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        environment = {key: value for key, value in os.environ.items() if key != "PYTEST_ADDOPTS"}
        seconds(command, folder, environment)  # byte code is written once
        ours, theirs = [], []
        for _ in range(pairs):
            ours.append(seconds(command, folder, environment))
            theirs.append(seconds([*command, "-p", "no:tipbench"], folder, environment))
    print(told("idle", ours, theirs, "blocked"))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
