"""The quickstart's training step in PyTorch: the same model, task and settings, written plainly.

Prints one line of JSON: {"threads": n, "seconds": {"median", "min"}, "reward": mean reward of the last ten steps}.
Usage: quickstart_step.py [steps] [threads]
"""
import json
import math
import sys
import time

import torch
import torch.nn.functional as F

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 30
torch.set_num_threads(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
torch.manual_seed(0)

VOCABULARY, EOS, HASHES, EQUALS = 14, 13, 12, 10
HIDDEN, LAYERS, HEADS, INNER, STD = 64, 2, 4, 172, 0.1
PROMPTS, SAMPLES, MINI, RESPONSE = 64, 8, 128, 3
HEAD = HIDDEN // HEADS


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = (torch.nn.Linear(HIDDEN, HIDDEN) for _ in range(3))
        self.o = torch.nn.Linear(HIDDEN, HIDDEN, bias=False)
        self.gate, self.up = (torch.nn.Linear(HIDDEN, INNER, bias=False) for _ in range(2))
        self.down = torch.nn.Linear(INNER, HIDDEN, bias=False)
        self.norm1, self.norm2 = (torch.nn.Parameter(torch.ones(HIDDEN)) for _ in range(2))

    def forward(self, x, cos, sin, mask, cache=None):
        batch, length, _ = x.shape
        h = rms(x, self.norm1)
        q, k, v = (f(h).view(batch, length, HEADS, HEAD).transpose(1, 2) for f in (self.q, self.k, self.v))
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        if cache is not None:
            if cache:
                k, v = torch.cat([cache[0], k], 2), torch.cat([cache[1], v], 2)
            cache[:] = [k, v]
        scores = q @ k.transpose(2, 3) / math.sqrt(HEAD)
        if mask is not None:
            scores = scores + mask
        x = x + self.o((scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, length, HIDDEN))
        h = rms(x, self.norm2)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


def rms(x, weight):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * weight


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


class Policy(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Parameter(torch.empty(VOCABULARY, HIDDEN))
        self.blocks = torch.nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = torch.nn.Parameter(torch.ones(HIDDEN))
        for parameter in self.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=STD)
        for block in self.blocks:
            for layer in (block.q, block.k, block.v):
                torch.nn.init.zeros_(layer.bias)
        angles = torch.arange(64)[:, None] * 1e6 ** (-torch.arange(0, HEAD, 2) / HEAD)
        self.cos, self.sin = angles.cos(), angles.sin()

    def forward(self, ids, caches=None):
        first = caches[0][0].shape[2] if caches and caches[0] else 0
        length = ids.shape[1]
        x = self.embed[ids]
        mask = torch.full((length, length), -math.inf).triu(1) if length > 1 else None
        for i, block in enumerate(self.blocks):
            x = block(x, self.cos[first : first + length], self.sin[first : first + length], mask, caches[i] if caches else None)
        return rms(x, self.norm)

    def log_probs(self, ids, start):
        hidden = self.forward(ids[:, :-1])[:, start - 1 :]
        logp = F.log_softmax(hidden @ self.embed.t(), -1)
        entropy = -(logp.exp() * logp).sum(-1)
        return logp.gather(-1, ids[:, start:, None]).squeeze(-1), entropy


def generate(policy, prompts):
    caches = [[] for _ in range(LAYERS)]
    ids, tokens = prompts, []
    for _ in range(RESPONSE):
        logits = policy(ids, caches)[:, -1] @ policy.embed.t()
        ids = torch.multinomial(logits.softmax(-1), 1)
        tokens.append(ids)
    return torch.cat(tokens, 1)


policy = Policy()
optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-3, weight_decay=0.01)
times, rewards = [], []
for step in range(STEPS):
    digits = torch.randint(0, 10, (PROMPTS, 4)).repeat_interleave(SAMPLES, 0)
    begin = time.perf_counter()
    prompts = torch.cat([digits, torch.full((len(digits), 1), EQUALS)], 1)
    with torch.no_grad():
        responses = generate(policy, prompts)
        ended = (responses == EOS).long().cumsum(1)
        mask = (ended - (responses == EOS).long() == 0).float()
        right = (responses[:, 0] == HASHES) & (responses[:, 1] == digits.max(1).values)
        reward = (right & (responses[:, 2] == EOS)).float()
        ids = torch.cat([prompts, responses], 1)
        old, _ = policy.log_probs(ids, 5)
        last = mask.sum(1, keepdim=True).long() - 1
        token_rewards = torch.zeros_like(mask).scatter_(1, last, reward[:, None])
        running, columns = torch.zeros(len(mask)), []
        for t in reversed(range(RESPONSE)):
            running = token_rewards[:, t] + 0.99 * running * mask[:, t]
            columns.insert(0, running)
        advantages = torch.stack(columns, 1)
        valid = advantages[mask > 0]
        advantages = (advantages - valid.mean()) / (valid.std() + 1e-8) * mask
    for at in range(0, len(ids), MINI):
        rows = slice(at, at + MINI)
        logp, entropy = policy.log_probs(ids[rows], 5)
        ratio = (logp - old[rows]).exp()
        surrogate = torch.minimum(ratio * advantages[rows], ratio.clamp(0.8, 1.2) * advantages[rows])
        count = mask[rows].sum()
        loss = -((surrogate + 0.01 * entropy) * mask[rows]).sum() / count
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
    times.append(time.perf_counter() - begin)
    rewards.append(reward.mean().item())

times = sorted(times[len(times) // 4 :])
result = {"median": times[len(times) // 2], "min": times[0]}
print(json.dumps({"threads": torch.get_num_threads(), "seconds": result, "reward": sum(rewards[-10:]) / len(rewards[-10:])}))
