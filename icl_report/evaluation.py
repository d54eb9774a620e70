"""The target task: the error of the answer to the query, of models and of reference solvers."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import torch
from scipy import stats
from sklearn.linear_model import Lasso
from sklearn.tree import DecisionTreeRegressor

from icl_report.model import QUERY, X_TOKENS, LoopedTransformer
from icl_report.sampler import BOOTSTRAP, HIDDEN, Prompts, generator

CHUNK = 64  # prompts in one forward pass; bounds the memory


@torch.no_grad()
def target_errors(
    model: LoopedTransformer,
    prompts: Prompts,
    ks: Sequence[int],
    loops: int | None = None,
    one_pass: bool | None = None,
) -> np.ndarray:
    """(V, K, B): (ŷ_q - y_q)² / d with k examples before the query, for each k in ks.

    The prompt is cut after x_{k+1}, which then is the query, so that no later token can leak.
    Under a causal mask nothing can, and one pass over the whole prompt gives all k at once;
    one_pass = None takes it wherever every variant of the stack has that mask.
    """
    causal = all(variant.mask == "causal" for variant in model.variants)
    one_pass = causal and len(ks) > 1 if one_pass is None else one_pass
    device = next(model.parameters()).device
    chunks = []
    for tokens, answers in zip(prompts.tokens.split(CHUNK), prompts.answers.split(CHUNK)):
        tokens, answers = tokens.to(device), answers.to(device)
        if one_pass:
            predictions = model(tokens, X_TOKENS, loops)[-1][:, :, list(ks)]
        else:
            cut = [model(tokens[:, : 2 * k + 1], QUERY, loops)[-1] for k in ks]
            predictions = torch.cat(cut, dim=-1)
        errors = (predictions - answers[:, list(ks)]) ** 2 / tokens.shape[-1]
        chunks.append(errors.transpose(1, 2).cpu())
    return torch.cat(chunks, dim=-1).double().numpy()


def zero_error(prompts: Prompts) -> float:
    """The target error of the prediction “always zero” on full prompts: mean of y_q² / d."""
    return float(prompts.answers[:, -1].square().mean()) / prompts.tokens.shape[-1]


@torch.no_grad()
def query_share(model: LoopedTransformer, prompts: Prompts) -> np.ndarray:
    """(V,): the query's part of the squared error over all x-tokens, in the last iteration.

    1 / (n + 1) where the query is as hard as any other x-token; near 1 where the answers to the
    others are read off the prompt.
    """
    tokens, answers = (part.to(next(model.parameters()).device) for part in prompts)
    errors = (model(tokens)[-1] - answers).square().mean(dim=1)
    return (errors[:, -1] / errors.sum(dim=1)).numpy(force=True)


@torch.no_grad()
def attention_maps(
    model: LoopedTransformer,
    tokens: torch.Tensor,
    part: Callable[[torch.Tensor], torch.Tensor] = lambda maps: maps,
) -> torch.Tensor:
    """(T, layers, V, B, H, L, L): how much each token of tokens (B, L, d) draws on each other.

    part keeps a part of each block's maps (V, B, H, L, L) where the whole is too much to hold.
    """
    kept, n_tokens, device = [], tokens.shape[1], next(model.parameters()).device

    def keep(attention, inputs):
        z, scores, _ = inputs
        kept.append(part(attention.weights(z, scores)[..., :n_tokens, :n_tokens]))

    hooks = [block.attention.register_forward_pre_hook(keep) for block in model.blocks]
    try:
        model(tokens.to(device), QUERY)
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack(kept).unflatten(0, (-1, len(model.blocks)))


def leak(model: LoopedTransformer, prompts: Prompts) -> torch.Tensor:
    """(V, T, layers, H): the attention weight from x_i to its own y_i, mean over i and prompts.

    0 under a causal mask; 1 / (2 n + 1) where attention is uniform.
    """

    def to_own_answer(maps):
        return maps[..., X_TOKENS, 1::2].diagonal(dim1=-2, dim2=-1).mean(dim=(1, 3))

    return attention_maps(model, prompts.tokens, part=to_own_answer).permute(2, 0, 1, 3).cpu()


@torch.no_grad()
def planted_errors(model: LoopedTransformer, prompts: Prompts, i: int) -> np.ndarray:
    """(V, 3): squared errors / d of the prediction at x_i, counted from 0, mean over prompts.

    Against the true answer with y_i in the prompt; against the true one once y_i is replaced by
    another prompt's; and then against the replacement. A model that copies scores 0, much, 0.
    """
    planted = prompts.answers[:, i].roll(1)
    replaced = prompts.tokens.clone()
    replaced[:, 2 * i + 1, 0] = planted
    before, after = (model(tokens)[-1, :, :, i] for tokens in (prompts.tokens, replaced))
    pairs = [(before, prompts.answers[:, i]), (after, prompts.answers[:, i]), (after, planted)]
    errors = [(prediction - answer).square().mean(dim=1) for prediction, answer in pairs]
    return (torch.stack(errors, dim=1) / prompts.tokens.shape[-1]).numpy()


def resampled_means(errors: np.ndarray) -> np.ndarray:
    """Means of errors (…, B) over B prompts drawn with replacement, 1 000 times; seeded.

    (…, 1000). Every row and every call draws the same prompts, so that means are paired.
    """
    n = errors.shape[-1]
    counts = generator(BOOTSTRAP, 0).multinomial(n, np.full(n, 1 / n), size=1000)
    return errors @ counts.T / n


def interval(resampled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 95 % percentile interval over the last axis: low, high."""
    return np.quantile(resampled, 0.025, axis=-1), np.quantile(resampled, 0.975, axis=-1)


