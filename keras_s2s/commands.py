"""What the subcommands of `keras-s2s` do.

Nothing here imports TensorFlow before it is needed, so that `--help` answers at once.
"""

import argparse
import dataclasses
import importlib.util
import io
import json
import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from keras_s2s import file_translation
from keras_s2s.catalogue import CATALOGUE, locate
from keras_s2s.console import load_tensorflow, say, working
from keras_s2s.corpus import ParallelCorpus, load_corpus
from keras_s2s.errors import InputError
from keras_s2s.file_shards import ShardFolder, find_sources, shards_of
from keras_s2s.files import checksum_of_model
from keras_s2s.line_answers import Wanted
from keras_s2s.model_files import find_model, is_export, load_model
from keras_s2s.prepared_index import PreparedIndex, is_prepared
from keras_s2s.recipes import CHANGEABLE, PREPARED_FIELDS, Recipe, check_seed, preset
from keras_s2s.run_list import describe_runs, find_runs, table_of_runs
from keras_s2s.runs import RunDirectory

# Sentences that are translated at a time when they are waiting on standard input.
SENTENCES_AT_A_TIME = 64

DEFAULT_PRESET = "chapter"


def train(options: argparse.Namespace) -> None:
    """`keras-s2s train`."""
    run = RunDirectory(options.run_dir)
    names = [field.name for field in dataclasses.fields(Recipe)]
    given = {name: value for name in names if (value := getattr(options, name)) is not None}
    if options.resume:
        _refuse_changes(run, options, given)
    else:
        fields = {**_prepared_fields(options.corpus), **given}
        recipe = preset(options.preset or DEFAULT_PRESET, options.corpus, **fields)
        seed = check_seed(0 if options.seed is None else options.seed)
        run.check_free(options.overwrite)
    load_tensorflow()
    from keras_s2s import training

    try:
        if options.resume:
            changes = {name: given[name] for name in CHANGEABLE if name in given}
            training.resume(run.path, corpus=options.corpus, **changes)
        else:
            choice = training.CorpusChoice(options.corpus, options.reverse, options.skip_bad_lines)
            training.train(choice, run.path, recipe, seed, options.overwrite)
    except KeyboardInterrupt as error:
        if not error.args:
            raise
        command = ["train", options.corpus, "--run-dir", str(run.path), "--resume"]
        error.args = (f"{error}; go on with: keras-s2s {shlex.join(command)}",)
        raise
    if result := run.read_record().get("result"):
        say(
            f"loss {result['loss']:.4f} nats a token, accuracy {result['accuracy']:.4f}, "
            f"{result['tokens_per_second']:,.0f} tokens/s in the last epoch"
        )
    say(f"the model is {run.model}; try: keras-s2s translate {shlex.quote(str(run.path))} 'Go.'")


def _prepared_fields(corpus: str) -> dict[str, Any]:
    """The fields of the configuration that a prepared corpus decides; none for another."""
    return PreparedIndex(corpus).fields if is_prepared(corpus) else {}


def _refuse_changes(run: RunDirectory, options: argparse.Namespace, given: dict[str, Any]) -> None:
    """A resumed run keeps its configuration; only what is in `CHANGEABLE` may be given anew."""
    record, own = run.read_record(), dataclasses.asdict(run.recipe())
    asked = given
    if options.preset is not None:
        own_ones = {name: own[name] for name in CHANGEABLE}
        own_ones |= _prepared_fields(options.corpus)
        asked = dataclasses.asdict(preset(options.preset, options.corpus, **{**own_ones, **given}))
    own |= {"seed": record.get("seed"), **record.get("corpus", {})}
    asked = asked | {"seed": options.seed}
    asked |= {name: True for name in ("reverse", "skip_bad_lines") if getattr(options, name)}
    for name, value in asked.items():
        if value is not None and name not in CHANGEABLE and value != own.get(name):
            allowed = ", ".join(f"--{name.replace('_', '-')}" for name in CHANGEABLE)
            raise InputError(
                f"{run.path}: the run has {name} {own.get(name)}, not {value}; --resume goes on "
                f"as it began, and only {allowed} may be given anew"
            )


