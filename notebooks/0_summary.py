# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown] tags=["ru"]
# # Позиционное кодирование и каузальная маска в обучении в контексте
#
# Небольшой трансформер, возможно зацикленный, читает промпт с примерами линейной функции, которой
# никогда не видел, и предсказывает её значение в новой точке. Что дают ему позиционное кодирование и
# каузальная маска, что из них нужно, а что мешает? Вопрос взят из студенческой работы; мы повторяем её
# эксперимент, проверяем каждое её утверждение по нескольким запускам и берёмся за то, что она оставила
# открытым.

# %% [markdown] tags=["en"]
# # Positional encoding and the causal mask in in-context learning
#
# A small transformer, possibly looped, reads a prompt with examples of a linear function that it has
# never seen, and predicts the function’s value at a new point. What do the positional encoding and the
# causal mask do for it, which of them is needed, and which does harm? The question comes from a student’s
# write-up; we repeat its experiment, test each of its claims over several runs, and take up what it left
# open.

# %%
import logging

import pandas as pd

from icl_core import drawing, evaluation, model, records, report, sampler
from icl_core.config import ABLATIONS, VARIANTS, Config, Variant, notebook_parameters
from icl_core.verdicts import claim, last_rows, per_run

logging.basicConfig(format="%(asctime)s %(message)s")

# %% tags=["parameters"]
out: str = "."  # folder of data/, from the project's root / папка, где лежит data/

# %%
given = notebook_parameters(globals())
given.pop("out", None)
config = Config(**given)
n = config.n_examples
ablations = [name for name in ABLATIONS if name != "6_function_classes"]  # of another size
runs_of = {name: records.recorded_runs(out, Config(ablation=name, **given)) for name in ablations}
runs = [run for recorded in runs_of.values() for run in recorded]

# %%
keys = ["b", "seed", "variant"]
curves = records.tidy(runs, "curves").drop_duplicates([*keys, "step"])
errors = records.tidy(runs, "errors").drop_duplicates([*keys, "k"])
full = errors[errors.k == n].merge(last_rows(curves), on=keys)
main_b = int(full.b.mode().min())  # the one with the most recorded
here = full[full.b == main_b]
solvers = evaluation.reference_errors(sampler.evaluation_prompts(config), [n])
zero, exact = (solvers[solvers.solver == s].error.item() for s in ("zero", "least squares"))


def ratio(first, second, rows=here):
    """E(first) / E(second) in the runs that have both, by (b, seed)."""
    one, other = per_run(rows, first, "error"), per_run(rows, second, "error")
    common = one.index.intersection(other.index)
    return one[common] / other[common]


def typical(values):
    return claim("", "", values, below=1)["value"]


# %%
alike = [name for name, v in VARIANTS.items() if v == Variant(v.encoding, v.mask)]
alike = [name for name in alike if name in set(here.variant)]
order = pd.Series({name: typical(ratio(name, "LPE + CM")) for name in alike}).sort_values()
best = order.index[0]
means = here.groupby("variant")[["error", "training_loss"]].agg(lambda own: own.mean(skipna=False))
given_verdicts = {
    path.stem: report.verdicts_of(path)
    for path in sorted((records.root_folder(out) / "notebooks").glob("*.ipynb"))
}
statuses = [point["status"] for points in given_verdicts.values() for point in points]
numbers = {
    "error": means.error[best],
    "of": here.seed[here.variant == best].nunique(),
    "lpe": typical(ratio("LPE + CM", "LPE")),
    "spe": typical(ratio("SPE + CM", "SPE")),
    "cm": means.error["CM"],
    "loss": means.training_loss["SPE"],
    "alone": means.error["SPE"],
}

# %%
report.say(
    ru="**Ответ** (при $b$ = {b}). Из вариантов, обученных одинаково, точнее всех {best}: ошибка в "
    "целевой задаче у него {error} (зёрен: {of}), у предсказания «всегда ноль» — {zero}, у метода наименьших "
    "квадратов — {exact}. Отношение ошибки с каузальной маской (CM) к ошибке без неё у обучаемого кодирования "
    "(LPE) в среднем равно {lpe}, у синусоидального (SPE) — {spe}. Одна маска, без кодирования, даёт "
    "ошибку {cm}. Без маски функция потерь на обучении у SPE равна {loss}, а ошибка в целевой задаче — "
    "{alone}.",
    en="**The answer** (at $b$ = {b}). Of the variants trained alike, {best} is the most accurate: its "
    "target error is {error} (seeds: {of}); that of the prediction “always zero” is {zero}, that of least squares {exact}. "
    "The ratio of the error with the causal mask (CM) to the error without it is on average {lpe} for the "
    "learned encoding (LPE) and {spe} for the sinusoidal one (SPE). The mask alone, without an encoding, "
    "gives an error of {cm}. Without a mask SPE’s training loss is {loss} and its target error {alone}.",
    role="headline",
    b=main_b,
    best=best,
    zero=zero,
    exact=round(exact, 9),
    **numbers,
)

