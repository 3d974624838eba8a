"""Fuzzed requests, random batches, and exports that are killed: minutes long."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

import keras_s2s as s2s
from keras_s2s.serving.session import SavedModelSession
from keras_s2s.serving.verification import EDGE_CASES
from keras_s2s.utils.text import encode_texts

pytestmark = pytest.mark.slow

SCRIPTS = [(0x20, 0x7F), (0xA0, 0x24F), (0x370, 0x5FF), (0x600, 0x6FF), (0x4E00, 0x4FFF)]
SCRIPTS += [(0x1F300, 0x1F6FF), (0x2000, 0x206F), (0xE000, 0xE0FF), (0, 0x20)]


@pytest.fixture(scope="module")
def export(translator, tmp_path_factory):
    return translator.export(tmp_path_factory.mktemp("models") / "en-fr")


def fuzz(rng: random.Random, sentences: list[bytes]) -> bytes:
    """Generate a text: real, damaged, in another script, long, or random bytes."""
    case = rng.randrange(8)
    if case == 0:
        return rng.choice(sentences)
    if case == 1:
        text = bytearray(rng.choice(sentences))
        for _ in range(rng.randint(1, 4)):
            text[rng.randrange(len(text))] = rng.randrange(256)
        return bytes(text)
    if case == 2:
        text = rng.choice(sentences)
        return text[: rng.randrange(len(text))]
    if case == 3:
        return rng.randbytes(rng.randint(0, 200))
    if case == 4:
        low, high = rng.choice(SCRIPTS)
        return "".join(chr(rng.randint(low, high)) for _ in range(rng.randint(0, 60))).encode()
    if case == 5:
        return b" ".join(rng.choices(sentences, k=rng.randint(2, 60)))
    if case == 6:
        return rng.choice([b"\0", b" ", b"<eos>", b"<unk>", b"!", b"\xc3"]) * rng.randint(0, 99)
    return rng.choice(encode_texts(EDGE_CASES))


def test_10_000_fuzzed_requests(translator, export, phrasebook):
    rng = random.Random(0)
    sentences = encode_texts(phrasebook.source)
    num_requests = 0
    with SavedModelSession(export) as session:
        for _ in range(10_000):
            batch = [fuzz(rng, sentences) for _ in range(rng.choice([0, 1, 1, 2, 3, 8]))]
            outputs = session.run(text=batch)["translation"]
            assert len(outputs) == len(batch)
            # Decoding raises for invalid UTF-8; comparing finds mixed-up rows.
            translations = [text.decode("utf-8") for text in outputs]
            num_requests += len(batch)
            if rng.random() < 0.1:
                assert translations == translator.translate(batch)
        for text in (b"a" * 1_000_000, b"\xff" * 1_000_000, "é ".encode() * 400_000):
            session.run(text=[b"Go.", text])["translation"][1].decode("utf-8")
    assert num_requests > 20_000


def test_1_000_sentences_in_20_random_batches_each(export, phrasebook):
    rng = random.Random(1)
    sentences = encode_texts(phrasebook.source[-1_000:])
    with SavedModelSession(export) as session:
        alone = [session.run(text=[text])["translation"][0] for text in sentences]
        for _ in range(20):
            order = list(range(1_000))
            rng.shuffle(order)
            while order:
                size = rng.randint(1, 33)
                rows, order = order[:size], order[size:]
                outputs = session.run(text=[sentences[row] for row in rows])["translation"]
                assert list(outputs) == [alone[row] for row in rows]


def test_exports_killed_at_20_moments_leave_only_complete_versions(translator, tmp_path):
    file, folder = tmp_path / "model.keras", tmp_path / "models"
    translator.save(file)
    command = [sys.executable, "-m", "keras_s2s", "export", str(file), "--model-name", "m"]
    command += ["--output", str(folder)]
    began = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    duration = time.monotonic() - began
    rng = random.Random(2)
    killed = 0
    for index in range(20):
        # The first seconds are imports; most kills should happen while files are written.
        moment = duration * (0.3 + 0.8 * (index + rng.random()) / 20)
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            process.wait(moment)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            killed += 1
        for version in (folder / "m").glob("[0-9]*"):
            assert (version / "assets.extra" / "proof.json").is_file()
            assert s2s.ExportedTranslator(version).translate(["Go."]) == translator.translate(
                ["Go."]
            )
    assert killed >= 10
    # The next export removes what the killed ones left.
    subprocess.run(command, check=True, capture_output=True)
    leftovers = [path.name for path in (folder / "m").iterdir() if not path.name.isdigit()]
    assert leftovers == []