def translate(options: argparse.Namespace) -> int:
    """`keras-s2s translate`; lines that failed are a result, which the exit status tells."""
    wanted = _wanted(options)
    if options.input is not None or options.output is not None:
        return _translate_file(options, wanted)
    if options.overwrite:
        raise InputError("--overwrite is for --output; give --input and --output with it")
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
    if options.n_best is not None and not 1 <= options.n_best <= options.beam:
        raise InputError(
            f"--n-best is {options.n_best}; give 1 to {options.beam}, which is the --beam"
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
        checksum_of_model(model_file),
        options.input,
        options.output,
        wanted,
        options.overwrite,
    )
    if result.num_failed:
        lines = "line" if result.num_failed == 1 else "lines"
        say(f"{result.num_failed:,} {lines} could not be translated: {result.failures}")
    return 1 if result.num_failed else 0


def translate_shards(options: argparse.Namespace) -> int:
    """`keras-s2s translate-shards`; what failed is a result, which the exit status tells."""
    if options.shard_lines < 1:
        raise InputError(f"--shard-lines is {options.shard_lines}; give 1 or more")
    wanted, folder = _wanted(options), ShardFolder(options.output_dir)
    folder.check_free()
    sources = find_sources(options.input)
    model_checksum = checksum_of_model(find_model(options.model))
    if importlib.util.find_spec("apache_beam") is None:
        raise InputError(
            "translate-shards needs Apache Beam; install it with: "
            "pip install 'keras-s2s[distributed]'"
        )
    shards = shards_of(sources, options.shard_lines)
    settings = {"model": model_checksum, **wanted._asdict(), "shard_lines": options.shard_lines}
    folder.begin(settings, shards, options.overwrite)
    missing = folder.missing(shards)
    say(f"{len(shards):,} shards, {len(shards) - len(missing):,} of them done before")
    if missing:
        load_tensorflow()
        from keras_s2s import shard_pipeline

        translation = shard_pipeline.ShardTranslation(options.model, wanted, str(folder.path))
        shard_pipeline.translate_shards(missing, translation, shlex.split(options.pipeline_options))
        if missing := folder.missing(shards):
            say(
                f"{len(missing):,} shards are not done; {folder.shards} says why, and the same "
                "command tries those again"
            )
            return 1
    if options.merge:
        folder.merge(shards)
    failed = [shard for shard in shards if folder.failed(shard).exists()]
    if failed:
        say(f"lines of {len(failed):,} shards could not be translated: {folder.failed(failed[0])}")
    return 1 if failed else 0


def _asked(sentences: list[str]) -> Iterator[list[bytes]]:
    if sentences:
        return iter([[os.fsencode(sentence) for sentence in sentences]])
    if sys.stdin is None:
        raise InputError(
            "standard input is closed; give sentences as arguments, or a file as < FILE"
        )
    if sys.stdin.isatty():
        say("a sentence a line; Ctrl-D ends")
    return waiting_lines(cast(io.BufferedIOBase, sys.stdin.buffer))


def waiting_lines(stream: io.BufferedIOBase) -> Iterator[list[bytes]]:
    """Lists of the lines that are there: one at a time from a person, many from a file."""
    begun: list[bytes] = []
    # One read gives what is there and waits only when that is nothing.
    while part := stream.read1(1 << 16):
        first, *others = part.split(b"\n")
        begun.append(first)
        if others:
            *lines, rest = [b"".join(begun), *others]
            begun = [rest]
            for start in range(0, len(lines), SENTENCES_AT_A_TIME):
                batch = lines[start : start + SENTENCES_AT_A_TIME]
                yield [line.removesuffix(b"\r") for line in batch]
    if last := b"".join(begun):
        yield [last]


