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

from icl_report import drawing, evaluation, generalisation, model, records, report, sampler
from icl_report.config import (
    ABLATIONS,
    FULL_SIZE,
    FUNCTION_CLASSES,
    SIX,
    VARIANTS,
    Config,
    notebook_parameters,
)
from icl_report.verdicts import FEWEST, claim, outcomes, per_run, typical

logging.basicConfig(format="%(asctime)s %(message)s")

# %% tags=["parameters"]
out: str = "."  # folder of data/, from the project's root / папка, где лежит data/

# %%
given = notebook_parameters(globals())
config = Config(**given)
n = config.n_examples
runs_of = {name: records.recorded_runs(out, Config(ablation=name, **given)) for name in FULL_SIZE}
runs = [run for recorded in runs_of.values() for run in recorded]

# %%
keys = ["b", "seed", "variant"]
curves = records.tidy(runs, "curves").drop_duplicates([*keys, "step"])
errors = records.tidy(runs, "errors").drop_duplicates([*keys, "k"])
full = outcomes(errors, curves)
main_b = int(full.b.mode().min())  # the one with the most recorded
here = full[full.b == main_b]
solvers = evaluation.reference_errors(sampler.evaluation_prompts(config), [n - 1, n])
zero_shorter, zero = solvers[solvers.solver == "zero"].error
averaging = solvers[(solvers.solver == "averaging") & (solvers.k == n)].error.item()


def ratio(first, second):
    """E(first) / E(second) in the runs that have both, by (b, seed)."""
    one, other = per_run(here, first, "error"), per_run(here, second, "error")
    common = one.index.intersection(other.index)
    return one[common] / other[common]


# %%
def interval(point, language, at=1):
    """The mean, and in brackets the interval if there is one; at is the threshold."""
    mean, low, high = (
        report.beside(math.nan if point[key] is None else point[key], at, language)
        for key in ("value", "low", "high")
    )
    comma = {"ru": ";", "en": ","}[language]
    return mean if "—" in (low, high) else f"{mean}\u00a0[{low}{comma}\u00a0{high}]"


def compared(first, second):
    """E(first) / E(second) with its interval, in each language."""
    found = claim("", "", ratio(first, second), below=1)
    return {language: interval(found, language) for language in report.LANGUAGES}


# %%
alike = {*SIX, *ABLATIONS["2_two_token_encoding"]}
means = here[here.variant.isin(alike)].groupby("variant")[["error", "training_loss"]].agg(typical)
means = means.sort_values("error")
seeds = here.groupby("variant").seed.nunique()[means.index]
best = means.index[seeds == seeds.max()][0]  # of those with every seed
given_verdicts = {
    path.stem: report.verdicts_of(path)
    for path in sorted((records.root_folder(out) / "notebooks").glob("*.ipynb"))
}
points = [point for own in given_verdicts.values() for point in own]
statuses = [point["status"] for point in points]

# %%
report.say(
    ru="**Что сравнивали.** Вариантов: {count}; вариант — это позиционное кодирование (или его отсутствие) с "
    "каузальной маской (CM) или без неё. Кодирования: синусоидальное (SPE); обучаемое (LPE); двухвекторное "
    "кодирование типа (TPE) — один обучаемый вектор для координат, другой для значений функции; pair — обучаемый "
    "вектор примера, общий для $x_i$ и $y_i$; pair + TPE — оба сразу; RoPE и ALiBi — только с маской. Просто CM "
    "— только маска, none — ни кодирования, ни маски.",
    en="**What was compared.** {count} variants: a positional encoding or none, with the causal mask (CM) or "
    "without it. The encodings are sinusoidal (SPE); learned (LPE); a two-vector type encoding (TPE), one "
    "learned vector for coordinates and one for function values; pair, a learned vector of the example, which "
    "$x_i$ and $y_i$ share; pair + TPE, both together; RoPE and ALiBi, with the mask only. CM alone is the mask "
    "without an encoding, “none” has neither.",
    role="headline",
    count=len(means),
)

# %%
NOBODY = {"ru": "таких нет", "en": "no variant"}  # “none” is a variant
copying = generalisation.copying(runs).drop_duplicates(keys)
copying = copying[copying.b == main_b]
shorter = errors[(errors.b == main_b) & (errors.k == n - 1)]


