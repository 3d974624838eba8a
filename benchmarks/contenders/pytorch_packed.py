"""A PyTorch loop that avoids computing on padding.

Batches are bucketed by length; the encoder reads packed sequences; logits and losses are computed
for valid tokens only. In decoding, finished sentences are dropped from the batch.
"""

import pytorch_padded
import torch
from measuring import (
    MAX_OUTPUT_TOKENS,
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
    read_lines,
    read_pairs,
    to_ids,
    to_text,
)
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence


class Seq2Seq(pytorch_padded.Seq2Seq):
    """The same layers, without the computations for padding; sequences are (steps, batch)."""

    def encode(self, source, lengths):
        """Return the initial decoder state, and keys, values and mask, (batch, steps, …)."""
        packed = pack_padded_sequence(self.source_embedding(source), lengths, enforce_sorted=False)
        outputs, state = self.encoder(packed)
        if not self.attends:
            return state, None
        values, _ = pad_packed_sequence(outputs, batch_first=True)
        return state, (self.keys(values).transpose(1, 2), values, (source == PAD).t()[:, None])

    def decode(self, target, state, memory):
        """Return the inputs of the dense layer, (steps, batch, hidden), and the new state."""
        hidden, state = self.decoder(self.target_embedding(target), state)
        if memory is not None:
            keys, values, padding = memory
            scores = (hidden.transpose(0, 1) @ keys).masked_fill(padding, -1e9)
            contexts = (scores.softmax(-1) @ values).transpose(0, 1)
            hidden = torch.tanh(self.attentional(torch.cat([contexts, hidden], dim=-1)))
        return hidden, state


def pad(rows: list[list[int]]) -> torch.Tensor:
    """Return ids, (steps, rows), padded to the longest row."""
    return pad_sequence([torch.tensor(row) for row in rows], padding_value=PAD)


def train(request: Request) -> dict:
    """Measure training on the task."""
    settings, pairs = request.settings, read_pairs(request.task)
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    model = Seq2Seq(settings, len(pairs.source_vocabulary), len(pairs.target_vocabulary))
    optimizer = torch.optim.Adam(model.parameters(), settings.learning_rate)
    stopwatch = request.stopwatch()
    for indices in pairs.batches(settings.batch_size, 0):
        tokens = pairs.target_tokens(indices)
        loss_sum = _loss_sum(model, settings, pairs, indices)
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


def _loss_sum(model: Seq2Seq, settings: Settings, pairs: Pairs, indices: list[int]) -> torch.Tensor:
    """Return the sum of the losses of a batch's target tokens."""
    source = pad([pairs.source[i] for i in indices])
    lengths = torch.tensor([len(pairs.source[i]) for i in indices])
    target = pad([[BOS, *pairs.target[i], EOS] for i in indices])
    labels = target[1:]
    valid = labels != PAD
    with torch.autocast("cpu", torch.bfloat16, enabled=settings.dtype == "bfloat16"):
        hidden, _ = model.decode(target[:-1], *model.encode(source, lengths))
        logits = model.dense(hidden[valid])
    return nn.functional.cross_entropy(logits.float(), labels[valid], reduction="sum")


def translate(request: Request) -> dict:
    """Measure greedy translation."""
    torch.set_num_threads(request.settings.threads)
    saved = torch.load(request.model / "model.pt")
    source_vocabulary, target_vocabulary = saved["vocabularies"]
    model = Seq2Seq(request.settings, len(source_vocabulary), len(target_vocabulary))
    model.load_state_dict(saved["weights"])
    model.eval()

    def translate_batch(batch: list[str]) -> list[str]:
        rows = to_ids(batch, source_vocabulary)
        state, memory = model.encode(pad(rows), torch.tensor([len(row) for row in rows]))
        active = torch.arange(len(batch))
        words = torch.full((len(batch),), BOS)
        outputs: list[list[int]] = [[] for _ in batch]
        for _ in range(MAX_OUTPUT_TOKENS):
            hidden, state = model.decode(words[None], state, memory)
            words = model.dense(hidden[0]).argmax(-1)
            for i, word in zip(active.tolist(), words.tolist(), strict=True):
                outputs[i].append(word)
            kept = (words != EOS).nonzero()[:, 0]
            if not len(kept):
                break
            if len(kept) < len(words):
                words, active = words[kept], active[kept]
                state = tuple(array[:, kept] for array in state)
                memory = memory and tuple(array[kept] for array in memory)
        return [to_text(output, target_vocabulary) for output in outputs]

    with torch.inference_mode():
        return measure_translation(
            request,
            read_lines(request.task / "test.en"),
            lambda texts, size: translate_in_batches(texts, size, translate_batch),
        )


if __name__ == "__main__":
    run({"train": train, "translate": translate}, "torch")
