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
# эксперимент, проверяем каждое утверждение по нескольким запускам и берёмся за то, что осталось открытым.

# %% [markdown] tags=["en"]
# # Positional encoding and the causal mask in in-context learning
#
# A small transformer, possibly looped, reads a prompt with examples of a linear function that it has
# never seen, and predicts the function’s value at a new point. What do the positional encoding and the
# causal mask do for it, which of them is needed, and which does harm? The question is a student’s: we
# repeat the experiment, test each of its claims over several runs, and take up what was left open.

# %%
import logging
import math

import pandas as pd

from icl_core import drawing, evaluation, generalisation, model, records, report, sampler
from icl_core.config import ABLATIONS, FULL_SIZE, VARIANTS, Config, Variant, notebook_parameters
from icl_core.verdicts import FEWEST, claim, last_rows, per_run, typical

logging.basicConfig(format="%(asctime)s %(message)s")

# %% tags=["parameters"]
out: str = "."  # folder of data/, from the project's root / папка, где лежит data/

# %%
given = notebook_parameters(globals())
given.pop("out", None)
config = Config(**given)
n = config.n_examples
runs_of = {name: records.recorded_runs(out, Config(ablation=name, **given)) for name in FULL_SIZE}
runs = [run for recorded in runs_of.values() for run in recorded]

# %%
keys = ["b", "seed", "variant"]
curves = records.tidy(runs, "curves").drop_duplicates([*keys, "step"])
errors = records.tidy(runs, "errors").drop_duplicates([*keys, "k"])
full = errors[errors.k == n].merge(last_rows(curves), on=keys)
main_b = int(full.b.mode().min())  # the one with the most recorded
here = full[full.b == main_b]
solvers = evaluation.reference_errors(sampler.evaluation_prompts(config), [n - 1, n])
zero_shorter, zero = solvers[solvers.solver == "zero"].error


def ratio(first, second, rows=here):
    """E(first) / E(second) in the runs that have both, by (b, seed)."""
    one, other = per_run(rows, first, "error"), per_run(rows, second, "error")
    common = one.index.intersection(other.index)
    return one[common] / other[common]


# %%
def interval(point, language):
    """The mean, and in brackets the interval if there is one."""
    mean, low, high = (
        report.number(math.nan if point[key] is None else point[key], language, digits=2)
        for key in ("value", "low", "high")
    )
    comma = {"ru": ";", "en": ","}[language]
    return mean if "—" in (low, high) else f"{mean}\u00a0[{low}{comma}\u00a0{high}]"


def compared(first, second):
    """E(first) / E(second) with its interval, in each language."""
    found = claim("", "", ratio(first, second), below=1)
    return {language: interval(found, language) for language in report.LANGUAGES}


# %%
alike = [name for name, v in VARIANTS.items() if v == Variant(v.encoding, v.mask)]
means = here[here.variant.isin(alike)].groupby("variant")[["error", "training_loss"]].agg(typical)
means = means.sort_values("error")
seeds = here.groupby("variant").seed.nunique()[means.index]
best, second = means.index[seeds == seeds.max()][:2]  # of those with every seed
given_verdicts = {
    path.stem: report.verdicts_of(path)
    for path in sorted((records.root_folder(out) / "notebooks").glob("*.ipynb"))
}
points = [point for own in given_verdicts.values() for point in own]
statuses = [point["status"] for point in points]

# %%
report.say(
    ru="**Что сравнивали.** Вариантов: {count}. Вариант — это сочетание кодирования с каузальной маской (CM) "
    "или без неё. Кодирования такие: синусоидальное (SPE); обучаемое (LPE); двухвекторное кодирование типа "
    "(TPE) — один обучаемый вектор для координат, другой для значений функции; pair — обучаемая строка, "
    "общая для $x_i$ и $y_i$; RoPE; ALiBi. CM без приставки — одна маска, none — ни кодирования, ни маски.",
    en="**What was compared.** {count} variants, each a pairing of an encoding with the causal mask (CM) or "
    "without it. The encodings are sinusoidal (SPE); learned (LPE); a two-vector type encoding (TPE), one "
    "learned vector for coordinates and one for function values; pair, a learned row that $x_i$ and $y_i$ "
    "share; RoPE; ALiBi. CM alone is the mask without an encoding, “none” has neither.",
    role="headline",
    count=len(means),
)

# %%
shares = pd.concat(
    generalisation.query_shares(run).assign(b=run.config.b, seed=run.config.seed)
    for run in runs_of[config.ablation]
)
own_shares = per_run(shares[shares.b == main_b], "SPE", "share")
shorter = per_run(errors[(errors.b == main_b) & (errors.k == n - 1)], "SPE", "error")
solved, solved_shorter = (
    int((error < 0.5 * at).sum())
    for error, at in ((per_run(here, "SPE", "error"), zero), (shorter, zero_shorter))
)

