"""A run on one device that runs on several devices and workers have to equal."""

import pytest

import keras_s2s as s2s

# Batches of different lengths, the last with fewer pairs than there are replicas.
DISTRIBUTED_FIELDS = {
    "embed_size": 8,
    "num_hiddens": 8,
    "num_layers": 1,
    "min_freq": 1,
    "batch_size": 7,
    "bucket_by_length": True,
    "valid_fraction": 0.2,
    "epochs": 3,
}


@pytest.fixture(scope="session")
def distributed_fields():
    return dict(DISTRIBUTED_FIELDS)


@pytest.fixture(scope="session")
def corpus_file(tmp_path_factory):
    """45 pairs, of which 36 are trained on: 5 batches of 7 and one of 1."""
    lines = [
        f"{n} dogs{' and cats' * (n % 4)}\t{n} chiens{' et chats' * (n % 5)}\n" for n in range(45)
    ]
    file = tmp_path_factory.mktemp("pairs") / "pairs.tsv"
    file.write_text("".join(lines), encoding="utf-8")
    return file


@pytest.fixture(scope="session")
def one_device_run(corpus_file, tmp_path_factory):
    """A run of `DISTRIBUTED_FIELDS` with seed 2. Read-only."""
    run_dir = tmp_path_factory.mktemp("one_device") / "run"
    s2s.train(str(corpus_file), run_dir, s2s.TrainingConfig(**DISTRIBUTED_FIELDS), seed=2)
    return run_dir
