"""At other sizes than ours each chapter runs, and every word of its figures can be read."""

from itertools import combinations

import jupytext
import matplotlib.pyplot as plt
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from icl_core import config
from icl_core.records import PROJECT
from icl_report import drawing, text
from icl_report.execute import parameters_of

CHAPTERS = {path.stem: jupytext.read(path) for path in sorted(PROJECT.glob("notebooks/*.py"))}
CHAPTERS = {name: own for name, own in CHAPTERS.items() if "b" in parameters_of(own)}
FEW = {"batch_size": 2, "curve_prompts": 8, "evaluation_prompts": 16, "random_numbers": "numpy"}


def unreadable(figure):
    """Words that lie on others, by more than a line's margins, or outside the figure."""
    figure.canvas.draw()
    axes = [axis for own in figure.axes for axis in (own.xaxis, own.yaxis)]
    ticks = {own for axis in axes for tick in axis.get_major_ticks() for own in labels(tick)}
    drawn = {own for axis in axes for tick in axis._update_ticks() for own in labels(tick)}
    words = [own for own in figure.findobj(Text) if own.get_text().strip() and own.get_visible()]
    boxes = {own: Text.get_window_extent(own) for own in words if own not in ticks - drawn}
    found = []
    for (one, here), (other, there) in combinations(boxes.items(), 2):
        width = min(here.x1, there.x1) - max(here.x0, there.x0)
        height = min(here.y1, there.y1) - max(here.y0, there.y0)
        if width > 1 and height > 3:
            found.append(f"{one.get_text()!r} on {other.get_text()!r}")
    for own, box in boxes.items():
        if min(box.x0, box.y0) < -2 or box.x1 > figure.bbox.x1 + 2 or box.y1 > figure.bbox.y1 + 2:
            found.append(f"{own.get_text()!r} outside")
    return found


def labels(tick):
    return tick.label1, tick.label2


def test_what_cannot_be_read_is_seen():
    """Else the test below would pass whatever is drawn."""
    drawing.use_theme()
    figure, axes = plt.subplots()
    axes.set(title="a title", xlabel="a label", xticks=[0.1, 0.9])
    assert unreadable(figure) == []
    axes.set_xticks([0.1, 0.12], ["one", "two"])
    figure.text(-0.1, 0.5, "far away")
    assert unreadable(figure) == ["'one' on 'two'", "'far away' outside"]
    plt.close(figure)


@pytest.mark.long
@pytest.mark.parametrize("d, n, b", [(1, 1, 20), (20, 40, 1), (20, 127, 1)])
@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_at_another_size_can_be_read(tmp_path, monkeypatch, name, d, n, b):
    """Garg's and Yang's d = 20 and 40 examples among them; both languages."""
    sizes = config.BASES["smoke"] | FEW | {"d": d, "n_examples": n}
    monkeypatch.setitem(config.BASES, "sized", sizes)
    monkeypatch.setattr(text, "display", lambda *_, **__: None)
    save, found = Figure.savefig, []

    def saving(figure, *args, **options):
        found.extend(unreadable(figure))
        return save(figure, *args, **options)

    monkeypatch.setattr(Figure, "savefig", saving)
    known = {"In": []}
    for cell in CHAPTERS[name].cells:
        if cell.cell_type == "code":
            exec(cell.source, known)
        if "parameters" in cell.metadata.get("tags", []):
            known |= {"setup": "sized", "b": b, "seed": 0, "out": str(tmp_path)}
    assert found == []
