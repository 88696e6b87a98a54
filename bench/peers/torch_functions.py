"""The workloads in PyTorch, written plainly: recurrences as a loop over the columns, everything else on whole tensors.

Each function takes the arrays by name and returns its outputs by name. Masks are uint8 [rows, time]; masked positions are passed through and give 0.
"""
import torch

from serve import Skip

# A step is a handful of calls: on a CPU some tens of microseconds, on a GPU as many for the launches alone, several times a benchmark.
LONGEST_LOOP = {"cpu": 16384, "cuda": 2048}


def columns(*arrays):
    """Contiguous columns, last first: a strided view of one column costs a cache line an element."""
    time = arrays[0].shape[1]
    if time > LONGEST_LOOP[arrays[0].device.type]:
        raise Skip(f"a loop of {time} steps")
    return reversed(list(zip(*(array.t().contiguous().unbind(0) for array in arrays))))


def stacked(reversed_columns):
    return torch.stack(reversed_columns[::-1], 1)


def masked_whiten(x, mask):
    """(x - mean) / sqrt(var + 1e-8) over the mask, ddof 1."""
    count = mask.sum()
    mean = (x * mask).sum() / count
    centred = (x - mean) * mask
    variance = centred.square().sum() / (count - 1).clamp(min=1)
    return centred * torch.rsqrt(variance + 1e-8)


def gae(inputs, gamma, lambda_, whiten):
    """A = r + γV' − V + γλA' from the last column on."""
    rewards, values, mask = inputs["rewards"], inputs["values"], inputs["mask"]
    live = 1 - inputs["ends"].float() if "ends" in inputs else torch.ones_like(rewards)
    advantage = next_value = torch.zeros_like(rewards[:, 0])
    out = []
    valid = mask.bool()
    for r, v, m, l in columns(rewards, values, valid, live):
        step = r + gamma * next_value * l - v + gamma * lambda_ * l * advantage
        advantage = torch.where(m, step, advantage)
        next_value = torch.where(m, v, next_value)
        out.append(advantage)
    advantages = stacked(out) * valid
    returns = (advantages + values) * valid
    return {"advantages": masked_whiten(advantages, mask.float()) if whiten else advantages, "returns": returns}


def discounted_return(inputs, gamma):
    rewards, mask = inputs["rewards"], inputs["mask"].bool()
    running, out = torch.zeros_like(rewards[:, 0]), []
    for r, m in columns(rewards, mask):
        running = torch.where(m, r + gamma * running, running)
        out.append(running)
    return {"returns": stacked(out) * mask}


def vtrace(inputs, gamma, lambda_, clipRho, clipC, clipPgRho):
    """Espeholt et al. 2018, all ratios at once, the recurrence as a loop."""
    rewards, values, mask, bootstrap = inputs["rewards"], inputs["values"], inputs["mask"].bool(), inputs["bootstrap"]
    ratio = (inputs["targetLogProbs"] - inputs["behaviourLogProbs"]).exp()
    rho, c, pg = ratio.clamp(max=clipRho), ratio.clamp(max=clipC) * (gamma * lambda_), ratio.clamp(max=clipPgRho)
    difference, next_value, next_target = torch.zeros_like(bootstrap), bootstrap, bootstrap
    targets, advantages = [], []
    for r, v, m, p, k, g in columns(rewards, values, mask, rho, c, pg):
        advantages.append(g * (r + gamma * next_target - v))
        difference = torch.where(m, p * (r + gamma * next_value - v) + k * difference, difference)
        next_value = torch.where(m, v, next_value)
        next_target = torch.where(m, v + difference, next_target)
        targets.append(next_target)
    return {"targets": stacked(targets) * mask, "advantages": stacked(advantages) * mask}


def grouped(inputs, leaveOneOut):
    """GRPO (R − μ)/(σ + 1e-6), or R minus the mean of the other rows, by sums over the groups' indices."""
    mask, groups = inputs["mask"], inputs["groups"].long()
    scores = (inputs["rewards"] * mask).sum(1)
    # No more groups than rows: to ask for the largest index would wait for a GPU.
    total = lambda x: torch.zeros_like(x).index_add_(0, groups, x)
    sizes = total(torch.ones_like(scores))[groups]
    centred = scores - total(scores)[groups] / sizes
    if leaveOneOut:
        value = centred * sizes / (sizes - 1).clamp(min=1)
    else:
        value = centred / ((total(centred.square())[groups] / (sizes - 1).clamp(min=1)).sqrt() + 1e-6)
    return {"advantages": value[:, None] * mask}


def token_log_probs(inputs):
    """In chunks of rows, as trainers do: a table of float32 log-probs for all rows would not fit."""
    logits, ids = inputs["logits"], inputs["ids"].long()
    log_probs, entropy = [], []
    for start in range(0, len(logits), 1024):
        logp = torch.log_softmax(logits[start : start + 1024].float(), -1)
        log_probs.append(logp.gather(-1, ids[start : start + 1024, None]).squeeze(-1))
        entropy.append(-(logp.exp() * logp).sum(-1))
    return {"logProbs": torch.cat(log_probs), "entropy": torch.cat(entropy)}


def affine_scan(inputs):
    running, out = torch.zeros_like(inputs["a"][:, 0]), []
    for a, b in columns(inputs["a"], inputs["b"]):
        running = a * running + b
        out.append(running)
    return {"out": stacked(out)}


def whiten(inputs):
    return {"out": masked_whiten(inputs["x"], inputs["mask"].float())}


def clipped_loss(inputs, clip, klCoefficient):
    """The sum over the mask of −min(ρA, clip(ρ)A) + c·k3, and its gradient."""
    mask, advantages = inputs["mask"].float(), inputs["advantages"]
    log_probs = inputs["logProbs"].detach().requires_grad_()
    ratio = (log_probs - inputs["oldLogProbs"]).exp()
    unclipped, clipped = ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages
    x = inputs["refLogProbs"] - log_probs
    per_token = klCoefficient * (torch.expm1(x) - x) - torch.minimum(unclipped, clipped)
    loss = (per_token * mask).sum()
    (gradient,) = torch.autograd.grad(loss, log_probs)
    share = ((clipped < unclipped) * mask).sum() / mask.sum().clamp(min=1)
    return {"loss": loss[None], "clipRatio": share[None], "gradient": gradient}


def logits_loss(inputs, clip):
    """The sum over rows of −min(ρA, clip(ρ)A), and its gradient in the logits."""
    logits = inputs["logits"].detach().requires_grad_()
    logp = torch.log_softmax(logits.float(), -1).gather(-1, inputs["ids"].long()[:, None]).squeeze(-1)
    ratio = (logp - inputs["oldLogProbs"]).exp()
    loss = -torch.minimum(ratio * inputs["advantages"], ratio.clamp(1 - clip, 1 + clip) * inputs["advantages"]).sum()
    (gradient,) = torch.autograd.grad(loss, logits)
    return {"gradient": gradient}


def renamed(function):
    """`lambda` is a word of the language: it comes as lambda_."""
    return lambda inputs, **parameters: function(inputs, **{("lambda_" if name == "lambda" else name): value for name, value in parameters.items()})


FUNCTIONS = {
    function.__name__: renamed(function)
    for function in (gae, discounted_return, vtrace, grouped, token_log_probs, affine_scan, whiten, clipped_loss, logits_loss)
}