def evaluate(options: argparse.Namespace) -> None:
    """`keras-s2s evaluate`."""
    corpus = _part_of_corpus(options)
    models = [load_model(path) for path in options.models]
    from keras_s2s import evaluation

    how = {name: getattr(options, name) for name in ("beam", "tokenize", "save_translations")}
    asked = {name: getattr(options, name) for name in ("corpus", "split", "beam")}
    first, *others = options.models
    if not others:
        result = evaluation.evaluate(models[0], corpus, **how)
        if options.json:
            print(json.dumps({"model": first, **asked, **result}))
        else:
            _print_scores(result)
        return
    result = evaluation.compare(models, corpus, **how)
    result["models"] = [
        {"model": name, **scores}
        for name, scores in zip(options.models, result["models"], strict=True)
    ]
    result["differences"] = [
        {"model": name, "against": first, **difference}
        for name, difference in zip(others, result["differences"], strict=True)
    ]
    if options.json:
        print(json.dumps({**asked, **result}))
        return
    for scores in result["models"]:
        print(scores["model"])
        _print_scores(scores)
        print()
    for difference in result["differences"]:
        print(f"{difference['model']} against {first}")
        for label, name in (("BLEU", "bleu"), ("chrF", "chrf")):
            print(_shown_difference(label, **difference[name]))
    print(
        f"(paired bootstrap, {result['num_samples']} samples of "
        f"{result['models'][0]['num_sentences']} sentences, seed {result['seed']})"
    )


def _shown_difference(
    label: str, difference: float, interval: tuple[float, float], p_value: float
) -> str:
    lowest, highest = interval
    return (
        f"{label} {difference:+7.2f}  95% interval {lowest:+.2f} to {highest:+.2f}  p {p_value:.3f}"
    )


def _print_scores(result: dict[str, Any]) -> None:
    print(f"BLEU  {result['bleu']:6.2f}  {result['bleu_signature']}")
    print(f"chrF  {result['chrf']:6.2f}  {result['chrf_signature']}")
    print(
        f"{result['nats_per_token']:.4f} nats a token, perplexity {result['perplexity']:.3f} "
        f"({result['num_pairs']} pairs, {result['num_tokens']} tokens)"
    )
    print(
        f"{result['sentences_per_second']:,.0f} sentences/s "
        f"({result['num_sentences']} distinct sentences)"
    )


def _part_of_corpus(options: argparse.Namespace) -> ParallelCorpus:
    """The pairs to score all models on."""
    if options.split == "all":
        return _read_corpus(options, options.max_pairs)
    first, *others = options.models
    part = _part_of_run(options, first)
    for other in others:
        if _part_of_run(options, other) != part:
            recipes = [dataclasses.asdict(RunDirectory(run).recipe()) for run in (first, other)]
            unlike = [
                f"{name} {recipes[1][name]} instead of {recipes[0][name]}"
                for name in ("max_pairs", "valid_fraction", "test_fraction", "split_seed")
                if recipes[0][name] != recipes[1][name]
            ]
            raise InputError(
                f"{other}: its --split {options.split} has other sentences than that of {first} "
                f"({', '.join(unlike)}); compare runs that divide the corpus alike, or give a "
                "corpus that neither was trained on with --split all"
            )
    return part


def _read_corpus(options: argparse.Namespace, max_pairs: int | None) -> ParallelCorpus:
    if is_prepared(options.corpus):
        raise InputError(
            f"{options.corpus}: is prepared, and of its text only what is held out is kept; give "
            "--split valid or --split test of a run that was trained on it, or the corpus that it "
            "was prepared from"
        )
    return load_corpus(
        options.corpus,
        max_pairs=max_pairs,
        reverse=options.reverse,
        skip_bad_lines=options.skip_bad_lines,
    )


def _part_of_run(options: argparse.Namespace, model: str) -> ParallelCorpus:
    """The pairs that a run put into the part of the corpus that is asked for."""
    run = RunDirectory(model)
    if not run.exists():
        raise InputError(
            f"{model}: only a run directory knows how its corpus was divided; "
            "give that, or --split all"
        )
    recipe = run.recipe()
    if options.reverse != run.read_record().get("corpus", {}).get("reverse"):
        raise InputError(
            f"{model}: the run was trained with{'out' if options.reverse else ''} "
            f"--reverse; evaluate --split {options.split} likewise"
        )
    max_pairs = recipe.max_pairs if options.max_pairs is None else options.max_pairs
    if is_prepared(options.corpus) and options.split != "train":
        return _part_prepared(options, run)
    corpus = _read_corpus(options, max_pairs)
    splits = corpus.split(recipe.valid_fraction, recipe.test_fraction, recipe.split_seed)
    part = getattr(splits, options.split)
    if not len(part):
        raise InputError(
            f"{model}: the run kept no pair for --split {options.split}; give --split all"
        )
    return part


