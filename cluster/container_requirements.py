"""What the image installs, from pyproject.toml: the project's dependencies and the extras that a cluster uses. The lock file gives the versions.

python cluster/container_requirements.py pyproject.toml > requirements.txt
"""

import sys
import tomllib
from pathlib import Path

EXTRAS = ("pose", "storage", "video")


def requirements(pyproject: Path) -> list[str]:
    """Lines for pip. Raises KeyError where an extra is gone."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"]
    build = project["build-system"]["requires"]  # for the editable install, which fetches nothing
    return sorted({*project["project"]["dependencies"], *build, *(line for name in EXTRAS for line in extras[name])})


if __name__ == "__main__":
    print("\n".join(requirements(Path(sys.argv[1]))))