def bootstrap_mean(errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 95 % interval of the mean of errors (…, B) over prompts: low, high, each (…)."""
    return interval(resampled_means(errors))


def bootstrap_ratio(
    errors: np.ndarray, others: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """mean of errors / mean of others, both (…, B) on the same prompts, and its 95 % interval.

    Ratio, low, high, each (…). Paired: a resample draws the same prompts for both.
    """
    ratio = errors.mean(axis=-1) / others.mean(axis=-1)
    return ratio, *interval(resampled_means(errors) / resampled_means(others))


def errors_table(
    model: LoopedTransformer, prompts: Prompts, ks: Sequence[int], loops: int
) -> pd.DataFrame:
    """Tidy rows (variant, loops, k, error, low, high): mean over prompts and its interval."""
    errors = target_errors(model, prompts, ks, loops)
    low, high = bootstrap_mean(errors)
    mean = errors.mean(axis=-1)
    return pd.DataFrame(
        [
            (variant.name, loops, k, mean[v, i], low[v, i], high[v, i])
            for v, variant in enumerate(model.variants)
            for i, k in enumerate(ks)
        ],
        columns=["variant", "loops", "k", "error", "low", "high"],
    )


def interval_over_seeds(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and 95 % Student-t interval of independent values; (mean, nan, nan) below two.

    For the three to ten seeds of a grid a percentile bootstrap is too narrow.
    """
    values = np.asarray(values, dtype=float)
    mean = float(values.mean()) if len(values) else float("nan")
    if len(values) < 2:
        return mean, float("nan"), float("nan")
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return mean, float(mean - half), float(mean + half)


# Reference solvers: x (B, k, d), y (B, k), query (B, d) -> ŷ_q (B,), k ≥ 1.


def least_squares(x: np.ndarray, y: np.ndarray, query: np.ndarray) -> np.ndarray:
    """ŵ = X⁺ y, the minimum-norm solution where k < d; exact for k ≥ d without noise."""
    return np.einsum("bd,bdk,bk->b", query, np.linalg.pinv(x), y)


def ridge(x: np.ndarray, y: np.ndarray, query: np.ndarray) -> np.ndarray:
    """ŵ = (Xᵀ X + λ I)⁻¹ Xᵀ y with λ = 0.1 (our choice)."""
    gram = x.swapaxes(1, 2) @ x + 0.1 * np.eye(x.shape[-1])
    w = np.linalg.solve(gram, x.swapaxes(1, 2) @ y[..., None])
    return (query[:, None] @ w)[:, 0, 0]


def averaging(x: np.ndarray, y: np.ndarray, query: np.ndarray) -> np.ndarray:
    """ŵ = mean of x_i y_i (Garg et al. 2022, §3)."""
    return np.einsum("bd,bkd,bk->b", query, x, y) / x.shape[1]


def nearest_neighbours(x: np.ndarray, y: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Mean answer of the 3 examples nearest to the query (Garg et al. 2022, §3)."""
    distance = ((x - query[:, None]) ** 2).sum(-1)
    nearest = np.argsort(distance, axis=1, kind="stable")[:, :3]
    return np.take_along_axis(y, nearest, axis=1).mean(axis=1)


def sums(x: np.ndarray, y: np.ndarray, query: np.ndarray) -> np.ndarray:
    """ŵ = s t / ‖s‖² with s = Σ x_i, t = Σ y_i: the minimum-norm solution of s · w = t.

    It needs no knowledge of which y belongs to which x, and scores 1 - 1/d of zero's error.
    """
    total = x.sum(axis=1)
    return (query * total).sum(-1) * y.sum(axis=1) / (total**2).sum(-1)


def zero(x: np.ndarray, y: np.ndarray, query: np.ndarray) -> np.ndarray:
    """ŷ = 0, which scores E y² / d = 1."""
    return np.zeros(len(query))


def lasso(x: np.ndarray, y: np.ndarray, query: np.ndarray) -> np.ndarray:
    """argmin ‖y - Xw‖² / 2k + λ ‖w‖₁ with λ = 0.01 (our choice), by scikit-learn, per prompt."""
    return _one_by_one(Lasso(alpha=0.01, fit_intercept=False, max_iter=10_000), x, y, query)


def greedy_tree(x: np.ndarray, y: np.ndarray, query: np.ndarray) -> np.ndarray:
    """A regression tree grown greedily to pure leaves, by scikit-learn, per prompt."""
    return _one_by_one(DecisionTreeRegressor(random_state=0), x, y, query)


def _one_by_one(model, x: np.ndarray, y: np.ndarray, query: np.ndarray) -> np.ndarray:
    """The predictions of a scikit-learn model that is fitted to each prompt anew."""
    return np.array([model.fit(*prompt).predict(q[None])[0] for *prompt, q in zip(x, y, query)])


def gradient_descent(x: np.ndarray, y: np.ndarray, query: np.ndarray) -> np.ndarray:
    """The sampler's ReLU network, drawn anew and fitted by Adam, all prompts side by side.

    300 full-batch steps at 0.005 are our choice (Garg et al. 2022 take 5 000 small batches).
    """
    rng, hidden = generator(BOOTSTRAP, 1), HIDDEN
    v = rng.standard_normal((len(x), hidden, x.shape[-1]))
    a = np.sqrt(2 / hidden) * rng.standard_normal((len(x), hidden, 1))
    parameters = [torch.tensor(p, dtype=torch.float32, requires_grad=True) for p in (v, a)]
    examples, answers, last = (torch.from_numpy(p).float() for p in (x, y, query[:, None]))

    def predict(points):
        return ((points @ parameters[0].mT).relu() @ parameters[1])[..., 0]

    optimiser = torch.optim.Adam(parameters, lr=5e-3)
    for _ in range(300):
        optimiser.zero_grad()
        (predict(examples) - answers).square().mean(dim=1).sum().backward()
        optimiser.step()
    return predict(last)[:, 0].detach().double().numpy()


REFERENCE_SOLVERS = {
    "least squares": least_squares,
    "ridge": ridge,
    "averaging": averaging,
    "3 nearest neighbours": nearest_neighbours,
    "sums": sums,
    "zero": zero,
}
# The solver that fits a function class, beside those above: slow, so for few prompts and lengths.
FITTING_SOLVERS = {
    "sparse": {"lasso": lasso},
    "network": {"gradient descent": gradient_descent},
    "tree": {"greedy tree": greedy_tree},
}


def reference_errors(
    prompts: Prompts, ks: Sequence[int], solvers: dict = REFERENCE_SOLVERS
) -> pd.DataFrame:
    """Tidy rows (solver, k, error): mean over prompts of (ŷ_q - y_q)² / d, in float64.

    Without examples (k = 0) every solver predicts zero.
    """
    x, y = prompts.tokens[:, 0::2].double().numpy(), prompts.answers.double().numpy()
    rows = []
    for name, solve in solvers.items():
        for k in ks:
            residual = (solve if k else zero)(x[:, :k], y[:, :k], x[:, k]) - y[:, k]
            rows.append((name, k, (residual**2).mean() / x.shape[-1]))
    return pd.DataFrame(rows, columns=["solver", "k", "error"])