def halved(rows, variant, at):
    """In how many seeds, of how many, the error is below half that of “always zero”, at."""
    values = per_run(rows, variant, "error")
    return f"{(values < 0.5 * at).sum()} / {len(values)}"


def named(shares):
    """Those variants of {variant: "seeds / of"} that have any, with it in brackets."""
    found = [f"{name} ({own})" for name, own in shares.items() if not own.startswith("0")]
    return ", ".join(found) or NOBODY


# %%
masked = [name for name in means.index if VARIANTS[name].mask == "causal" and name != "CM"]
unmasked = [name for name in means.index if VARIANTS[name].mask == "none"]
encoded = [name for name in unmasked if name != "none"]
numbers = {
    "both": means.error[masked[0]],
    "both_name": masked[0],
    "both_last": means.error[masked[-1]],
    "both_last_name": masked[-1],
    "cm": means.error["CM"],
    "alone": means.error[encoded[0]],
    "alone_name": encoded[0],
    "alone_last": means.error[encoded[-1]],
    "alone_last_name": encoded[-1],
    "none": means.error["none"],
    "zero": zero,
    "averaging": averaging,
}


# %%
def sides(pairs):
    """The pairs' names as (the first shown to be better, undecided, and if any are so, worse)."""
    found = {"confirmed": [], "open": [], "not confirmed": []}
    for name, first, second in pairs:
        found[claim("", "", ratio(first, second), below=1)["status"]].append(name)
    better, unsure, worse = (", ".join(names) for names in found.values())
    worse = worse and {"ru": f"; наоборот: {worse}", "en": f"; the other way round: {worse}"}
    return better or NOBODY, unsure or NOBODY, worse


# %%
steady = here[here.error < averaging].groupby("variant").seed.nunique().reindex(means.index)
good = [
    name
    for name in means.index[steady == seeds.max()]
    if claim("", "", ratio(best, name), below=1)["status"] != "confirmed"
]
others = [name for name in good if name != best]
counts = {name: model.parameter_count(config, VARIANTS[name]) for name in means.index}
free = [name for name in good if counts[name] == min(counts.values())]

# %%
numbers |= {
    "best": best,
    "best_error": means.error[best],
    "good": ", ".join(others) or NOBODY,
    "free": ", ".join(free) or NOBODY,
}
numbers["helped"], numbers["helped_open"], numbers["helped_worse"] = sides(
    (name.removesuffix(" + CM"), name, "CM") for name in masked
)
both_ways = [name for name in encoded if f"{name} + CM" in masked]
numbers["masked"], numbers["masked_open"], numbers["masked_worse"] = sides(
    (name, f"{name} + CM", name) for name in both_ways
)

# %%
copies = {name: f"{per_run(copying, name, 'copies').sum()} / {seeds[name]}" for name in means.index}
solved = {name: halved(here, name, zero) for name in means.index}
numbers |= {
    "count": len(unmasked),
    "copiers": named({name: copies[name] for name in unmasked}),
    "solvers": named({name: solved[name] for name in unmasked}),
    "short": halved(shorter, "SPE", zero_shorter),
    "random": halved(shorter, "SPE (all, random k)", zero_shorter),
}

# %%
report.say(
    ru="**Ответ** при $b$ = {b} ($b$ — число итераций цикла). Ошибка в целевой задаче — это средний квадрат ошибки "
    "предсказания $y_q$, делённый на размерность $d$; у предсказания «всегда ноль» она {zero}, у простейшей оценки $w$, усреднения "
    "произведений $x_i y_i$, — {averaging}, у метода наименьших квадратов — 0.",
    en="**The answer** at $b$ = {b} ($b$ is the number of loop iterations). The target error is the mean squared "
    "error of the prediction of $y_q$, divided by the dimension $d$; the prediction “always zero” has {zero}, the "
    "simplest estimate of $w$, averaging the products $x_i y_i$, {averaging}, least squares 0.",
    role="headline",
    b=main_b,
    **numbers,
)

