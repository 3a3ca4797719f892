"""Module 5: ratio, clipping, lag. What is left out, and what is graded."""

import math
import random
from unittest import mock

import torch
from grading import Check

BLANKS = {
    "grpo.py": [
        "policy_loss",
        "mean_of_answer",
        "other_objective",
        "importance_weights",
        "kl_estimate",
    ]
}
MASK = torch.tensor([[0.0, 0, 1, 1, 1, 1], [0, 1, 1, 1, 1, 0], [0, 0, 1, 1, 1, 1]])
LOW, HIGH, RATIO_MAX, LIMIT = 0.15, 0.3, 5.0, 2.0


# What is compared: a part of what policy_loss returns, its gradient, own tokens


def weighted_sum(values, mask, weights):
    return (torch.where(mask > 0, values, 0.0).sum(1) * weights).sum()


def helped(function):
    """The function in a file whose weighted_sum is right: module 4 grades that."""

    def call(*case):
        with mock.patch.dict(function.__globals__, weighted_sum=weighted_sum):
            return function(*case)

    return call


def part(number: int):
    """Of policy_loss: 0 the loss, 1 the ratio, 2 what is cut."""
    return lambda function: lambda *case: helped(function)(*case)[number]


def gradient(function):
    """Of the loss, on logp; 0 if none flows."""

    def call(logp, *rest):
        logp = logp.clone().requires_grad_()
        loss = helped(function)(logp, *rest)[0]
        if not loss.requires_grad:
            return torch.zeros_like(logp)
        return torch.autograd.grad(loss, logp)[0]

    return call


def of_own_tokens(function):
    """Weights but for masked cells: theirs may be anything."""
    return lambda x, mask, *rest: function(x, mask, *rest)[mask > 0]


# Cases


def near(rng: random.Random, centres: tuple[float, ...], shift: float = 0.0):
    """Log-ratios of an answer: these in some order, each a little off."""
    row = [x + shift + rng.uniform(-0.02, 0.02) for x in centres]
    return torch.tensor(rng.sample(row, len(row)))


def batches(kind: str, *centres: float, shifts=(0.0, 0.0, 0.0)):
    """Cases of policy_loss: three answers, the second a bad one. Masked cells hold
    numbers in the first batch, and NaN in the second."""

    def cases(rng: random.Random) -> list[tuple]:
        found = []
        for bad in (-3.0, math.nan):
            logp = torch.tensor([[rng.uniform(-2, -1) for _ in MASK[0]] for _ in MASK])
            old = logp.clone()
            for b, shift in enumerate(shifts):
                old[b, MASK[b] > 0] -= near(rng, centres, shift)
            advantages = [sign * rng.uniform(0.5, 2) for sign in (1, -1, 1)]
            weights = [rng.uniform(0.1, 0.3) for _ in MASK]
            logp[MASK == 0] = bad
            columns = torch.tensor(advantages), MASK, torch.tensor(weights)
            found.append((logp, old, *columns, kind, LOW, HIGH))
        return found

    return cases


CLIP = batches("clip", -0.6, -0.08, 0.2, 0.6)  # 0.2 is between 1.15 and 1.3
CISPO = batches("cispo", -1.0, 0.1, 1.0, 2.0)  # 2 is above the cap
GSPO = batches("gspo", -0.3, -0.1, 0.1, 0.3, shifts=(0.08, 0.5, 0.5))


def sampled(*kinds: str):
    """Cases of importance_weights, one of each kind; the first answer's product is
    above the limit."""

    def cases(rng: random.Random) -> list[tuple]:
        x = torch.full(MASK.shape, 0.7)
        for b in range(len(MASK)):
            x[b, MASK[b] > 0] = near(rng, (1.0, -0.9, -0.1, 0.15), 0.0 if b else 0.25)
        return [(x, MASK, kind, LIMIT) for kind in kinds]

    return cases


def two_policies(rng: random.Random) -> list[tuple]:
    """Log-probabilities under both, asked for each estimate."""
    rows = [torch.tensor([[rng.uniform(-3, 0) for _ in "abcde"]]) for _ in "ab"]
    return [(*rows, kind) for kind in ("k1", "k2", "k3")]


