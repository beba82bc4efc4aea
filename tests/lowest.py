"""The lowest versions that `pyproject.toml` allows, as a constraints file: `python tests/lowest.py > lowest.txt`."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def lowest(extras: tuple[str, ...] = ("cluster",)) -> Iterator[str]:
    """`name==version` of each dependency, the command's own and those of extras.

    Raises
    ------
    ValueError
        If one has no lower bound.
    """
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    for line in [*project["dependencies"], *(d for extra in extras for d in project["optional-dependencies"][extra])]:
        found = re.fullmatch(r"([\w-]+)>=([\d.]+)", line)
        if found is None:
            raise ValueError(f"{line}: give it a lower bound, name>=version")
        yield f"{found[1]}=={found[2]}"


if __name__ == "__main__":
    print("\n".join(lowest()))
