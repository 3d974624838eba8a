"""What takes minutes: thousands of odd requests, many batches, exports killed half-way."""

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


def fuzzed(choice: random.Random, sentences: list[bytes]) -> bytes:
    """A text of a kind that servers get: real, damaged, foreign, endless or just bytes."""
    kind = choice.randrange(8)
    if kind == 0:
        return choice.choice(sentences)
    if kind == 1:
        text = bytearray(choice.choice(sentences))
        for _ in range(choice.randint(1, 4)):
            text[choice.randrange(len(text))] = choice.randrange(256)
        return bytes(text)
    if kind == 2:
        text = choice.choice(sentences)
        return text[: choice.randrange(len(text))]
    if kind == 3:
        return choice.randbytes(choice.randint(0, 200))
    if kind == 4:
        low, high = choice.choice(SCRIPTS)
        return "".join(
            chr(choice.randint(low, high)) for _ in range(choice.randint(0, 60))
        ).encode()
    if kind == 5:
        return b" ".join(choice.choices(sentences, k=choice.randint(2, 60)))
    if kind == 6:
        return choice.choice([b"\0", b" ", b"<eos>", b"<unk>", b"!", b"\xc3"]) * choice.randint(
            0, 99
        )
    return choice.choice(encode_texts(EDGE_CASES))


def test_10_000_fuzzed_requests(translator, export, phrasebook):
    choice = random.Random(0)
    sentences = encode_texts(phrasebook.source)
    asked = 0
    with SavedModelSession(export) as session:
        for _ in range(10_000):
            batch = [fuzzed(choice, sentences) for _ in range(choice.choice([0, 1, 1, 2, 3, 8]))]
            answer = session.run(text=batch)["translation"]
            assert len(answer) == len(batch)
            # Decoding raises at anything that is not UTF-8; comparing finds another row's answer.
            answers = [text.decode("utf-8") for text in answer]
            asked += len(batch)
            if choice.random() < 0.1:
                assert answers == translator.translate(batch)
        for text in (b"a" * 1_000_000, b"\xff" * 1_000_000, "é ".encode() * 400_000):
            session.run(text=[b"Go.", text])["translation"][1].decode("utf-8")
    assert asked > 20_000


def test_1_000_sentences_in_20_random_batches_each(export, phrasebook):
    choice = random.Random(1)
    sentences = encode_texts(phrasebook.source[-1_000:])
    with SavedModelSession(export) as session:
        alone = [session.run(text=[text])["translation"][0] for text in sentences]
        for _ in range(20):
            order = list(range(1_000))
            choice.shuffle(order)
            while order:
                size = choice.randint(1, 33)
                rows, order = order[:size], order[size:]
                answer = session.run(text=[sentences[row] for row in rows])["translation"]
                assert list(answer) == [alone[row] for row in rows]


def test_exports_killed_at_20_moments_leave_only_whole_versions(translator, tmp_path):
    file, folder = tmp_path / "model.keras", tmp_path / "models"
    translator.save(file)
    command = [sys.executable, "-m", "keras_s2s", "export", str(file), "--model-name", "m"]
    command += ["--output", str(folder)]
    began = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    whole = time.monotonic() - began
    choice = random.Random(2)
    killed = 0
    for number in range(20):
        # The first seconds go into importing; most moments shall be while files are written.
        moment = whole * (0.3 + 0.8 * (number + choice.random()) / 20)
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
    # The next export clears away what the killed ones left.
    subprocess.run(command, check=True, capture_output=True)
    leftovers = [path.name for path in (folder / "m").iterdir() if not path.name.isdigit()]
    assert leftovers == []
