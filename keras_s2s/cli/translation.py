"""Commands that translate: `keras-s2s translate`, `translate-shards` and `web`.

TensorFlow is imported only when a command needs it, so that `--help` is fast.
"""

import argparse
import functools
import importlib.util
import io
import os
import shlex
import sys
from collections.abc import Iterator
from typing import cast

from keras_s2s.cli.model_paths import MODEL_HELP, find_model, is_export, is_model, load_model
from keras_s2s.cli.options import Subparsers, add_command, add_output_options, add_trust_option
from keras_s2s.translation import file_translation
from keras_s2s.translation.line_reader import WINDOW_LINES
from keras_s2s.translation.output_format import OutputOptions
from keras_s2s.translation.shards import ShardFolder, find_sources, split_files
from keras_s2s.utils.argument_parser import CommandParser, int_value
from keras_s2s.utils.console import import_tensorflow, log, spinner
from keras_s2s.utils.errors import InputError
from keras_s2s.utils.files import sha256_of_model
from keras_s2s.utils.text import available_lines


def add_translate(subparsers: "Subparsers[CommandParser]") -> None:
    """Add the parser of `keras-s2s translate`."""
    parser = add_command(subparsers, "translate", translate)
    parser.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    parser.add_argument(
        "sentences",
        metavar="SENTENCE",
        nargs="*",
        default=[],
        help="sentences (default: the lines of standard input)",
    )
    add_output_options(parser)
    parser.add_argument(
        "--input",
        metavar="FILE",
        help="translate the lines of a text or .gz file of any size; resumes where it was killed",
    )
    parser.add_argument("--output", metavar="FILE", help="output file for --input")
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace the output file, and partial output of another input or model",
    )
    add_trust_option(parser)


def translate(options: argparse.Namespace) -> int:
    """Run `keras-s2s translate`; return 1 when lines of a file failed."""
    output_options = _output_options(options)
    if options.input is not None or options.output is not None:
        return _translate_file(options, output_options)
    if options.overwrite:
        raise InputError("--overwrite is for --output; give --input and --output with it")
    if name := next(filter(is_model, options.sentences), None):
        raise InputError(
            f"{name}: is a model, where a sentence is expected; translate runs one model, and "
            f"keras-s2s web {shlex.join((options.model, name))} compares two"
        )
    if name := next(filter(os.path.isfile, options.sentences), None):
        log(
            f"{name} is a file, and its name is translated here; translate its lines with "
            f"--input {shlex.quote(name)} --output FILE"
        )
    model = load_model(options.model, trust=options.trust)
    output, escape = sys.stdout.buffer, sys.stdout.isatty()
    index = 0
    for sentences in _sentence_batches(options.sentences):
        results = output_options.translate(model, sentences)
        for sentence, hypotheses in zip(sentences, results, strict=True):
            index += 1
            output.write(output_options.format_lines(index, sentence, hypotheses, escape))
        output.flush()
    return 0


def _output_options(options: argparse.Namespace) -> OutputOptions:
    if options.beam < 1:
        raise InputError(f"--beam is {options.beam}; give 1 or more")
    if options.n_best is not None and options.n_best < 1:
        raise InputError(f"--n-best is {options.n_best}; give 1 or more")
    if options.n_best is not None and options.n_best > options.beam:
        raise InputError(
            f"--n-best is {options.n_best}, and --beam {options.beam}; give --beam "
            f"{options.n_best} or more, or a smaller --n-best"
        )
    if options.json and (options.n_best is not None or options.with_scores):
        raise InputError(
            "--json has the score of the best translation; omit --with-scores and --n-best"
        )
    return OutputOptions(options.beam, options.n_best, options.with_scores, options.json)


def _translate_file(options: argparse.Namespace, output_options: OutputOptions) -> int:
    if options.input is None or options.output is None:
        raise InputError("--input and --output go together; give both, or use < FILE and > FILE")
    if options.sentences:
        raise InputError("sentences and --input exclude each other; give one of them")
    model_file = find_model(options.model)
    result = file_translation.translate_file(
        lambda: load_model(options.model, trust=options.trust),
        sha256_of_model(model_file),
        options.input,
        options.output,
        output_options,
        options.overwrite,
    )
    if result.num_failed:
        lines = "line" if result.num_failed == 1 else "lines"
        log(f"{result.num_failed:,} {lines} could not be translated: {result.failures}")
    return 1 if result.num_failed else 0


def _sentence_batches(sentences: list[str]) -> Iterator[list[bytes]]:
    if sentences:
        return iter([[os.fsencode(sentence) for sentence in sentences]])
    if sys.stdin is None:
        raise InputError(
            "standard input is closed; give sentences as arguments, or a file as < FILE"
        )
    if sys.stdin.isatty():
        log("one sentence per line; Ctrl-D ends")
    return available_lines(cast(io.BufferedIOBase, sys.stdin.buffer))


