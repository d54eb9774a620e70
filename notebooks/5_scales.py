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
# # Кодирование или масштаб?

# %% [markdown] tags=["en"]
# # The encoding or its scale?

# %% [markdown] tags=["ru"]
# ## Вопрос
#
# Строки SPE и LPE различаются не только формой. В начале обучения норма строки SPE в десятки раз больше,
# чем у LPE, а токены после входного линейного слоя по норме ближе к строкам SPE. Значит, разница между
# кодированиями может быть просто разницей масштабов. Чтобы отделить одно от другого, мы добавляем
# варианты:
#
# - **SPE small**: строки SPE, умноженные на такое число, что их норма та же, что у LPE в начале обучения;
# - **LPE large**: обучаемая таблица, которая в начале обучения равна таблице SPE;
# - **(small read-in)**: начальные веса входного слоя — нормально распределённые случайные числа со
#   стандартным отклонением 0,02, а не принятые в PyTorch, и потому токены в начале обучения во много раз
#   меньше по норме.

# %% [markdown] tags=["en"]
# ## The question
#
# The rows of SPE and LPE differ in more than their form. At the start of training a row of SPE is dozens
# of times as long as a row of LPE, and tokens leave the linear read-in with a length nearer to SPE’s. So
# the difference between the encodings may be merely one of scale. To tell the two apart, we add variants:
#
# - **SPE small**: SPE’s rows times a constant that makes them as long as LPE’s at the start of training;
# - **LPE large**: a learned table that equals SPE’s at the start of training;
# - **(small read-in)**: the read-in’s initial weights are normal random numbers with a standard deviation
#   of 0.02 instead of PyTorch’s default, so tokens are many times shorter at the start of training.

# %% [markdown] tags=["ru"]
# ## Гипотезы
#
# Записаны до запусков с новыми вариантами; все наши. Запуски первого ноутбука при $b = 1$ уже были выполнены, а малые
# начальные веса входного слоя мы испытывали ещё в пробных запусках.
#
# - **A**: с маской уменьшенные строки SPE дают меньшую ошибку, чем обычные: дело хотя бы отчасти в
#   масштабе.
# - **B**: с маской LPE, начальная таблица которого взята у SPE, хуже обычного LPE.
# - **C**: и при равных масштабах LPE с маской лучше SPE с маской: дело не только в масштабе.
# - **D**: с малыми начальными весами входного слоя каждый вариант лучше, чем с обычными.

# %% [markdown] tags=["en"]
# ## Hypotheses
#
# Written before the runs with new variants; all are ours. The first notebook’s runs at $b = 1$ were there
# already, and small initial weights of the read-in had been tried in trial runs.
#
# - **A**: with the mask, small SPE rows give a lower error than the usual ones: scale is at least part of
#   the story.
# - **B**: with the mask, LPE that starts from SPE’s table is worse than the usual LPE.
# - **C**: even at equal initial scales LPE with the mask beats SPE with the mask: scale is not the whole
#   story.
# - **D**: with small initial read-in weights every variant is better than with the usual ones.

# %% [markdown] tags=["ru"]
# ## Параметры
#
# Те же, что в [первом ноутбуке](1_position_and_mask.ipynb#Parameters); там сказано, откуда взято каждое
# значение.

# %% [markdown] tags=["en"]
# ## Parameters
#
# The same as in the [first notebook](1_position_and_mask.ipynb#Parameters), which says where each value
# comes from.

# %%
import logging

import pandas as pd

from icl_report import (
    drawing,
    evaluation,
    generalisation,
    model,
    records,
    report,
    sampler,
    training,
)
from icl_report.config import VARIANTS, Config, notebook_parameters
from icl_report.verdicts import claim, outcomes, per_run

logging.basicConfig(format="%(asctime)s %(message)s")
logging.getLogger("icl_report").setLevel("INFO")

# %% tags=["parameters"]
b: int = 1  # loop iterations / число итераций цикла
seed: int = 0  # seed of the weights and batches / зерно весов и батчей
n_layers: int = 2  # layers / число слоёв
n_heads: int = 4  # attention heads / головы внимания
width: int = 64  # hidden dimension / скрытая размерность
mlp_width: int = 256  # width of the MLP / размерность слоя MLP
n_examples: int = 63  # in-context examples / число in-context примеров
d: int = 5  # dimension of x / размерность x
function_class: str = "linear"  # linear, sparse, network or tree / класс функций
batch_size: int = 64  # prompts in a batch / промптов в батче
lr: float = 5e-4  # Adam's learning rate / скорость обучения (lr) в Adam
steps: int = 10_000  # training steps / число шагов обучения
log_every: int = 100  # steps between two points of a curve / шагов между точками кривой
curve_prompts: int = 512  # prompts behind a curve's target error / промптов для кривых ошибки
evaluation_prompts: int = 1280  # prompts of the final evaluation / промптов в итоговой оценке
device: str = "cpu"  # where to train, cpu or cuda / где обучать, cpu или cuda
out: str = "."  # folder of data/, from the project's root / папка, где лежит data/

