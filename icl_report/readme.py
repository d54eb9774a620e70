"""What both READMEs take over from the notebooks: python -m icl_report.readme FOLDER NOTEBOOK …

Between <!-- headline --> and <!-- /headline -->: what cells tagged headline, and sentences of that
role, say. Between <!-- chapters --> and <!-- /chapters -->: the notebooks' titles.
"""

import re
import sys
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from icl_core.records import write_whole


def said(notebook: NotebookNode, *marks: str) -> list[str]:
    """The texts with these marks, in order: cells by their tags, sentences by language and role."""
    texts = []
    for cell in notebook.cells:
        if {*marks} <= {*cell.metadata.get("tags", [])}:
            texts.append(cell.source)
        for output in cell.get("outputs", []):
            about = output.get("metadata", {})
            if {*marks} <= {about.get("language"), about.get("role")}:
                texts.append(output.data["text/markdown"])
    return texts


def fill(readme: Path, notebooks: list[Path]) -> None:
    """Renews the parts; README.ru.md is Russian. Raises ValueError if a part is not marked."""
    language, text = "ru" if ".ru" in readme.suffixes else "en", readme.read_text(encoding="utf-8")
    parts = {"headline": [], "chapters": []}
    for path in notebooks:
        notebook = nbformat.read(path, as_version=4)
        parts["headline"] += said(notebook, language, "headline")
        title = re.search(r"^# (.*)$", "\n".join(said(notebook, language)), re.M)[1]
        parts["chapters"].append(f"- [{title}](notebooks/{path.name})")
    for name, between in (("headline", "\n\n"), ("chapters", "\n")):
        start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        marked = re.search(rf"(?s){start}\n(.*?\n)??{end}", text)
        if not marked:
            raise ValueError(f"{readme} has no {start} … {end} to be filled")
        text = text.replace(marked[0], f"{start}\n{between.join(parts[name])}\n{end}", 1)
    write_whole(readme, text)


if __name__ == "__main__":
    for name in ("README.md", "README.ru.md"):
        fill(Path(sys.argv[1]) / name, [Path(path) for path in sys.argv[2:]])
