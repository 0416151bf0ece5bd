"""A ResNet, transformers like GPT and BERT, and a network of what those lack; small. `export.py` exports them."""

import math

import torch
import torch.nn.functional as F
from torch import nn

class Block(nn.Module):
    def __init__(self, i, o, s):
        super().__init__()
        self.conv1 = nn.Conv2d(i, o, 3, s, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(o)
        self.conv2 = nn.Conv2d(o, o, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(o)
        self.down = nn.Sequential(nn.Conv2d(i, o, 1, s, bias=False), nn.BatchNorm2d(o)) if s > 1 or i != o else nn.Identity()
    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.down(x))

class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.layers = nn.Sequential(Block(4, 4, 1), Block(4, 8, 2))
        self.avg = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8, 5)
    def forward(self, x):
        x = self.layers(self.pool(F.relu(self.bn1(self.conv1(x)))))
        return self.fc(torch.flatten(self.avg(x), 1))

class Attention(nn.Module):
    def __init__(self, d, h, T):
        super().__init__()
        self.h = h
        self.qkv = nn.Linear(d, 3 * d)
        self.out = nn.Linear(d, d)
        self.register_buffer("mask", torch.tril(torch.ones(T, T)).view(1, 1, T, T), persistent=False)
    def forward(self, x):
        B, T, C = x.size()
        q, k, v = self.qkv(x).split(C, dim=2)
        q, k, v = (t.view(B, T, self.h, C // self.h).transpose(1, 2) for t in (q, k, v))
        a = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
        a = a.masked_fill(self.mask[:, :, :T, :T] == 0, float("-inf"))
        y = F.softmax(a, dim=-1) @ v
        return self.out(y.transpose(1, 2).contiguous().view(B, T, C))

class Flash(Attention):
    def forward(self, x):
        B, T, C = x.size()
        q, k, v = self.qkv(x).split(C, dim=2)
        q, k, v = (t.view(B, T, self.h, C // self.h).transpose(1, 2) for t in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).contiguous().view(B, T, C))

class GPT(nn.Module):
    def __init__(self, A, V=13, T=6, d=8, h=2, L=2):
        super().__init__()
        self.tok = nn.Embedding(V, d)
        self.pos = nn.Embedding(T, d)
        self.drop = nn.Dropout(0.1)
        self.ln1 = nn.ModuleList(nn.LayerNorm(d) for _ in range(L))
        self.ln2 = nn.ModuleList(nn.LayerNorm(d) for _ in range(L))
        self.att = nn.ModuleList(A(d, h, T) for _ in range(L))
        self.mlp = nn.ModuleList(nn.Sequential(nn.Linear(d, 4 * d), nn.GELU(), nn.Linear(4 * d, d)) for _ in range(L))
        self.ln = nn.LayerNorm(d)
        self.head = nn.Linear(d, V, bias=False)
    def forward(self, idx):
        b, t = idx.size()
        pos = torch.arange(0, t, dtype=torch.long, device=idx.device)
        x = self.drop(self.tok(idx) + self.pos(pos))
        for a, l1, m, l2 in zip(self.att, self.ln1, self.mlp, self.ln2):
            x = x + a(l1(x))
            x = x + m(l2(x))
        return self.head(self.ln(x))

class BERT(nn.Module):
    """token ids, 0 is padding"""
    def __init__(self, V=13, T=6, d=8, h=2, L=1):
        super().__init__()
        self.h = h
        self.tok = nn.Embedding(V, d, padding_idx=0)
        self.pos = nn.Embedding(T, d)
        self.typ = nn.Embedding(2, d)
        self.register_buffer("ids", torch.arange(T).expand((1, -1)), persistent=False)
        self.ln0 = nn.LayerNorm(d, eps=1e-12)
        self.q, self.k, self.v, self.o = (nn.Linear(d, d) for _ in range(4))
        self.ln1 = nn.LayerNorm(d, eps=1e-12)
        self.f1, self.f2 = nn.Linear(d, 2 * d), nn.Linear(2 * d, d)
        self.ln2 = nn.LayerNorm(d, eps=1e-12)
        self.pool = nn.Linear(d, d)
        self.cls = nn.Linear(d, 3)
    def split(self, x):
        s = x.size()[:-1] + (self.h, x.size(-1) // self.h)
        return x.view(s).permute(0, 2, 1, 3)
    def forward(self, ids):
        mask = (ids != 0).to(torch.float32)[:, None, None, :]
        mask = (1.0 - mask) * torch.finfo(torch.float32).min
        t = ids.size(1)
        types = torch.zeros(ids.size(), dtype=torch.long, device=ids.device)
        x = self.ln0(self.tok(ids) + self.typ(types) + self.pos(self.ids[:, :t]))
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        a = torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(q.size(-1)) + mask
        y = torch.matmul(F.softmax(a, -1), v).permute(0, 2, 1, 3).contiguous()
        y = y.view(y.size()[:-2] + (self.h * q.size(-1),))
        x = self.ln1(x + self.o(y))
        x = self.ln2(x + self.f2(F.gelu(self.f1(x), approximate="tanh")))
        return self.cls(torch.tanh(self.pool(x[:, 0])))

class Misc(nn.Module):
    """The rest: groups, silu, hardswish, leaky, chunk, cat, pad, flips, max, expand, where, 1-D convolution"""
    def __init__(self):
        super().__init__()
        self.c = nn.Conv2d(2, 8, (3, 2), padding="same", groups=2, dilation=(1, 2))
        self.g = nn.GroupNorm(2, 8)
        self.i = nn.InstanceNorm2d(8, affine=True)
        self.d = nn.Conv1d(8, 6, 3, stride=2, padding=1)
        self.scale = nn.Parameter(torch.rand(1, 6, 1) + 0.5)
        self.l = nn.Linear(12, 4)
    def forward(self, x):
        x = F.silu(self.g(self.c(x)))
        x = F.hardswish(self.i(x))
        x = F.avg_pool2d(F.pad(x, (1, 0, 0, 1)), 2, ceil_mode=True)
        x = F.leaky_relu(x.flatten(2) - 0.1, 0.2)
        x = self.d(x) * self.scale.expand(1, 6, 1)
        a, b = x.chunk(2, dim=1)
        x = torch.cat((a ** 2, torch.where(b > 0, b, -b), torch.flip(x, (2,))[:, ::3]), dim=1)
        y = x.amax(2)
        z = torch.sqrt(torch.relu(x).sum(-1) + 1e-3)
        y = torch.cat((y, z), dim=1)
        return F.log_softmax(self.l(torch.nn.functional.pad(y, (0, 12 - y.size(1))) if y.size(1) < 12 else y[:, :12]), -1)
