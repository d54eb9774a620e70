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
    ru="**Что сравнивали.** Вариантов: {count}; вариант — это позиционное кодирование или никакого, с каузальной "
    "маской (CM) или без неё. Кодирования: синусоидальное (SPE); обучаемое (LPE); двухвекторное кодирование "
    "типа (TPE) — один обучаемый вектор для координат, другой для значений функции; pair — обучаемый вектор "
    "примера, общий для $x_i$ и $y_i$; RoPE; ALiBi. Просто CM — только маска, none — ни кодирования, ни маски.",
    en="**What was compared.** {count} variants: a positional encoding or none, with the causal mask (CM) or "
    "without it. The encodings are sinusoidal (SPE); learned (LPE); a two-vector type encoding (TPE), one "
    "learned vector for coordinates and one for function values; pair, a learned vector of the example, which "
    "$x_i$ and $y_i$ share; RoPE; ALiBi. CM alone is the mask without an encoding, “none” has neither.",
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


def solving(values, at=zero):
    """The number of seeds with which the task is solved."""
    return int((values < 0.5 * at).sum())


# %%
masked = [name for name in means.index if VARIANTS[name].mask == "causal" and name != "CM"]
unmasked = [name for name in means.index if VARIANTS[name].mask == "none"]
encoded = [name for name in unmasked if name != "none"]
leads = claim("", "", ratio(best, second), below=1)
certain = {"ru": "разница достоверна", "en": "the difference is certain"}
unsure = {
    "ru": "по этим зёрнам их не различить",
    "en": "these seeds cannot tell the two apart",
}
numbers = {
    "both": means.error[masked[0]],
    "both_name": masked[0],
    "cm": means.error["CM"],
    "alone": means.error[encoded[0]],
    "alone_name": encoded[0],
    "none": means.error["none"],
    "zero": zero,
}

# %%
numbers |= {
    "best": best,
    "second": second,
    "next": means.error[second],
    "apart": certain if leads["status"] == "confirmed" else unsure,
    "lead": compared(best, second),
    "lpe_masked": means.error["LPE + CM"],
    "lpe": means.error["LPE"],
    "mask": compared("LPE + CM", "LPE"),
}
numbers |= {
    "copying": int((own_shares > 0.5).sum()),
    "of": len(own_shares),
    "loss": means.training_loss["SPE"],
    "solved": solving(per_run(here, "SPE", "error")),
    "short": solving(shorter, zero_shorter),
}

