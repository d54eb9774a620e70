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
# Строки SPE и LPE различаются не только формой. В начале обучения строка SPE в десятки раз длиннее
# строки LPE, и масштаб токенов, который задаёт входной линейный слой, ближе к первой. Разница между двумя
# кодированиями может оказаться разницей масштабов. Чтобы их развести, мы меняем масштаб отдельно от формы:
#
# - **SPE small**: строки SPE, умноженные на постоянное число так, что их длина та же, что у LPE в начале;
# - **LPE large**: обучаемая таблица, которая начинает с таблицы SPE;
# - **(small read-in)**: веса входного слоя начинают с $N(0, 0.02)$ вместо принятого в PyTorch, то есть
#   токены в начале обучения во много раз меньше.
#
# При $b > 1$ есть ещё один вопрос: кодирование прибавляется на каждой итерации цикла. Вариант
# **(first iteration)** прибавляет его только на первой.

# %% [markdown] tags=["en"]
# ## The question
#
# The rows of SPE and LPE differ in more than their form. At the start of training a row of SPE is dozens
# of times as long as one of LPE, and the scale of the tokens, which the read-in sets, is nearer to the
# former. The difference between the two encodings may be one of scales. To tell them apart we change the
# scale without the form:
#
# - **SPE small**: SPE’s rows times a constant that makes them as long as LPE’s are at the start;
# - **LPE large**: a learned table that starts as SPE’s;
# - **(small read-in)**: the read-in’s weights start at $N(0, 0.02)$ instead of PyTorch’s default, so that
#   tokens are many times smaller at the start of training.
#
# With $b > 1$ there is one more question: the encoding is added in every loop iteration. The variant
# **(first iteration)** adds it in the first one only.

# %% [markdown] tags=["ru"]
# ## Гипотезы
#
# Записаны до запусков; все наши.
#
# - **A**: с маской уменьшенные строки SPE дают меньшую ошибку, чем обычные: дело, хотя бы отчасти, в масштабе.
# - **B**: LPE, начатое с таблицы SPE, хуже обычного LPE.
# - **C**: и при равных масштабах LPE с маской лучше SPE с маской: дело не только в масштабе.
# - **D**: с малым входным слоем каждый вариант обучается не хуже, чем с обычным.
# - **E**: при $b > 1$ кодирование, прибавленное только на первой итерации цикла, хуже.

# %% [markdown] tags=["en"]
# ## Hypotheses
#
# Written before the runs; all are ours.
#
# - **A**: with the mask SPE’s rows made small give a lower error than as they are: scale is at least part
#   of it.
# - **B**: LPE started at SPE’s table is worse than LPE as it is.
# - **C**: at equal scales LPE with the mask still beats SPE with the mask: scale is not all.
# - **D**: with the small read-in no variant trains worse than with the usual one.
# - **E**: with $b > 1$ an encoding added in the first loop iteration only is worse.

# %% [markdown] tags=["ru"]
# ## Параметры
#
# Те же, что в [первом ноутбуке](1_position_and_mask.ipynb#Parameters); там сказано, откуда взято каждое значение.

# %% [markdown] tags=["en"]
# ## Parameters
#
# The same as in the [first notebook](1_position_and_mask.ipynb#Parameters), which says where each value comes from.

# %%
import logging

import pandas as pd

from icl_core import drawing, model, records, report, sampler, training
from icl_core.config import Config, notebook_parameters
from icl_core.verdicts import claim, last_rows, per_run

logging.basicConfig(format="%(asctime)s %(message)s")
logging.getLogger("icl_core").setLevel("INFO")

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
given.pop("out", None)
config = Config(ablation="5_scales", **given)
variants = list(config.variants)
usual = [name for name in variants if "small" not in name and "large" not in name]

# %% [markdown] tags=["ru"]
# ## Устройство эксперимента
#
# Задача, модель и оценка те же, что в [первом ноутбуке](1_position_and_mask.ipynb#Design); промпты и начальные веса тоже, кроме тех, что
# названы выше. Варианты первого ноутбука не обучаются заново, если он записал запуск с теми же $b$ и
# зерном. В таблице средняя длина строки кодирования и токенов $x$ в начале обучения.

# %% [markdown] tags=["en"]
# ## Design
#
# Task, model and evaluation are those of the [first notebook](1_position_and_mask.ipynb#Design), and so are prompts and initial weights but
# for those named above. Variants of the first notebook are not trained again where it has recorded a run
# of the same $b$ and seed. The table has the mean length of an encoding’s row and of $x$-tokens at the
# start of training.

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
# Законченный запуск читается из `data/`, прерванный продолжается, недостающий обучается.

# %% [markdown] tags=["en"]
# ## The run
#
# A finished run is read from `data/`, an interrupted one is resumed, a missing one is trained.

# %%
run = training.run(config, out)
run_curves = records.tidy([run], "curves")
report.tell_run(run)

# %% [markdown] tags=["ru"]
# При $b > 1$ обучаются ещё и варианты, которые прибавляют кодирование только на первой итерации.

# %% [markdown] tags=["en"]
# With $b > 1$ the variants that add the encoding in the first iteration only are trained as well.

# %%
once = Config(ablation="5_first_iteration", **given)
if config.b > 1:
    training.run(once, out)

