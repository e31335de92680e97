"""`make demo` on the bundles that ship with the project."""

import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def test_the_demo_shows_the_three_services_on_the_shipped_bundles():
    command = [sys.executable, "-m", "benchmarks.demo"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "A German translation from translation-en-de/" in done.stdout
    assert re.search(r"Two dogs are playing in the snow\.\n  → .*[Hh]unde.*Schnee", done.stdout)
    assert re.search(r"A caption of grace_hopper\.jpg from captioning-en/\S+\n  → a \w+", done.stdout)
    assert re.search(r"→ corners \d+( \d+)+; area 0\.\d+", done.stdout)
    assert done.stdout.endswith("The server has stopped. `make serve` starts it for you to call.\n")
