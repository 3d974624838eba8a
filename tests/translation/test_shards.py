"""Translation of files in slices, also by an Apache Beam pipeline if it is installed."""

import gzip
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from keras_s2s.translation.output_format import OutputOptions
from keras_s2s.translation.shards import ShardFolder, find_sources, split_files
from keras_s2s.utils.errors import InputError

KERAS_S2S = Path(sys.executable).with_name("keras-s2s")
HAS_BEAM = importlib.util.find_spec("apache_beam") is not None
needs_beam = pytest.mark.skipif(
    not HAS_BEAM, reason="Apache Beam is not installed: pip install 'keras-s2s[distributed]'"
)
SETTINGS = {"model": "backwards"}


class Backwards:
    def translate(self, sentences, **options):
        if any(b"bad" in sentence for sentence in sentences):
            raise ValueError("a bad line")
        texts = [sentence.decode()[::-1] for sentence in sentences]
        return [[text] for text in texts], [[-1.0] for _ in texts]


@pytest.fixture
def sources(tmp_path):
    """A file of 25 lines, of which line 7 is bad, and a compressed one of 10 lines."""
    folder = tmp_path / "in"
    folder.mkdir()
    lines = [f"{index} times" for index in range(25)]
    lines[6] = "bad"
    (folder / "one.txt").write_bytes("\r\n".join(lines).encode())
    (folder / "two.txt.gz").write_bytes(gzip.compress(b"again\n" * 10))
    return folder


def names(folder):
    return sorted(os.listdir(folder))


def test_slices_translated_in_any_order_merge_to_the_whole(sources, tmp_path):
    folder = ShardFolder(tmp_path / "out")
    folder.check_free()
    shards = split_files(find_sources([f"{sources}/*"]), 10)
    assert [(shard.name, shard.first_line, shard.num_lines) for shard in shards] == [
        *[("one.txt", 1, 10), ("one.txt", 11, 10), ("one.txt", 21, 5)],
        ("two.txt", 1, 10),
    ]
    folder.start(SETTINGS, shards, False)
    for shard in reversed(shards):
        folder.translate(shard, Backwards(), OutputOptions())
    assert folder.pending(shards) == []
    assert names(folder.shards) == [
        "one.txt.000000000001.failed.tsv",
        *(f"one.txt.{index:012}.txt" for index in (1, 11, 21)),
        "two.txt.000000000001.txt",
    ]
    folder.merge(shards)
    expected = [f"{index} times"[::-1] for index in range(25)]
    expected[6] = ""
    assert (folder.path / "one.txt").read_text().split("\n") == [*expected, ""]
    assert (folder.path / "two.txt").read_text() == "niaga\n" * 10
    failed = (folder.path / "one.txt.failed.tsv").read_text()
    assert failed == "7\tValueError: a bad line\tbad\n"
    assert not (folder.path / "two.txt.failed.tsv").exists()


def test_only_pending_slices_are_translated(sources, tmp_path):
    folder, shards = ShardFolder(tmp_path / "out"), split_files(find_sources([f"{sources}/*"]), 10)
    folder.start(SETTINGS, shards, False)
    folder.translate(shards[1], Backwards(), OutputOptions())
    again = ShardFolder(tmp_path / "out")
    again.check_free()
    # The input files may move.
    sources.rename(tmp_path / "moved")
    moved = split_files(find_sources([f"{tmp_path}/moved/*"]), 10)
    again.start(SETTINGS, moved, False)
    assert again.pending(moved) == [moved[0], *moved[2:]]


def test_a_different_plan_is_refused(sources, tmp_path):
    folder, files = ShardFolder(tmp_path / "out"), find_sources([f"{sources}/*"])
    shards = split_files(files, 10)
    folder.start(SETTINGS, shards, False)
    folder.translate(shards[0], Backwards(), OutputOptions())
    (sources / "two.txt.gz").write_bytes(gzip.compress(b"other\n" * 10))
    for settings, other in (
        ({"model": "forwards"}, shards),
        (SETTINGS, split_files(files[:1], 10)),
        (SETTINGS, split_files(files, 10)),
    ):
        with pytest.raises(InputError, match="has shards of other files"):
            folder.start(settings, other, False)
    folder.start({"model": "forwards"}, shards, True)
    assert len(folder.pending(shards)) == len(shards)