# %%
prompts = sampler.evaluation_prompts(config)
curve_answers = prompts.first(config.curve_prompts).answers[:, -1]
zero_on_curve = float(curve_answers.square().mean()) / config.d
report.figure(
    "scales_close_up",
    lambda t: drawing.draw_losses(run_curves, list(config.variants), zero_on_curve, t),
    ru={
        "alt": "Кривые обучения всех вариантов одного запуска, обычных и изменённых",
        "caption": f"Один запуск, b = {config.b}, зерно {config.seed}. Слева функция потерь на обучении, "
        "справа ошибка в целевой задаче. Штриховые линии — варианты без маски, горизонталь из точек "
        "— предсказание «всегда ноль».",
    },
    en={
        "alt": "Training curves of all variants of one run",
        "caption": f"One run, b = {config.b}, seed {config.seed}. Training loss on the left, target error "
        "on the right. Dashed lines are variants without a mask, the dotted horizontal is the "
        "prediction “always zero”.",
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
error_rows = errors[errors.k == config.n_examples]
full = error_rows.merge(last_rows(curves), on=["b", "seed", "variant"])

by_b = report.means_by_b(
    full,
    ru={"training_loss": "функция потерь на обучении", "error": "ошибка в целевой задаче"},
    en={"training_loss": "training loss", "error": "target error"},
)

# %% [markdown] tags=["ru"]
# ## Вердикты
#
# Величина $E$, усреднение и интервалы определены в [первом ноутбуке](1_position_and_mask.ipynb#Verdicts); пороги здесь тоже наши.
#
# | пункт | что измеряем в каждом запуске | подтверждено, если |
# |---|---|---|
# | A | отношение $E$ у SPE small + CM к $E$ у SPE + CM | меньше 1 |
# | B | отношение $E$ у LPE large + CM к $E$ у LPE + CM | больше 1 |
# | C | отношение $E$ у LPE + CM к $E$ у SPE small + CM и $E$ у LPE large + CM к $E$ у SPE + CM | меньше 1 |
# | D | отношение $E$ с малым входным слоем к $E$ с обычным, для каждого варианта | меньше 1 |
# | E | отношение $E$ с кодированием на первой итерации к $E$ с ним на каждой, $b > 1$ | больше 1 |

# %% [markdown] tags=["en"]
# ## Verdicts
#
# The quantity $E$, the averaging and the intervals are defined in the [first notebook](1_position_and_mask.ipynb#Verdicts); the thresholds are
# ours here too.
#
# | point | what is measured in every run | confirmed if |
# |---|---|---|
# | A | $E$ of SPE small + CM divided by $E$ of SPE + CM | below 1 |
# | B | $E$ of LPE large + CM divided by $E$ of LPE + CM | above 1 |
# | C | $E$ of LPE + CM divided by $E$ of SPE small + CM, and $E$ of LPE large + CM by $E$ of SPE + CM | below 1 |
# | D | $E$ with the small read-in divided by $E$ with the usual one, for each variant | below 1 |
# | E | $E$ with the encoding in the first iteration divided by $E$ with it in each, $b > 1$ | above 1 |


# %%
def fall(numerator, denominator, rows=full):
    return per_run(rows, numerator, "error") / per_run(rows, denominator, "error")


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

# %%
looped = records.recorded_runs(out, once)
if looped:
    rows = records.tidy(looped, "errors")
    rows = rows[rows.k == config.n_examples]
    for name in ("SPE + CM", "LPE + CM"):
        own = f"{name} (first iteration)"
        claims.append(claim("E", f"E({own}) / E({name})", fall(own, name, rows), above=1))
results = pd.DataFrame(claims)

# %%
statements = {
    "A": (
        "Уменьшенные строки SPE лучше обычных: дело хотя бы отчасти в масштабе",
        "SPE’s rows made small beat its usual ones: scale is at least part of it",
    ),
    "B": ("LPE, начатое с таблицы SPE, хуже обычного", "LPE started at SPE’s table is worse"),
    "C": (
        "И при равных масштабах LPE + CM лучше SPE + CM",
        "At equal scales LPE + CM still beats SPE + CM",
    ),
    "D": (
        "С малым входным слоем каждый вариант не хуже, чем с обычным",
        "With the small read-in no variant is worse than with the usual one",
    ),
    "E": (
        "Кодирование только на первой итерации цикла хуже, чем на каждой",
        "An encoding in the first loop iteration only is worse than in each",
    ),
}
report.verdicts(results, statements)

# %%
report.effects("scales_effects", results)

# %% [markdown] tags=["ru"]
# ## Чего этот эксперимент не показывает
#
# - **Два масштаба — не кривая.** Испытаны только масштабы обоих кодирований, ничего между ними.
# - **Масштаб в начале — не масштаб в конце.** Обучаемая таблица и входной слой меняются при обучении;
#   мы задаём лишь то, с чего они начинают.

# %% [markdown] tags=["en"]
# ## What this experiment does not show
#
# - **Two scales are no curve.** Only the scales of the two encodings were tried, nothing in between.
# - **The scale at the start is not the scale at the end.** A learned table and the read-in change in
#   training; we only set where they start.
