"""Every fusion against its paper's formula in float64 NumPy, for every input subset."""

import itertools
from typing import Any

import numpy as np
import pytest

from tests.trainer import reference as r
from tests.trainer.fusion_cases import NAMES, ROWS, batch, built, fuse

SUBSETS = [list(s) for s in itertools.product([False, True], repeat=3)]


def weights_of(case: str) -> r.Weights:
    return {v.path: np.asarray(v, np.float64) for v in built(case).variables}


def given(one: dict[str, Any], part: str, name: str) -> np.ndarray:
    return np.asarray(one[f"{name}_{part}"], np.float64)


def shown(one: dict[str, Any], w: r.Weights) -> list[np.ndarray]:
    """The pooled vectors, with the missing tokens where the case has them."""
    present = one["present"].numpy()
    return [
        np.where(
            present[:, i, None],
            given(one, "pooled", n),
            w.get(f"{n}_missing/token", np.zeros(1)),
        )
        for i, n in enumerate(NAMES)
    ]


def agrees(case: str, one: dict[str, Any], wanted: np.ndarray) -> None:
    np.testing.assert_allclose(fuse(case, one), wanted, rtol=1e-4, atol=2e-5)


def test_concat() -> None:
    one, w = batch([True, False, True]), weights_of("concat")
    joined = np.concatenate([*shown(one, w), one["present"].numpy()], -1)
    normed = r.layer_norm(joined, w, "fusion.norm", 1e-3)
    hidden = r.gelu(r.dense(normed, w, "fusion.dense_0"))
    agrees("concat", one, r.gelu(r.dense(hidden, w, "fusion.out")))


@pytest.mark.parametrize("present", SUBSETS[1:])
def test_gates_are_a_softmax_over_what_is_there(present: list[bool]) -> None:
    one, w = batch(present), weights_of("gated")
    vectors = shown(one, w)
    scores = r.dense(np.concatenate(vectors, -1), w, "fusion.gate")
    powers = np.exp(scores) * np.array(present)
    gates = powers / powers.sum(-1, keepdims=True)
    np.testing.assert_allclose(gates.sum(-1), 1.0)
    parts = [
        gates[:, i, None] * np.tanh(r.dense(vectors[i], w, f"fusion.{n}.hidden"))
        for i, n in enumerate(NAMES)
    ]
    agrees("gated", one, np.sum(parts, axis=0))


@pytest.mark.parametrize("present", SUBSETS)
def test_low_rank_is_a_sum_of_products(present: list[bool]) -> None:
    one, w = batch(present), weights_of("low_rank")
    total = np.zeros((ROWS, 6))
    for rank in range(3):
        product = np.ones((ROWS, 6))
        for name, there in zip(NAMES, present, strict=True):
            if there:
                # W [z; 1]: the bias is the weight of the appended 1.
                matrix = np.concatenate(
                    [
                        w[f"fusion.{name}.factors/kernel"],
                        w[f"fusion.{name}.factors/bias"][None],
                    ]
                )[:, 6 * rank : 6 * rank + 6]
                z = np.concatenate([given(one, "pooled", name), np.ones((ROWS, 1))], 1)
                product = product * (z @ matrix)
        total += product
    agrees("low_rank", one, r.layer_norm(total, w, "fusion.norm", 1e-3))


def test_low_rank_is_the_contraction_of_the_whole_tensor() -> None:
    """W = sum_r w_a^r x w_b^r x w_c^r, and h = W . ([a;1] x [b;1] x [c;1])."""
    one, w = batch([True] * 3), weights_of("low_rank")
    vectors, factors = [], []
    for name in NAMES:
        kernel = w[f"fusion.{name}.factors/kernel"]
        bias = w[f"fusion.{name}.factors/bias"]
        factors.append(np.concatenate([kernel, bias[None]]).reshape(5, 3, 6))
        ones = np.ones((ROWS, 1))
        vectors.append(np.concatenate([given(one, "pooled", name), ones], 1))
    tensor = np.einsum("iro,jro,kro->ijko", *factors)
    whole = np.einsum("bi,bj,bk,ijko->bo", *vectors, tensor)
    agrees("low_rank", one, r.layer_norm(whole, w, "fusion.norm", 1e-3))


@pytest.mark.parametrize("case", ["film", "film_of_b"])
@pytest.mark.parametrize("present", SUBSETS)
def test_film_scales_and_shifts(case: str, present: list[bool]) -> None:
    one, w = batch(present), weights_of(case)
    vectors = dict(zip(NAMES, shown(one, w), strict=True))
    modulated = []
    for target in NAMES if case == "film" else ["b"]:
        scale, shift = np.ones((ROWS, 6)), np.zeros((ROWS, 6))
        for name, there in zip(NAMES, present, strict=True):
            if name != target and there:
                both = r.dense(vectors[name], w, f"fusion.{name}.to.{target}")
                scale, shift = scale + both[:, :6], shift + both[:, 6:]
        modulated.append(
            scale * r.dense(vectors[target], w, f"fusion.{target}.features") + shift
        )
    normed = r.layer_norm(np.concatenate(modulated, -1), w, "fusion.norm", 1e-6)
    agrees(case, one, r.gelu(r.dense(normed, w, "fusion.out")))


