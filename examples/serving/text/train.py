"""
Trains a small transformer on made-up reviews, seeded, and writes model/: tokenizer.json and model.onnx.

Run by hand, with torch, onnxscript and tokenizers installed; what it writes is committed, so that a build needs none.
"""

import pathlib
import random

import onnx
import tokenizers
import torch
from tokenizers import models, normalizers, pre_tokenizers, trainers

TOKENS_MAX = 256
GOOD = [
    "good",
    "great",
    "lovely",
    "fresh",
    "warm",
    "friendly",
    "quick",
    "tasty",
    "excellent",
    "perfect",
    "clean",
    "charming",
]
BAD = ["bad", "awful", "stale", "cold", "rude", "slow", "bland", "terrible", "broken", "dirty", "noisy", "dreadful"]
THINGS = ["food", "soup", "service", "waiter", "room", "coffee", "place", "bread", "music", "table", "dessert", "wine"]
FILLERS = [
    "we",
    "came",
    "here",
    "on",
    "a",
    "rainy",
    "evening",
    "with",
    "my",
    "sister",
    "and",
    "her",
    "dog",
    ",",
    "it",
    "was",
    "busy",
    ".",
]


def review(chance):
    """A text and whether it is content; "not" turns a word around, and most words say nothing."""
    mood = chance.random() < 0.5
    words = []
    for number in range(chance.randint(1, 6)):
        turned = chance.random() < 0.3
        told = chance.choice(GOOD if mood != turned else BAD)
        words += [chance.choice(("and", ".", ","))] if number else []
        words += chance.choices(FILLERS, k=chance.choice((0, 0, 0, 4, 12)))
        words += ["the", chance.choice(THINGS), "was", *(["not"] if turned else []), told]
    words += ["."] if chance.random() < 0.7 else []
    return " ".join(words), int(mood)


class Block(torch.nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.first, self.second = torch.nn.LayerNorm(width), torch.nn.LayerNorm(width)
        self.mixed, self.out = torch.nn.Linear(width, 3 * width), torch.nn.Linear(width, width)
        self.wide = torch.nn.Sequential(
            torch.nn.Linear(width, 2 * width), torch.nn.ReLU(), torch.nn.Linear(2 * width, width)
        )

    def forward(self, x, hidden):
        parts = self.mixed(self.first(x)).unflatten(-1, (3 * self.heads, self.size)).transpose(1, 2)
        query, key, value = parts.split(self.heads, dim=1)
        weights = torch.softmax(query @ key.transpose(-1, -2) / self.size**0.5 + hidden, dim=-1)
        x = x + self.out((weights @ value).transpose(1, 2).flatten(2))
        return x + self.wide(self.second(x))


class Sentiment(torch.nn.Module):
    def __init__(self, words, width=48, heads=4):
        super().__init__()
        self.words, self.places = torch.nn.Embedding(words, width), torch.nn.Embedding(TOKENS_MAX, width)
        self.blocks = torch.nn.ModuleList([Block(width, heads) for _ in range(2)])
        self.last = torch.nn.Linear(width, 2)

    def forward(self, input_ids, attention_mask):
        seen = attention_mask.to(torch.float32)
        x = self.words(input_ids) + self.places(torch.arange(input_ids.shape[1]))
        for block in self.blocks:
            x = block(x, (1.0 - seen)[:, None, None, :] * -1e4)
        pooled = (x * seen[:, :, None]).sum(1) / seen.sum(1, keepdim=True).clamp(min=1.0)
        return torch.softmax(self.last(pooled), dim=-1)


class Labelled(torch.nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, input_ids, attention_mask):
        probabilities = self.inner(input_ids, attention_mask)
        return probabilities.argmax(-1), probabilities


chance = random.Random(4)
torch.manual_seed(4)
torch.set_num_threads(1)
texts = [review(chance) for _ in range(4_000)]
tokenizer = tokenizers.Tokenizer(models.WordLevel(unk_token="[UNK]"))
tokenizer.normalizer = normalizers.Lowercase()
tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer.train_from_iterator((text for text, _ in texts), trainers.WordLevelTrainer(special_tokens=["[PAD]", "[UNK]"]))
tokenizer.enable_truncation(TOKENS_MAX)
tokenizer.enable_padding(pad_id=0, pad_token="[PAD]")

model = Sentiment(tokenizer.get_vocab_size())
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
for turn in range(500):
    batch = chance.sample(texts, 64)
    encoded = tokenizer.encode_batch([text for text, _ in batch])
    answered = model(torch.tensor([e.ids for e in encoded]), torch.tensor([e.attention_mask for e in encoded]))
    loss = torch.nn.functional.nll_loss(answered.clamp(min=1e-6).log(), torch.tensor([mood for _, mood in batch]))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if turn % 100 == 99:
        print(turn + 1, round(loss.item(), 4))

out = pathlib.Path("model")
out.mkdir(exist_ok=True)
tokenizer.save(str(out / "tokenizer.json"))
batch, length = torch.export.Dim("batch"), torch.export.Dim("length", max=TOKENS_MAX)
ids, mask = torch.ones(2, 7, dtype=torch.int64), torch.ones(2, 7, dtype=torch.int64)  # one tensor twice is one input
torch.onnx.export(
    Labelled(model.eval()),
    (ids, mask),
    str(out / "model.onnx"),
    input_names=["input_ids", "attention_mask"],
    output_names=["label", "probabilities"],
    dynamic_shapes=({0: batch, 1: length}, {0: batch, 1: length}),
    external_data=False,
    dynamo=True,
)
graph = onnx.load(out / "model.onnx")  # the exporter writes where in this file each node came from, paths included
for part in (*graph.graph.node, *graph.graph.input, *graph.graph.output, *graph.graph.value_info, graph.graph, graph):
    del part.metadata_props[:]
onnx.save(graph, out / "model.onnx")
