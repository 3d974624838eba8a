"""The command `keras-s2s`.

Nothing here imports TensorFlow before it is needed, so that `--help` answers at once.
"""

import argparse
import dataclasses
import difflib
import json
import os
import queue
import sys
import threading
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from keras_s2s.catalogue import CATALOGUE, locate
from keras_s2s.corpus import load_corpus
from keras_s2s.errors import ExportError, InputError
from keras_s2s.recipes import PRESETS, Recipe, preset
from keras_s2s.runs import RunDirectory

# Sentences that are translated at a time when they are waiting on standard input.
SENTENCES_AT_A_TIME = 64

CORPUS_HELP = (
    "a name from `keras-s2s corpora`, a file of tab-separated pairs, a .zip or .gz holding one, "
    "or two line-aligned files as FILE.en,FILE.fr"
)
MODEL_HELP = "a run directory, a .keras file, or the version folder of an export"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    options = build_parser().parse_args(arguments)
    # TensorFlow's start-up messages help nobody here; an explicit setting of the user stays.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        options.command(options)
    except (InputError, ExportError) as error:
        return fail(str(error))
    except KeyboardInterrupt:
        print("\nkeras-s2s: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read the output has enough. Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        # A full disk or missing permission is no defect of the program.
        return fail(f"{error.filename or 'input/output'}: {error.strerror or error}")
    return 0


def fail(message: str) -> int:
    """Prints an error as one line; returns the exit status."""
    print(f"keras-s2s: error: {' '.join(message.split())}", file=sys.stderr)
    return 2


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line and say what was meant."""

    def error(self, message: str) -> NoReturn:
        sys.exit(fail(f"{message}; see {self.prog} --help"))


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="keras-s2s",
        description="Train, score, run and export LSTM encoder–decoder translators.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="name", metavar="COMMAND", required=True)

    def add(name: str, command: Callable[[argparse.Namespace], None], text: str) -> Parser:
        subparser = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        subparser.set_defaults(command=command)
        return subparser

    sub = add("train", train, "Train a model on a corpus.")
    sub.add_argument("corpus", metavar="CORPUS", help=CORPUS_HELP)
    sub.add_argument("--run-dir", metavar="DIR", required=True, help="where the run goes")
    sub.add_argument(
        "--preset", default="chapter", help=f"{' | '.join(PRESETS)} (default: %(default)s)"
    )
    sub.add_argument("--seed", type=int, help="of everything random (default: 0)")
    when_there = sub.add_mutually_exclusive_group()
    when_there.add_argument(
        "--resume", action="store_true", help="go on with the run in the run directory"
    )
    when_there.add_argument(
        "--overwrite", action="store_true", help="replace the run in the run directory"
    )
    add_corpus_options(sub)
    fields = sub.add_argument_group("fields of the preset (defaults: those of chapter)")
    for field in dataclasses.fields(Recipe):
        add_recipe_option(fields, field)

    sub = add("translate", translate, "Translate sentences, or standard input line by line.")
    sub.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    sub.add_argument("sentences", metavar="SENTENCE", nargs="*", help="a sentence")
    sub.add_argument(
        "--with-scores", action="store_true", help="add a tab and the log-probability in nats"
    )

    sub = add("evaluate", evaluate, "Score a model on a corpus: BLEU, chrF, perplexity.")
    sub.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    sub.add_argument("corpus", metavar="CORPUS", help=CORPUS_HELP)
    sub.add_argument(
        "--split",
        choices=("train", "valid", "test", "all"),
        default="all",
        help="the part of the corpus, divided as the run did (default: %(default)s)",
    )
    sub.add_argument("--max-pairs", type=int, metavar="N", help="only the first N pairs")
    sub.add_argument("--json", action="store_true", help="print one JSON object")
    add_corpus_options(sub)

    sub = add("export", export, "Write a SavedModel for TF Serving, and prove that it works.")
    sub.add_argument("model", metavar="RUN_DIR", help="a run directory or a .keras file")
    sub.add_argument("--model-name", metavar="NAME", required=True, help="for example en-fr")
    sub.add_argument(
        "--output", default="export/models", help="the folder of all models (default: %(default)s)"
    )
    sub.add_argument("--version", type=int, metavar="N", help="default: the next free one")

    sub = add("corpora", corpora, "List the corpora that are known by name, and where each is.")
    sub.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def add_corpus_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reverse", action="store_true", help="swap the sides of the corpus")
    parser.add_argument(
        "--skip-bad-lines", action="store_true", help="leave out lines that hold no pair"
    )


def add_recipe_option(
    group: argparse._ArgumentGroup, field: "dataclasses.Field[Any]"
) -> None:
    """An option for a field of `Recipe`: `--num-hiddens` for `num_hiddens`."""
    flag = f"--{field.name.replace('_', '-')}"
    shown = f"{field.metadata['description']} (default: {field.default})"
    if field.type is bool:
        group.add_argument(flag, action="store_true", default=None, help=shown)
        return
    types_of_field = typing.get_args(field.type) or (field.type,)
    number = next(kind for kind in types_of_field if kind is not types.NoneType)
    group.add_argument(flag, type=number, metavar=number.__name__.upper()[0], help=shown)


def train(options: argparse.Namespace) -> None:
    names = [field.name for field in dataclasses.fields(Recipe)]
    given = {name: value for name in names if (value := getattr(options, name)) is not None}
    run = RunDirectory(options.run_dir)
    if options.resume:
        refuse_changes(options, given)
        run.read_record()
    else:
        recipe = preset(options.preset, options.corpus, **given)
        run.check_free(options.overwrite)
    from keras_s2s import training

    if options.resume:
        training.resume(options.run_dir, given.get("epochs"))
    else:
        choice = training.CorpusChoice(options.corpus, options.reverse, options.skip_bad_lines)
        training.train(choice, options.run_dir, recipe, options.seed or 0, options.overwrite)
    record = run.read_record()
    sizes, result = record["sizes"], record["result"]
    say(
        f"{sizes['train_pairs']} pairs, vocabularies of {sizes['source_vocabulary']} and "
        f"{sizes['target_vocabulary']}, {sizes['target_tokens_an_epoch']} target tokens an epoch, "
        f"{record['recipe']['epochs']} epochs"
    )
    say(
        f"loss {result['loss']:.4f} nats a token, accuracy {result['accuracy']:.4f}, "
        f"{result['tokens_per_second']:,.0f} tokens/s in the last epoch"
    )
    say(f"the model is {run.model}; try: keras-s2s translate {run.path} 'Go.'")


def refuse_changes(options: argparse.Namespace, given: dict[str, Any]) -> None:
    """A resumed run keeps its configuration; only the number of epochs may be given anew."""
    record = RunDirectory(options.run_dir).read_record()
    changed = [
        name for name, value in given.items()
        if name != "epochs" and value != record.get("recipe", {}).get(name)
    ]
    if options.seed is not None and options.seed != record.get("seed"):
        changed.append("seed")
    if options.corpus != record.get("corpus", {}).get("corpus"):
        changed.append("corpus")
    if changed:
        raise InputError(
            f"{options.run_dir}: the run has another {changed[0]}; --resume goes on with what it "
            "has, only --epochs may change"
        )


def load_model(path: str, command: str) -> Any:
    """What MODEL names, ready to translate."""
    folder = Path(path)
    if RunDirectory(folder).exists():
        model = RunDirectory(folder).model
        if not model.is_file():
            raise InputError(
                f"{path}: the run has no {model.name}; finish it with keras-s2s train --resume"
            )
        folder = model
    elif (folder / "saved_model.pb").is_file():
        from keras_s2s.serving import ExportedTranslator

        return ExportedTranslator(folder)
    elif folder.is_dir():
        raise InputError(
            f"{path}: holds neither a run (run.json) nor an export (saved_model.pb); {command} "
            f"takes {MODEL_HELP}"
        )
    from keras_s2s.translator import Translator

    return Translator.load(folder)


def translate(options: argparse.Namespace) -> None:
    model = load_model(options.model, "translate")
    output = sys.stdout.buffer
    batches: Iterator[list[bytes]]
    if options.sentences:
        batches = iter([[os.fsencode(sentence) for sentence in options.sentences]])
    else:
        batches = waiting_lines(sys.stdin.buffer)
    for sentences in batches:
        translations, scores = model.translate(sentences, SENTENCES_AT_A_TIME, return_scores=True)
        for translation, score in zip(translations, scores, strict=True):
            line = f"{translation}\t{score:.6f}" if options.with_scores else translation
            output.write(line.encode("utf-8") + b"\n")
        output.flush()


def waiting_lines(stream: BinaryIO) -> Iterator[list[bytes]]:
    """Lists of the lines that are there: one at a time from a person, many from a file."""
    lines: queue.Queue[bytes | None] = queue.Queue(maxsize=16 * SENTENCES_AT_A_TIME)

    def read() -> None:
        for line in stream:
            lines.put(line.removesuffix(b"\n").removesuffix(b"\r"))
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    while (line := lines.get()) is not None:
        batch = [line]
        while len(batch) < SENTENCES_AT_A_TIME and not lines.empty():
            line = lines.get()
            if line is None:
                yield batch
                return
            batch.append(line)
        yield batch


def evaluate(options: argparse.Namespace) -> None:
    recipe = recipe_of(options.model)
    if options.split != "all" and recipe is None:
        raise InputError(
            f"{options.model}: only a run directory knows how its corpus was divided; "
            "give that, or --split all"
        )
    max_pairs = options.max_pairs
    if max_pairs is None and options.split != "all" and recipe is not None:
        max_pairs = recipe.max_pairs
    corpus = load_corpus(
        options.corpus,
        max_pairs=max_pairs,
        reverse=options.reverse,
        skip_bad_lines=options.skip_bad_lines,
    )
    if options.split != "all" and recipe is not None:
        splits = corpus.split(recipe.valid_fraction, recipe.test_fraction, recipe.split_seed)
        corpus = getattr(splits, options.split)
        if not len(corpus):
            raise InputError(
                f"{options.model}: the run held nothing out for --split {options.split}; "
                "give --split all"
            )
    model = load_model(options.model, "evaluate")
    from keras_s2s.evaluation import evaluate as score

    result = score(model, corpus)
    if options.json:
        print(json.dumps({"model": options.model, "corpus": options.corpus,
                          "split": options.split, **result}))
        return
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


def recipe_of(model: str) -> Recipe | None:
    """The configuration of a run directory; None for other models."""
    run = RunDirectory(model)
    if not run.exists():
        return None
    try:
        return Recipe(**run.read_record()["recipe"])
    except (KeyError, TypeError) as error:
        raise InputError(f"{run.record}: not written by this version ({error})") from error


def export(options: argparse.Namespace) -> None:
    if options.model_name in ("", ".", "..") or set(options.model_name) & set("/\\"):
        raise InputError(
            f"--model-name is {options.model_name!r}; give a plain name, such as en-fr"
        )
    model = load_model(options.model, "export")
    if not hasattr(model, "export"):
        raise InputError(f"{options.model}: is an export already; give a run directory")
    version = model.export(Path(options.output) / options.model_name, options.version)
    proof = json.loads((version / "assets.extra" / "proof.json").read_text(encoding="utf-8"))
    say(
        f"proven: loaded as a server loads it, {proof['texts']} texts in batches of "
        f"{proof['batch_sizes'][0]} to {proof['batch_sizes'][1]} got the same translations "
        f"(scores within {proof['largest_score_difference']:.1e})"
    )
    print(version)


def corpora(options: argparse.Namespace) -> None:
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
        print(json.dumps(rows, ensure_ascii=False))
        return
    for name, entry in CATALOGUE.items():
        where, path = places[name]
        print(f"{name:12} {'-'.join(entry.languages)}  {entry.description}")
        print(f"{'':12} {where}{f': {path}' if path else ''}  ({entry.license})")


def say(message: str) -> None:
    print(message, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