# The plain way of policy_loss: answer by answer, token by token


def each(new, old):
    return [(a - b).exp() for a, b in zip(new, old, strict=True)]


def geometric(new, old):
    return [(sum(new - old) / len(new)).exp()] * len(new)


def bounded(r, low: float = LOW, high: float = HIGH):
    if r < 1 - low:
        return 1 - low
    return 1 + high if r > 1 + high else r


def clip(r, a, logp=None, low: float = LOW, high: float = HIGH):
    free, held = r * a, bounded(r, low, high) * a
    return free if free <= held else held


def cispo(r, a, logp, cap: float = RATIO_MAX):
    return min(r.item(), cap) * a * logp


def is_cut(r, a, high: float = HIGH) -> bool:
    return r > 1 + high if a > 0 else r < 1 - LOW


def loss_by(pull=clip, ratio=each, cut=is_cut, padding: bool = False):
    """policy_loss by what a token adds to the objective, (ratio, A, log pi) -> J, and
    an answer's ratios. With padding, masked cells are tokens too."""

    def policy_loss(logp, old_logp, advantages, mask, weights, *_):
        loss, ratios = torch.zeros(()), torch.ones_like(logp)
        cuts = torch.zeros_like(mask)
        for b, a in enumerate(advantages.tolist()):
            places = [t for t in range(len(mask[b])) if padding or mask[b, t] > 0]
            found = ratio(logp[b, places], old_logp[b, places])
            for t, r in zip(places, found, strict=True):
                loss = loss - weights[b] * pull(r, a, logp[b, t])
                ratios[b, t], cuts[b, t] = r.detach(), cut(r, a)
        return loss, ratios, cuts

    return policy_loss


def mean_of_tokens(logp, old_logp, advantages, mask, weights, *rest):
    same = torch.full_like(weights, 1 / mask.sum().item())
    return loss_by()(logp, old_logp, advantages, mask, same)


def masked_late(logp, old_logp, advantages, mask, weights, *_):
    """The mask comes after exp: 0 times the gradient of NaN is NaN."""
    r, a = (logp - old_logp).exp(), advantages[:, None]
    pull = torch.minimum(r * a, r.clamp(1 - LOW, 1 + HIGH) * a)
    return -weighted_sum(pull, mask, weights), r


def weights_by(rule, padding: bool = False):
    """importance_weights by a rule from an answer's log-ratios and a token's place."""

    def weights(log_ratio, mask, kind, limit):
        found = torch.ones_like(log_ratio)
        for b in range(len(mask)):
            places = [t for t in range(len(mask[b])) if padding or mask[b, t] > 0]
            x = log_ratio[b, places].tolist()
            for i, t in enumerate(places):
                found[b, t] = rule(x, i, kind)
        return found

    return weights


def token(x: list[float], i: int, kind: str = "", limit: float = LIMIT) -> float:
    return min(math.exp(x[i]), limit)


def product(x: list[float], i: int, kind: str, factor=math.exp, limit=LIMIT) -> float:
    chosen = x if kind == "sequence" else x[: i + 1]
    return min(math.prod(factor(y) for y in chosen), limit)


def k(x: float, kind: str) -> float:
    return {"k1": x, "k2": x**2 / 2, "k3": math.exp(-x) - 1 + x}[kind]


def kl_by(rule):
    """kl_estimate by a rule of one log-ratio."""
    return lambda logp, ref_logp, kind: torch.tensor(
        [[rule(x, kind) for x in row] for row in (logp - ref_logp).tolist()]
    )