def add_translate_shards(subparsers: "Subparsers[CommandParser]") -> None:
    """Add the parser of `keras-s2s translate-shards`."""
    parser = add_command(subparsers, "translate-shards", translate_shards)
    parser.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    parser.add_argument(
        "--input", metavar="FILE", nargs="+", required=True, help="files, .gz files, or patterns"
    )
    parser.add_argument(
        "--output-dir", metavar="DIR", required=True, help="folder for the shards and their plan"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace shards of another command in the folder"
    )
    parser.add_argument(
        "--merge", action="store_true", help="finally merge the shards to one file per input"
    )
    parser.add_argument(
        "--shard-lines",
        type=int_value,
        metavar="N",
        default=WINDOW_LINES,
        help="lines per shard (default: %(default)s)",
    )
    parser.add_argument(
        "--pipeline-options",
        metavar="TEXT",
        default="",
        help="Apache Beam pipeline options as one argument, such as '--runner=FlinkRunner "
        "--flink_master=host:8081' (default: this process)",
    )
    add_trust_option(parser)
    add_output_options(parser)


def translate_shards(options: argparse.Namespace) -> int:
    """Run `keras-s2s translate-shards`; return 1 when shards or lines failed."""
    if options.shard_lines < 1:
        raise InputError(f"--shard-lines is {options.shard_lines}; give 1 or more")
    output_options, folder = _output_options(options), ShardFolder(options.output_dir)
    folder.check_free()
    sources = find_sources(options.input)
    model = find_model(options.model)
    if is_export(model) and not options.trust:
        from keras_s2s.serving.allowed_ops import require_safe

        require_safe(model)
    model_checksum = sha256_of_model(model)
    if importlib.util.find_spec("apache_beam") is None:
        raise InputError(
            "translate-shards needs Apache Beam; install it with: "
            "pip install 'keras-s2s[distributed]'"
        )
    shards = split_files(sources, options.shard_lines)
    settings = {
        "model": model_checksum,
        **output_options.settings(),
        "shard_lines": options.shard_lines,
    }
    folder.start(settings, shards, options.overwrite)
    missing = folder.pending(shards)
    log(f"{len(shards):,} shards, {len(shards) - len(missing):,} of them done before")
    if missing:
        import_tensorflow()
        from keras_s2s.translation import beam_pipeline

        handler = beam_pipeline.SliceModelHandler(
            functools.partial(load_model, trust=options.trust),
            options.model,
            output_options,
            str(folder.path),
        )
        beam_pipeline.run_pipeline(missing, handler, shlex.split(options.pipeline_options))
        if missing := folder.pending(shards):
            log(
                f"{len(missing):,} shards are not done; {folder.shards} has the errors, and the "
                "same command retries them"
            )
            return 1
    if options.merge:
        folder.merge(shards)
    failed = [shard for shard in shards if folder.failed(shard).exists()]
    if failed:
        log(f"lines of {len(failed):,} shards could not be translated: {folder.failed(failed[0])}")
    return 1 if failed else 0


def add_web(subparsers: "Subparsers[CommandParser]") -> None:
    """Add the parser of `keras-s2s web`."""
    parser = add_command(subparsers, "web", web)
    parser.add_argument(
        "model",
        metavar="MODEL",
        help=f"{MODEL_HELP}, or the address of a model on TensorFlow Serving: "
        "http://HOST:PORT/v1/models/NAME or grpc://HOST:PORT/NAME",
    )
    parser.add_argument("second", metavar="MODEL2", nargs="?", help="a second model to compare")
    parser.add_argument(
        "--host",
        metavar="ADDRESS",
        default="127.0.0.1",
        help="address to listen on (default: %(default)s, this machine only)",
    )
    parser.add_argument(
        "--port",
        type=int_value,
        metavar="N",
        default=7860,
        help="port to listen on; 0 for any free one (default: %(default)s)",
    )
    add_trust_option(parser)


def web(options: argparse.Namespace) -> None:
    """Run `keras-s2s web`."""
    try:
        from keras_s2s.cli.web import app, server
    except ImportError as error:
        raise InputError(
            f"the page needs packages that are not installed ({error}); "
            "pip install 'keras-s2s[web]'"
        ) from error
    from keras_s2s.cli.web.models import LocalModel, connect, is_url

    paths = [options.model] if options.second is None else [options.model, options.second]
    served = {path: connect(path) for path in paths if is_url(path)}
    with server.listen(options.host, options.port) as listener:
        with spinner("loading and warming up"):
            models = [
                served.get(path) or LocalModel(path, load_model(path, trust=options.trust))
                for path in paths
            ]
            for model in models:
                if isinstance(model, LocalModel):
                    model.translate("")
        if not server.is_loopback(listener):
            log(f"the page has no password: everyone who can connect to {options.host} can use it")
        log(f"open {server.page_url(listener)} in a browser; press Ctrl-C to quit")
        page = app.make_app(models, server.names_of_this_machine(options.host))
        server.PageServer(page, listener).serve_forever()
