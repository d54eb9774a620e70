"""What both READMEs take over from the notebooks: python -m icl_report.readme FOLDER NOTEBOOK …

Between <!-- headline --> and <!-- /headline -->: what cells tagged headline, and sentences of that
role, say. Between <!-- chapters --> and <!-- /chapters -->: the notebooks' titles.
"""

import re
import sys
from pathlib import Path

import nbformat

from icl_core.records import write_whole


def said(notebook: Path, language: str, role: str) -> list[str]:
    """The texts of that role in that language, in order: cells tagged with it, and sentences."""
    texts = []
    for cell in nbformat.read(notebook, as_version=4).cells:
        if {language, role} <= set(cell.metadata.get("tags", [])):
            texts.append(cell.source)
        for output in cell.get("outputs", []):
            if output.get("metadata") == {"language": language, "role": role}:
                texts.append(output.data["text/markdown"])
    return texts


def title(notebook: Path, language: str) -> str:
    """The first heading in that language."""
    cells = nbformat.read(notebook, as_version=4).cells
    own = [cell.source for cell in cells if language in cell.metadata.get("tags", [])]
    return re.search(r"^# (.*)$", "\n".join(own), re.M)[1]


def fill(readme: Path, notebooks: list[Path]) -> None:
    """Renews the parts; README.ru.md is Russian. Raises ValueError if a part is not marked."""
    language, text = "ru" if ".ru" in readme.suffixes else "en", readme.read_text(encoding="utf-8")
    headline = [part for path in notebooks for part in said(path, language, "headline")]
    chapters = [f"- [{title(path, language)}](notebooks/{path.name})" for path in notebooks]
    for name, part in (("headline", "\n\n".join(headline)), ("chapters", "\n".join(chapters))):
        start, end = f"<!-- {name} -->\n", f"\n<!-- /{name} -->"
        before, opened, rest = text.partition(start)
        _, closed, after = rest.partition(end)
        if not (opened and closed):
            raise ValueError(f"{readme} has no {start.strip()} … {end.strip()} to be filled")
        text = before + start + part + end + after
    write_whole(readme, text)


if __name__ == "__main__":
    for name in ("README.md", "README.ru.md"):
        fill(Path(sys.argv[1]) / name, [Path(path) for path in sys.argv[2:]])