def test_lines_changed_after_planning_are_refused(sources, tmp_path):
    folder, shards = ShardFolder(tmp_path / "out"), split_files(find_sources([f"{sources}/*"]), 10)
    folder.start(SETTINGS, shards, False)
    (sources / "one.txt").write_text("new\n" * 25)
    with pytest.raises(InputError, match=r"one.txt, line 11: .* have changed"):
        folder.translate(shards[1], Backwards(), OutputOptions())
    assert names(folder.shards) == []


def test_invalid_inputs_and_folders(sources, tmp_path):
    with pytest.raises(InputError, match="no such file"):
        find_sources([f"{tmp_path}/*.none"])
    (tmp_path / "one.txt").touch()
    with pytest.raises(InputError, match=r"one.txt: two inputs have this name"):
        find_sources([f"{sources}/one.txt", f"{tmp_path}/one.txt"])
    with pytest.raises(InputError, match="is not empty and holds no shards"):
        ShardFolder(sources).check_free()
    with pytest.raises(InputError, match=r"is a file; .*--output-dir"):
        ShardFolder(tmp_path / "one.txt").check_free()


def test_invalid_options(refused, trained_run, sources, tmp_path):
    files = ["--input", sources / "one.txt", "--output-dir", tmp_path / "out"]
    for more, message in (
        (["--shard-lines", 0], "--shard-lines is 0"),
        (["--beam", 0], "--beam is 0"),
        (["--input", tmp_path / "none"], "none: no such file"),
    ):
        assert message in refused("translate-shards", trained_run, *files, *more)


@pytest.mark.skipif(HAS_BEAM, reason="Apache Beam is installed")
def test_without_the_extra(refused, trained_run, sources, tmp_path):
    files = ["--input", sources / "one.txt", "--output-dir", tmp_path / "out"]
    message = refused("translate-shards", trained_run, *files)
    assert message.endswith("pip install 'keras-s2s[distributed]'")


def keras_s2s(*arguments):
    return subprocess.run(
        [KERAS_S2S, *map(str, arguments)], capture_output=True, text=True, check=False
    )


@needs_beam
@pytest.mark.parametrize(
    "pipeline_options", ["", "--direct_num_workers=2 --direct_running_mode=multi_processing"]
)
def test_a_pipeline_gives_the_same_output_as_one_process(
    pipeline_options, exported_run, sources, tmp_path
):
    out, plain = tmp_path / "out", tmp_path / "plain.txt"
    options = ["--pipeline-options", pipeline_options, "--shard-lines", 10, "--merge"]
    command = ["translate-shards", exported_run, "--input", *sources.iterdir()]
    command += ["--output-dir", out, *options]
    done = keras_s2s(*command)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "4 shards, 0 of them done before\n" in done.stderr
    for source in sources.iterdir():
        keras_s2s("translate", exported_run, "--input", source, "--output", plain, "--overwrite")
        assert (out / source.name.removesuffix(".gz")).read_bytes() == plain.read_bytes()
    # A complete shard is not translated again.
    first = out / "shards" / "one.txt.000000000001.txt"
    first.write_text("kept\n", encoding="utf-8")
    (out / "shards" / "one.txt.000000000011.txt").unlink()
    done = keras_s2s(*command)
    assert done.returncode == 0, done.stderr
    assert "4 shards, 3 of them done before\n" in done.stderr
    merged = (out / "one.txt").read_text(encoding="utf-8").split("\n")
    assert merged[0] == "kept"
    assert merged[1:-1] == plain_lines(exported_run, sources / "one.txt", plain)[10:]


def plain_lines(model, source, target):
    keras_s2s("translate", model, "--input", source, "--output", target, "--overwrite")
    return target.read_text(encoding="utf-8").split("\n")[:-1]
