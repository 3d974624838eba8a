"""The command `keras-s2s evaluate`.

TensorFlow is imported only when the command needs it, so that `--help` is fast.
"""

import argparse
import json
from typing import Any

from keras_s2s.cli.evaluation_corpus import evaluation_corpus, separate_corpus
from keras_s2s.cli.model_paths import MODEL_HELP, load_model
from keras_s2s.cli.options import (
    CORPUS_HELP,
    Subparsers,
    add_beam_option,
    add_command,
    add_corpus_options,
    add_json_option,
    add_trust_option,
)
from keras_s2s.run_directory import RunDirectory
from keras_s2s.utils.argument_parser import CommandParser, int_value
from keras_s2s.utils.errors import InputError
from keras_s2s.utils.scores import FITTING_SCORES, SCORES, SENTENCE, WORD, ScoreInfo, check_names

# What one pair is called, by what the answers are.
EXAMPLES = {SENTENCE: "sentences", WORD: "words"}
SPLITS = ("train", "valid", "test", "all")


def add_evaluate(subparsers: "Subparsers[CommandParser]") -> None:
    """Add the parser of `keras-s2s evaluate`."""
    parser = add_command(subparsers, "evaluate", evaluate)
    parser.add_argument("models", metavar="MODEL", nargs="+", help=f"{MODEL_HELP}; one or more")
    # For the help: `parse` tells the corpus from the models.
    parser.add_argument(
        "corpus",
        metavar="CORPUS",
        nargs="?",
        help=f"{CORPUS_HELP}; without it, --split takes that of the run",
    )
    parser.add_argument(
        "--split",
        choices=SPLITS,
        default="all",
        help="split of the corpus, as in the training run (default: %(default)s)",
    )
    parser.add_argument(
        "--max-pairs", type=int_value, metavar="N", help="use only the first N pairs"
    )
    add_beam_option(parser)
    parser.add_argument(
        "--metrics",
        metavar="NAMES",
        help=f"scores, separated by commas: {' | '.join(SCORES)} (default: with --json all; else "
        "exact, wer and ter where answers are words, as in pronunciation, and bleu and chrf where "
        "they are sentences)",
    )
    parser.add_argument(
        "--sacrebleu-tokenize",
        metavar="NAME",
        help="sacreBLEU's tokenization for BLEU: 13a | none | zh | char | intl | any other it "
        "offers; none is for text that is tokenized already (default: that of the run; without "
        "one, zh or char for references in a script without spaces, else 13a)",
    )
    parser.add_argument(
        "--sacrebleu-lowercase",
        action=argparse.BooleanOptionalAction,
        help="ignore case in BLEU and chrF (default: as the run; without one, yes)",
    )
    parser.add_argument(
        "--save-translations",
        metavar="FILE",
        help="write a line per distinct source: source, translation and all references, "
        "separated by tabs",
    )
    add_json_option(parser)
    add_trust_option(parser)
    add_corpus_options(parser)


def evaluate(options: argparse.Namespace) -> None:
    """Run `keras-s2s evaluate`."""
    names = None if options.metrics is None else _metric_names(options.metrics)
    separate_corpus(options)
    corpus = evaluation_corpus(options)
    models = [load_model(path, trust=options.trust) for path in options.models]
    from keras_s2s import evaluation

    arguments = {
        "beam": options.beam,
        **_scorer_options(options),
        "save_translations": options.save_translations,
        "metrics": names,
    }
    inputs = {"corpus": options.corpus, "split": options.split, "beam": options.beam}
    first, *others = options.models
    if not others:
        result = evaluation.evaluate(models[0], corpus, **arguments)
        if options.json:
            print(json.dumps({"model": first, **inputs, **result}))
        else:
            _print_scores(result, names)
        return
    result = evaluation.compare(models, corpus, **arguments)
    result["models"] = [
        {"model": path, **scores}
        for path, scores in zip(options.models, result["models"], strict=True)
    ]
    result["differences"] = [
        {"model": path, "against": first, **difference}
        for path, difference in zip(others, result["differences"], strict=True)
    ]
    if options.json:
        print(json.dumps({**inputs, **result}))
    else:
        _print_comparison(result, names)


def _metric_names(text: str) -> list[str]:
    """Return the names of `--metrics`, checked before a model is loaded."""
    try:
        return check_names(filter(None, map(str.strip, text.split(","))))
    except InputError as error:
        raise InputError(f"--metrics {text}: {error}") from error


def _scorer_options(options: argparse.Namespace) -> dict[str, Any]:
    """Return the options of BLEU and chrF: those given, else those of the runs."""
    runs = [run for path in options.models if (run := RunDirectory(path)).exists()]
    configs = [run.read_config() for run in runs if run.read_record().get("recipe")]
    chosen: dict[str, Any] = {"tokenize": None, "lowercase": True}
    for name in chosen:
        field = f"sacrebleu_{name}"
        values = {getattr(config, field) for config in configs}
        if (given := getattr(options, field)) is not None:
            values = {given}
        if len(values) > 1:
            raise InputError(
                f"the runs have different {field} ({', '.join(sorted(map(str, values)))}); give "
                f"--{field.replace('_', '-')} for all"
            )
        chosen[name] = next(iter(values), chosen[name])
    return chosen


def _print_comparison(result: dict[str, Any], names: list[str] | None) -> None:
    for scores in result["models"]:
        print(scores["model"])
        _print_scores(scores, names)
        print()
    level, num_examples = (result["models"][0][key] for key in ("level", "num_sentences"))
    scores = [score for score in _shown(level, names) if score.key in result["differences"][0]]
    width = max(len(score.label) for score in scores)
    for difference in result["differences"]:
        print(f"{difference['model']} against {difference['against']}")
        for score in scores:
            test = difference[score.key]
            low, high = test["interval"]
            print(
                f"{score.label:<{width}} {test['difference']:+7.2f}  "
                f"95% interval {low:+.2f} to {high:+.2f}  p {test['p_value']:.3f}"
            )
    print(
        f"(paired bootstrap, {result['num_samples']} samples of {num_examples} {EXAMPLES[level]}, "
        f"seed {result['seed']})"
    )


def _print_scores(result: dict[str, Any], names: list[str] | None) -> None:
    examples = EXAMPLES[result["level"]]
    scores = [score for score in _shown(result["level"], names) if result[score.key] is not None]
    intervals = []
    for score in scores:
        print(f"{score.label:<5} {result[score.key]:6.2f}  {result[f'{score.key}_signature']}")
        low, high = result[f"{score.key}_interval"]
        intervals.append(f"{score.label} {low:.2f} to {high:.2f}")
    print(f"95% intervals: {', '.join(intervals)}")
    print(
        f"{result['nats_per_token']:.4f} nats per token, perplexity {result['perplexity']:.3f} "
        f"({result['num_pairs']} pairs, {result['num_tokens']} tokens)"
    )
    if result["unknown_target"] is not None:
        print(
            f"unknown tokens: {result['unknown_source']:.1%} of the sources, "
            f"{result['unknown_target']:.1%} of the references"
        )
    print(
        f"{result['sentences_per_second']:,.0f} {examples}/s "
        f"({result['num_sentences']} distinct {examples})"
    )


def _shown(level: str, names: list[str] | None) -> list[ScoreInfo]:
    """Return the scores to print: those asked for, else those that fit the answers."""
    return [SCORES[name] for name in names or FITTING_SCORES[level]]