# %%
report.say(
    ru="**Насколько это надёжно.** Записано запусков: {runs}; разных зёрен при $b$ = {b}: {seeds}. "
    "Проверено утверждений: {tested}. Подтверждено: {confirmed}, не подтверждено: {refuted}, открыто: "
    "{open}.",
    en="**How reliable this is.** Recorded runs: {runs}; different seeds at $b$ = {b}: {seeds}. Claims "
    "tested: {tested}. Confirmed: {confirmed}, not confirmed: {refuted}, open: {open}.",
    role="headline",
    runs=len(runs),
    b=main_b,
    seeds=here.seed.nunique(),
    tested=len(statuses),
    confirmed=statuses.count("confirmed"),
    refuted=statuses.count("not confirmed"),
    open=statuses.count("open"),
)

# %%
report.figure(
    "summary",
    lambda t: drawing.draw_ranking(full, list(order.index), main_b, zero, t),
    ru={
        "alt": "Ошибка каждого варианта в целевой задаче, по запускам, от лучшего варианта к худшему",
        "caption": "Ошибка в целевой задаче при полном промпте у вариантов, обученных одинаково: по всем "
        "токенам и за одно и то же число шагов. Точка — запуск; закрашенные точки — b = 1, полые — b > 1; "
        f"черта — среднее при b = {main_b}. Варианты упорядочены по среднему отношению к LPE + CM внутри запуска. "
        "Вертикаль из точек — предсказание «всегда ноль».",
    },
    en={
        "alt": "Target error of every variant, by run, from the best to the worst",
        "caption": "Target error with the full prompt of the variants trained alike: on all tokens and for "
        "the same number of steps. A point is a run; filled points are b = 1, open ones b > 1; the bar is the "
        f"mean at b = {main_b}. Variants are ordered by the mean ratio to LPE + CM within a run. The dotted vertical "
        "is the prediction “always zero”.",
    },
)

# %% [markdown] tags=["ru"]
# ## Утверждения и вердикты
#
# Пункты с номерами взяты из исходной работы, пункты с буквами — наши. Ссылка ведёт в главу, где сказано,
# что именно измеряется и когда утверждение считается подтверждённым. Из величин, решивших дело, здесь
# показана одна: её среднее по зёрнам и 95-процентный доверительный интервал.

# %% [markdown] tags=["en"]
# ## Claims and verdicts
#
# Numbered points come from the source text, lettered ones are ours. The link leads to the chapter that
# says exactly what is measured and when a claim counts as confirmed. Of the quantities that decided a
# verdict one is shown here, with its mean over seeds and its 95% confidence interval.


# %%
def interval(point, language):
    value, low, high = (
        "—" if point[key] is None else report.number(point[key], language, digits=2)
        for key in ("value", "low", "high")
    )
    return f"{value} [{low}; {high}]"


rows = [
    {
        "link": f"[{point['point']}]({chapter}.ipynb#Verdicts)",
        "verdict": report.STATUSES[point["status"]],
        "effect": {language: interval(point, language) for language in report.LANGUAGES},
        **{key: point[key] for key in ("claim", "quantity")},
    }
    for chapter, points in given_verdicts.items()
    for point in points
]

# %%
names = {
    "link": ("пункт", "point"),
    "claim": ("утверждение", "claim"),
    "verdict": ("вердикт", "verdict"),
    "quantity": ("величина", "quantity"),
    "effect": ("среднее и интервал", "mean and interval"),
}
ru, en = ({column: both[i] for column, both in names.items()} for i in (0, 1))
report.table(pd.DataFrame(rows, columns=list(names)), ru=ru, en=en)

# %% [markdown] tags=["ru"]
# ## Что выбрать для такой задачи и почему
#
# В каждой строке — выбор между двумя вариантами, обученными на одних и тех же батчах: среднее по зёрнам
# отношение ошибки первого к ошибке второго и его 95-процентный доверительный интервал. Мы советуем,
# какой вариант брать, только если интервал не содержит единицы; по одному зерну интервала не построить.

# %% [markdown] tags=["en"]
# ## What to use for this task, and why
#
# Each row is a choice between two variants trained on the same batches: the mean over seeds of the ratio
# of the first one’s error to the second one’s, and its 95% confidence interval. We say which to use only
# where the interval excludes 1; a single seed gives no interval.

