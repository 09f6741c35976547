"""Small networks with attention over tokens, of any width, for objectives on layers."""

import torch
from torch import nn
from torch.utils.data import Dataset

TOKENS, CLASSES = 5, 4


class Attention(nn.Module):
    """Single-headed, by three linear layers."""

    def __init__(self, width):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))

    def forward(self, tokens, mask):
        scores = self.query(tokens) @ self.key(tokens).mT / tokens.shape[2] ** 0.5
        scores = scores.masked_fill(~mask.unsqueeze(1), torch.finfo(scores.dtype).min)
        return scores.softmax(dim=2) @ self.value(tokens)


class Text(nn.Module):
    """From tokens `[batch, tokens, 3]` to logits: attention, a layer for each token, their mean."""

    def __init__(self, width):
        super().__init__()
        self.embed = nn.Linear(3, width)
        self.attention = Attention(width)
        self.mix = nn.Linear(width, width)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, tokens, attention_mask):
        mask = attention_mask.bool()
        states = torch.tanh(self.embed(tokens))
        states = torch.tanh(self.mix(states + self.attention(states, mask)))
        states = states.masked_fill(~mask.unsqueeze(2), 0)
        return self.head(states.sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1))


class Texts(Dataset):
    """Random texts of different lengths, padded."""

    def __init__(self, size=48):
        generator = torch.Generator().manual_seed(5)
        self.tokens = torch.randn(size, TOKENS, 3, generator=generator)
        self.lengths = torch.randint(2, TOKENS + 1, (size,), generator=generator)

    def __len__(self):
        return len(self.tokens)

    def __getitem__(self, place):
        mask = (torch.arange(TOKENS) < self.lengths[place]).long()
        return {"tokens": self.tokens[place], "attention_mask": mask}
