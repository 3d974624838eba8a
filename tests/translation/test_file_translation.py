"""Translation of files, isolation of failures, and resuming after a kill."""

import gzip
import hashlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from keras_s2s.translation import file_translation
from keras_s2s.translation.file_translation import (
    MAX_CONSECUTIVE_FAILURES,
    isolate_failures,
    translate_file,
)
from keras_s2s.translation.journal import ResumableOutput
from keras_s2s.translation.output_format import OutputOptions
from keras_s2s.utils.errors import InputError
from keras_s2s.utils.signals import Interrupted

KERAS_S2S = Path(sys.executable).with_name("keras-s2s")

# A script to kill, which need not import TensorFlow. Its model reverses lines, and fails for those
# that contain "bad".
TRANSLATE = """
import sys, time
from keras_s2s.translation.file_translation import translate_file
from keras_s2s.translation.output_format import OutputOptions

class Backwards:
    def translate(self, sentences, **options):
        time.sleep(float(sys.argv[4]))
        if any(b"bad" in sentence for sentence in sentences):
            raise ValueError("a bad line")
        texts = [sentence.decode()[::-1] for sentence in sentences]
        return [[text] for text in texts], [[-float(len(text))] for text in texts]

result = translate_file(
    Backwards, "backwards", sys.argv[1], sys.argv[2], OutputOptions(), window_lines=int(sys.argv[3])
)
assert result.num_lines
"""


class Backwards:
    """A model that reverses lines, fails for those that contain "bad", and records its batches."""

    def __init__(self, after=None):
        self.asked = []
        self.after = after

    def translate(self, sentences, beam, n_best, return_scores):
        assert return_scores
        if any(b"bad" in sentence for sentence in sentences):
            raise ValueError("a bad line,\nor\ttwo")
        self.asked.append(list(sentences))
        if self.after is not None:
            self.after(len(self.asked))
        texts = [sentence.decode("utf-8", "replace")[::-1] for sentence in sentences]
        scores = [[-float(len(text) + rank) for rank in range(n_best)] for text in texts]
        return [[text] * n_best for text in texts], scores


def translate(source, target, model=None, options=None, **arguments):
    model, options = model or Backwards(), options or OutputOptions()
    return translate_file(lambda: model, "backwards", source, target, options, **arguments)


def names(folder):
    return sorted(os.listdir(folder))


@pytest.fixture
def source(tmp_path):
    """A thousand lines, with duplicates and a bad one."""
    lines = [f"{number % 700} times {'x' * (number % 13)}" for number in range(1000)]
    lines[500] = "a bad one"
    path = tmp_path / "a.txt"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture
def expected(source):
    lines = source.read_text(encoding="utf-8").splitlines()
    return "".join(f"{'' if 'bad' in line else line[::-1]}\n" for line in lines)


def test_one_output_line_per_input_line(source, expected, tmp_path, capsys):
    model, target = Backwards(), tmp_path / "new" / "b.txt"
    result = translate(source, target, model, window_lines=300)
    assert result == (1000, 1, target.with_name("b.txt.failed.tsv"))
    assert target.read_text(encoding="utf-8") == expected
    assert result.failures.read_text() == "501\tValueError: a bad line, or two\ta bad one\n"
    assert names(target.parent) == ["b.txt", "b.txt.failed.tsv"]
    assert capsys.readouterr().err.startswith("1,000 lines, ")
    # Each distinct line of a window is translated once, in batches of similar lengths.
    asked = [line for lines in model.asked for line in lines]
    assert len(asked) < 1000
    assert all(lines == sorted(lines, key=len) for lines in model.asked)


def test_compressed_input(source, expected, tmp_path):
    packed = tmp_path / "a.txt.gz"
    packed.write_bytes(gzip.compress(source.read_bytes()))
    translate(packed, tmp_path / "b.txt", window_lines=64)
    assert (tmp_path / "b.txt").read_text(encoding="utf-8") == expected


