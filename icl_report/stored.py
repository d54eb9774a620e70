"""An executed notebook -> the one that is kept: python -m icl_report.stored EXECUTED STORED FIGURES

Beside its .py, without what differs from machine to machine, and its figures as files.
"""

import copy
import hashlib
import os
import re
import sys
from itertools import chain
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode

from icl_core.records import PROJECT, write_whole
from icl_report.text import RUSSIAN

LASTING = ("jupytext", "kernelspec")  # of its metadata
PLACES = {sys.prefix, str(PROJECT), str(Path.home())} - {"/"}
PLACE = "|".join(re.escape(place) for place in sorted(PLACES, key=len, reverse=True))
VOLATILE = {
    r"(?<![^\s\"'<>])[^\s\"'<>]*/ipykernel_\d+/\d+\.py": "cell",  # a warning's place
    rf"(?<![\w.])(?:{PLACE})(?![\w.-])": "…",  # a path on this machine
    r" at 0x[0-9a-f]+": "",  # an object's address
}


def clean(notebook: NotebookNode) -> NotebookNode:
    """A copy with nothing in it that differs from machine to machine or from run to run."""
    notebook = copy.deepcopy(notebook)
    notebook.metadata = {name: own for name, own in notebook.metadata.items() if name in LASTING}
    notebook.nbformat_minor = max(5, notebook.nbformat_minor)  # the first with cell ids
    for number, cell in enumerate(notebook.cells, start=1):
        tags = cell.metadata.get("tags")
        cell.id, cell.metadata = f"cell-{number}", {"tags": tags} if tags else {}
    text = nbformat.writes(notebook)
    for pattern, replacement in VOLATILE.items():
        text = re.sub(pattern, replacement, text)
    return nbformat.reads(text, as_version=4)


def store(executed: Path, stored: Path, figures: Path) -> None:
    """Writes the executed notebook, cleaned, and figures/<name>.<language>.svg of each figure.

    It gets as old as its .py beside it: that one is what JupyterLab opens then. Raises ValueError,
    and leaves the file, if the stored notebook was edited by hand and its .py lacks the edit.
    """
    source = stored.with_suffix(".py")
    if stored.exists() and source.exists():
        there = nbformat.read(stored, as_version=4)
        if text_sum(there) not in (there.metadata.get("text"), text_sum(jupytext.read(source))):
            raise ValueError(
                f"{stored} was edited since it was built, and {source.name} was not: to keep it, "
                f".venv/bin/jupytext --sync {stored}; to drop it, rm {stored}; make report again"
            )
    notebook = clean(nbformat.read(executed, as_version=4))
    notebook.metadata["text"] = text_sum(notebook)
    for folder in (stored.parent, figures):
        folder.mkdir(parents=True, exist_ok=True)
    write_whole(stored, nbformat.writes(notebook) + "\n")
    if source.exists():
        time = source.stat().st_mtime_ns
        os.utime(stored, ns=(time, time))
    for output in chain(*(cell.get("outputs", []) for cell in notebook.cells)):
        if name := output.get("metadata", {}).get("name"):
            for language, kind in (("ru", RUSSIAN), ("en", "image/svg+xml")):
                write_whole(figures / f"{name}.{language}.svg", output.data[kind])


def text_sum(notebook: NotebookNode) -> str:
    """The SHA-256 of what a person wrote in the notebook: its cells, without papermill's."""
    tagged = [(cell, cell.metadata.get("tags", [])) for cell in notebook.cells]
    written = [(c.cell_type, c.source, t) for c, t in tagged if "injected-parameters" not in t]
    return hashlib.sha256(repr(written).encode()).hexdigest()


if __name__ == "__main__":
    store(*map(Path, sys.argv[1:]))
