"""Damaged files of all kinds: no traceback, no process lost, no file written, little memory."""

import json
import os
import random
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections import Counter
from pathlib import Path

import pytest

import keras_s2s as s2s
from keras_s2s.utils.files import sha256_of

FILES = Path(__file__).parent / "compatibility" / "files_3f58841"
READER = Path(__file__).parent / "support" / "file_reader.py"
# Cases of each kind, of 500.
SHARES = {
    "saved_model": 60,
    "keras": 60,
    "sentence_piece": 90,
    "prepared": 110,
    "run": 90,
    "archive": 90,
}
MAX_MEMORY = 10**9
# TensorFlow keeps the functions of each model that it has loaded: 55 MB here.
MODELS_OF_A_PROCESS = 3


def mutate(rng, content):
    """Flip bits, cut, repeat, insert or overwrite bytes, or make a number huge."""
    content = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        if not content:
            break
        start = rng.randrange(len(content))
        length = rng.choice([1, 1, 2, 4, 8, 64])
        case = rng.randrange(7)
        if case <= 1:
            content[start] ^= 1 << rng.randrange(8)
        elif case == 2:
            content[start : start + length] = rng.randbytes(length)
        elif case == 3:
            del content[start : rng.choice([start + length, len(content)])]
        elif case == 4:
            content[start:start] = content[start : start + length]
        elif case == 5:
            content[start : start + length] = (
                rng.choice([b"\xff", b"\0", b"9", b"[" * 5000]) * length
            )
        else:
            digits = [index for index, byte in enumerate(content) if chr(byte).isdigit()]
            if digits:
                index = rng.choice(digits)
                content[index : index + 1] = rng.choice([b"999999999999", b"-1", b"1e999", b"null"])
    return bytes(content)


def mutate_file(rng, file):
    file.write_bytes(mutate(rng, file.read_bytes()))


class Seeds:
    """Makes a damaged file of each kind."""

    def __init__(self, folder):
        self.folder = folder
        texts = [f"{number} dogs and {number % 7} cats" for number in range(60)]
        self.sentence_piece = folder / "seed.model"
        s2s.SentencePieceTokenizer.fit(texts, vocab_size=40).save(self.sentence_piece)
        self.archive = folder / "seed.zip"
        with zipfile.ZipFile(self.archive, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("_about.txt", "about")
            archive.write(FILES / "pairs.tsv", "pairs.tsv")

    def make(self, kind, index):
        rng = random.Random(f"{kind} {index}")
        path = self.folder / f"{kind}-{index}"
        getattr(self, f"make_{kind}")(rng, path)
        return path

    def make_saved_model(self, rng, path):
        shutil.copytree(FILES / "export" / "en-fr" / "1", path)
        files = sorted(file for file in path.rglob("*") if file.is_file())
        graph = path / "saved_model.pb"
        mutate_file(rng, graph if rng.random() < 0.5 else rng.choice(files))

    def make_keras(self, rng, path):
        model = FILES / "finished" / "model.keras"
        if rng.random() < 0.3:
            path.write_bytes(mutate(rng, model.read_bytes()))
        else:  # valid checksums of the members, so that their readers see the damage
            with zipfile.ZipFile(model) as archive, zipfile.ZipFile(path, "w") as copy:
                damaged = rng.choice(archive.namelist())
                for name in archive.namelist():
                    content = archive.read(name)
                    copy.writestr(name, mutate(rng, content) if name == damaged else content)
        path.rename(path.with_suffix(".keras"))

    def make_sentence_piece(self, rng, path):
        path.write_bytes(mutate(rng, self.sentence_piece.read_bytes()))

    def make_prepared(self, rng, path):
        shutil.copytree(FILES / "prepared", path)
        if rng.random() < 0.5:
            mutate_file(rng, path / "index.json")
            return
        file = rng.choice(sorted(set(path.iterdir()) - {path / "index.json"}))
        mutate_file(rng, file)
        # Forged checksums, so that the readers see the damage.
        content = json.loads((path / "index.json").read_text())
        if file.suffix == ".tfrecord":
            shard, data = content["shards"][0], file.read_bytes()
            size = shard["block_bytes"][0] = min(shard["block_bytes"][0], max(len(data) - 16, 0))
            shard["block_crc32"] = [zlib.crc32(data[12 : 12 + size])]
            shard["bytes"], shard["sha256"] = len(data), sha256_of(data)
        else:
            content["files"][file.name] = sha256_of(file)
        (path / "index.json").write_text(json.dumps(content))

    def make_run(self, rng, path):
        path.mkdir()
        for name in ("run.json", "history.csv"):
            shutil.copy(FILES / "unfinished" / name, path)
        mutate_file(rng, path / rng.choice(["run.json", "run.json", "history.csv"]))

    def make_archive(self, rng, path):
        path = path.with_suffix(".zip")
        path.write_bytes(mutate(rng, self.archive.read_bytes()))


def path_of(kind, path):
    return path.with_suffix({"keras": ".keras", "archive": ".zip"}.get(kind, path.suffix))


def read_all(cases, folder):
    """Read files in processes of their own; return the outcome of each and the memory."""
    here, temporary = folder / "here", folder / "temporary"
    here.mkdir()
    temporary.mkdir()
    outcomes, memory = {}, 0
    while pending := [case for case in cases if case[1] not in outcomes]:
        models = [case for case in pending if case[0] == "saved_model"][:MODELS_OF_A_PROCESS]
        pending = models or pending
        (folder / "cases.json").write_text(json.dumps(pending))
        process = subprocess.run(
            [sys.executable, str(READER), str(folder / "cases.json")],
            cwd=here,
            env={**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=False,
        )
        lines = [json.loads(line) for line in process.stdout.splitlines() if line[:1] == "{"]
        outcomes |= {line["path"]: line["outcome"] for line in lines if "path" in line}
        memory = max([memory, *(line["memory"] for line in lines if "memory" in line)])
        if process.returncode:
            [lost, *_] = [path for _, path in pending if path not in outcomes]
            outcomes[lost] = f"process lost, status {process.returncode}: {process.stderr[-500:]}"
    assert not list(here.iterdir()), "a file was written"
    assert not list(temporary.iterdir()), "a temporary file was left behind"
    return outcomes, memory


def check(shares, folder, first=0):
    files = folder / "files"
    files.mkdir()
    seeds = Seeds(files)
    cases = [
        (kind, str(path_of(kind, seeds.make(kind, index))))
        for kind, count in shares.items()
        for index in range(first, first + count)
    ]
    before = {path: path.stat().st_mtime_ns for path in files.rglob("*")}
    outcomes, memory = read_all(cases, folder)
    assert {path: path.stat().st_mtime_ns for path in files.rglob("*")} == before
    bad = {path: text for path, text in outcomes.items() if text not in ("read", "refused")}
    assert not bad, "\n".join(f"{path}: {text}" for path, text in list(bad.items())[:20])
    counts = Counter((kind, outcomes[path]) for kind, path in cases)
    print({f"{kind} {outcome}": count for (kind, outcome), count in counts.items()}, memory)
    assert memory < MAX_MEMORY
    for kind in shares:
        assert counts[kind, "refused"], f"no damage was found in any {kind}"


def test_a_sample(tmp_path):
    check({kind: 3 if kind in ("saved_model", "keras") else 10 for kind in SHARES}, tmp_path)


@pytest.mark.slow
def test_500_files(tmp_path):
    check(SHARES, tmp_path, first=100)