# %%
report.say(
    ru="**Ответ** при $b$ = {b} ($b$ — число итераций цикла):\n\n"
    "1. С кодированием и маской наименьшая средняя ошибка — {both} ({both_name}), с одной маской — {cm}, с одним "
    "кодированием — {alone} ({alone_name}), без того и другого — {none}; у предсказания «всегда ноль» — {zero}.\n"
    "2. Меньше всего ошибка у {best}, за ним идёт {second} ({next}); {apart} (отношение ошибок {lead}). У LPE с "
    "маской ошибка {lpe_masked}, без маски — {lpe} (отношение {mask}).\n"
    "3. Без маски SPE списывает ответы, стоящие в промпте (зёрен, при которых это видно: {copying} из {of}; "
    "функция потерь на обучении: {loss}). Зёрен, при которых оно ещё и решает задачу, то есть ошибается хотя "
    "бы вдвое меньше, чем «всегда ноль»: {solved} из {of} при полном промпте и {short} при промпте на один "
    "пример короче, какого оно не видело.",
    en="**The answer** at $b$ = {b} ($b$ is the number of loop iterations):\n\n"
    "1. With an encoding and the mask the lowest mean error is {both} ({both_name}), with the mask alone {cm}, "
    "with an encoding alone {alone} ({alone_name}), with neither {none}; the prediction “always zero” has {zero}.\n"
    "2. The lowest error is that of {best}, the next that of {second} ({next}); {apart} (ratio of the errors "
    "{lead}). LPE’s error is {lpe_masked} with the mask and {lpe} without (ratio {mask}).\n"
    "3. Without a mask SPE copies the answers that are in the prompt (seen in {copying} of {of} seeds; training "
    "loss: {loss}). It also solves the task, that is, at least halves the error of “always zero”, in {solved} of "
    "{of} seeds with the full prompt, and in {short} with a prompt one example shorter, which it never met.",
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
    "ru": f" Запуски с {unseen} запланированы, но ещё не записаны: о моделях, обученных с циклом, выводов пока не сделать.",
    "en": f" Runs with {unseen} are planned but not recorded yet, so nothing can be said about models trained with a loop.",
}
# %%
report.say(
    ru="**Насколько это надёжно.** Ошибка в целевой задаче — это квадрат ошибки ответа на запрос, делённый на "
    "размерность $d$; у предсказания «всегда ноль» она равна {zero}, у метода наименьших квадратов — нулю. "
    "Зёрен: {seeds}. Средние — геометрические; в квадратных скобках — 95-процентный доверительный интервал "
    "по зёрнам. Проверено утверждений: "
    "{tested}. Подтверждено: {confirmed}; не подтверждено (данные говорят против): {refuted}; открыто: "
    "{open}, из них таких, где зёрен пока меньше трёх: {few}.{loops}",
    en="**How reliable this is.** The target error is the squared error of the answer to the query, divided "
    "by the dimension $d$; the prediction “always zero” has {zero}, least squares 0. Seeds: {seeds}. Means "
    "are geometric; square brackets hold a 95% confidence interval over seeds. Claims tested: {tested}. Confirmed: {confirmed}; not confirmed (the data "
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
# Пункты с номерами взяты из исходной, студенческой работы; пункты с буквами — наши, и цифра перед буквой —
# номер главы. Номер пункта — ссылка на главу, где сказано, что именно измеряется. Утверждение часто
# складывается из нескольких частей: оно подтверждено, если подтверждена каждая, не подтверждено, если хотя
# бы против одной говорят данные, и открыто в остальных случаях, в том числе когда зёрен меньше трёх. При
# трёх зёрнах интервал может растянуться на порядки. Поправки на число проверок нет.
#
# В таблице показана одна из величин, определивших вердикт, и что о ней утверждается. $E$ — ошибка в целевой
# задаче, $E(0)$ — ошибка предсказания «всегда ноль», $L$ — функция потерь на обучении, $N$ — разброс между
# запусками, $\rho$ — ранговая корреляция; $E(2n)$, $E(2b)$ и $E(3x)$ — ошибка при вдвое большем числе
# примеров, вдвое большем числе итераций цикла и втрое больших $x$. PM — префиксная маска; (query) —
# обучение на одном запросе, (random k) — то же при промптах случайной длины.

# %% [markdown] tags=["en"]
# ## Claims and verdicts
#
# Numbered points come from the source text, the student’s; lettered ones are ours, with the chapter’s
# number before the letter. The link leads to the chapter that says exactly what is measured. A claim often
# has several parts: it is confirmed if each of them is, not confirmed if the data speak against one of
# them, and open otherwise, also where there are fewer than three seeds. With three an interval can span
# orders of magnitude. There is no correction for the number of tests.
#
# Shown here is one of the quantities that decided the verdict, and what is claimed of it. $E$ is a
# variant’s target error, $E(0)$ that of the prediction “always zero”, $L$ the training loss, $N$ how far
# runs stray from each other, $\rho$ a rank correlation; $E(2n)$, $E(2b)$ and $E(3x)$ are the error with
# twice the examples, twice the loop iterations and $x$ three times as large. PM is the prefix mask; (query)
# is training on the query alone, (random k) the same with prompts of random length.


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


def quantity(point, language):
    own = point["quantity"]
    return own[language] if isinstance(own, dict) else own


rows = [
    {
        "link": f"[{label(chapter, point)}]({chapter}.ipynb#Verdicts)",
        "verdict": verdict(point),
        "claim": point["claim"],
        "claimed": {
            language: f"{quantity(point, language)} {point['threshold'][language]}"
            for language in report.LANGUAGES
        },
        "effect": {language: interval(point, language) for language in report.LANGUAGES},
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
counts = {name: model.parameter_count(config, VARIANTS[name]) for name in means.index}
solved = {name: solving(per_run(here, name, "error")) for name in means.index}
good = {
    name: typical(ratio(name, best))
    for name in means.index
    if solved[name] == seeds.max()
    and claim("", "", ratio(best, name), below=1)["status"] != "confirmed"
}
free = [name for name in good if counts[name] == min(counts.values())]
sometimes = [f"{name} ({solved[name]} / {seeds[name]})" for name in unmasked if solved[name]]


def with_ratios(language):
    return ", ".join(f"{name} ({report.number(own, language, 2)})" for name, own in good.items())


# %%
numbers |= {
    "good": {language: with_ratios(language) for language in report.LANGUAGES},
    "free": ", ".join(free) or report.NONE,
    "count": len(unmasked),
    "sometimes": ", ".join(sometimes) or report.NONE,
    "cm_solved": solved["CM"],
    "cm_of": int(seeds["CM"]),
    "cm_best": compared("CM", best),
    "query": compared("LPE (random k)", "LPE + CM"),
    "control": typical(per_run(here, "LPE + CM (random k)", "error")) / zero,
}

# %%
report.say(
    ru="1. **Что брать.** Один из вариантов, которые решают задачу при всех зёрнах и про которые по этим зёрнам "
    "нельзя сказать, что они хуже лучшего (в скобках — отношение ошибки к его ошибке): {good}. Лучший, {best}, "
    "выбран по этим же запускам, так что его преимущество, скорее всего, завышено. Без дополнительных "
    "параметров: {free}.\n"
    "2. **Маска.** Вариантов без неё: {count}; из них решают задачу (в скобках — число зёрен): {sometimes}. Без "
    "маски токен $x_i$ видит свой ответ $y_i$ и может его просто списать; у SPE это видно (зёрен: {copying} из "
    "{of}).\n"
    "3. **Кодирование.** Одна маска решает задачу (зёрен: {cm_solved} из {cm_of}); отношение её ошибки к ошибке "
    "{best}: {cm_best}. Если нет ни кодирования, ни маски, ничто не говорит модели, какой ответ относится к "
    "какому $x_i$.",
    en="1. **What to take.** One of the variants that solve the task with every seed and that these seeds do not "
    "show to be worse than the best (in brackets: the ratio of the error to its error): {good}. The best, {best}, "
    "was picked on these same runs, so its lead is probably overstated. Without additional parameters: {free}.\n"
    "2. **The mask.** Of {count} variants without it these solve the task (in brackets: the number of seeds): "
    "{sometimes}. Without a mask the token $x_i$ sees its own answer $y_i$ and can simply copy it; SPE is seen to "
    "do so (seeds: {copying} of {of}).\n"
    "3. **The encoding.** The mask alone solves the task (seeds: {cm_solved} of {cm_of}); the ratio of its error "
    "to that of {best}: {cm_best}. With neither an encoding nor a mask nothing tells the model which answer "
    "belongs to which $x_i$.",
    **numbers,
)

# %%
report.say(
    ru="4. **Функция потерь вместо маски.** Отношение ошибки LPE без маски, обученного на одном запросе при "
    "промптах случайной длины, к ошибке LPE + CM, обученного как обычно столько же шагов: {query}. У LPE + CM, "
    "обученного на одном запросе, — а списывать ему неоткуда — ошибка составляет {control} от ошибки "
    "предсказания «всегда ноль».",
    en="4. **A loss in place of the mask.** The ratio of the error of LPE without a mask, trained on the query "
    "alone with prompts of random length, to that of LPE + CM, trained as usual for as many steps: {query}. LPE + "
    "CM trained on the query alone, which has nothing to copy, has {control} times the error of the prediction "
    "“always zero”.",
    **numbers,
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
        "done": "записано пар (b, зерно)",
        "missing": "не хватает (b, зерно)",
    },
    en={"ablation": "notebook", "done": "recorded (b, seed)", "missing": "missing (b, seed)"},
)