def test_failed_lines_have_all_columns(tmp_path):
    source, target = tmp_path / "a.txt", tmp_path / "b.txt"
    source.write_text("ab\nbad\n", encoding="utf-8")
    translate(source, target, options=OutputOptions(2, 2, True))
    assert target.read_text() == "1\tba\t-2.000000\n1\tba\t-3.000000\n2\t\tnan\n"


def test_an_empty_file(tmp_path):
    source, target = tmp_path / "a.txt", tmp_path / "b.txt"
    source.touch()
    assert translate(source, target).num_lines == 0
    assert target.read_bytes() == b""
    assert names(tmp_path) == ["a.txt", "b.txt"]


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
def test_killed_at_random_moments(packed, source, expected, tmp_path):
    if packed:
        plain, source = source, tmp_path / "packed.gz"
        source.write_bytes(gzip.compress(plain.read_bytes()))
    target, rng, kills = tmp_path / "b.txt", random.Random(7), 0
    # With this name the package does not import TensorFlow.
    script = tmp_path / "keras-s2s.py"
    script.write_text(TRANSLATE, encoding="utf-8")
    words = [sys.executable, script, source, target, "20", "0.004"]
    journal = tmp_path / "b.txt.partial" / "journal.json"
    while True:
        with subprocess.Popen(words, stderr=subprocess.PIPE) as process:
            before = journal.stat().st_mtime_ns if journal.exists() else 0
            deadline = time.monotonic() + 60
            while process.poll() is None and time.monotonic() < deadline and kills < 6:
                if journal.exists() and journal.stat().st_mtime_ns > before:
                    time.sleep(rng.uniform(0, 0.02))
                    process.kill()
                    break
                time.sleep(0.001)
            _, err = process.communicate(timeout=60)
        if process.returncode != -signal.SIGKILL:
            break
        kills += 1
        assert not target.exists()
    assert (process.returncode, kills) == (0, 6), err
    assert b"resuming after " in err
    assert target.read_text(encoding="utf-8") == expected
    assert (tmp_path / "b.txt.failed.tsv").read_text().count("\n") == 1
    assert not journal.parent.exists()