def _part_prepared(options: argparse.Namespace, run: RunDirectory) -> ParallelCorpus:
    """What is held out of the prepared corpus that a run was trained on."""
    index = PreparedIndex(options.corpus)
    if run.read_record().get("corpus", {}).get("sha256") != index.fingerprint():
        raise InputError(
            f"{run.path}: was not trained on {options.corpus}; give the corpus that it was "
            "trained on, or another one with --split all"
        )
    index.check_files()
    part = index.part(options.split)
    if not len(part):
        raise InputError(f"{options.corpus}: has no pair for --split {options.split}")
    return ParallelCorpus(
        part.source[: options.max_pairs], part.target[: options.max_pairs], part.name
    )


def prepare(options: argparse.Namespace) -> None:
    """`keras-s2s prepare`."""
    given = {
        name: value for name in PREPARED_FIELDS if (value := getattr(options, name)) is not None
    }
    recipe = preset(options.preset or DEFAULT_PRESET, "", **given)
    load_tensorflow()
    from keras_s2s import preparation, preparing

    filters = ("keep_identical", "keep_duplicates", "max_length_ratio")
    asked = preparation.Preparation(
        options.corpora,
        recipe,
        options.weights,
        options.reverse,
        options.skip_bad_lines,
        **{name: getattr(options, name) for name in filters},
    )
    index = preparing.prepare(asked, options.output, options.processes, options.overwrite)
    if options.json:
        shown = {name: index[name] for name in ("corpora", "vocabularies")}
        print(json.dumps({"output": options.output, "shards": len(index["shards"]), **shown}))
        return
    for corpus in index["corpora"]:
        for line in preparation.report(corpus):
            print(line)
    say(
        f"vocabularies of {index['vocabularies'][0]:,} and {index['vocabularies'][1]:,}, "
        f"{len(index['shards'])} shards; try: keras-s2s train {shlex.quote(options.output)} "
        "--run-dir DIR"
    )


def export(options: argparse.Namespace) -> None:
    """`keras-s2s export`."""
    # The name becomes a folder here and a part of a URL in a server.
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", options.model_name):
        raise InputError(
            f"--model-name is {options.model_name!r}; give letters, digits, '.', '_' and '-', "
            "such as en-fr"
        )
    if options.version is not None and options.version < 1:
        raise InputError(f"--version is {options.version}; give 1 or more")
    if is_export(Path(options.model)):
        raise InputError(f"{options.model}: is an export already; give a run directory")
    model = load_model(options.model)
    with working("exporting, and asking the export as a server would"):
        version = model.export(
            Path(options.output) / options.model_name,
            options.version,
            RunDirectory(options.model).read_samples() or None,
        )
    proof = json.loads((version / "assets.extra" / "proof.json").read_text(encoding="utf-8"))
    say(
        f"proven: loaded as a server loads it, {proof['texts']} texts in batches of "
        f"{proof['batch_sizes'][0]} to {proof['batch_sizes'][1]} got the same translations "
        f"(scores within {proof['largest_score_difference']:.1e})"
    )
    print(version)


def inspect(options: argparse.Namespace) -> int:
    """`keras-s2s inspect`; what it finds wrong is a result, which the exit status tells."""
    from keras_s2s.contract import inspect_export

    inspection = inspect_export(options.folder)
    print(json.dumps(inspection.as_dict()) if options.json else inspection.report())
    return 0 if inspection.passed else 1


def runs(options: argparse.Namespace) -> None:
    """`keras-s2s runs`."""
    folder = Path(options.folder)
    described = describe_runs(find_runs(folder), folder)
    if options.json:
        print(json.dumps({"runs": described}))
        return
    for line in table_of_runs(described):
        print(line)


def corpora(options: argparse.Namespace) -> None:
    """`keras-s2s corpora`."""
    places = {name: locate(name) for name in CATALOGUE}
    if options.json:
        rows = {
            name: {
                "description": entry.description,
                "languages": list(entry.languages),
                "license": entry.license,
                "where": places[name].where,
                "path": None if places[name].path is None else str(places[name].path),
            }
            for name, entry in CATALOGUE.items()
        }
        print(json.dumps(rows))
        return
    for name, entry in CATALOGUE.items():
        where, path = places[name]
        print(f"{name:12} {'-'.join(entry.languages)}  {entry.description}")
        print(f"{'':12} {where}{f': {path}' if path else ''}  ({entry.license})")