# %%
report.say(
    ru="1. **Что брать.** Меньше всего средняя ошибка у {best}: {best_error}. Нельзя сказать, что хуже него (из "
    "вариантов, которые при всех зёрнах точнее усреднения): {good}. Без дополнительных параметров: {free}.\n"
    "2. **Что даёт маска.** Варианты, ошибку которых она уменьшает: {masked}; не решено: {masked_open}{masked_worse}. С кодированием, но без маски "
    "средняя ошибка — от {alone} ({alone_name}) до {alone_last} ({alone_last_name}); без того и другого — {none}. Без "
    "маски модель видит ответ $y_i$, который учится предсказывать, и может его списать. Вариантов без маски: {count}; "
    "из них списывают (в скобках — при скольких зёрнах из скольких): {copiers}; ошибаются хотя бы вдвое меньше, чем "
    "«всегда ноль»: {solvers}. На промпте, который на один пример короче, чем при обучении, таких зёрен у SPE {short}.\n"
    "3. **Что даёт кодирование.** С одной только маской средняя ошибка — {cm}. Кодирования, которые её уменьшают: {helped}; не "
    "решено: {helped_open}{helped_worse}. С кодированием и маской она от {both} ({both_name}) до {both_last} ({both_last_name}).",
    en="1. **What to take.** The lowest mean error is that of {best}: {best_error}. Not shown to be worse than this one, "
    "among the variants that beat averaging with every seed: {good}. Without additional parameters: {free}.\n"
    "2. **What the mask does.** Variants whose error it lowers: {masked}; undecided: {masked_open}{masked_worse}. With an encoding but no "
    "mask the mean error is {alone} ({alone_name}) to {alone_last} ({alone_last_name}); with neither, {none}. Without "
    "a mask a model sees the answer $y_i$ that it is trained to predict, and can copy it. Variants without a mask: "
    "{count}; of them these copy (in brackets: with how many seeds of how many): {copiers}; these at least halve the "
    "error of “always zero”: {solvers}. On a prompt one example shorter than in training SPE does so with {short} "
    "seeds.\n"
    "3. **What the encoding does.** With the mask alone the mean error is {cm}. Encodings that lower it: {helped}; "
    "undecided: {helped_open}{helped_worse}. With an encoding and the mask it is {both} ({both_name}) to {both_last} "
    "({both_last_name}).",
    role="headline",
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
        f"среднее геометрическое при b = {main_b}, и варианты стоят по его возрастанию. Вертикальный пунктир — "
        "предсказание «всегда ноль».",
    },
    en={
        "alt": "Target error of every variant, by run, from the best to the worst",
        "caption": "Target error with the full prompt of the variants trained alike: "
        f"{report.number(config.steps, 'en')} steps with the loss on all tokens, within a run from the same "
        "initial weights and on the same batches. A point is a run; filled points are b = 1, open ones b > 1; "
        f"the bar is the geometric mean at b = {main_b}, and variants are in its order. The dotted vertical "
        "is the prediction “always zero”.",
    },
)

# %%
planned = {b for b, _ in records.planned_runs(out, config.ablation)}
unseen = ", ".join(f"$b$ = {b}" for b in sorted(planned - set(full.b)))
loops = {
    "ru": f" Запуски с {unseen} запланированы, но ещё не записаны.",
    "en": f" Runs with {unseen} are planned but not recorded yet.",
}


def looped(b, language):
    """The mean errors at b of the variants trained alike, in brackets those of the same seeds at main_b."""
    own = full[(full.b == b) & full.variant.isin(alike)]
    most, counted = own.seed.nunique(), {"ru": "; зёрен: ", "en": "; seeds: "}[language]
    errors = own.groupby("variant").error.agg(typical).sort_values()
    found = []
    for name, error in errors.items():
        seeds = own.seed[own.variant == name]
        same = typical(here.error[(here.variant == name) & here.seed.isin(seeds)])
        same = report.number(same, language) + (
            f"{counted}{len(seeds)}" if len(seeds) < most else ""
        )
        found.append(f"{name} {report.number(error, language)} ({same})")
    return ", ".join(found)


# %%
def added_once(b):
    """A sentence on the variants (first iteration) at b, if there are any: their mean errors."""
    own = full[(full.b == b) & full.variant.str.endswith(" (first iteration)")]
    if own.empty:
        return ""
    own = own.groupby("variant").error.agg(typical).sort_values()
    found = report.named(own.rename(lambda name: name.partition(" (")[0]))
    return {
        "ru": f" С кодированием только на первой итерации цикла: {found['ru']}.",
        "en": f" With the encoding in the first loop iteration only: {found['en']}.",
    }


