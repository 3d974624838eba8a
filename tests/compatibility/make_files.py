"""Make the files that the compatibility tests read, with the code that is on the path.

The files here were made by commit 3f58841, before the package was divided into folders:

    git worktree add OLD 3f58841
    PYTHONPATH=OLD python make_files.py EMPTY_FOLDER
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

TRAIN = (
    *("--tokenizer=word", "--min-freq=1", "--max-tokens=60", "--num-steps=12"),
    *("--embed-size=8", "--num-hiddens=8", "--num-layers=2", "--attention=luong"),
    *("--bidirectional", "--dropout=0.2", "--label-smoothing=0.1"),
    *("--batch-size=4", "--bucket-by-length", "--accumulate=2", "--clip-norm=0.5"),
    *("--schedule=cosine", "--warmup-steps=4", "--learning-rate=0.02", "--epochs=12"),
    *("--valid-fraction=0.2", "--test-fraction=0.1", "--split-seed=1"),
    *("--early-stopping=loss", "--patience=1000", "--checkpoint-steps=20", "--seed=4"),
)
SENTENCES = ["3 dogs and 3 cats", "12 dogs and 2 cats", "no dogs", ""]


def command(*arguments):
    return [sys.executable, "-m", "keras_s2s", *arguments]


def main():
    folder = Path(sys.argv[1]).resolve()
    os.chdir(folder)
    lines = [f"{n} dogs and {n % 5} cats\t{n} chiens et {n % 5} chats\n" for n in range(47)]
    Path("pairs.tsv").write_text("".join(lines), encoding="utf-8")
    subprocess.run(command("train", "pairs.tsv", "--run-dir=finished", *TRAIN), check=True)

    unfinished = subprocess.Popen(command("train", "pairs.tsv", "--run-dir=unfinished", *TRAIN))
    while not list(Path("unfinished/checkpoints").glob("epoch-00000[5-9]*")):
        assert unfinished.poll() is None, "it ended before it could be killed"
        time.sleep(0.005)
    unfinished.send_signal(signal.SIGKILL)
    unfinished.wait()

    prepare = ("--min-freq=1", "--max-tokens=60", "--valid-fraction=0.1", "--output=prepared")
    subprocess.run(command("prepare", "pairs.tsv", *prepare, "--processes=1"), check=True)
    export = ("--model-name=en-fr", "--output=export")
    subprocess.run(command("export", "finished", *export), check=True)

    import keras_s2s as s2s

    translator = s2s.Translator.load("finished/model.keras")
    expected = {
        "sentences": SENTENCES,
        "greedy": translator.translate(SENTENCES, return_scores=True),
        "beam": translator.translate(SENTENCES, beam=4, n_best=2, return_scores=True),
    }
    Path("expected.json").write_text(json.dumps(expected, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
