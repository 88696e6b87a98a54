"""The recurrences in PyTorch without a loop over time: y_t = a_t·y_{t+1} + b_t by doubling (Hillis and Steele, 1986), log₂ T passes over whole tensors.

For rows whose padding is on the right, as those of the suite: a valid token's next value is that of the next column.
"""
import torch

from torch_functions import masked_whiten, renamed


def scan_backwards(a, b):
    """y_t = a_t·y_{t+1} + b_t along the rows, 0 behind the last column."""
    time, by = a.shape[1], 1
    while by < time:
        kept = time - by
        b = torch.cat([torch.addcmul(b[:, :kept], a[:, :kept], b[:, by:]), b[:, kept:]], 1)
        if 2 * by < time:
            a = torch.cat([a[:, :kept] * a[:, by:], a[:, kept:]], 1)
        by *= 2
    return b


def following(x, valid, last):
    """The next column, and `last` behind the last valid one."""
    behind = torch.cat([x[:, 1:], x[:, -1:]], 1)
    follows = torch.cat([valid[:, 1:], torch.zeros_like(valid[:, :1])], 1)
    return torch.where(follows, behind, last)


def gae(inputs, gamma, lambda_, whiten):
    rewards, values, mask = inputs["rewards"], inputs["values"], inputs["mask"]
    valid = mask.bool()
    live = valid * (1 - inputs["ends"].float()) if "ends" in inputs else valid.float()
    next_value = following(values, valid, torch.zeros_like(values[:, :1]))
    delta = (rewards + gamma * next_value * live - values) * valid
    advantages = scan_backwards(gamma * lambda_ * live, delta)
    returns = (advantages + values) * valid
    return {"advantages": masked_whiten(advantages, mask.float()) if whiten else advantages, "returns": returns}


def discounted_return(inputs, gamma):
    mask = inputs["mask"].float()
    return {"returns": scan_backwards(gamma * mask, inputs["rewards"] * mask)}


def vtrace(inputs, gamma, lambda_, clipRho, clipC, clipPgRho):
    rewards, values, valid, last = inputs["rewards"], inputs["values"], inputs["mask"].bool(), inputs["bootstrap"][:, None]
    ratio = (inputs["targetLogProbs"] - inputs["behaviourLogProbs"]).exp()
    delta = ratio.clamp(max=clipRho) * (rewards + gamma * following(values, valid, last) - values) * valid
    targets = values + scan_backwards(ratio.clamp(max=clipC) * (gamma * lambda_) * valid, delta)
    advantages = ratio.clamp(max=clipPgRho) * (rewards + gamma * following(targets, valid, last) - values)
    return {"targets": targets * valid, "advantages": advantages * valid}


def affine_scan(inputs):
    return {"out": scan_backwards(inputs["a"], inputs["b"])}


DOUBLING = {function.__name__: renamed(function) for function in (gae, discounted_return, vtrace, affine_scan)}
