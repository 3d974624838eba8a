"""What `keras-s2s` does with models: `evaluate`, `export`, `inspect`; and `corpora`.

Nothing here imports TensorFlow before it is needed, so that `--help` answers at once.
"""

import argparse
import dataclasses
import json
import re
import shlex
from pathlib import Path
from typing import Any

from keras_s2s.cli.model_paths import find_model, is_export, load_model
from keras_s2s.data.catalog import BUILTIN_CORPORA, locate
from keras_s2s.data.parallel_corpus import ParallelCorpus, load_corpus
from keras_s2s.data.prepared.index import PreparedIndex, is_prepared
from keras_s2s.run_directory import RunDirectory
from keras_s2s.utils.checks import MAX_VERSION
from keras_s2s.utils.console import log, spinner
from keras_s2s.utils.errors import InputError


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
            recipes = [
                dataclasses.asdict(RunDirectory(run).read_config()) for run in (first, other)
            ]
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
    if RunDirectory(options.corpus).exists():
        raise InputError(
            f"{options.corpus}: is a run, and the corpus comes last; give keras-s2s evaluate "
            f"{shlex.quote(options.corpus)} CORPUS"
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
        find_model(model)
        raise InputError(
            f"{model}: only a run directory knows how its corpus was divided; "
            "give that, or --split all"
        )
    recipe = run.read_config()
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
            f"{model}: the run kept no pair for --split {options.split}; give --split all, or "
            f"train with --{options.split}-fraction 0.05"
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
    part = index.held_out(options.split)
    if not len(part):
        raise InputError(
            f"{options.corpus}: has no pair for --split {options.split}; give another part"
        )
    return ParallelCorpus(
        part.source[: options.max_pairs], part.target[: options.max_pairs], part.name
    )


def export(options: argparse.Namespace) -> None:
    """`keras-s2s export`."""
    # The name becomes a folder here and a part of a URL in a server.
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", options.model_name):
        raise InputError(
            f"--model-name is {options.model_name!r}; give letters, digits, '.', '_' and '-', "
            "such as en-fr"
        )
    if options.version is not None and not 1 <= options.version <= MAX_VERSION:
        raise InputError(f"--version is {options.version}; give 1 to {MAX_VERSION}")
    if is_export(Path(options.model)):
        raise InputError(f"{options.model}: is an export already; give a run directory")
    from keras_s2s.serving.signatures import read_verification_record

    model = load_model(options.model)
    with spinner("exporting, and verifying the export as a server runs it"):
        version = model.export(
            Path(options.output) / options.model_name,
            options.version,
            RunDirectory(options.model).read_samples() or None,
        )
    record = read_verification_record(version) or {}
    log(
        f"verified: loaded as a server loads it, {record['texts']} texts in batches of "
        f"{record['batch_sizes'][0]} to {record['batch_sizes'][1]} got the same translations "
        f"(scores within {record['largest_score_difference']:.1e})"
    )
    print(version)


def inspect(options: argparse.Namespace) -> int:
    """`keras-s2s inspect`; what it finds wrong is a result, which the exit status tells."""
    if RunDirectory(options.folder).exists():
        raise InputError(
            f"{options.folder}: is a run, and no export yet; make one with keras-s2s export "
            f"{shlex.quote(options.folder)} --model-name NAME"
        )
    from keras_s2s.serving.contract import inspect_export

    inspection = inspect_export(options.folder)
    print(json.dumps(inspection.as_dict()) if options.json else inspection.report())
    return 0 if inspection.passed else 1


def corpora(options: argparse.Namespace) -> None:
    """`keras-s2s corpora`."""
    places = {name: locate(name) for name in BUILTIN_CORPORA}
    if options.json:
        rows = {
            name: {
                "description": entry.description,
                "languages": list(entry.languages),
                "license": entry.license,
                "where": places[name].where,
                "path": None if places[name].path is None else str(places[name].path),
            }
            for name, entry in BUILTIN_CORPORA.items()
        }
        print(json.dumps(rows))
        return
    for name, entry in BUILTIN_CORPORA.items():
        where, path = places[name]
        print(f"{name:12} {'-'.join(entry.languages)}  {entry.description}")
        print(f"{'':12} {where}{f': {path}' if path else ''}  ({entry.license})")