def stream(one: dict[str, Any], w: r.Weights, name: str, pooled: np.ndarray) -> Any:
    """Projected pooled vector and tokens [batch, 1 + tokens, dim], and their mask."""
    both = np.concatenate([pooled[:, None], given(one, "tokens", name)], 1)
    mask = np.asarray(one[f"{name}_mask"])
    mask = np.concatenate([np.ones((ROWS, 1), bool), mask], 1)
    return r.dense(both, w, f"fusion.{name}.project"), mask


def seen_tokens(one: dict[str, Any], w: r.Weights, present: list[bool]) -> Any:
    """What attention and Perceiver look at: absent tokens are taken out, not masked."""
    parts, masks = [], []
    vectors = shown(one, w)
    for name, there, pooled in zip(NAMES, present, vectors, strict=True):
        tokens, mask = stream(one, w, name, pooled)
        tokens = tokens + w[f"fusion.{name}.source/source"]
        parts.append(tokens if there else tokens[:, :1])
        masks.append(mask if there else mask[:, :1])
    return np.concatenate(parts, 1), np.concatenate(masks, 1)


NORMS = ("token_norm", "hidden_norm")


@pytest.mark.parametrize("present", SUBSETS)
def test_attention_over_a_fusion_token_and_all_there_is(present: list[bool]) -> None:
    one, w = batch(present), weights_of("attention")
    tokens, mask = seen_tokens(one, w, present)
    token = np.broadcast_to(w["fusion.token/token"], (ROWS, 1, 6))
    tokens = np.concatenate([token, tokens], 1)
    mask = np.concatenate([np.ones((ROWS, 1), bool), mask], 1)
    tokens = r.block(tokens, mask, w, "fusion.block_0", NORMS)
    agrees("attention", one, r.layer_norm(tokens[:, 0], w, "fusion.norm", 1e-6))


@pytest.mark.parametrize("present", SUBSETS[1:])
def test_bottlenecks_are_averaged_over_what_is_there(present: list[bool]) -> None:
    one, w = batch(present), weights_of("bottleneck")
    names = [n for n, there in zip(NAMES, present, strict=True) if there]
    streams = {n: stream(one, w, n, given(one, "pooled", n)) for n in names}
    shared = np.broadcast_to(w["fusion.bottlenecks/token"], (ROWS, 2, 6))
    two = np.ones((ROWS, 2), bool)
    for layer in range(3):
        leaving = []
        for name, (tokens, mask) in streams.items():
            where = f"fusion.{name}.block_{layer}"
            if layer == 0:
                streams[name] = r.block(tokens, mask, w, where, NORMS), mask
                continue
            both = np.concatenate([tokens, shared], 1)
            seen = np.concatenate([mask, two], 1)
            both = r.block(both, seen, w, where, NORMS)
            streams[name] = both[:, :4], mask
            leaving.append(both[:, 4:])
        if leaving:
            shared = np.mean(leaving, axis=0)
    mean = np.mean([tokens[:, 0] for tokens, _ in streams.values()], axis=0)
    agrees("bottleneck", one, r.layer_norm(mean, w, "fusion.norm", 1e-6))


def test_bottlenecks_without_any_input_are_the_norm_of_zero() -> None:
    beta = weights_of("bottleneck")["fusion.norm/beta"]
    agrees("bottleneck", batch([False] * 3), np.tile(beta, (ROWS, 1)))


@pytest.mark.parametrize("present", SUBSETS)
def test_perceivers_latents_read_again_and_again(present: list[bool]) -> None:
    one, w = batch(present), weights_of("perceiver")
    tokens, mask = seen_tokens(one, w, present)
    latents = np.broadcast_to(w["fusion.latents/token"], (ROWS, 2, 6))
    for i in range(2):
        read = f"fusion.read_{i}"
        latents = latents + r.attention(
            r.layer_norm(latents, w, f"{read}/latent_norm", 1e-6),
            r.layer_norm(tokens, w, f"{read}/token_norm", 1e-6),
            mask, w, f"{read}/attention",
        )  # fmt: skip
        normed = r.layer_norm(latents, w, f"{read}/hidden_norm", 1e-6)
        hidden = r.gelu(r.dense(normed, w, f"{read}/up"))
        latents = latents + r.dense(hidden, w, f"{read}/down")
        every = np.ones((ROWS, 2), bool)
        latents = r.block(latents, every, w, f"fusion.block_{i}_0", NORMS)
    agrees("perceiver", one, r.layer_norm(latents.mean(1), w, "fusion.norm", 1e-6))
