"""All pictures of a run, and its page with them in it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from keras_s2s.config import TrainingConfig
from keras_s2s.data.parallel_corpus import ParallelCorpus, load_corpus
from keras_s2s.data.prepared.index import PreparedIndex, is_prepared
from keras_s2s.evaluation import plots
from keras_s2s.evaluation.analysis import ModelAnalysis, analyze, explain_some, token_counts
from keras_s2s.evaluation.report import Picture, ReportData, write_report
from keras_s2s.run_directory import RunDirectory
from keras_s2s.translation.translator import Translator
from keras_s2s.utils.console import log, pluralize
from keras_s2s.utils.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NUM_TRANSLATIONS = 10


class Material(NamedTuple):
    """Sentences to try a model on.

    Attributes:
        all_pairs: the corpus, for its lengths; of a prepared one only what is held out.
        pairs: the part of it to translate.
        of_what: what that part is, for a person.
    """

    all_pairs: ParallelCorpus
    pairs: ParallelCorpus
    of_what: str


def plot_run(
    run: RunDirectory, corpus: str | None = None, output: Path | None = None
) -> list[Path]:
    """Draws what there is to see of a run: each picture as PNG and SVG, and the page.

    The history is always there; a finished run also has the lengths of the corpus, the scores of
    translations and references, BLEU by length, and, where the model attends, where it looked in
    some sentences.

    Args:
        run: the run directory.
        corpus: where the corpus is now, or another one; that of the run when left out.
        output: a folder for pictures and page; `plots/` and `report.html` in the run directory
            when left out.

    Returns:
        The files, the page last.

    Raises:
        InputError: there is no run, or no epoch of it yet; the corpus that is given cannot be
            used; a file cannot be written; or matplotlib is not installed.
    """
    record, recipe = run.read_record(), run.read_config()
    rows = run.read_history()
    if not rows:
        raise InputError(
            f"{run.path}: has no epoch to draw yet; train on with keras-s2s train --resume"
        )
    figures = {"history": ("Training history", plots.plot_history(rows))}
    findings = None
    material = _material(record, recipe, run, corpus)
    if material is not None:
        translator = Translator.load(run.model)
        examination = analyze(translator, material.pairs)
        lengths = token_counts(translator, material.all_pairs)
        findings = _findings(examination, translator, material.of_what)
        whole = material.all_pairs is not material.pairs
        of_lengths = "the corpus" if whole else material.of_what
        figures |= _figures(examination, findings, lengths, of_lengths, recipe)
    folder, page = (run.plots, run.report) if output is None else (output, output / run.report.name)
    files = []
    for name, (_, figure) in figures.items():
        for suffix in (".png", ".svg"):
            files.append(folder / f"{name}{suffix}")
            plots.save(figure, files[-1])
    pictures = [
        Picture(caption, (folder / f"{name}.svg").read_bytes())
        for name, (caption, _) in figures.items()
        # The page has these as text.
        if not name.startswith(("history", "attention"))
    ]
    return [*files, write_report(run, page, findings, pictures)]


def _material(
    record: dict[str, Any], recipe: TrainingConfig, run: RunDirectory, corpus: str | None
) -> Material | None:
    """What to try the model on; None, with a message, where only the history can be drawn."""
    if not run.model.is_file():
        log(f"{run.path}: has no model yet, so there is only its history to draw")
        return None
    own = record.get("corpus", {})
    how = {name: bool(own.get(name)) for name in ("reverse", "skip_bad_lines")}
    if corpus is not None:
        if is_prepared(corpus):
            return _held_out(run, own, corpus)
        pairs = load_corpus(corpus, max_pairs=recipe.max_pairs, **how)
        if pairs.fingerprint() != own.get("sha256"):
            return Material(pairs, pairs, f"{corpus}, which is not the corpus of the run")
    else:
        try:
            if is_prepared(own.get("corpus", "")):
                return _held_out(run, own, own["corpus"])
            pairs = load_corpus(own.get("corpus", ""), max_pairs=recipe.max_pairs, **how)
        except InputError as error:
            log(f"{error}; there is only the history to draw, unless CORPUS says where it is now")
            return None
        if pairs.fingerprint() != own.get("sha256"):
            log(f"{run.path}: {own.get('corpus')} is not what it was when the run began")
            return Material(pairs, pairs, f"{own.get('corpus')}, which has changed since the run")
    splits = pairs.split(recipe.valid_fraction, recipe.test_fraction, recipe.split_seed)
    # Validation before testing: whoever draws pictures is still at work on the model.
    parts = {
        "the pairs held out for validation": splits.valid,
        "the pairs held out for testing": splits.test,
        "the pairs it learned from, since none were held out": splits.train,
    }
    of_what = next(name for name, part in parts.items() if len(part))
    return Material(pairs, parts[of_what], of_what)


def _held_out(run: RunDirectory, own: dict[str, Any], corpus: str) -> Material:
    """What is kept as text of the prepared corpus that a run was trained on."""
    index = PreparedIndex(corpus)
    if own.get("sha256") != index.fingerprint():
        raise InputError(
            f"{run.path}: was not trained on {corpus}; give the corpus that it was trained on, "
            "or another one of text"
        )
    index.check_files()
    for name, of_what in (("valid", "validation"), ("test", "testing")):
        if len(part := index.held_out(name)):
            return Material(part, part, f"the pairs held out for {of_what}")
    raise InputError(
        f"{corpus}: is prepared, nothing of it is held out, and no other text of it is kept; give "
        "a corpus of text as CORPUS"
    )


def _findings(examination: ModelAnalysis, translator: Translator, of_what: str) -> ReportData:
    scores, number = examination.scores, len(examination.sources)
    shown = zip(
        examination.sources,
        examination.translations,
        (first for first, *_ in examination.references),
        strict=True,
    )
    return ReportData(
        f"{pluralize(number, 'distinct sentence', ',')} of {of_what}",
        {
            label: f"{scores[name]:.1f}  ({scores[f'{name}_signature']})"
            for name, label in (("bleu", "BLEU"), ("chrf", "chrF"))
        },
        [row for row, _ in zip(shown, range(NUM_TRANSLATIONS), strict=False)],
        explain_some(translator, examination.sources),
    )


def _figures(
    examination: ModelAnalysis,
    findings: ReportData,
    lengths: tuple[list[int], list[int]],
    of_lengths: str,
    recipe: TrainingConfig,
) -> dict[str, tuple[str, "Figure"]]:
    scores = examination.scores
    figures = {
        "lengths": (
            f"Lengths of {of_lengths} (targets with <bos> and <eos>)",
            plots.plot_lengths(*lengths, limit=recipe.num_steps),
        ),
        "scores": (
            "How sure the model is of its translations, and of the references",
            plots.plot_scores(examination.log_probabilities),
        ),
        "bleu_by_length": (
            "BLEU of short and of long sentences",
            plots.plot_bleu_by_length(scores["bleu_by_length"], scores["bleu"]),
        ),
    }
    for number, explained in enumerate(findings.explained, 1):
        figures[f"attention-{number}"] = ("Attention", plots.plot_attention(explained))
    return figures
