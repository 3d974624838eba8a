"""Read damaged files, one after the other, and report what became of each.

Started as a process of its own: `python file_reader.py FILE`, where FILE holds a JSON list of
`[kind, path]`. Each line of the output is a JSON object; the last has the largest memory in bytes.
"""

import json
import resource
import sys
import traceback
from pathlib import Path

import tensorflow as tf

import keras_s2s as s2s
from keras_s2s.data.compressed_files import open_unpacked
from keras_s2s.data.prepared.corpus import PreparedCorpus
from keras_s2s.run_directory import RunDirectory
from keras_s2s.serving.contract import inspect_export
from keras_s2s.training.run_record import read_run

SENTENCES = ["5 dogs and 3 cats", ""]


def read_saved_model(path):
    inspect_export(path).report()
    s2s.ExportedTranslator(path).translate(SENTENCES)


def read_keras(path):
    s2s.Translator.load(path).translate(SENTENCES)


def read_sentence_piece(path):
    tokenizer = s2s.SentencePieceTokenizer.load(path)
    tokenizer.tokenize(SENTENCES)


def read_prepared(path):
    corpus = PreparedCorpus(path)
    corpus.index.held_out("valid")
    corpus.index.samples()
    corpus.tokenizers()
    batches = corpus.batches(batch_size=8, seed=1)
    try:
        for _ in batches.take(min(corpus.num_batches(8, None), 10)):
            pass
    except tf.errors.OpError:
        raise corpus.damage or AssertionError("the damage is not reported") from None
    corpus.verify()


def read_run_directory(path):
    run = RunDirectory(path)
    run.read_history()
    run.read_config()
    read_run(run, run.read_record())


def read_archive(path):
    with open_unpacked(path) as stream:
        stream.read()


READERS = {
    "saved_model": read_saved_model,
    "keras": read_keras,
    "sentence_piece": read_sentence_piece,
    "prepared": read_prepared,
    "run": read_run_directory,
    "archive": read_archive,
}


def main():
    for kind, path in json.loads(Path(sys.argv[1]).read_text()):
        try:
            READERS[kind](Path(path))
            outcome = "read"
        except (s2s.InputError, MemoryError) as error:
            outcome = "refused" if "\n" not in str(error) else f"more than a line: {error}"
        except BaseException:
            outcome = traceback.format_exc()
        print(json.dumps({"kind": kind, "path": path, "outcome": outcome}), flush=True)
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(json.dumps({"memory": 1024 * max(own_peak(), children)}), flush=True)


def own_peak():
    """Return the peak memory of this process in KiB."""
    # Not `ru_maxrss`, which counts that of the process that started this one.
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


if __name__ == "__main__":
    main()
