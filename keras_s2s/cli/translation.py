"""What `keras-s2s` does with sentences: `translate`, `translate-shards`, `web`.

Nothing here imports TensorFlow before it is needed, so that `--help` answers at once.
"""

import argparse
import importlib.util
import io
import os
import shlex
import sys
from collections.abc import Iterator
from typing import cast

from keras_s2s.cli.model_paths import find_model, load_model
from keras_s2s.translation import file_translation
from keras_s2s.translation.output_format import Wanted
from keras_s2s.translation.shards import ShardFolder, find_sources, shards_of
from keras_s2s.utils.console import import_tensorflow, log, spinner
from keras_s2s.utils.errors import InputError
from keras_s2s.utils.files import sha256_of_model
from keras_s2s.utils.text import available_lines


def translate(options: argparse.Namespace) -> int:
    """`keras-s2s translate`; lines that failed are a result, which the exit status tells."""
    wanted = _wanted(options)
    if options.input is not None or options.output is not None:
        return _translate_file(options, wanted)
    if options.overwrite:
        raise InputError("--overwrite is for --output; give --input and --output with it")
    if len(options.sentences) == 1 and os.path.isfile(name := options.sentences[0]):
        log(
            f"{name} is a file, and its name is translated here; its lines are with "
            f"--input {shlex.quote(name)} --output FILE"
        )
    model = load_model(options.model)
    output = sys.stdout.buffer
    number = 0
    for sentences in _asked(options.sentences):
        for answers in wanted.ask(model, sentences):
            number += 1
            output.write(wanted.lines(number, answers))
        output.flush()
    return 0


def _wanted(options: argparse.Namespace) -> Wanted:
    if options.beam < 1:
        raise InputError(f"--beam is {options.beam}; give 1 or more")
    if options.n_best is not None and options.n_best < 1:
        raise InputError(f"--n-best is {options.n_best}; give 1 or more")
    if options.n_best is not None and options.n_best > options.beam:
        raise InputError(
            f"--n-best is {options.n_best}, and --beam {options.beam}; give --beam "
            f"{options.n_best} or more, or a smaller --n-best"
        )
    return Wanted(options.beam, options.n_best, options.with_scores)


def _translate_file(options: argparse.Namespace, wanted: Wanted) -> int:
    if options.input is None or options.output is None:
        raise InputError("--input and --output go together; give both, or use < FILE and > FILE")
    if options.sentences:
        raise InputError("sentences are given, and --input too; give one of them")
    model_file = find_model(options.model)
    result = file_translation.translate_file(
        lambda: load_model(options.model),
        sha256_of_model(model_file),
        options.input,
        options.output,
        wanted,
        options.overwrite,
    )
    if result.num_failed:
        lines = "line" if result.num_failed == 1 else "lines"
        log(f"{result.num_failed:,} {lines} could not be translated: {result.failures}")
    return 1 if result.num_failed else 0


def translate_shards(options: argparse.Namespace) -> int:
    """`keras-s2s translate-shards`; what failed is a result, which the exit status tells."""
    if options.shard_lines < 1:
        raise InputError(f"--shard-lines is {options.shard_lines}; give 1 or more")
    wanted, folder = _wanted(options), ShardFolder(options.output_dir)
    folder.check_free()
    sources = find_sources(options.input)
    model_checksum = sha256_of_model(find_model(options.model))
    if importlib.util.find_spec("apache_beam") is None:
        raise InputError(
            "translate-shards needs Apache Beam; install it with: "
            "pip install 'keras-s2s[distributed]'"
        )
    shards = shards_of(sources, options.shard_lines)
    settings = {"model": model_checksum, **wanted._asdict(), "shard_lines": options.shard_lines}
    folder.begin(settings, shards, options.overwrite)
    missing = folder.missing(shards)
    log(f"{len(shards):,} shards, {len(shards) - len(missing):,} of them done before")
    if missing:
        import_tensorflow()
        from keras_s2s.translation import beam_pipeline as shard_pipeline

        translation = shard_pipeline.ShardTranslation(
            load_model, options.model, wanted, str(folder.path)
        )
        shard_pipeline.translate_shards(missing, translation, shlex.split(options.pipeline_options))
        if missing := folder.missing(shards):
            log(
                f"{len(missing):,} shards are not done; {folder.shards} says why, and the same "
                "command tries those again"
            )
            return 1
    if options.merge:
        folder.merge(shards)
    failed = [shard for shard in shards if folder.failed(shard).exists()]
    if failed:
        log(f"lines of {len(failed):,} shards could not be translated: {folder.failed(failed[0])}")
    return 1 if failed else 0


def _asked(sentences: list[str]) -> Iterator[list[bytes]]:
    if sentences:
        return iter([[os.fsencode(sentence) for sentence in sentences]])
    if sys.stdin is None:
        raise InputError(
            "standard input is closed; give sentences as arguments, or a file as < FILE"
        )
    if sys.stdin.isatty():
        log("a sentence a line; Ctrl-D ends")
    return available_lines(cast(io.BufferedIOBase, sys.stdin.buffer))


def web(options: argparse.Namespace) -> None:
    """`keras-s2s web`."""
    try:
        from keras_s2s.cli.web import app as page
    except ImportError as error:
        raise InputError(
            f"the page needs packages that are not installed ({error}); "
            "pip install 'keras-s2s[web]'"
        ) from error
    from keras_s2s.cli.web.models import LocalModel, connect, is_url

    paths = [options.model] if options.second is None else [options.model, options.second]
    served = {path: connect(path) for path in paths if is_url(path)}
    with page.listen(options.host, options.port) as listener:
        with spinner("loading and warming up"):
            models = [served.get(path) or LocalModel(path, load_model(path)) for path in paths]
            for model in models:
                if isinstance(model, LocalModel):
                    model.translate("")
        if not page.is_loopback(listener):
            log(f"the page has no password: everyone who can connect to {options.host} can use it")
        log(f"open {page.page_url(listener)} in a browser; press Ctrl-C to quit")
        page.make_page_server(models, listener).serve_forever()
