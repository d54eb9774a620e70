"""Text, tables and figures in two languages: what the notebooks show.

Each function emits one output a language, labelled in the output's metadata, so that a page can
keep one of them. Numbers come in as numbers and leave in the reader's convention. Below stand the
passages that all notebooks share: the run, what is recorded, means by b, verdicts.
"""

import io
import math
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pandas as pd
import seaborn as sns
from IPython.display import SVG, Markdown, display
from matplotlib.ticker import LogFormatter, LogLocator, NullFormatter, ScalarFormatter

from icl_report import drawing, hover, records
from icl_report.verdicts import FEWEST, overall, typical

LANGUAGES = ("ru", "en")
STATUSES = {
    "confirmed": {"ru": "подтверждено", "en": "confirmed"},
    "not confirmed": {"ru": "не подтверждено", "en": "not confirmed"},
    "open": {"ru": "открыто", "en": "open"},
}
NONE = {"ru": "нет", "en": "none"}
THEME = {
    "figure.dpi": 100,
    "svg.hashsalt": "icl",  # the same ids in every build
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}


_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float, language: str, digits: int = 3) -> str:
    """value with so many significant digits; «—» for nan; a decimal comma in Russian."""
    if isinstance(value, str):
        return value.replace(" + ", "\u00a0+\u00a0")  # a variant's name stays on one line
    if not math.isfinite(value):
        return "—" if math.isnan(value) else "∞"
    text = f"{value:.{digits}g}"
    if float(value).is_integer() or 10**digits <= abs(float(text)) < 10**6:
        text = f"{value if float(value).is_integer() else float(text):,.0f}".replace(",", "\u202f")
    if "e" in text:
        mantissa, exponent = text.split("e")
        text = f"{mantissa} · 10{str(int(exponent)).translate(_SUPERSCRIPT)}"
    return text.replace("-", "−").replace(".", "," if language == "ru" else ".")


def named(values: pd.Series) -> dict[str, str]:
    """Each name of the index with its number, in each language: “CM 0.367, SPE 0.193”."""
    return {
        language: ", ".join(f"{name} {number(value, language)}" for name, value in values.items())
        for language in LANGUAGES
    }


def beside(value: float, threshold: float, language: str, digits: int = 2) -> str:
    """The number, with more digits where it takes them to tell it from the threshold."""
    while digits < 4 and value != threshold:
        if number(value, language, digits) != number(threshold, language, digits):
            break
        digits += 1
    return number(value, language, digits)


def say(ru: str, en: str, role: str = "text", **values: float | str | dict) -> None:
    """Emits both texts as Markdown with {name} replaced by the values, formatted for each.

    A dict holds a value for each language. The role "headline" puts the text into README as well.
    """
    for language, text in zip(LANGUAGES, (ru, en)):
        words = {name: _words(value, language) for name, value in values.items()}
        metadata = {"language": language, "role": role}
        display(Markdown(text.format(**words)), metadata=metadata)


def table(
    frame: pd.DataFrame, ru: dict[str, str], en: dict[str, str], digits: int = 3, **metadata
) -> None:
    """Emits the columns named in ru and en as a table; cells that are dicts hold both languages.

    digits: how many are significant; metadata goes into the outputs' own, beside the language.
    """
    for language, names in zip(LANGUAGES, (ru, en)):
        shown = frame[list(names)].rename(columns=names)
        numeric = [pd.api.types.is_numeric_dtype(shown[column]) for column in shown]
        shown = shown.map(lambda cell: _words(cell, language, digits))  # noqa: B023
        text = shown.to_markdown(
            index=False,
            disable_numparse=True,
            colalign=["right" if is_number else "left" for is_number in numeric],
        )
        display(Markdown(text), metadata={"language": language, **metadata})


def _words(value: float | str | dict, language: str, digits: int = 3) -> str:
    return number(value[language] if isinstance(value, dict) else value, language, digits)


def figure(
    name: str,
    draw: Callable[[Callable[[str, str], str]], plt.Figure],
    ru: dict[str, str],
    en: dict[str, str],
    output: Callable[[str], SVG] = SVG,
) -> None:
    """Draws a figure in each language and emits it as SVG, name and points in its metadata.

    draw(t) returns the figure and asks t(russian, english) for its words; ru and en hold the
    figure's alt text and its caption; output makes of the SVG's text what is emitted. The same data
    give the same bytes.
    """
    for language, words in zip(LANGUAGES, (ru, en)):
        with sns.axes_style("ticks"), plt.rc_context(THEME):
            drawn = draw(lambda *both: both[LANGUAGES.index(language)])  # noqa: B023
            _readable_ticks(drawn, language)
            svg = io.StringIO()
            drawn.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
            plt.close(drawn)
        metadata = {"language": language, "name": name, **words}
        if points := hover.points_of(drawn):
            metadata["points"] = points
        display(output(svg.getvalue()), metadata=metadata)
        caption = {"language": language, "role": "caption"}
        display(Markdown(f"*{words['caption']}*"), metadata=caption)


