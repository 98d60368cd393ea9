"""Runs a script of Pyro5's examples, unchanged but for what it is told:

    play.py [--fast FACTOR] [--edit OLD NEW]... SCRIPT [ARGUMENT]...

Its sleeps are so many times shorter, and its text is edited; an edit that changes nothing is an error.
"""

import argparse
import sys
import time
import types
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--fast", type=float, default=1)
parser.add_argument("--edit", nargs=2, action="append", default=[])
parser.add_argument("script", type=Path)
parser.add_argument("arguments", nargs="*")
options = parser.parse_args()

text = options.script.read_text()
for old, new in options.edit:
    if old not in text:
        sys.exit(f"{options.script}: there is no {old!r}")
    text = text.replace(old, new)

sleep = time.sleep
time.sleep = lambda seconds: sleep(seconds / options.fast)
sys.path[0] = str(options.script.parent)
sys.argv = [str(options.script), *options.arguments]
main = sys.modules["__main__"] = types.ModuleType("__main__")
exec(compile(text, options.script, "exec"), main.__dict__)