# %%
spread = here.groupby("variant").error.agg(lambda own: own.max() / own.min())
falls = curves[(curves.b == main_b) & curves.variant.isin(means.index)]
falls = falls.groupby("variant").apply(
    lambda own: (
        typical(own.target_error[own.step > 0.95 * config.steps])
        / typical(own.target_error[own.step.between(0.75 * config.steps, 0.8 * config.steps)])
    )
)


def falling(language):
    """The variants that were still learning, with the part of their error that they lost."""
    percent = {"ru": "на {:.0f} %", "en": "{:.0f}%"}[language]
    found = [f"{v} ({percent.format(100 - 100 * falls[v])})" for v in means.index if falls[v] < 0.9]
    more = {
        "ru": "; при большем числе шагов их порядок может измениться",
        "en": "; with more steps their order may change",
    }[language]
    return ", ".join(found) + more if found else NOBODY[language]


# %%
varied = ", ".join(name for name in means.index if spread[name] > 5)
varied = varied and {
    "ru": f"{varied}; для них среднее не описывает ни одного запуска, а интервал лишь приблизителен",
    "en": f"{varied}; for them the mean describes no run and the interval is only a rough one",
}

# %%
report.say(
    ru="**Насколько это надёжно.** Лучший вариант выбран по этим же запускам, так что его преимущество, скорее "
    "всего, завышено; «нельзя сказать, что хуже» не значит «так же хорош». Зёрен: {seeds}; зерно "
    "задаёт начальные веса и батчи. Средние — геометрические; интервалы, по которым сделаны выводы, — "
    "95-процентные доверительные, по зёрнам, при одном и том же наборе из {prompts} промптов. Варианты, у которых ошибка от зерна к зерну "
    "меняется больше чем впятеро: {spread}. Число шагов ({steps}), $d$ и скорость обучения не подбирались; за последнюю пятую часть "
    "обучения ошибка ещё упала больше чем на 10 % у вариантов: {falling}.",
    en="**How reliable this is.** The best variant was picked on these same runs, so its lead is probably "
    "overstated, and “not shown to be worse” does not mean equal. Seeds: {seeds}; a seed sets the initial weights "
    "and the batches. Means are geometric; the conclusions rest on 95% confidence intervals over seeds, on one fixed set of {prompts} "
    "prompts. Variants whose error varies more than fivefold between seeds: {spread}. The number of steps ({steps}), $d$ and the learning rate were "
    "not tuned. Variants whose error still fell by more than 10% in the last fifth of the training: {falling}.",
    role="headline",
    seeds=int(seeds.max()),
    prompts=config.evaluation_prompts,
    spread=varied or NOBODY,
    falling={language: falling(language) for language in report.LANGUAGES},
    steps=config.steps,
)

# %%
report.say(
    ru="Проверено утверждений: {tested}. Подтверждено: {confirmed}; не подтверждено (данные говорят против): "
    "{refuted}; открыто: {open}, из них таких, где зёрен пока меньше трёх: {few}. Если считать части утверждений, подтверждено {parts}. Несколько правил изменены "
    "после первых запусков; в главах сказано, какие. Критерий «точнее усреднения» тоже выбран после запусков.{loops}",
    en="Claims tested: {tested}. Confirmed: {confirmed}; not confirmed (the data speak against them): {refuted}; "
    "open: {open}, of which with fewer than three seeds so far: {few}. Counted by the parts of claims, {parts} are confirmed. Some rules were changed after the first "
    "runs; the chapters say which. The yardstick “beats averaging” was chosen after the runs as well.{loops}",
    role="headline",
    tested=len(statuses),
    confirmed=statuses.count("confirmed"),
    refuted=statuses.count("not confirmed"),
    open=statuses.count("open"),
    few=sum(point["status"] == "open" and point["seeds"] < FEWEST for point in points),
    parts={
        language: f"{sum(p['confirmed'] for p in points)} {of} {sum(p['parts'] for p in points)}"
        for language, of in (("ru", "из"), ("en", "of"))
    },
    loops=loops if unseen else "",
)