# %%
given = notebook_parameters(globals())
config = Config(ablation="5_scales", **given)
variants = list(config.variants)
usual = [name for name in variants if "small" not in name and "large" not in name]

# %% [markdown] tags=["ru"]
# ## Устройство эксперимента
#
# Задача, модель и оценка те же, что в [первом ноутбуке](1_position_and_mask.ipynb#Design). Те же и
# промпты, и начальные веса, кроме названных выше. Варианты первого ноутбука не обучаются заново, если он
# уже записал запуск с теми же $b$ и зерном. В таблице — средняя норма строки кодирования и токена $x$
# после входного слоя в начале обучения.

# %% [markdown] tags=["en"]
# ## Design
#
# Task, model and evaluation are those of the [first notebook](1_position_and_mask.ipynb#Design). So are
# the prompts, and the initial weights except for those named above. Variants of the first notebook are
# not trained again if it has already recorded a run with the same $b$ and seed. The table gives the mean
# length of an encoding’s row and of an $x$-token after the read-in at the start of training.

# %%
stack = model.LoopedTransformer(config, config.stack)
tokens = sampler.batch(config, 0).tokens[:, 0::2].flatten(0, 1).expand(len(variants), -1, -1)
embedded = stack.read_in(tokens).norm(dim=-1).mean(dim=1).tolist()
added = stack.positions(config.n_tokens).norm(dim=-1).mean(dim=1).tolist()
report.table(
    pd.DataFrame(zip(variants, added, embedded), columns=["variant", "row", "token"]),
    ru={"variant": "вариант", "row": "строка кодирования", "token": "токен x"},
    en={"variant": "variant", "row": "row of the encoding", "token": "token x"},
)

# %% [markdown] tags=["ru"]
# ## Запуск
#
# Законченный запуск читается из `data/`, прерванный продолжается, недостающий выполняется.

# %% [markdown] tags=["en"]
# ## The run
#
# A finished run is read from `data/`, an interrupted one is resumed, a missing one is trained.

# %%
run = training.run(config, out)
run_curves = records.tidy([run], "curves")
report.tell_run(run)

# %%
prompts = sampler.evaluation_prompts(config)
zero_on_curve = evaluation.zero_error(prompts.first(config.curve_prompts))
small_read_in = [name for name in variants if name.endswith("(small read-in)")]
report.figure(
    "scales_close_up",
    lambda t: drawing.draw_losses(
        run_curves, [name for name in variants if name not in small_read_in], zero_on_curve, t
    ),
    ru={
        "alt": "Кривые обучения вариантов с обычными и изменёнными масштабами кодирования",
        "caption": f"Один запуск, b = {config.b}, зерно {config.seed}: обычный входной слой. Слева функция "
        "потерь на обучении, справа ошибка в целевой задаче. Штриховые линии — варианты без маски, "
        "горизонтальный пунктир — предсказание «всегда ноль».",
    },
    en={
        "alt": "Training curves of the variants with usual and changed scales of the encoding",
        "caption": f"One run, b = {config.b}, seed {config.seed}: the usual read-in. Training loss on the left, "
        "target error on the right. Dashed lines are variants without a mask, the dotted horizontal is the "
        "prediction “always zero”.",
    },
)

# %%
report.figure(
    "read_in_close_up",
    lambda t: drawing.draw_losses(run_curves, small_read_in, zero_on_curve, t),
    ru={
        "alt": "Кривые обучения вариантов с малыми начальными весами входного слоя",
        "caption": "Тот же запуск: варианты с малыми начальными весами входного слоя. Обозначения те же, что "
        "на предыдущем рисунке, и у тех же кодирований те же цвета.",
    },
    en={
        "alt": "Training curves of the variants with small initial weights of the read-in",
        "caption": "The same run: the variants with small initial weights of the read-in. Lines are as in the "
        "figure before, and the same encodings have the same colours.",
    },
)

# %% [markdown] tags=["ru"]
# ## Все записанные запуски

# %% [markdown] tags=["en"]
# ## All recorded runs

# %%
runs = records.recorded_runs(out, config)
curves, errors = records.tidy(runs, "curves"), records.tidy(runs, "errors")
report.tell_recorded(runs, records.planned_runs(out, config.ablation))

# %%
full = outcomes(errors, curves)
by_b = report.means_by_b(
    full,
    ru={"training_loss": "функция потерь на обучении", "error": "ошибка в целевой задаче"},
    en={"training_loss": "training loss", "error": "target error"},
)

# %%
copying = generalisation.copying(runs)
copying = copying[copying.variant.map(lambda name: VARIANTS[name].mask) == "none"]
shares = {
    name: f"{name} ({own.sum()} / {len(own)})" for name, own in copying.groupby("variant").copies
}
report.say(
    ru="Списывание здесь определено так же, как в [третьем ноутбуке](3_label_leakage.ipynb#Copying-and-learning). При "
    "скольких зёрнах из скольких списывают варианты без маски: {shares}.",
    en="Copying is defined here as in the [third notebook](3_label_leakage.ipynb#Copying-and-learning). With how many "
    "seeds of how many the variants without a mask copy: {shares}.",
    shares=", ".join(shares.values()),
)