CHECKS = [
    Check(
        "grpo.policy_loss",
        "clip: the ratio",
        2,
        CLIP,
        loss_by(),
        {
            "your ratio is always 1: old_logp was recorded while sampling, it is not "
            "logp.detach()": loss_by(ratio=lambda new, old: new - new + 1),
            "the ratio is upside down: it is exp(logp - old_logp)": loss_by(
                ratio=lambda new, old: each(old, new)
            ),
            "you divide log-probabilities: exp(logp - old_logp) divides "
            "probabilities": loss_by(ratio=lambda new, old: new / old),
            "exp is missing: that is the log-ratio": loss_by(
                ratio=lambda new, old: new - old
            ),
            "you return one ratio an answer: that is gspo": loss_by(ratio=geometric),
            "where the mask is 0 the ratio is 1": loss_by(padding=True),
        },
        through=part(1),
    ),
    Check(
        "grpo.policy_loss",
        "clip: the loss",
        3,
        CLIP,
        loss_by(),
        {
            "the sign is turned: an optimizer makes a loss smaller": loss_by(
                lambda r, a, _: -clip(r, a)
            ),
            "that is the loss of ratios of 1: the recorded old_logp is not in it": (
                loss_by(lambda r, a, _: a)
            ),
            "nothing is clipped": loss_by(lambda r, a, _: r * a),
            "you take what is clipped: it is the minimum of clipped and not": loss_by(
                lambda r, a, _: bounded(r) * a
            ),
            "you take the maximum of clipped and not": loss_by(
                lambda r, a, _: -clip(r, -a)
            ),
            "above 1 you clip by clip_low: clip_high is another number": loss_by(
                lambda r, a, _: clip(r, a, high=LOW)
            ),
            "masked cells are in the loss": loss_by(padding=True),
            "you take a mean over tokens: the weights say what a token counts": (
                mean_of_tokens
            ),
        },
        through=part(0),
    ),
    Check(
        "grpo.policy_loss",
        "clip: its gradient on logp",
        3,
        CLIP,
        loss_by(),
        {
            "no gradient flows: the ratio of the loss is detached": loss_by(
                lambda r, a, _: clip(r.detach(), a)
            ),
            "that is the gradient of A log pi: the ratio to the recorded old_logp is "
            "not in it": loss_by(lambda r, a, logp: a * logp),
            "the sign is turned: better answers become rarer": loss_by(
                lambda r, a, _: -clip(r, a)
            ),
            "tokens that are cut still pull": loss_by(lambda r, a, _: r * a),
            "a ratio on the wrong side must pull back: take the minimum of clipped "
            "and not": loss_by(lambda r, a, _: bounded(r) * a),
            "above 1 you clip by clip_low: clip_high is another number": loss_by(
                lambda r, a, _: clip(r, a, high=LOW)
            ),
            "a NaN in a masked cell reaches the gradient: mask the log-ratio with "
            "torch.where, before exp": masked_late,
        },
        through=gradient,
    ),
    Check(
        "grpo.policy_loss",
        "clip: which tokens are cut",
        1,
        CLIP,
        loss_by(),
        {
            "not every ratio outside the range is cut: where the minimum is the "
            "unclipped one it pulls": loss_by(cut=lambda r, a: bounded(r) != r),
            "above 1 you cut by clip_low": loss_by(cut=lambda r, a: is_cut(r, a, LOW)),
            "masked cells are no tokens: nothing is cut there": loss_by(padding=True),
        },
        through=part(2),
    ),
    Check(
        "grpo.policy_loss",
        "cispo: its gradient on logp",
        2,
        CISPO,
        loss_by(cispo),
        {
            "the weight is not detached: only log pi carries a gradient": loss_by(
                lambda r, a, logp: min(r, RATIO_MAX) * a * logp
            ),
            "a capped token must pull too: the capped ratio is a detached weight of "
            "log pi": loss_by(lambda r, a, _: min(r, RATIO_MAX) * a),
            "that is clip: cispo drops no token": loss_by(),
            "the weight has no cap": loss_by(
                lambda r, a, logp: cispo(r, a, logp, math.inf)
            ),
            "the cap is RATIO_MAX, not 1 + clip_high": loss_by(
                lambda r, a, logp: cispo(r, a, logp, 1 + HIGH)
            ),
            "the weight is missing: that is reinforce": loss_by(
                lambda r, a, logp: a * logp
            ),
        },
        through=gradient,
    ),
    Check(
        "grpo.policy_loss",
        "gspo: its gradient on logp",
        2,
        GSPO,
        loss_by(ratio=geometric),
        {
            "that is the gradient of A log pi: there is no ratio in it": loss_by(
                lambda r, a, logp: a * logp
            ),
            "each token has its own ratio: gspo has one an answer": loss_by(),
            "the root is missing: the product of an answer's ratios, to 1 / n": loss_by(
                ratio=lambda new, old: [sum(new - old).exp()] * len(new)
            ),
            "n is the answer's own tokens, not the padded length": loss_by(
                ratio=lambda new, old: (
                    [(sum(new - old) / MASK.shape[1]).exp()] * len(new)
                )
            ),
            "you average ratios: it is log-ratios that are averaged": loss_by(
                ratio=lambda new, old: [sum(each(new, old)) / len(new)] * len(new)
            ),
        },
        through=gradient,
    ),
    Check(
        "grpo.importance_weights",
        "token: capped",
        1,
        sampled("token"),
        weights_by(token),
        {
            "the weights have no limit": weights_by(lambda *at: token(*at, math.inf)),
            "they are upside down: w is exp(log_ratio)": weights_by(
                lambda x, i, kind: token([-y for y in x], i)
            ),
            "small weights stay small: the limit is only above": weights_by(
                lambda *at: max(token(*at), 1 / LIMIT)
            ),
            "above the limit the weight is the limit; 0 is mask (IcePop)": weights_by(
                lambda *at: token(*at) if token(*at) < LIMIT else 0.0
            ),
        },
        through=of_own_tokens,
    ),
    Check(
        "grpo.importance_weights",
        "prefix and sequence: of products",
        1,
        sampled("prefix", "sequence"),
        weights_by(product),
        {
            "each token has only its own weight: multiply": weights_by(token),
            "masked cells are in the product": weights_by(product, padding=True),
            "the products have no limit": weights_by(
                lambda *at: product(*at, limit=math.inf)
            ),
            "the limit is of the product, not of each factor": weights_by(
                lambda *at: product(*at, lambda y: token([y], 0))
            ),
            "a prefix ends with the token itself, yours before it": weights_by(
                lambda x, i, kind: product([0.0, *x], i, kind)
            ),
        },
        through=of_own_tokens,
    ),
    Check(
        "grpo.kl_estimate",
        "k1, k2 and k3",
        2,
        two_policies,
        kl_by(k),
        {
            "k1 stands for k3: add exp(-x) - 1": kl_by(
                lambda x, kind: k(x, "k1" if kind == "k3" else kind)
            ),
            "x is the wrong way round: it is log pi - log ref": kl_by(
                lambda x, kind: k(-x, kind)
            ),
            "the sign in k3 is turned: it is exp(-x) - 1 + x": kl_by(
                lambda x, kind: k(-x if kind == "k3" else x, kind)
            ),
            "k2 lacks its half": kl_by(
                lambda x, kind: k(x, kind) * (1 + (kind == "k2"))
            ),
        },
    ),
    Check(
        "answers.may_clip",
        "No lag, {0} updates on each batch. In which share of all updates can the clip "
        "act at all? (three decimals)",
        1,
        lambda rng: [(rng.randrange(3, 30),)],
        lambda n: 1 - 1 / n,
        {
            "that is the share in which it cannot": lambda n: 1 / n,
            "in the first update on a batch every ratio is 1": lambda n: 1.0,
        },
        tolerance=2e-3,
    ),
    Check(
        "answers.stops",
        "A token's advantage is positive, clip_high is {0}. From which logp - old_logp "
        "on does it pull no more? (three decimals)",
        1,
        lambda rng: [(rng.randrange(15, 60) / 100,)],
        lambda high: math.log(1 + high),
        {
            "that is where the ratio is 1 + clip_high; take its log": lambda h: 1 + h,
            "log(1 + x) is smaller than x": lambda high: high,
        },
        tolerance=2e-3,
    ),
    Check(
        "answers.whole",
        "Each of the {0} tokens of an answer has logp - old_logp = {1}. What is the "
        "ratio of the whole answer? (three digits)",
        1,
        lambda rng: [(rng.randrange(40, 60), rng.choice([0.03, 0.04]))],
        lambda n, x: math.exp(n * x),
        {
            "that is one token's, and GSPO's: ratios multiply": lambda n, x: math.exp(
                x
            ),
            "logs add, ratios multiply: exp is missing": lambda n, x: n * x,
        },
        tolerance=5e-3,
    ),
]