# %%
without = {
    "ru": f", меньше, чем при $b$ = {main_b}",
    "en": f", fewer than at $b$ = {main_b}",
}
for b in sorted(set(full.b) - {main_b}):
    count = full[full.b == b].seed.nunique()
    report.say(
        ru="**Другое число итераций**, $b$ = {b}; зёрен: {count}{without}. Ошибки вариантов, в скобках — их же ошибки "
        "при $b$ = {main_b} с теми же зёрнами: {errors}.{once}",
        en="**Another number of iterations**, $b$ = {b}; seeds: {count}{without}. The variants’ errors, in brackets those "
        "at $b$ = {main_b} with the same seeds: {errors}.{once}",
        role="headline",
        b=b,
        count=count,
        without=without if count < seeds.max() else "",
        main_b=main_b,
        errors={language: looped(b, language) for language in report.LANGUAGES},
        once=added_once(b),
    )

# %% [markdown] tags=["ru"]
# ## Утверждения и вердикты
#
# Пункты с номерами взяты из исходной, студенческой работы; пункты с буквами — наши, и цифра перед буквой —
# номер главы. Номер пункта — ссылка на главу, где сказано, что именно измеряется. Утверждение часто
# складывается из нескольких частей: оно подтверждено, если подтверждена каждая, не подтверждено, если хотя
# бы против одной говорят данные, и открыто в остальных случаях, в том числе когда зёрен меньше трёх. При
# трёх зёрнах интервал может растянуться на порядки. Поправки на число проверок нет, поэтому утверждение
# из многих частей легко получает «не подтверждено» случайно, а «подтверждено» — с трудом. Утверждения
# об одних и тех же вариантах, прежде всего SPE и SPE + CM, зависят друг от друга.
#
# В таблице показана одна из величин, определивших вердикт, и что о ней утверждается. $E$ — ошибка в целевой
# задаче, $E(0)$ — ошибка предсказания «всегда ноль», $L$ — функция потерь на обучении, $N$ — разброс между
# запусками, $M$ — ошибка в целевой задаче, средняя по числу примеров $k$ от $n / 2$ до $n$ (столько их при
# обучении), $\rho$ — ранговая корреляция; $E(2n)$, $E(2b)$ и $E(3x)$ — ошибка при вдвое большем числе
# примеров, вдвое большем числе итераций цикла и втрое больших $x$. PM — префиксная маска; (query) — обучение
# только на запросе, (random k) — то же при промптах случайной длины, (hidden) — обучение на скрытых ответах.
# Контроль — вариант с маской, обученный с той же функцией потерь: списывать ему неоткуда. SPE small, LPE
# large и (small read-in) — другие начальные масштабы; linear, sparse, network и tree — классы функций.

# %% [markdown] tags=["en"]
# ## Claims and verdicts
#
# Numbered points come from the source text, the student’s; lettered ones are ours, with the chapter’s
# number before the letter. The link leads to the chapter that says exactly what is measured. A claim often
# has several parts: it is confirmed if each of them is, not confirmed if the data speak against one of
# them, and open otherwise, also where there are fewer than three seeds. With three an interval can span
# orders of magnitude. There is no correction for the number of tests, so a claim of many parts easily
# fails by chance and is hardly confirmed by it. Claims on the same variants, SPE and SPE + CM above all,
# depend on each other.
#
# Shown here is one of the quantities that decided the verdict, and what is claimed of it. $E$ is a
# variant’s target error, $E(0)$ that of the prediction “always zero”, $L$ the training loss, $N$ how far
# runs stray from each other, $M$ the target error averaged over numbers of examples $k$ from $n / 2$ to $n$
# (their number in training), $\rho$ a rank correlation; $E(2n)$, $E(2b)$ and $E(3x)$ are the error
# with twice the examples, twice the loop iterations and $x$ three times as large. PM is the prefix mask;
# (query) is training on the query alone, (random k) the same with prompts of random length, (hidden) training
# on hidden answers. The control is a variant with the mask trained with the same loss: it has nothing to copy.
# SPE small, LPE large and (small read-in) are other initial scales; linear, sparse, network and tree are
# function classes.


# %%
def verdict(point):
    """The status, and if only a part of the claim is confirmed, how much of it."""
    part = {
        "ru": f" (частей подтверждено: {point['confirmed']} из {point['parts']})",
        "en": f" ({point['confirmed']} of {point['parts']} parts confirmed)",
    }
    partly = 0 < point["confirmed"] < point["parts"]
    return {
        language: point["verdict"][language] + (part[language] if partly else "")
        for language in report.LANGUAGES
    }


# %%
def label(chapter, point):
    return chapter[0] + point["point"] if point["point"].isalpha() else point["point"]


