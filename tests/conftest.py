"""Shared fixtures."""

import fcntl
import gc
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_s2s as s2s
from keras_s2s.cli.main import main

# Tracing makes many objects that live on: with the default thresholds, collecting garbage takes a
# tenth of the processor time of the tests.
gc.freeze()
gc.set_threshold(50_000, 10, 10)

# Filtering takes time in each call of a Keras layer and of a TensorFlow operation, and a test that
# fails shall show the whole traceback.
keras.config.disable_traceback_filtering()
tf.debugging.disable_traceback_filtering()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Turn a skip into a failure where CI installs what the test needs."""
    report = yield
    if report.skipped and item.get_closest_marker("provided_by_ci") and os.getenv("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"skipped, though CI=true: {report.longrepr[-1]}"
    return report


# Test files that take longest, in falling order: started first, they do not keep one process busy
# after the others have finished.
SLOWEST_FILES = (
    "test_notebooks.py",
    "test_seq2seq.py",
    "test_prepare.py",
    "test_toy_tasks.py",
    "test_commands.py",
    "test_writer.py",
    "test_train.py",
    "test_chapter.py",
)


def pytest_collection_modifyitems(items):
    """Put the slowest files first; see `TEST_OPTIONS` in the Makefile."""
    rank = {name: index for index, name in enumerate(SLOWEST_FILES)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))


@pytest.fixture(scope="session")
def build_once(tmp_path_factory):
    """Return a folder that the first test process builds and all processes of a run share."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent

    def build_once(name, build):
        folder, done = root / "shared" / name, root / f"{name}.done"
        with open(root / f"{name}.lock", "w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(parents=True)
                build(folder)
                done.touch()
        return folder

    return build_once


@pytest.fixture(scope="session")
def phrasebook():
    """The bundled corpus."""
    return s2s.load_corpus("phrasebook")


@pytest.fixture(scope="session")
def translator(phrasebook, build_once):
    """A translator trained on the phrasebook until its translations differ."""

    def build(folder):
        keras.utils.set_random_seed(0)
        source = s2s.WordTokenizer.fit(phrasebook.source, min_freq=2)
        target = s2s.WordTokenizer.fit(phrasebook.target, min_freq=2)
        data = s2s.make_dataset(phrasebook, source, target, num_steps=10, shuffle=True, seed=0)
        sizes = {"embed_size": 32, "num_hiddens": 32, "num_layers": 2}
        model = s2s.Seq2Seq(
            s2s.Seq2SeqEncoder(len(source), **sizes), s2s.Seq2SeqDecoder(len(target), **sizes)
        )
        model.compile(
            keras.optimizers.Adam(0.005, global_clipnorm=1.0),
            steps_per_execution=int(data.cardinality()),
        )
        model.fit(data, epochs=40, verbose=0)
        s2s.Translator(model, source, target, num_steps=10).save(folder / "translator.keras")

    return s2s.Translator.load(build_once("translator", build) / "translator.keras")


@pytest.fixture(scope="session")
def exports(translator, build_once):
    """A model folder with two versions; version 2 generates at most three tokens. Read-only."""

    def build(folder):
        translator.export(folder / "en-fr")
        parts = translator.model, translator.source_tokenizer, translator.target_tokenizer
        s2s.Translator(*parts, num_steps=3).export(folder / "en-fr")

    return build_once("exports", build) / "en-fr"


@pytest.fixture(scope="session")
def attending(tokenizers):
    """A translator with attention and random weights, so that its translations differ."""
    source, target = tokenizers
    sizes = {"embed_size": 6, "num_hiddens": 8, "num_layers": 1}
    model = s2s.Seq2Seq(
        s2s.Seq2SeqEncoder(len(source), **sizes),
        s2s.Seq2SeqDecoder(len(target), **sizes, attention="luong"),
    )
    rng = np.random.default_rng(4)
    model.set_weights([rng.normal(0, 0.9, weight.shape) for weight in model.get_weights()])
    return s2s.Translator(model, source, target, num_steps=8, beam_size=4)


@pytest.fixture(scope="session")
def attending_export(attending, build_once):
    """The version folder of its export. Read-only."""

    def build(folder):
        attending.export(folder / "attending", sentences=["Go.", "I see you."])

    return build_once("attending_export", build) / "attending" / "1"


@pytest.fixture(scope="session")
def fra_eng():
    """The lines of the real corpus, both sides in each."""
    archive = Path(os.environ.get("KERAS_S2S_DATA", "nowhere")) / "fra-eng.zip"
    if not archive.exists():
        pytest.skip("the real archive, fra-eng.zip, is not in a folder named by KERAS_S2S_DATA")
    with zipfile.ZipFile(archive) as opened:
        return opened.read("fra-eng/fra.txt").decode().removesuffix("\n").split("\n")


@pytest.fixture(scope="session")
def chapter_pairs(fra_eng):
    """The training pairs of the chapter."""
    sides = [line.split("\t") for line in fra_eng[:1001]]
    return s2s.ParallelCorpus(*map(list, zip(*sides, strict=True)), name="chapter")


@pytest.fixture(scope="session")
def pairs():
    """13 pairs of different lengths, one with an empty source and one with an empty target."""
    lines = """
        Go.|Va !
        Go on.|Continue .
        I won!|J'ai gagné !
        |Rien du tout .
        I see you.|Je te vois .
        Hello, my old friend.|Bonjour , mon vieil ami .
        Wow!|Ça alors !
        You won.|Tu as gagné .
        I see.|Je vois .
        No.|
        Go, you old friend!|Va , toi , mon vieil ami !
        You see my friend.|Tu vois mon ami .
        Run!|Cours !
    """
    sides = [line.strip().split("|") for line in lines.strip().split("\n")]
    return s2s.ParallelCorpus(*map(list, zip(*sides, strict=True)), name="thirteen pairs")


@pytest.fixture(scope="session")
def tokenizers(pairs):
    """The source and target tokenizers of `pairs`."""
    return s2s.WordTokenizer.fit(pairs.source), s2s.WordTokenizer.fit(pairs.target)


@pytest.fixture(scope="session")
def batches(pairs, tokenizers):
    """The pairs in batches of 4, 4, 4 and 1, in order."""
    return s2s.make_dataset(pairs, *tokenizers, batch_size=4, num_steps=8)


@pytest.fixture
def ctrl_c():
    """Make SIGINT raise in this process and its children, even if it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def make_model(tokenizers):
    """Build a small model for `pairs`, with the same weights each time."""

    def make(dropout=0.0, seed=0, num_layers=2, **options):
        keras.utils.set_random_seed(seed)
        sizes = {"embed_size": 6, "num_hiddens": 8, "num_layers": num_layers, "dropout": dropout}
        source, target = tokenizers
        return s2s.Seq2Seq(
            s2s.Seq2SeqEncoder(len(source), **sizes, **options),
            s2s.Seq2SeqDecoder(len(target), **sizes, **options),
            **options,
        )

    return make


@pytest.fixture(scope="session")
def fresh_python():
    """Run code in a fresh process and return its stdout."""

    def run(code, *arguments, **environment):
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session")
def pairs_file(build_once):
    """A file of 24 pairs; two sources have two translations each."""
    verbs = {"go": "va", "stop": "arrête", "run": "cours", "look": "regarde", "think": "pense"}
    pairs = [f"{verb.capitalize()}.\t{french.capitalize()} !" for verb, french in verbs.items()]
    pairs += [f"{verb} now.\t{french} maintenant." for verb, french in verbs.items()]
    pairs += [f"I {verb} too.\tJe {french} aussi." for verb, french in verbs.items()]
    pairs += ["Go.\tMarche !", "Hello!\tBonjour !", "Hello!\tSalut !", "Wow!\tÇa alors !"]
    pairs += ["I won!\tJ'ai gagné !", "No.\tNon.", "Yes.\tOui.", "I'm OK.\tÇa va."]
    pairs += ["You are my old friend.\tTu es mon vieil ami."]
    text = "".join(f"{pair}\n" for pair in pairs)

    def build(folder):
        (folder / "pairs.tsv").write_text(text, encoding="utf-8")

    return build_once("corpus", build) / "pairs.tsv"


@pytest.fixture(scope="session")
def tiny():
    """Options of `keras-s2s train` for a tiny model."""
    sizes = {"embed-size": 8, "num-hiddens": 8, "num-layers": 1, "min-freq": 1, "batch-size": 8}
    return [f"--{name}={value}" for name, value in sizes.items()]


@pytest.fixture(scope="session")
def trained_run(pairs_file, tiny, build_once):
    """The directory of a finished run of two epochs, with held-out splits. Read-only."""

    def build(folder):
        held_out = ["--valid-fraction=0.2", "--test-fraction=0.2", "--seed=3", "--epochs=2"]
        run_dir = str(folder / "run")
        assert main(["train", str(pairs_file), "--run-dir", run_dir, *tiny, *held_out]) == 0

    return build_once("trained_run", build) / "run"


@pytest.fixture(scope="session")
def exported_run(trained_run, build_once):
    """The first version of an export of `trained_run`. Read-only."""

    def build(folder):
        output = ["--model-name", "tiny", "--output", str(folder)]
        assert main(["export", str(trained_run), *output]) == 0

    return build_once("exported_run", build) / "tiny" / "1"


class Outcome(NamedTuple):
    """Exit status, stdout and stderr of a command."""

    status: int
    out: str
    err: str


@pytest.fixture(scope="session")
def plain(trained_run):
    """The translator of `trained_run`, which has no attention."""
    return s2s.Translator.load(trained_run / "model.keras")


@pytest.fixture
def command(capsys):
    """Run `keras-s2s` in this process."""

    def run(*arguments):
        capsys.readouterr()
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as error:
            status = error.code
        return Outcome(status, *capsys.readouterr())

    return run


@pytest.fixture
def refused(command, tmp_path, trained_run, exported_run):
    """Run `keras-s2s` and return its error: one line, with nothing changed on disk."""

    def run(*arguments):
        places = (tmp_path, trained_run.parent, exported_run.parents[1])
        before = [snapshot(place) for place in places]
        outcome = command(*arguments)
        assert [snapshot(place) for place in places] == before
        assert (outcome.status, outcome.out) == (2, "")
        assert outcome.err.startswith("keras-s2s: error: ")
        assert outcome.err.endswith("\n")
        line = outcome.err.removesuffix("\n")
        assert line.isprintable(), "an error is one line"
        return line.removeprefix("keras-s2s: error: ")

    return run


def snapshot(folder):
    """Names and modes of all that is below a folder; times and contents of its files."""
    return {
        str(path): (
            path.lstat().st_mode,
            # A folder's time changes also where a lock has come and gone.
            path.is_file() and (path.lstat().st_mtime_ns, path.read_bytes()),
        )
        for path in [folder, *sorted(folder.rglob("*"))]
    }