@pytest.mark.parametrize("step", range(12))
def test_killed_between_any_two_steps_of_finishing(step, source, expected, tmp_path, monkeypatch):
    """Finishing renames and removes files; after each step the same call completes it."""
    target = tmp_path / "b.txt"
    done = []

    def counted(function):
        def call(*arguments, **options):
            if finishing and len(done) == step:
                raise KeyboardInterrupt
            if finishing:
                done.append(function)
            return function(*arguments, **options)

        return call

    finishing = []
    finish = ResumableOutput.finish

    def finish_counted(self, journal):
        finishing.append(True)
        finish(self, journal)

    with monkeypatch.context() as patched:
        patched.setattr(ResumableOutput, "finish", finish_counted)
        for name in ("replace", "fsync"):
            patched.setattr(os, name, counted(getattr(os, name)))
        for name in ("unlink", "rmdir"):
            patched.setattr(Path, name, counted(getattr(Path, name)))
        try:
            translate(source, target)
        except KeyboardInterrupt:
            assert len(done) == step
        else:
            assert len(done) <= step
            assert step > 7, "finishing takes more than 7 steps"
    if (tmp_path / "b.txt.partial" / "journal.json").exists():
        assert translate(source, target, Backwards(after=pytest.fail)).num_failed == 1
    assert target.read_text(encoding="utf-8") == expected
    assert (tmp_path / "b.txt.failed.tsv").read_text().startswith("501\t")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_shutdown_by_a_signal(number, source, expected, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(file_translation, "BATCH_LINES", 50)
    target = tmp_path / "b.txt"
    source.write_bytes(source.read_bytes().replace(b"bad", b"good"))
    expected = expected.replace("\n\n", "\neno doog a\n")
    model = Backwards(after=lambda calls: signal.raise_signal(number) if calls == 10 else None)
    with pytest.raises(Interrupted) as error:
        translate(source, target, model, window_lines=200)
    assert error.value.signal_number == number
    assert str(error.value).startswith(f"{tmp_path / 'b.txt.partial'} keeps 400 lines; ")
    assert len(model.asked) == 10, "it does not complete the window first"
    assert not target.exists()
    translate(source, target, window_lines=200)
    assert "resuming after 400 lines\n" in capsys.readouterr().err
    assert target.read_text(encoding="utf-8") == expected


@pytest.fixture
def partial(source, tmp_path):
    """Progress of 200 lines."""

    def stop(calls):
        if calls == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        translate(source, tmp_path / "b.txt", Backwards(stop), window_lines=100)
    assert names(tmp_path) == ["a.txt", "b.txt.partial"]
    return tmp_path / "b.txt.partial"


def test_progress_must_match_the_call(partial, source, expected, tmp_path):
    target, whole = tmp_path / "b.txt", source.read_bytes()
    for options, name in (
        ({"options": OutputOptions(with_scores=True)}, "with-scores"),
        ({"window_lines": 10}, "window-lines"),
    ):
        with pytest.raises(InputError, match=f"was started with another {name}; "):
            translate(source, target, **{"window_lines": 100, **options})
    with pytest.raises(InputError, match="was started with another model; "):
        translate_file(Backwards, "forwards", source, target, OutputOptions(), window_lines=100)
    source.write_bytes(whole.replace(b"7 times", b"8 times", 1))
    with pytest.raises(InputError, match=r"a.txt: its first 200 lines have changed"):
        translate(source, target, window_lines=100)
    source.write_bytes(whole[:900])
    with pytest.raises(InputError, match=r"a.txt: its first 200 lines have changed"):
        translate(source, target, window_lines=100)
    # Text after the prefix may differ, and the time of the file is ignored.
    source.write_bytes(whole + b"more\n")
    translate(source, target, window_lines=100)
    assert target.read_text(encoding="utf-8") == f"{expected}erom\n"


def test_progress_is_replaced_with_overwrite(partial, source, expected, tmp_path):
    model = Backwards()
    translate(source, tmp_path / "b.txt", model, OutputOptions(with_scores=True), overwrite=True)
    first = expected.split("\n")[0]
    assert (tmp_path / "b.txt").read_text().startswith(f"{first}\t-{len(first)}.000000\n")
    assert names(tmp_path) == ["a.txt", "b.txt", "b.txt.failed.tsv"]


def test_the_same_command_resumes_also_with_overwrite(partial, source, expected, tmp_path, capsys):
    (tmp_path / "b.txt").write_text("old", encoding="utf-8")
    with pytest.raises(InputError, match="exists already"):
        translate(source, tmp_path / "b.txt", window_lines=100)
    translate(source, tmp_path / "b.txt", window_lines=100, overwrite=True)
    assert "resuming after 200 lines" in capsys.readouterr().err
    assert (tmp_path / "b.txt").read_text(encoding="utf-8") == expected


def test_damaged_progress(partial, source, expected, tmp_path):
    target, output, journal = tmp_path / "b.txt", partial / "output.txt", partial / "journal.json"
    content, state = output.read_bytes(), journal.read_bytes()
    for damaged in (content[:-1], b"X" + content[1:]):
        output.write_bytes(damaged)
        with pytest.raises(InputError, match=r"output.txt: has been changed"):
            translate(source, target, window_lines=100)
    for broken in (b"", b"[]", b'{"source": 1}', state.replace(b"num_lines", b"number")):
        journal.write_bytes(broken)
        with pytest.raises(InputError, match=r"journal.json: cannot be read, or is damaged"):
            translate(source, target, window_lines=100)
    journal.write_bytes(state)
    # A kill can leave more output than the journal lists.
    output.write_bytes(content + b"half a li")
    translate(source, target, window_lines=100)
    assert target.read_text(encoding="utf-8") == expected


def test_the_output_is_locked_against_other_processes(source, tmp_path):
    with (
        ResumableOutput(tmp_path / "b.txt"),
        pytest.raises(InputError, match=r"is writing there; .*--output"),
    ):
        translate(source, tmp_path / "b.txt")


def test_invalid_outputs(source, tmp_path):
    with pytest.raises(InputError, match=r"is a folder; .*--output"):
        translate(source, tmp_path)
    with pytest.raises(InputError, match="/dev/null: is not a regular file"):
        translate(source, "/dev/null", overwrite=True)
    with pytest.raises(InputError, match="none: no such file"):
        translate(tmp_path / "none", tmp_path / "b.txt")
    assert names(tmp_path) == ["a.txt"]


def test_a_full_disk(source, expected, tmp_path, monkeypatch):
    target, sync, left = tmp_path / "b.txt", os.fsync, [8]

    def fill(descriptor):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        sync(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fill)
        with pytest.raises(
            InputError, match=r"No space left on device; .*partial keeps the progress"
        ):
            translate(source, target, window_lines=100)
    translate(source, target, window_lines=100)
    assert target.read_text(encoding="utf-8") == expected


def test_a_model_that_always_fails_ends_the_translation(source, tmp_path):
    source.write_text("bad\n" * 300 + "".join(f"bad {number}\n" for number in range(300)))
    with pytest.raises(ValueError, match="a bad line"):
        translate(source, tmp_path / "b.txt")
    assert not (tmp_path / "b.txt").exists()


def double_except(bad, calls):
    """Make a batch function that fails for bad values and records the sizes of its batches."""

    def double(values):
        calls.append(len(values))
        if bad & set(values):
            raise ValueError(f"no {min(bad & set(values))}")
        return [2 * value for value in values]

    return double


@pytest.mark.parametrize("bad", [set(), {0}, {999}, {3, 4, 500}])
def test_only_bad_values_fail(bad):
    calls = []
    results = isolate_failures(double_except(bad, calls))(range(1000))
    for value, result in enumerate(results):
        if value in bad:
            assert isinstance(result, ValueError)
            assert str(result) == f"no {value}"
        else:
            assert result == 2 * value
    assert len(calls) <= 1 + 2 * 10 * len(bad)


def test_a_function_that_always_fails_raises():
    calls = []
    with pytest.raises(ValueError, match=f"no {MAX_CONSECUTIVE_FAILURES - 1}"):
        isolate_failures(double_except(set(range(10**4)), calls))(range(10**4))
    assert len(calls) < 300
    # Failures with a success in between are not consecutive.
    isolated = isolate_failures(double_except(set(range(0, 1000, 2)), []))
    assert sum(isinstance(result, ValueError) for result in isolated(range(1000))) == 500


def test_errors_that_concern_the_whole_batch():
    def refuse(values):
        raise InputError("not with this beam")

    with pytest.raises(InputError, match="not with this beam"):
        isolate_failures(refuse)([1, 2])
    [lost] = isolate_failures(lambda values: [])([1])
    assert str(lost) == "0 results for 1 values"
    assert isolate_failures(lambda values: [])([]) == []


def test_a_symbolic_link_is_followed(source, tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "b.txt").symlink_to(tmp_path / "far" / "real.txt")
    translate(source, tmp_path / "b.txt")
    assert (tmp_path / "b.txt").is_symlink()
    assert names(tmp_path / "far") == ["real.txt", "real.txt.failed.tsv"]


def test_translation_in_a_thread(source, tmp_path):
    thread = threading.Thread(target=translate, args=(source, tmp_path / "b.txt"))
    thread.start()
    thread.join()
    assert (tmp_path / "b.txt").exists()


LINES = [
    *["Go.", "", "I won!", "  ", "in\u2028side \u0085 it", "\tWow !\t", "Go.", "I'm OK."] * 9,
    "a\rb",
    "x" * 5000,
    "No end",
]


@pytest.mark.parametrize(("kind", "end"), [("run", "\n"), ("export", "\r\n")])
def test_the_same_as_from_standard_input(
    kind, end, command, trained_run, exported_run, tmp_path, monkeypatch
):
    model = trained_run if kind == "run" else exported_run
    content = end.join(LINES).encode() + b" \xff\xfe"
    (tmp_path / "a.txt").write_bytes(content)
    files = ["--input", tmp_path / "a.txt", "--output", tmp_path / "b.txt", "--overwrite"]
    for options in ([], ["--beam", 5, "--n-best", 2]):
        outcome = command("translate", model, *files, *options)
        assert (outcome.status, outcome.out) == (0, ""), outcome.err
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        printed = command("translate", model, *options).out
        assert (tmp_path / "b.txt").read_bytes() == printed.encode()
    command("translate", model, *files, "--with-scores")
    written = (tmp_path / "b.txt").read_text(encoding="utf-8").split("\n")
    assert len(written) == len(LINES) + 1
    assert all(line.count("\t") == 1 for line in written[:-1])


def test_combinations_of_options(refused, trained_run, tmp_path):
    files = ["--input", trained_run / "history.csv", "--output", tmp_path / "b.txt"]
    for arguments, message in (
        (files[:2], "--input and --output go together"),
        (files[2:], "--input and --output go together"),
        ([*files, "Go."], "sentences and --input exclude each other"),
        (["--overwrite"], "--overwrite is for --output"),
        ([*files[:3], trained_run / "run.json"], "exists already"),
        (["--input", tmp_path / "none", *files[2:]], "none: no such file"),
    ):
        assert message in refused("translate", trained_run, *arguments)
    assert "no such file or folder" in refused("translate", tmp_path / "none", *files)


def test_failed_lines_are_reported(command, trained_run, tmp_path, monkeypatch):
    import keras_s2s as s2s

    translate = s2s.Translator.translate

    def fragile(self, sentences, *arguments, **options):
        if any(b"bad" in sentence for sentence in sentences):
            raise MemoryError
        return translate(self, sentences, *arguments, **options)

    monkeypatch.setattr(s2s.Translator, "translate", fragile)
    (tmp_path / "a.txt").write_text("Go.\nbad\nWow!\n", encoding="utf-8")
    outcome = command(
        "translate", trained_run, "--input", tmp_path / "a.txt", "--output", tmp_path / "b.txt"
    )
    assert outcome.status == 1
    assert "1 line could not be translated: " in outcome.err
    assert (tmp_path / "b.txt").read_text(encoding="utf-8").split("\n")[1] == ""
    assert (tmp_path / "b.txt.failed.tsv").read_text() == "2\tMemoryError:\tbad\n"


def checksum(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.slow
def test_a_million_lines_killed_and_resumed(trained_run, tmp_path):
    """With a real, tiny model; nearly all lines are distinct."""
    source, kills, rng = tmp_path / "a.txt", 0, random.Random(1)
    words = ["I", "won", "stop", "go", "you", "are", "my", "old", "friend", "too"]
    with open(source, "w", encoding="utf-8") as file:
        for number in range(1_000_000):
            some = rng.choices(words, k=rng.randint(0, 8))
            file.write(f"{' '.join(some)} {number if number % 10 else ''}\n")
    command = [KERAS_S2S, "translate", trained_run, "--input", source, "--output"]
    whole, resumed = tmp_path / "whole.txt", tmp_path / "resumed.txt"
    subprocess.run([*command, whole], check=True)
    journal = tmp_path / "resumed.txt.partial" / "journal.json"
    done = 0
    for kills in range(1, 9):
        with subprocess.Popen([*command, resumed]) as process:
            goal = done + rng.randint(1, 15) * 8192
            while process.poll() is None:
                time.sleep(rng.uniform(0, 0.2))
                if journal.exists() and json.loads(journal.read_text())["num_lines"] >= goal:
                    process.kill()
        assert process.returncode == -signal.SIGKILL
        assert not resumed.exists()
        done = json.loads(journal.read_text())["num_lines"]
        print(f"kill {kills} after {done} lines")
    subprocess.run([*command, resumed], check=True)
    assert checksum(resumed) == checksum(whole)
    with open(resumed, "rb") as file:
        assert sum(1 for _ in file) == 1_000_000