def quantity(point, language):
    own = point["quantity"]
    return own[language] if isinstance(own, dict) else own


def threshold(point, language):
    return point["threshold"][language].replace(" ", "\u00a0")  # on one line


# %%
rows = [
    {
        "link": f"[{label(chapter, point)}]({chapter}.ipynb#Verdicts)",
        "verdict": verdict(point),
        "claim": point["claim"],
        "claimed": {
            language: f"{quantity(point, language)} {threshold(point, language)}"
            for language in report.LANGUAGES
        },
        "effect": {
            language: interval(point, language, point["at"]) for language in report.LANGUAGES
        },
    }
    for chapter, points in given_verdicts.items()
    for point in points
]

# %%
names = {
    "link": ("пункт", "point"),
    "claim": ("утверждение", "claim"),
    "verdict": ("вердикт", "verdict"),
    "claimed": ("что утверждается", "what is claimed"),
    "effect": ("среднее и интервал", "mean and interval"),
}
ru, en = ({column: both[i] for column, both in names.items()} for i in (0, 1))
report.table(pd.DataFrame(rows, columns=list(names)), ru=ru, en=en)

# %% [markdown] tags=["ru"]
# ## Что выбрать для такой задачи и почему

# %% [markdown] tags=["en"]
# ## What to use for this task, and why


# %%
gains = {name: typical(ratio("CM", name)) for name in masked}


def with_ratios(language):
    """Each of the good variants with its error divided by the best one's."""
    own = {name: compared(name, best)[language] for name in others}
    alone = [best] if best in good else []
    shown = [*alone, *(f"{name} {words}" for name, words in own.items())]
    return ", ".join(shown) or report.NONE[language]


# %%
numbers |= {
    "ratios": {language: with_ratios(language) for language in report.LANGUAGES},
    "gain": max(gains.values()),
    "gain_name": max(gains, key=gains.get),
    "least": min(gains.values()),
    "least_name": min(gains, key=gains.get),
    "query": typical(per_run(here, "LPE (random k)", "error")) / zero,
    "control": typical(per_run(here, "LPE + CM (random k)", "error")) / zero,
}
unclear = {
    "ru": " Контроль тоже не научился, поэтому может ли такая функция потерь заменить маску, эти запуски не показывают.",
    "en": " The control has not learned either, so these runs do not show whether such a loss can replace the mask.",
}

# %%
report.say(
    ru="1. **Что брать.** Один из вариантов, которые при всех зёрнах точнее усреднения произведений и про "
    "которые по этим зёрнам нельзя сказать, что они хуже лучшего (рядом — отношение ошибки к ошибке лучшего "
    "и интервал): {ratios}. Без дополнительных параметров: {free}.\n"
    "2. **Маска.** Она делает три вещи сразу: не даёт токену $x_i$ увидеть свой ответ $y_i$, нарушает симметрию "
    "между токенами и заставляет модель учиться при любом числе примеров. Вариантов без маски: {count}; из них "
    "списывают: {copiers}; ошибаются хотя бы вдвое меньше, чем «всегда ноль»: {solvers}. На промпте, который на один "
    "пример короче, чем при обучении, таких зёрен у SPE {short}, а у SPE, обученного на промптах случайной длины, "
    "{random}. "
    "Если вариант не списывает и всё же не решает задачу, дело не в утечке.",
    en="1. **What to take.** One of the variants that beat averaging with every seed and are not shown to be "
    "worse than the best (beside them the ratio of the error to its error, with "
    "the interval): {ratios}. Without additional parameters: {free}.\n"
    "2. **The mask** does three things at once: it keeps the token $x_i$ from seeing its own answer $y_i$, it "
    "breaks the symmetry between tokens, and it makes the model learn at every number of examples. Variants "
    "without it: {count}; of them these copy: {copiers}; these at least halve the error of “always "
    "zero”: {solvers}. On a prompt one example shorter than in training SPE does so with {short} seeds, "
    "SPE trained on prompts of random length with {random}. Where a variant does not copy and still does not solve the task, copying is not the reason.",
    **numbers,
)