# %%
leads = claim("", "", ratio(best, second), below=1)
certain = {"ru": "разница достоверна", "en": "the difference is certain"}
unsure = {
    "ru": "по этим зёрнам их не различить",
    "en": "these seeds cannot tell the two apart",
}
numbers = {
    "best": best,
    "second": second,
    "error": means.error[best],
    "next": means.error[second],
    "apart": certain if leads["status"] == "confirmed" else unsure,
    "lead": compared(best, second),
    "lpe": compared("LPE + CM", "LPE"),
    "cm": means.error["CM"],
    "copying": int((own_shares > 0.5).sum()),
    "of": len(own_shares),
    "loss": means.training_loss["SPE"],
    "solved": solved,
    "short": solved_shorter,
}

# %%
report.say(
    ru="**Ответ** при $b$ = {b} ($b$ — число итераций цикла):\n\n"
    "1. Наименьшие средние ошибки — {error} у {best} и {next} у {second}; {apart} (отношение ошибок {lead}).\n"
    "2. С каузальной маской ошибка LPE составляет {lpe} от ошибки без маски; у одной маски, без кодирования, "
    "ошибка {cm}.\n"
    "3. Без маски SPE списывает ответы, стоящие в промпте (зёрен, при которых это видно: {copying} из {of}; "
    "функция потерь на обучении: {loss}), а задачу решает при полном промпте в {solved} случаях из {of}, на "
    "один пример короче — в {short}.",
    en="**The answer** at $b$ = {b} ($b$ is the number of loop iterations):\n\n"
    "1. The lowest mean errors are {error}, of {best}, and {next}, of {second}; {apart} (ratio of the errors "
    "{lead}).\n"
    "2. With the causal mask LPE’s error is {lpe} times what it is without; the mask alone, without an "
    "encoding, has an error of {cm}.\n"
    "3. Without a mask SPE copies the answers that are in the prompt (seen in {copying} of {of} seeds; "
    "training loss: {loss}); it solves the task in {solved} of {of} seeds with the full prompt, and in {short} "
    "with one example fewer.",
    role="headline",
    b=main_b,
    **numbers,
)

# %%
report.figure(
    "summary",
    lambda t: drawing.draw_ranking(full, list(means.index), main_b, zero, t),
    ru={
        "alt": "Ошибка каждого варианта в целевой задаче, по запускам, от лучшего варианта к худшему",
        "caption": "Ошибка в целевой задаче при полном промпте у вариантов, обученных одинаково: "
        f"{report.number(config.steps, 'ru')} шагов, функция потерь по всем токенам, внутри запуска — одни и "
        "те же начальные веса и батчи. Точка — запуск; закрашенные точки — b = 1, полые — b > 1; черта — "
        f"среднее геометрическое при b = {main_b}, по нему варианты и упорядочены. Вертикальный пунктир — "
        "предсказание «всегда ноль».",
    },
    en={
        "alt": "Target error of every variant, by run, from the best to the worst",
        "caption": "Target error with the full prompt of the variants trained alike: "
        f"{report.number(config.steps, 'en')} steps with the loss on all tokens, within a run from the same "
        "initial weights and on the same batches. A point is a run; filled points are b = 1, open ones b > 1; "
        f"the bar is the geometric mean at b = {main_b}, which variants are ordered by. The dotted vertical "
        "is the prediction “always zero”.",
    },
)

# %%
planned = {b for b, _ in records.planned_runs(out, config.ablation)}
unseen = ", ".join(f"$b$ = {b}" for b in sorted(planned - set(full.b)))
loops = {
    "ru": f" Запуски с {unseen} запланированы, но ещё не записаны: о зацикливании выводов пока не сделать.",
    "en": f" Runs with {unseen} are planned but not recorded yet, so nothing can be said about looping.",
}
# %%
report.say(
    ru="**Насколько это надёжно.** Ошибка в целевой задаче — это квадрат ошибки ответа на запрос, делённый на "
    "размерность $d$; у предсказания «всегда ноль» она равна {zero}, у метода наименьших квадратов — нулю. "
    "Зёрен: {seeds}. Средние — геометрические; в квадратных скобках — 95-процентный доверительный интервал "
    "по зёрнам. «Решает» значит: ошибка меньше половины той, что у «всегда ноль». Проверено утверждений: "
    "{tested}. Подтверждено: {confirmed}; не подтверждено (данные говорят против): {refuted}; открыто: "
    "{open}, из них таких, где зёрен пока меньше трёх: {few}.{loops}",
    en="**How reliable this is.** The target error is the squared error of the answer to the query, divided "
    "by the dimension $d$; the prediction “always zero” has {zero}, least squares 0. Seeds: {seeds}. Means "
    "are geometric; square brackets hold a 95% confidence interval over seeds. “Solves” means an error below "
    "half that of “always zero”. Claims tested: {tested}. Confirmed: {confirmed}; not confirmed (the data "
    "speak against them): {refuted}; open: {open}, of which with fewer than three seeds so far: {few}.{loops}",
    role="headline",
    zero=zero,
    seeds=int(seeds.max()),
    tested=len(statuses),
    confirmed=statuses.count("confirmed"),
    refuted=statuses.count("not confirmed"),
    open=statuses.count("open"),
    few=sum(point["status"] == "open" and point["seeds"] < FEWEST for point in points),
    loops=loops if unseen else "",
)