def _readable_ticks(drawn: plt.Figure, language: str) -> None:
    """Numbers at the ticks as in the text; the shorter a log axis, the more of each decade."""

    def words(value: float, _) -> str:
        return number(round(value, 6) if abs(value) > 1e-3 else value, language)

    for axes in drawn.axes:
        axes.get_xlim(), axes.get_ylim()  # settles the limits
        for axis, scale in ((axes.xaxis, axes.get_xscale()), (axes.yaxis, axes.get_yscale())):
            low, high = sorted(axis.get_view_interval())
            if scale == "log" and isinstance(axis.get_major_formatter(), LogFormatter):
                span = high / low
                subs = range(1, 10) if span < 6 else (1, 2, 5) if span < 500 else (1,)
                axis.set_major_locator(LogLocator(subs=tuple(subs), numticks=20))
                axis.set_minor_formatter(NullFormatter())
                axis.set_major_formatter(words)
            elif scale == "linear" and isinstance(axis.get_major_formatter(), ScalarFormatter):
                axis.set_major_formatter(words)


def tell_run(run: records.Run) -> None:
    """Says what the run is, how long it trained, what it took over and what diverged."""
    made = run.provenance
    taken = [f"{name} ({origin})" for name, origin in made.get("taken_over", {}).items()]
    say(
        ru="Запуск: $b$ = {b}, зерно {seed}, класс функций {of}, шагов: {steps}. Обучение "
        "заняло {hours} ч на устройстве {device}; шагов в секунду, если сложить шаги всех "
        "вариантов: {speed}. Варианты, взятые из других запусков: {taken}. Варианты, у которых "
        "обучение разошлось: {diverged}.",
        en="The run: $b$ = {b}, seed {seed}, function class {of}, steps: {steps}. Training took "
        "{hours} h on {device}; steps per second, counting each variant’s: {speed}. Variants "
        "taken from other runs: {taken}. Variants that diverged: {diverged}.",
        b=run.config.b,
        seed=run.config.seed,
        of=run.config.function_class,
        steps=run.config.steps,
        hours=made["wall_seconds"] / 3600,
        device=made["device"],
        speed=made["variant_steps_per_second"],
        taken=", ".join(taken) or NONE,
        diverged=", ".join(made["diverged"]) or NONE,
    )


def tell_recorded(runs: list[records.Run], planned: list[tuple[int, int]]) -> None:
    """Says how many runs are recorded, which (b, seed) are missing, and what diverged where."""
    recorded = [(run.config.b, run.config.seed) for run in runs]
    missing = [f"({b},\u00a0{seed})" for b, seed in planned if (b, seed) not in recorded]
    diverged = [
        f"{variant} ({run.config.b}, {run.config.seed})"
        for run in runs
        for variant in run.provenance["diverged"]
    ]
    say(
        ru="Записано запусков: {n}. Запланированные, но ещё не записанные пары ($b$, зерно): "
        "{missing}. Варианты, у которых обучение разошлось: {diverged}.",
        en="Recorded runs: {n}. Pairs ($b$, seed) planned but not recorded yet: {missing}. "
        "Variants that diverged: {diverged}.",
        n=len(recorded),
        missing=", ".join(missing) or NONE,
        diverged=", ".join(diverged) or NONE,
    )


def means_by_b(full: pd.DataFrame, ru: dict[str, str], en: dict[str, str]) -> pd.DataFrame:
    """Emits the geometric means over the runs of one b, best variant first, and returns them.

    full has a row a run and variant; ru and en name its columns to be shown, target error among
    them as "error". A mean is nan, and comes last, where a run of the variant has diverged.
    """
    means = full.groupby(["b", "variant"])[list(ru)].agg(typical)
    means = means.reset_index().sort_values(["b", "error"])
    means["runs"] = means.b.map(full.groupby("b").seed.nunique())
    table(
        means,
        ru={"b": "b", "runs": "запуски", "variant": "вариант"} | ru,
        en={"b": "b", "runs": "runs", "variant": "variant"} | en,
    )
    return means


def paired(ratios: pd.DataFrame) -> None:
    """Emits the rows of generalisation.paired_ratios as a table."""
    columns = ["quantity", "b", "seed", "ratio", "low", "high"]
    table(
        ratios,
        ru=dict(zip(columns, ["величина", "b", "зерно", "отношение", "от", "до"])),
        en=dict(zip(columns, ["quantity", "b", "seed", "ratio", "from", "to"])),
    )