# %%
choices = [
    ("обучаемое: с маской или без", "learned: with the mask or without it", "LPE + CM", "LPE"),
    (
        "синусоидальное: с маской или без",
        "sinusoidal: with the mask or without it",
        "SPE + CM",
        "SPE",
    ),
    ("кодирование или одна маска", "an encoding or the mask alone", "LPE + CM", "CM"),
    ("обучаемое или синусоидальное", "learned or sinusoidal", "LPE + CM", "SPE + CM"),
    ("два вектора или таблица", "two vectors or a table", "TPE + CM", "LPE + CM"),
    ("пример и тип или таблица", "example and type, or a table", "pair + TPE + CM", "LPE + CM"),
    ("RoPE или обучаемое", "RoPE or learned", "RoPE + CM", "LPE + CM"),
    ("ALiBi или обучаемое", "ALiBi or learned", "ALiBi + CM", "LPE + CM"),
    ("потери по запросу или маска", "loss on the query or the mask", "LPE (random k)", "LPE + CM"),
    (
        "префиксная маска или каузальная",
        "the prefix mask or the causal one",
        "LPE + PM (random k)",
        "LPE + CM (random k)",
    ),
    ("малые синусоиды или обычные", "small sinusoids or usual", "SPE small + CM", "SPE + CM"),
]

# %%
undecided = {"ru": "не решено", "en": "undecided"}
unrecorded = {"ru": "ещё не записано", "en": "not recorded yet"}


def choice(ru, en, first, second):
    """A row of the table: the ratio of first's error to second's, and what follows from it."""
    values = ratio(first, second)
    row = claim("", f"{first} / {second}", values, below=1)
    use = {"confirmed": first, "not confirmed": second, "open": undecided}[row["status"]]
    return row | {"choice": {"ru": ru, "en": en}, "use": unrecorded if values.empty else use}


# %%
advice = pd.DataFrame([choice(*row) for row in choices])
names = {
    "choice": ("выбор", "choice"),
    "quantity": ("первый / второй", "first / second"),
    "value": ("отношение ошибок", "ratio of errors"),
    "low": ("от", "from"),
    "high": ("до", "to"),
    "seeds": ("зёрна", "seeds"),
    "use": ("брать", "use"),
}
ru, en = ({column: both[i] for column, both in names.items()} for i in (0, 1))
report.table(advice, ru=ru, en=en)

# %% [markdown] tags=["ru"]
# ## Сколько это стоит
#
# Сколько длится шаг обучения и сколько у варианта параметров. Время измерено на одном ядре; на вашей
# машине его измерит `make bench`.

# %% [markdown] tags=["en"]
# ## What it costs
#
# How long a training step takes and how many parameters a variant has. The time was measured on one
# core; `make bench` measures it on your machine.

# %%
growth = pd.read_csv(records.PROJECT / "benchmarks" / "growth.csv")
report.figure(
    "growth",
    lambda t: drawing.draw_growth(growth, t),
    ru={
        "alt": "Время шага обучения в зависимости от числа итераций цикла, примеров и моделей, обучаемых вместе",
        "caption": "Время одного шага обучения LPE + CM на одном ядре процессора при параметрах по "
        "умолчанию (медиана), когда растёт что-то одно: число итераций цикла b, число in-context примеров "
        "n или число вариантов, которые обучаются вместе как одна модель. Штриховая линия — рост, "
        "пропорциональный этому числу.",
    },
    en={
        "alt": "Time of a training step against loop iterations, examples and models trained together",
        "caption": "Time of one training step of LPE + CM on one processor core at the default parameters "
        "(median), as one thing grows: the number of loop iterations b, the number of in-context examples "
        "n or the number of variants trained together as one model. The dashed line is growth in "
        "proportion to that number.",
    },
)

# %%
counts = {name: model.parameter_count(config, VARIANTS[name]) for name in order.index}
rows = [(name, means.error[name], here.variant.eq(name).sum(), counts[name]) for name in counts]
report.table(
    pd.DataFrame(rows, columns=["variant", "error", "runs", "count"]),
    ru={
        "variant": "вариант",
        "error": f"ошибка в целевой задаче, b = {main_b}",
        "runs": "запуски",
        "count": "параметры",
    },
    en={
        "variant": "variant",
        "error": f"target error, b = {main_b}",
        "runs": "runs",
        "count": "parameters",
    },
)

# %% [markdown] tags=["ru"]
# ## Чего ещё не хватает

# %% [markdown] tags=["en"]
# ## What is still missing

# %%
rows = []
for ablation, recorded in runs_of.items():
    done = {(run.config.b, run.config.seed) for run in recorded}
    planned = records.planned_runs(out, ablation)
    missing = ", ".join(str(pair) for pair in planned if pair not in done)
    if planned:
        rows.append((f"[{ablation}]({ablation}.ipynb)", len(done), missing or report.NONE))
report.table(
    pd.DataFrame(rows, columns=["ablation", "done", "missing"]),
    ru={
        "ablation": "ноутбук",
        "done": "записано запусков",
        "missing": "не хватает запусков (b, зерно)",
    },
    en={"ablation": "notebook", "done": "recorded runs", "missing": "missing runs (b, seed)"},
)