# %%
first = records.recorded_runs(out, Config(**given))
if first:
    rows = records.tidy(first, "errors")
    rows = rows[(rows.variant == "SPE + CM") & (rows.k == config.n_examples)]
    listed = {
        language: "; ".join(
            f"b = {row.b}, {word} {row.seed}: {report.number(row.error, language)}"
            for row in rows.itertuples()
        )
        for language, word in (("ru", "зерно"), ("en", "seed"))
    }
    report.say(
        ru="Насколько отношение к SPE + CM зависит от зерна, видно по его ошибкам в первом ноутбуке. {listed}.",
        en="How far a ratio to SPE + CM depends on the seed is seen from its errors in the first notebook. {listed}.",
        listed=listed,
    )

# %% [markdown] tags=["ru"]
# ## Вердикты
#
# Величина $E$, усреднение и интервалы определены в [первом
# ноутбуке](1_position_and_mask.ipynb#Verdicts); пороги здесь тоже наши.
#
# | пункт | что измеряем в каждом запуске | подтверждено, если |
# |---|---|---|
# | A | отношение $E$ у SPE small + CM к $E$ у SPE + CM | меньше 1 |
# | B | отношение $E$ у LPE large + CM к $E$ у LPE + CM | больше 1 |
# | C | отношение $E$ у LPE + CM к $E$ у SPE small + CM и $E$ у LPE large + CM к $E$ у SPE + CM | меньше 1 |
# | D | отношение $E$ с (small read-in) к $E$ того же варианта без этой пометки, для каждого обычного варианта | меньше 1 |

# %% [markdown] tags=["en"]
# ## Verdicts
#
# The quantity $E$, the averaging and the intervals are defined in the [first
# notebook](1_position_and_mask.ipynb#Verdicts); the thresholds are ours here too.
#
# | point | what is measured in every run | confirmed if |
# |---|---|---|
# | A | $E$ of SPE small + CM divided by $E$ of SPE + CM | below 1 |
# | B | $E$ of LPE large + CM divided by $E$ of LPE + CM | above 1 |
# | C | $E$ of LPE + CM divided by $E$ of SPE small + CM, and $E$ of LPE large + CM by $E$ of SPE + CM | below 1 |
# | D | $E$ with (small read-in) divided by $E$ without it, for each usual variant | below 1 |


# %%
def fall(numerator, denominator):
    return per_run(full, numerator, "error") / per_run(full, denominator, "error")


small, large = "SPE small + CM", "LPE large + CM"
claims = [
    claim("A", f"E({small}) / E(SPE + CM)", fall(small, "SPE + CM"), below=1),
    claim("B", f"E({large}) / E(LPE + CM)", fall(large, "LPE + CM"), above=1),
    claim("C", f"E(LPE + CM) / E({small})", fall("LPE + CM", small), below=1),
    claim("C", f"E({large}) / E(SPE + CM)", fall(large, "SPE + CM"), below=1),
]
for name in usual:
    own = f"{name} (small read-in)"
    claims.append(claim("D", f"E({own}) / E({name})", fall(own, name), below=1))
results = pd.DataFrame(claims)

# %%
statements = {
    "A": (
        "SPE + CM с малыми строками лучше, чем SPE + CM с обычными: дело хотя бы отчасти в масштабе",
        "SPE + CM with small rows beats the usual one: scale is at least part of the story",
    ),
    "B": (
        "LPE + CM, начинающий с таблицы SPE, хуже, чем обычный LPE + CM",
        "LPE + CM that starts from SPE’s table is worse than the usual one",
    ),
    "C": (
        "И при равных масштабах LPE + CM лучше, чем SPE + CM",
        "Even at equal initial scales LPE + CM beats SPE + CM",
    ),
    "D": (
        "С малыми начальными весами входного слоя каждый вариант лучше, чем с обычными",
        "With small initial read-in weights every variant is better than with the usual ones",
    ),
}
report.verdicts(results, statements)

# %%
report.effects("scales_effects", results)

# %% [markdown] tags=["ru"]
# ## Чего этот эксперимент не показывает
#
# - **Две точки — ещё не кривая.** И масштаб кодирования, и масштаб токенов испытаны лишь при двух значениях.
# - **Масштаб в начале — не масштаб в конце.** Обучаемая таблица и входной слой меняются по ходу обучения;
#   мы задаём лишь то, с чего они начинают.

# %% [markdown] tags=["en"]
# ## What this experiment does not show
#
# - **Two points make no curve.** Each scale, the encoding’s and the tokens’, was tried at two values only.
# - **The scale at the start is not the scale at the end.** A learned table and the read-in change in
#   training; we only set where they start.