# %% [markdown] tags=["ru"]
# ## Утверждения и вердикты
#
# Пункты с номерами взяты из исходной работы; пункты с буквами — наши, и цифра перед буквой — номер главы.
# Номер пункта — ссылка на главу, где сказано, что именно измеряется и когда утверждение считается
# подтверждённым. Утверждение часто складывается из нескольких частей, и подтверждено оно, только если
# подтверждена каждая. В таблице показана одна из величин, определивших вердикт: её среднее по зёрнам и
# интервал. $E$ — ошибка в целевой задаче, $E(0)$ — ошибка предсказания «всегда ноль», $L$ —
# функция потерь на обучении, $N$ — насколько расходятся запуски, $\rho$ — ранговая корреляция; $E(2n)$,
# $E(2b)$ и $E(3x)$ — ошибка при вдвое большем числе примеров, вдвое большем числе итераций цикла и втрое
# больших $x$.

# %% [markdown] tags=["en"]
# ## Claims and verdicts
#
# Numbered points come from the source text; lettered ones are ours, with the chapter’s number before the
# letter. The link leads to the chapter that says exactly what is measured and when a claim counts as
# confirmed. A claim often has several parts, and is confirmed only if each of them is. Shown here is one
# of the quantities that decided the verdict, with its mean over seeds and interval. $E$ is a variant’s
# target error, $E(0)$ that of the prediction “always zero”, $L$ the training loss, $N$ how far runs
# stray from each other, $\rho$ a rank correlation; $E(2n)$, $E(2b)$ and $E(3x)$ are the error with twice
# the examples, twice the loop iterations and $x$ three times as large.


# %%
def verdict(point):
    """The status, and if only a part of the claim is confirmed, how much of it."""
    part = {
        "ru": f" (частей подтверждено: {point['confirmed']} из {point['parts']})",
        "en": f" ({point['confirmed']} of {point['parts']} parts confirmed)",
    }
    partly = 0 < point["confirmed"] < point["parts"]
    return {
        language: report.STATUSES[point["status"]][language] + (part[language] if partly else "")
        for language in report.LANGUAGES
    }


# %%
def label(chapter, point):
    return chapter[0] + point["point"] if point["point"].isalpha() else point["point"]


