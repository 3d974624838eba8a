"""All plots of a run, and its report with them."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from keras_s2s.config import TrainingConfig
from keras_s2s.data.corpus_spec import CorpusSpec, split_corpus
from keras_s2s.data.parallel_corpus import ParallelCorpus, load_corpus
from keras_s2s.data.prepared.index import PreparedIndex, is_prepared
from keras_s2s.evaluation import plots
from keras_s2s.evaluation.analysis import (
    ModelAnalysis,
    analyze,
    sample_attention_maps,
    token_counts,
)
from keras_s2s.evaluation.attention_map import AttentionMap
from keras_s2s.evaluation.error_analysis import confusions
from keras_s2s.evaluation.metrics.corpus_metric import LENGTH_UNITS
from keras_s2s.evaluation.rendering import inline_svg, save
from keras_s2s.evaluation.report import FrequentError, ReportData, ReportFigure, write_report
from keras_s2s.run_directory import RunDirectory
from keras_s2s.translation.translator import Translator
from keras_s2s.utils.console import log, pluralize
from keras_s2s.utils.errors import InputError
from keras_s2s.utils.scores import FITTING_SCORES, SCORES, SENTENCE, WORD

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NUM_TRANSLATIONS = NUM_WORST = 10
NUM_FREQUENT = 15
# The plot of scores by length, by what the answers are: name of the file, scores.
BY_LENGTH = {SENTENCE: ("bleu_by_length", ("bleu",)), WORD: ("errors_by_length", ("wer", "ter"))}

# Captions and figures, by file name.
Figures = dict[str, tuple[str, "Figure"]]


class EvaluationPairs(NamedTuple):
    """Pairs to evaluate a model on.

    Attributes:
        corpus: the whole corpus, for its lengths; of a prepared corpus only the held-out pairs.
        pairs: the part of it to translate.
        description: of that part.
    """

    corpus: ParallelCorpus
    pairs: ParallelCorpus
    description: str


def plot_run(
    run: RunDirectory, corpus: str | None = None, output: Path | None = None
) -> list[Path]:
    """Write all plots of a run, each as PNG and SVG, and the report with them.

    The history is always plotted; for a finished run also the lengths of the texts of the corpus,
    the log-probabilities of translations and references, scores by length, confused tokens where
    the answers are words, and the attention maps of some sources where the model has attention.

    Args:
        run: the run directory.
        corpus: where the corpus is now, or another corpus; default that of the run.
        output: folder for plots and report; default `plots/` and `report.html` of the run.

    Returns:
        Paths of the files, the report last.

    Raises:
        InputError: there is no run, or it has no epoch yet; `corpus` cannot be used; or a file
            cannot be written.
    """
    record, config = run.read_record(), run.read_config()
    rows = run.read_history()
    if not rows:
        raise InputError(
            f"{run.path}: has no epoch to plot yet; continue with keras-s2s train --resume"
        )
    figures: Figures = {"history": ("Training history", plots.plot_history(rows))}
    data = ReportData()
    evaluated = _evaluation_pairs(record, config, run, corpus)
    if evaluated is not None:
        translator = Translator.load(run.model)
        analysis = analyze(
            translator,
            evaluated.pairs,
            tokenize=config.sacrebleu_tokenize,
            lowercase=config.sacrebleu_lowercase,
        )
        attention_maps = sample_attention_maps(translator, analysis.sources)
        model_figures = _model_figures(analysis, translator, evaluated, config)
        figures |= model_figures
        if analysis.level == WORD and analysis.errors.frequent:
            figures["confusions"] = (
                "Confused tokens",
                plots.plot_confusions(confusions(analysis.errors.frequent)),
            )
        for index, attention_map in enumerate(attention_maps, 1):
            figures[f"attention-{index}"] = ("Attention", plots.plot_attention(attention_map))
        data = _report_data(analysis, attention_maps, evaluated.description, model_figures)
    folder = run.plots if output is None else output
    report = run.report if output is None else output / run.report.name
    files = []
    for name, (_, figure) in figures.items():
        for suffix in (".png", ".svg"):
            files.append(folder / f"{name}{suffix}")
            save(figure, files[-1])
    return [*files, write_report(run, report, data)]


def _evaluation_pairs(
    record: dict[str, Any], config: TrainingConfig, run: RunDirectory, corpus: str | None
) -> EvaluationPairs | None:
    """Return the pairs; None, with a message, where only the history can be plotted."""
    if not run.model.is_file():
        log(f"{run.path}: has no model yet, so only its history is plotted")
        return None
    trained_on = record.get("corpus", {})
    options: dict[str, Any] = {
        name: bool(trained_on.get(name)) for name in ("reverse", "skip_bad_lines")
    }
    options |= {"columns": trained_on.get("columns")}
    if corpus is not None:
        if is_prepared(corpus):
            return _held_out(run, trained_on, corpus)
        pairs = load_corpus(corpus, max_pairs=config.max_pairs, **options)
        if pairs.fingerprint() != trained_on.get("sha256"):
            description = f"{corpus}, which is not the corpus of the run"
            return EvaluationPairs(pairs, pairs, description)
    else:
        name = trained_on.get("corpus", "")
        try:
            if is_prepared(name):
                return _held_out(run, trained_on, name)
            pairs = load_corpus(name, max_pairs=config.max_pairs, **options)
        except InputError as error:
            log(f"{error}; only the history is plotted, unless CORPUS gives its new location")
            return None
        if pairs.fingerprint() != trained_on.get("sha256"):
            log(f"{run.path}: {name} has changed since the run")
            return EvaluationPairs(pairs, pairs, f"{name}, which has changed since the run")
    try:
        held_out = CorpusSpec.from_record(trained_on).load_held_out()
    except (InputError, KeyError) as error:
        log(f"{error}; only the history is plotted")
        return None
    splits = split_corpus(pairs, config, held_out)
    # Validation before test: plots are drawn during model development.
    candidates = {
        "the validation pairs": splits.valid,
        "the test pairs": splits.test,
        "the training pairs, since none were held out": splits.train,
    }
    description, split = next(item for item in candidates.items() if len(item[1]))
    return EvaluationPairs(pairs, split, description)


def _held_out(run: RunDirectory, trained_on: dict[str, Any], corpus: str) -> EvaluationPairs:
    """Return the held-out pairs of a prepared corpus, which alone it keeps as text."""
    index = PreparedIndex(corpus)
    if trained_on.get("sha256") != index.fingerprint():
        raise InputError(
            f"{run.path}: was not trained on {corpus}; give the corpus that it was trained on, "
            "or a text corpus"
        )
    index.check_files()
    for name, description in (("valid", "the validation pairs"), ("test", "the test pairs")):
        if len(pairs := index.held_out(name)):
            return EvaluationPairs(pairs, pairs, description)
    raise InputError(
        f"{corpus}: is prepared without held-out pairs, so it contains no text; give a text "
        "corpus as CORPUS"
    )


def _report_data(
    analysis: ModelAnalysis,
    attention_maps: list[AttentionMap],
    description: str,
    figures: Figures,
) -> ReportData:
    scores, errors = analysis.scores, analysis.errors
    references = [" / ".join(texts) for texts in analysis.references]
    translations = list(zip(analysis.sources, analysis.translations, references, strict=True))
    has_words = analysis.level == WORD
    return ReportData(
        f"{pluralize(len(translations), f'distinct {analysis.level}', ',')} of {description}",
        {
            score.title: f"{scores[score.key]:.1f}  ({scores[f'{score.key}_signature']})"
            for score in map(SCORES.__getitem__, FITTING_SCORES[analysis.level])
        },
        translations[:NUM_TRANSLATIONS],
        attention_maps,
        [
            ReportFigure(caption, inline_svg(figure, caption))
            for caption, figure in figures.values()
        ],
        worst=[translations[index] for index in errors.worst[:NUM_WORST]],
        frequent=[
            FrequentError(error, errors.share(error)) for error in errors.frequent[:NUM_FREQUENT]
        ]
        if has_words
        else (),
        confusions=confusions(errors.frequent) if has_words else None,
    )


def _model_figures(
    analysis: ModelAnalysis,
    translator: Translator,
    evaluated: EvaluationPairs,
    config: TrainingConfig,
) -> Figures:
    corpus, pairs, description = evaluated
    name, names = BY_LENGTH[analysis.level]
    shown = [SCORES[score] for score in names]
    unit = LENGTH_UNITS[analysis.level]
    return {
        "lengths": (
            f"Lengths of {description if corpus is pairs else 'the corpus'} "
            "(targets with <bos> and <eos>)",
            plots.plot_lengths(*token_counts(translator, corpus), limit=config.num_steps),
        ),
        "scores": (
            "Log-probabilities of translations and references",
            plots.plot_scores(analysis.log_probabilities),
        ),
        name: (
            f"{' and '.join(score.label for score in shown)} by source length",
            plots.plot_scores_by_length(
                {score.label: analysis.scores[f"{score.key}_by_length"] for score in shown},
                {score.label: analysis.scores[score.key] for score in shown},
                analysis.level,
                unit,
            ),
        ),
    }
