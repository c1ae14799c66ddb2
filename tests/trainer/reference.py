"""Transformer layers in float64 NumPy, written from their papers' formulas."""

import numpy as np
from scipy.special import erf

Weights = dict[str, np.ndarray]


def gelu(x: np.ndarray) -> np.ndarray:
    # Keras' activation="gelu" is the exact one, by the error function.
    return np.asarray(x * 0.5 * (1 + erf(x / np.sqrt(2))))


def softmax(x: np.ndarray) -> np.ndarray:
    powers = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))


def layer_norm(x: np.ndarray, w: Weights, name: str, epsilon: float) -> np.ndarray:
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    normed = (x - mean) / np.sqrt(variance + epsilon)
    return np.asarray(normed * w[f"{name}/gamma"] + w[f"{name}/beta"])


def dense(x: np.ndarray, w: Weights, name: str) -> np.ndarray:
    return np.asarray(x @ w[f"{name}/kernel"] + w[f"{name}/bias"])


def attention(
    queries: np.ndarray, keys: np.ndarray, mask: np.ndarray, w: Weights, name: str
) -> np.ndarray:
    """Multi-head attention, Vaswani et al. 2017; mask bool [batch, keys]."""

    def heads(x: np.ndarray, part: str) -> np.ndarray:
        kernel = w[f"{name}/{part}/kernel"]  # [dim, heads, size]
        return np.einsum("bsd,dhk->bhsk", x, kernel) + w[f"{name}/{part}/bias"][:, None]

    q, k, v = heads(queries, "query"), heads(keys, "key"), heads(keys, "value")
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])
    scores = np.where(mask[:, None, None], scores, -np.inf)
    mixed = softmax(scores) @ v
    out = np.einsum("bhsk,hkd->bsd", mixed, w[f"{name}/attention_output/kernel"])
    return np.asarray(out + w[f"{name}/attention_output/bias"])


def block(
    x: np.ndarray, mask: np.ndarray, w: Weights, name: str, norms: tuple[str, str]
) -> np.ndarray:
    """Pre-norm transformer layer, Xiong et al. 2020, without dropout."""
    normed = layer_norm(x, w, f"{name}/{norms[0]}", 1e-6)
    x = x + attention(normed, normed, mask, w, f"{name}/attention")
    hidden = gelu(dense(layer_norm(x, w, f"{name}/{norms[1]}", 1e-6), w, f"{name}/up"))
    return x + dense(hidden, w, f"{name}/down")