def verdicts(results: pd.DataFrame, statements: dict[str, tuple[str, str]]) -> None:
    """Emits a row a claim: threshold, mean, interval, verdict; then a row a point as a whole.

    statements: point -> what it states, in Russian and in English. results may have a column "why":
    what an open verdict is due to, in each language, or None. The second table carries its
    content in its metadata, for verdicts_of.
    """
    shown = results.assign(
        threshold=[_threshold(row) for row in results.itertuples()],
        verdict=[_verdict(row) for _, row in results.iterrows()],
        over=[", ".join(map(str, b)) for b in results.b],
        support=[f"{row.agree} / {row.seeds}" if row.b else "" for row in results.itertuples()],
    )
    names = {
        "point": ("пункт", "point"),
        "quantity": ("величина", "quantity"),
        "threshold": ("порог", "threshold"),
        "value": ("среднее", "mean"),
        "low": ("от", "from"),
        "high": ("до", "to"),
        "over": ("b", "b"),
        "support": ("зёрна: за / всего", "seeds: for / all"),
        "verdict": ("вердикт", "verdict"),
    }
    ru, en = ({column: both[i] for column, both in names.items()} for i in (0, 1))
    table(shown, ru=ru, en=en, digits=4)  # 1.003 is not below 1
    say(
        ru="Пункт подтверждён, если подтверждены все его строки; не подтверждён, если хотя бы у "
        "одной вердикт «не подтверждено»; в остальных случаях он открыт:",
        en="A point is confirmed if all of its rows are; not confirmed if the verdict on any of "
        "them is “not confirmed”; and open otherwise:",
    )
    points = []
    for point, status in overall(results).items():
        own = results[results.point == point]
        points.append(
            {
                "point": point,
                "claim": dict(zip(LANGUAGES, statements[point])),
                "status": status,
                "parts": len(own),
                "confirmed": int((own.status == "confirmed").sum()),
                "seeds": int(own.seeds.min()),
                **_decisive(own[own.status == status].iloc[0]),
            }
        )
    table(
        pd.DataFrame(points),
        ru={"point": "пункт", "claim": "утверждение", "verdict": "вердикт"},
        en={"point": "point", "claim": "claim", "verdict": "verdict"},
        role="verdicts",
        points=points,
    )


def listed(statuses: dict[str, str]) -> dict[str, str]:
    """point -> status as words of each language: “10: open, A: confirmed”."""
    return {
        language: ", ".join(
            f"{point}: {STATUSES[own][language]}" for point, own in statuses.items()
        )
        for language in LANGUAGES
    }


def _decisive(row: pd.Series) -> dict:
    """A row's quantity, threshold, verdict and numbers as JSON has them: null if not finite."""
    numbers = {key: float(row[key]) for key in ("value", "low", "high")}
    numbers = {key: value if math.isfinite(value) else None for key, value in numbers.items()}
    at = float(row.above if pd.notna(row.above) else row.below)
    verdict = _verdict(row)
    about = {"quantity": row.quantity, "threshold": _threshold(row), "at": at, "verdict": verdict}
    return about | numbers


def _verdict(row: pd.Series) -> dict[str, str]:
    """The status in each language; in brackets the reason if one is given, or too few seeds."""
    few = row.status == "open" and row.seeds < FEWEST
    why = row.get("why") or (
        few and {"ru": f"зёрен:\u00a0{row.seeds}", "en": f"seeds:\u00a0{row.seeds}"}
    )
    words = STATUSES[row.status]
    return {key: f"{own} ({why[key]})" for key, own in words.items()} if why else words


def verdicts_of(notebook: Path) -> list[dict]:
    """The points that an executed notebook gave its verdict on, as `verdicts` emitted them."""
    for cell in nbformat.read(notebook, as_version=4).cells:
        for output in cell.get("outputs", []):
            if output.get("metadata", {}).get("role") == "verdicts":
                return output.metadata.points
    return []


def effects(name: str, results: pd.DataFrame) -> None:
    """Emits the figure of the ratios in a table of verdicts."""
    figure(
        name,
        lambda t: drawing.draw_effects(results, t),
        ru={
            "alt": "Величины из таблицы вердиктов с интервалами и порогами, для каждого b отдельно",
            "caption": "Строка — величина из таблицы вердиктов этой главы; разности и "
            "корреляции, которые на логарифмическую ось не ложатся, опущены. Точка — среднее "
            "геометрическое по зёрнам, отрезок — его 95-процентный "
            "доверительный интервал; если зерно одно, отрезка нет. Закрашенные точки — b = 1, "
            "полые — b > 1. Вертикальная черта — порог, стрелка указывает в ту сторону, где "
            "утверждение верно.",
        },
        en={
            "alt": "Quantities of the table of verdicts with intervals and thresholds, for each b",
            "caption": "A row is a quantity from this chapter’s table of verdicts; differences "
            "and correlations, which do not fit a logarithmic axis, are left out. A point is the "
            "geometric mean over seeds, a bar its 95% confidence "
            "interval; a single seed has no bar. Filled points are b = 1, open ones b > 1. The "
            "vertical line is the threshold, the arrow points to where the claim is true.",
        },
    )


def _threshold(row) -> dict[str, str]:
    """The threshold with its side, “> 0.5”, in each language; of a range, both ends."""
    sides = [(">", row.above), ("<", row.below)]
    return {
        language: separator.join(
            f"{sign}\u00a0{number(at, language)}" for sign, at in sides if pd.notna(at)
        )
        for language, separator in (("ru", "; "), ("en", ", "))
    }
