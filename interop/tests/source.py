"""The source distribution of Pyro5, for its examples and tests: fetched once by pip, never committed."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

REQUIREMENT = Path(__file__).resolve().parents[1] / "pyro5-source.txt"


def fetch():
    """The folder with Pyro5's sources, fetched below the environment unless it is there already."""
    digest = REQUIREMENT.read_text().split("sha256:")[1].strip()
    place = Path(sys.prefix) / "pyro5-source" / digest
    if not place.exists():
        place.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent) as work:
            download(work)
            (archive,) = Path(work).glob("*.tar.gz")
            shutil.unpack_archive(archive, work)
            (folder,) = (found for found in Path(work).iterdir() if found.is_dir())
            # Last, and at once, so a half made one is never taken for a whole one.
            folder.rename(place)
    return place


def download(folder):
    # The environment has no pip; that of the Python that it was made by does as well.
    python = getattr(sys, "_base_executable", sys.executable)
    command = [python, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    # Anything but exactly this file, by its hash, is refused.
    command += ["--no-deps", "--no-binary", "Pyro5", "--dest", folder, "--requirement", str(REQUIREMENT)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"cannot fetch Pyro5's sources:\n{done.stdout}{done.stderr}"