# %%
report.say(
    ru="3. **Кодирование.** Отношение ошибки с одной только маской к ошибке с кодированием и маской — в среднем от "
    "{least} ({least_name}) до {gain} ({gain_name}); по этим зёрнам не решено, больше ли оно единицы: {helped_open}. "
    "Если нет ни кодирования, ни маски, модели не сообщают, какой ответ относится к какому $x_i$.\n"
    "4. **Функция потерь вместо маски.** У LPE без маски, обученного только на запросе, при промптах случайной "
    "длины, отношение ошибки к ошибке предсказания «всегда ноль» равно {query}; у LPE + CM, которому списывать "
    "неоткуда, после такого же обучения — {control}.{unclear}",
    en="3. **The encoding** divides the error of the mask alone on average by {least} ({least_name}) to {gain} "
    "({gain_name}); undecided by these seeds: {helped_open}. With neither an encoding nor a mask the model is not "
    "told which answer belongs to which $x_i$.\n"
    "4. **A loss in place of the mask.** LPE without a mask, trained on the query alone with prompts of random "
    "length, has an error whose ratio to that of the prediction “always zero” is {query}; for LPE + CM, which has "
    "nothing to copy, it is {control} after the same training.{unclear}",
    unclear=unclear if min(numbers["control"], numbers["query"]) >= 0.5 else "",
    **numbers,
)

# %%
twice = generalisation.measured_in(runs)
twice = twice[(twice.k == 2 * n) & (twice.extension == "") & (twice.b == main_b)]
twice = twice[twice.variant.isin([*masked, "CM"])]
at_twice = twice.groupby("variant").error.agg(typical).sort_values()
report.say(
    ru="5. **Промпты вдвое длиннее, чем при обучении.** Средние ошибки вариантов с маской: {errors}. Таблица строк "
    "кончается раньше у вариантов: {ended}.",
    en="5. **Prompts twice as long as in training.** Mean errors of the variants with the mask: {errors}. The table of "
    "rows ends before that in {ended}.",
    errors=report.named(at_twice),
    ended=", ".join(name for name in masked if name not in at_twice) or NOBODY,
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
        "с функцией потерь на запросе: без маски или с ней",
        "a loss on the query: without the mask or with it",
        "LPE (random k)",
        "LPE + CM (random k)",
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
choices += [
    (
        "LPE: начинать с таблицы SPE или как обычно",
        "LPE: start from SPE’s table or as usual",
        "LPE large + CM",
        "LPE + CM",
    ),
    (
        "начальные веса входного слоя: малые или обычные",
        "initial weights of the read-in: small or usual",
        "LPE + CM (small read-in)",
        "LPE + CM",
    ),
]

# %%
undecided = {"ru": "не решено", "en": "undecided"}
neither = {"ru": "не обучился ни один", "en": "neither has learned"}
unrecorded = {"ru": "ещё не записано", "en": "not recorded yet"}


def choice(ru, en, first, second):
    """A row of the table: the ratio of first's error to second's, and what follows from it."""
    values = ratio(first, second)
    row = claim("", f"{first} / {second}", values, below=1)
    use = {"confirmed": first, "not confirmed": second, "open": undecided}[row["status"]]
    learned = [typical(per_run(here, name, "error")) < 0.5 * zero for name in (first, second)]
    use = unrecorded if values.empty else use if any(learned) else neither
    return row | {"choice": {"ru": ru, "en": en}, "use": use}


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
def complete(ablation, b, seed):
    """Is the run recorded, on every function class that its ablation has?"""
    classes = ["linear"] if ablation in FULL_SIZE else FUNCTION_CLASSES
    own = {"ablation": ablation, "b": b, "seed": seed}
    folders = (records.run_folder(out, Config(**own, function_class=of)) for of in classes)
    return all(folder.exists() for folder in folders)


# %%
rows = []
for ablation in ABLATIONS:
    planned = records.planned_runs(out, ablation)
    missing = [run for run in planned if not complete(ablation, *run)]
    if planned:
        link = f"[{ablation}]({ablation}.ipynb)"
        rows.append(
            (link, len(planned) - len(missing), ", ".join(map(str, missing)) or report.NONE)
        )
report.table(
    pd.DataFrame(rows, columns=["ablation", "done", "missing"]),
    ru={
        "ablation": "ноутбук",
        "done": "записано пар (b, зерно)",
        "missing": "не хватает (b, зерно)",
    },
    en={"ablation": "notebook", "done": "recorded (b, seed)", "missing": "missing (b, seed)"},
)