rows = [
    {
        "link": f"[{label(chapter, point)}]({chapter}.ipynb#Verdicts)",
        "verdict": verdict(point),
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

# %% [markdown] tags=["en"]
# ## What to use for this task, and why


# %%
def solving(variant):
    """The seeds with which it solves the task."""
    return int((per_run(here, variant, "error") < 0.5 * zero).sum())


def as_good(variant):
    """Whether these seeds cannot tell it from the best."""
    return claim("", "", ratio(best, variant), below=1)["status"] != "confirmed"


counts = {name: model.parameter_count(config, VARIANTS[name]) for name in means.index}
everywhere = [name for name in means.index if solving(name) == seeds.max()]
good = [name for name in everywhere if name == best or as_good(name)]
free = [name for name in good if counts[name] == min(counts.values())]
unmasked = [name for name in means.index if VARIANTS[name].mask == "none"]
sometimes = [f"{name} ({solving(name)} / {seeds[name]})" for name in unmasked if solving(name)]

# %%
report.say(
    ru="1. **Что брать.** Любой из этих вариантов: {good}. Каждый решает задачу при всех зёрнах, и от лучшего, "
    "{best}, его по этим зёрнам не отличить. Без дополнительных параметров обходится: {free}.\n"
    "2. **Маска.** Вариантов без неё {count}; из них решают задачу (в скобках — при скольких зёрнах): "
    "{sometimes}. Без маски токен $x_i$ видит свой ответ $y_i$, и модель может списывать, вместо того чтобы "
    "учиться; у SPE это видно при {copying} зёрнах из {of}.\n"
    "3. **Кодирование.** Отношение ошибки одной маски к ошибке {best}: {alone}. Без кодирования и маски ничто "
    "не говорит модели, какой ответ относится к какому $x_i$.\n"
    "4. **Функция потерь вместо маски.** Отношение ошибки LPE без маски, обученного только на запросах, к "
    "ошибке LPE + CM при том же числе шагов: {loss}. У самого LPE + CM, которому списывать неоткуда, с такой же "
    "функцией потерь ошибка составляет {control} от ошибки предсказания «всегда ноль».",
    en="1. **What to take.** Any one of these: {good}. Each solves the task with every seed, and these seeds "
    "cannot tell it from the best, {best}. Without additional parameters: {free}.\n"
    "2. **The mask.** {count} variants have none; those of them that solve the task (in brackets: with how "
    "many of the seeds): {sometimes}. Without a mask the token $x_i$ sees its own answer $y_i$, and the model "
    "can copy instead of learning; SPE is seen to do so with {copying} seeds of {of}.\n"
    "3. **The encoding.** The error of the mask alone divided by that of {best}: {alone}. Without an encoding "
    "and a mask nothing tells the model which answer belongs to which $x_i$.\n"
    "4. **A loss in place of the mask.** The error of LPE without a mask, trained on queries alone, divided by "
    "that of LPE + CM after the same number of steps: {loss}. LPE + CM itself, which has nothing to copy, has "
    "with such a loss {control} times the error of the prediction “always zero”.",
    good=", ".join(good) or report.NONE,
    best=best,
    free=", ".join(free) or report.NONE,
    count=len(unmasked),
    sometimes=", ".join(sometimes) or report.NONE,
    alone=compared("CM", best),
    loss=compared("LPE (random k)", "LPE + CM"),
    control=typical(per_run(here, "LPE + CM (random k)", "error")) / zero,
    copying=numbers["copying"],
    of=numbers["of"],
)

# %% [markdown] tags=["ru"]
# То же по парам. В каждой строке — выбор между двумя вариантами, обученными на одних и тех же батчах:
# среднее по зёрнам отношение ошибки первого к ошибке второго и его 95-процентный доверительный интервал.
# Мы советуем один из двух вариантов, только если зёрен хотя бы три и интервал не содержит единицы.

# %% [markdown] tags=["en"]
# The same pair by pair. Each row is a choice between two variants trained on the same batches: the mean
# over seeds of the ratio of the first one’s error to the second one’s, and its 95% confidence interval.
# We say which to use only with three seeds or more and where the interval excludes 1.

# %%
choices = [
    ("обучаемое: с маской или без", "learned: with the mask or without it", "LPE + CM", "LPE"),
    (
        "синусоидальное: с маской или без",
        "sinusoidal: with the mask or without it",
        "SPE + CM",
        "SPE",
    ),
    ("LPE с маской или одна маска", "LPE with the mask or the mask alone", "LPE + CM", "CM"),
    ("обучаемое или синусоидальное", "learned or sinusoidal", "LPE + CM", "SPE + CM"),
    ("два вектора TPE или таблица LPE", "TPE’s two vectors or LPE’s table", "TPE + CM", "LPE + CM"),
    ("pair + TPE или таблица LPE", "pair + TPE or LPE’s table", "pair + TPE + CM", "LPE + CM"),
]

# %%
choices += [
    ("RoPE или обучаемое", "RoPE or learned", "RoPE + CM", "LPE + CM"),
    ("ALiBi или обучаемое", "ALiBi or learned", "ALiBi + CM", "LPE + CM"),
    (
        "функция потерь на запросе или маска",
        "a loss on the query alone or the mask",
        "LPE (random k)",
        "LPE + CM",
    ),
    (
        "префиксная маска или каузальная",
        "the prefix mask or the causal one",
        "LPE + PM (random k)",
        "LPE + CM (random k)",
    ),
    (
        "малые синусоиды или обычные",
        "small sinusoids or the usual ones",
        "SPE small + CM",
        "SPE + CM",
    ),
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
        "alt": "Время шага обучения в зависимости от числа итераций цикла, примеров и моделей, обучаемых "
        "вместе",
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
for ablation in ABLATIONS:
    planned, folder = (
        records.planned_runs(out, ablation),
        records.root_folder(out) / "data" / ablation,
    )
    missing = [(b, seed) for b, seed in planned if not (folder / f"b{b}-seed{seed}").exists()]
    if planned:
        link = f"[{ablation}]({ablation}.ipynb)"
        rows.append(
            (link, len(planned) - len(missing), ", ".join(map(str, missing)) or report.NONE)
        )
report.table(
    pd.DataFrame(rows, columns=["ablation", "done", "missing"]),
    ru={
        "ablation": "ноутбук",
        "done": "записано запусков",
        "missing": "не хватает (b, зерно)",
    },
    en={"ablation": "notebook", "done": "recorded runs", "missing": "missing (b, seed)"},
)
