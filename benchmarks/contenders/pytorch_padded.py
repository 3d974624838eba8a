"""A textbook PyTorch loop: random batches, all padded to the longest pair of the corpus.

Model and loop are those of the chapter: the encoder reads the padding too, the loss is masked, and
a batch is decoded until all its sentences have ended.
"""

import time

import torch
from measuring import (
    MAX_OUTPUT_TOKENS,
    PROCESS_START,
    Request,
    Settings,
    measure_translation,
    run,
    translate_in_batches,
)
from pairs import (
    BOS,
    EOS,
    PAD,
    Pairs,
    read_chapter,
    read_lines,
    read_pairs,
    to_ids,
    to_text,
)
from torch import nn


class Seq2Seq(nn.Module):
    """LSTM encoder and decoder; sequences are (steps, batch)."""

    def __init__(self, settings: Settings, source_size: int, target_size: int) -> None:
        super().__init__()
        embed, hidden, layers = settings.embed_size, settings.num_hiddens, settings.num_layers
        self.source_embedding = nn.Embedding(source_size, embed)
        self.target_embedding = nn.Embedding(target_size, embed)
        self.encoder = nn.LSTM(embed, hidden, layers)
        self.decoder = nn.LSTM(embed, hidden, layers)
        self.attends = settings.attention == "luong"
        if self.attends:
            self.keys = nn.Linear(hidden, hidden, bias=False)
            self.attentional = nn.Linear(2 * hidden, hidden, bias=False)
        self.dense = nn.Linear(hidden, target_size)

    def encode(self, source):
        return self.encoder(self.source_embedding(source))

    def decode(self, target, state, outputs, source):
        hidden, state = self.decoder(self.target_embedding(target), state)
        if self.attends:
            queries, values = hidden.transpose(0, 1), outputs.transpose(0, 1)
            scores = queries @ self.keys(values).transpose(1, 2)
            scores = scores.masked_fill((source == PAD).t()[:, None], -1e9)
            contexts = (scores.softmax(-1) @ values).transpose(0, 1)
            hidden = torch.tanh(self.attentional(torch.cat([contexts, hidden], dim=-1)))
        return self.dense(hidden), state

    def forward(self, source, target):
        outputs, state = self.encode(source)
        logits, _ = self.decode(target, state, outputs, source)
        return logits


def pad(rows: list[list[int]], steps: int) -> torch.Tensor:
    """Return ids, (steps, rows)."""
    return torch.tensor([row + [PAD] * (steps - len(row)) for row in rows]).t().contiguous()


class Training:
    """The model, its optimizer, and the training step."""

    def __init__(self, settings: Settings, pairs: Pairs) -> None:
        torch.set_num_threads(settings.threads)
        torch.manual_seed(settings.seed)
        self.settings = settings
        sizes = len(pairs.source_vocabulary), len(pairs.target_vocabulary)
        self.model = Seq2Seq(settings, *sizes)
        self.optimizer = torch.optim.Adam(self.model.parameters(), settings.learning_rate)
        self.source = pad(pairs.source, max(map(len, pairs.source)))
        targets = [[BOS, *row, EOS] for row in pairs.target]
        self.target = pad(targets, max(map(len, targets)))
        self.loss = nn.CrossEntropyLoss(reduction="none")

    def step(self, indices: list[int]) -> float:
        """Train on a batch; return the sum of the losses of its target tokens."""
        source, target = self.source[:, indices], self.target[:, indices]
        labels = target[1:]
        with torch.autocast("cpu", torch.bfloat16, enabled=self.settings.dtype == "bfloat16"):
            logits = self.model(source, target[:-1])
        losses = self.loss(logits.float().flatten(0, 1), labels.flatten())
        valid = (labels != PAD).flatten()
        loss_sum = (losses * valid).sum()
        self.optimizer.zero_grad()
        (loss_sum / valid.sum()).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip_norm)
        self.optimizer.step()
        return loss_sum.item()


def save(request: Request, training: Training, pairs: Pairs, name: str) -> None:
    """Write the model for `translate`."""
    if request.model is not None:
        torch.save(
            {
                "weights": training.model.state_dict(),
                "vocabularies": [pairs.source_vocabulary, pairs.target_vocabulary],
                "longest_source": max(map(len, pairs.source)),
                "sentences": name,
            },
            request.model / "model.pt",
        )


def train(request: Request) -> dict:
    """Measure training on the task."""
    pairs = read_pairs(request.task)
    training = Training(request.settings, pairs)
    stopwatch = request.stopwatch()
    for indices in pairs.batches(request.settings.batch_size, 0, by_length=False):
        if stopwatch.step(pairs.target_tokens(indices), training.step(indices)):
            break
    save(request, training, pairs, "test.en")
    return stopwatch.result()


def chapter(request: Request) -> dict:
    """Measure the chapter's job: all epochs, and throughput from epoch 11 on.

    Small models may be faster with one thread than with several; the first ten epochs try both.
    """
    pairs = read_chapter(request.task)
    thread_counts = sorted({1, request.settings.threads})
    times = dict.fromkeys(thread_counts, float("inf"))
    training = Training(request.settings, pairs)
    tokens_per_epoch = pairs.target_tokens(range(len(pairs.target)))
    measured_from, loss_sum = 0.0, 0.0
    for epoch in range(request.settings.epochs):
        start = time.perf_counter()
        threads = thread_counts[epoch % len(thread_counts)]
        if epoch == 10:
            measured_from, threads = start, min(times, key=times.__getitem__)
        if epoch <= 10:
            torch.set_num_threads(threads)
        loss_sum = sum(
            training.step(indices)
            for indices in pairs.batches(request.settings.batch_size, epoch, False, endless=False)
        )
        if epoch < 10:
            times[threads] = min(times[threads], time.perf_counter() - start)
    end = time.perf_counter()
    save(request, training, pairs, "chapter.en")
    return {
        "tokens": tokens_per_epoch * (request.settings.epochs - 10),
        "seconds": end - measured_from,
        "whole_seconds": end - PROCESS_START,
        "loss": loss_sum / tokens_per_epoch,
        "threads": torch.get_num_threads(),
    }


def translate(request: Request) -> dict:
    """Measure greedy translation, by a loop in Python."""
    torch.set_num_threads(request.settings.threads)
    saved = torch.load(request.model / "model.pt")
    source_vocabulary, target_vocabulary = saved["vocabularies"]
    model = Seq2Seq(request.settings, len(source_vocabulary), len(target_vocabulary))
    model.load_state_dict(saved["weights"])
    model.eval()
    max_length = saved["longest_source"]

    def translate_batch(batch: list[str]) -> list[str]:
        ids = [row[:max_length] for row in to_ids(batch, source_vocabulary)]
        source = pad(ids, max_length)
        outputs, state = model.encode(source)
        words = torch.full((1, len(batch)), BOS)
        outputs_by_step = []
        ended = torch.zeros(len(batch), dtype=torch.bool)
        for _ in range(MAX_OUTPUT_TOKENS):
            logits, state = model.decode(words, state, outputs, source)
            words = logits.argmax(-1)
            outputs_by_step.append(words[0])
            ended |= words[0] == EOS
            if ended.all():
                break
        return [to_text(row, target_vocabulary) for row in torch.stack(outputs_by_step, 1).tolist()]

    sentences = list(dict.fromkeys(read_lines(request.task / saved["sentences"])))
    with torch.inference_mode():
        return measure_translation(
            request,
            sentences,
            lambda texts, size: translate_in_batches(texts, size, translate_batch),
        )


if __name__ == "__main__":
    run({"train": train, "chapter": chapter, "translate": translate}, "torch")
