"""A PyTorch loop as somebody writes it who knows what padding costs.

Pairs of similar lengths come together in a batch, which is padded to its own longest pair; the
encoder reads packed sequences; logits and losses are those of real tokens alone. In translation,
sentences that have ended leave the batch.
"""

import torch
from measuring import (
    LONGEST_ANSWER,
    Request,
    Settings,
    in_batches,
    measure_translation,
    run,
)
from pairs import (
    BOS,
    EOS,
    PAD,
    Pairs,
    as_text,
    numbered,
    read_lines,
    read_pairs,
)
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence


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

    def encode(self, source, lengths):
        """The decoder's first state, and keys, values and mask to attend to, (batch, steps, …)."""
        packed = pack_padded_sequence(self.source_embedding(source), lengths, enforce_sorted=False)
        outputs, state = self.encoder(packed)
        if not self.attends:
            return state, None
        values, _ = pad_packed_sequence(outputs, batch_first=True)
        return state, (self.keys(values).transpose(1, 2), values, (source == PAD).t()[:, None])

    def decode(self, target, state, memory):
        """What goes into the dense layer, (steps, batch, hidden), and the new state."""
        hidden, state = self.decoder(self.target_embedding(target), state)
        if memory is not None:
            keys, values, padding = memory
            scores = (hidden.transpose(0, 1) @ keys).masked_fill(padding, -1e9)
            contexts = (scores.softmax(-1) @ values).transpose(0, 1)
            hidden = torch.tanh(self.attentional(torch.cat([contexts, hidden], dim=-1)))
        return hidden, state


def padded(rows: list[list[int]]) -> torch.Tensor:
    """Ids, (steps, rows), no longer than the longest row."""
    return pad_sequence([torch.tensor(row) for row in rows], padding_value=PAD)


def train(request: Request) -> dict:
    """Trains on the task's pairs for some steps."""
    settings, pairs = request.settings, read_pairs(request.task)
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    model = Seq2Seq(settings, len(pairs.source_vocabulary), len(pairs.target_vocabulary))
    optimizer = torch.optim.Adam(model.parameters(), settings.learning_rate)
    stopwatch = request.stopwatch()
    for numbers in pairs.batches(settings.batch_size, 0):
        tokens = pairs.target_tokens(numbers)
        loss_sum = _loss(model, settings, pairs, numbers)
        optimizer.zero_grad()
        (loss_sum / tokens).backward()
        nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
        optimizer.step()
        if stopwatch.step(tokens, loss_sum.item()):
            break
    if request.model is not None:
        saved = {
            "weights": model.state_dict(),
            "vocabularies": [pairs.source_vocabulary, pairs.target_vocabulary],
        }
        torch.save(saved, request.model / "model.pt")
    return stopwatch.result()


def _loss(model: Seq2Seq, settings: Settings, pairs: Pairs, numbers: list[int]) -> torch.Tensor:
    """Sum of the losses of a batch's target tokens."""
    source = padded([pairs.source[number] for number in numbers])
    lengths = torch.tensor([len(pairs.source[number]) for number in numbers])
    target = padded([[BOS, *pairs.target[number], EOS] for number in numbers])
    labels = target[1:]
    valid = labels != PAD
    with torch.autocast("cpu", torch.bfloat16, enabled=settings.dtype == "bfloat16"):
        hidden, _ = model.decode(target[:-1], *model.encode(source, lengths))
        logits = model.dense(hidden[valid])
    return nn.functional.cross_entropy(logits.float(), labels[valid], reduction="sum")


def translate(request: Request) -> dict:
    """Greedy translation."""
    torch.set_num_threads(request.settings.threads)
    saved = torch.load(request.model / "model.pt")
    source_vocabulary, target_vocabulary = saved["vocabularies"]
    model = Seq2Seq(request.settings, len(source_vocabulary), len(target_vocabulary))
    model.load_state_dict(saved["weights"])
    model.eval()

    def answers_to(batch: list[str]) -> list[str]:
        rows = numbered(batch, source_vocabulary)
        state, memory = model.encode(padded(rows), torch.tensor([len(row) for row in rows]))
        going_on = torch.arange(len(batch))
        words = torch.full((len(batch),), BOS)
        answers: list[list[int]] = [[] for _ in batch]
        for _ in range(LONGEST_ANSWER):
            hidden, state = model.decode(words[None], state, memory)
            words = model.dense(hidden[0]).argmax(-1)
            for number, word in zip(going_on.tolist(), words.tolist(), strict=True):
                answers[number].append(word)
            kept = (words != EOS).nonzero()[:, 0]
            if not len(kept):
                break
            if len(kept) < len(words):
                words, going_on = words[kept], going_on[kept]
                state = tuple(part[:, kept] for part in state)
                memory = memory and tuple(part[kept] for part in memory)
        return [as_text(answer, target_vocabulary) for answer in answers]

    with torch.inference_mode():
        return measure_translation(
            request,
            read_lines(request.task / "test.en"),
            lambda texts, size: in_batches(texts, size, answers_to),
        )


if __name__ == "__main__":
    run({"train": train, "translate": translate}, "torch")
