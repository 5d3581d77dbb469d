"""Writes the methods of an experiment as sentences, from the recipes of its runs.

A citation is a key of data/references.bib between two marks, which `methods_latex` and
`methods_markdown` replace.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from kdbatch.base.output.visible_text import visible
from kdbatch.report.escape import escape_latex, escape_markdown
from kdbatch.report.html.citations import citation_key
from kdbatch.report.html.sections import Chapter
from kdbatch.report.labels import role_group, value_title
from kdbatch.report.paper.sources import SOURCES
from kdbatch.report.stats.bootstrap import NUM_REPLICATES
from kdbatch.vocab.recipes.compare import Compare
from kdbatch.vocab.recipes.distill import Distill
from kdbatch.vocab.recipes.finetune import Finetune
from kdbatch.vocab.recipes.pretrain import Pretrain
from kdbatch.vocab.recipes.schedule import Schedule
from kdbatch.vocab.shards.subset import Subset
from kdbatch.vocab.views import View

_MARK = "\0"  # on both sides of a key; `visible` lets none through
_STATISTICS = (
    "Both sides of a comparison are tested on the same videos. Intervals cover 95 %: groups of "
    f"videos of one scene or film are resampled {NUM_REPLICATES:,} times with replacement"
    f"{_MARK}Efron1979{_MARK}, with the same draws for both sides, and with several seeds an error "
    "from Student's distribution is added to each draw. Verdicts hold for all claims at once by "
    f"Holm's correction{_MARK}Holm1979{_MARK}; with one seed nothing is decided."
)


def methods_sections(chapters: Sequence[Chapter]) -> list[tuple[str, str]]:
    """Return (title, text) of each experiment, and of the statistics, which all share."""
    sections = [
        (visible(chapter.record.title), _cited_once(" ".join(_Methods(chapter).sentences())))
        for chapter in chapters
    ]
    runs = [run for chapter in chapters for run in chapter.runs]
    versions = sorted({visible(run.provenance.kdbatch_version) for run in runs} - {""})
    software = f" All runs were made with kdbatch {_list(versions)}{_cite('kdbatch')}."
    return [*sections, ("Statistics", _STATISTICS + (software if versions else ""))]


def cited_keys(sections: Iterable[tuple[str, str]]) -> list[str]:
    """Return the key of every citation of the methods, each once."""
    return list(dict.fromkeys(key for _, text in sections for key in text.split(_MARK)[1::2]))


def _cited_once(text: str) -> str:
    """The text with the first citation of each key alone."""
    parts, seen = text.split(_MARK), set()
    kept = [parts[0]]
    for key, rest in zip(parts[1::2], parts[2::2], strict=True):
        kept.append(rest if key in seen else f"{_cite(key)}{rest}")
        seen.add(key)
    return "".join(kept)


def methods_latex(sections: Iterable[tuple[str, str]]) -> str:
    r"""Return a \paragraph for each section, with \cite."""
    lines = []
    for title, text in sections:
        parts = text.split(_MARK)
        parts = [f"~\\cite{{{p}}}" if i % 2 else escape_latex(p) for i, p in enumerate(parts)]
        lines.append(f"\\paragraph{{{escape_latex(title)}}}\n{''.join(parts)}\n")
    return "\n".join(lines)


def methods_markdown(sections: Iterable[tuple[str, str]]) -> str:
    """Return a heading and a paragraph for each section, with Pandoc's citations."""
    lines = []
    for title, text in sections:
        parts = text.split(_MARK)
        parts = [f" [@{p}]" if i % 2 else escape_markdown(p) for i, p in enumerate(parts)]
        lines.append(f"## {escape_markdown(title)}\n\n{''.join(parts)}\n")
    return "\n".join(lines)


class _Methods:
    """The sentences about one experiment."""

    def __init__(self, chapter: Chapter) -> None:
        self.chapter = chapter
        runs = [run.run for run in chapter.runs if run.run]
        self.recipes = list(dict.fromkeys(run.recipe for run in runs))

    def sentences(self) -> Iterator[str]:
        record = self.chapter.record
        if record.note:
            yield f"{visible(record.note).rstrip('.')}."
        if record.sources:
            sources = _list(f"{visible(s)}{_cite(citation_key(s))}" for s in record.sources)
            yield f"The experiment checks claims of {sources}."
        yield from self._pretraining()
        yield from self._teachers()
        yield from self._students()
        yield from self._tests()
        controls = [
            title
            for role, title in record.roles.items()
            if role_group(role, record.references) in ("control", "reference")
            and not role.startswith("map:")
        ]
        if controls:
            yield f"Controls and references of the student: {'; '.join(map(visible, controls))}."
        seeds = {cell.seed for cell in record.cells}
        if seeds:
            yield f"Seeds: {_list(map(str, sorted(seeds)))}."
        if maps := self._of(Compare):
            clips = self._values(maps, lambda r: _clip(r.view))
            yield (
                f"Layers were compared by centred kernel alignment{_cite('arXiv:1905.00414')}, on "
                f"{clips}."
            )

    def _pretraining(self) -> Iterator[str]:
        if recipes := self._of(Pretrain):
            yield (
                f"{self._names(recipes, lambda r: r.backbone.kind)} was pretrained without labels "
                f"by {self._names(recipes, lambda r: r.task.name)} (complexity "
                f"{self._values(recipes, lambda r: str(r.task.complexity))}) on "
                f"{self._data(recipes, lambda r: r.data)}, from {self._views(recipes)}, "
                f"{self._schedules(recipes)}."
            )

    def _teachers(self) -> Iterator[str]:
        for trained, what in (("all", "fine-tuned"), ("head", "probed by a linear layer")):
            if recipes := [r for r in self._of(Finetune) if r.trained == trained]:
                yield (
                    f"Networks were {what} on the labels of "
                    f"{self._data(recipes, lambda r: r.data)}, from {self._views(recipes)}, "
                    f"{self._schedules(recipes)}; {self._selection(recipes)}."
                )

    def _students(self) -> Iterator[str]:
        """Students without teachers share data and schedule with those that have some."""
        recipes = self._of(Distill)
        taught = [r for r in recipes if r.weighting != "none"]
        if not recipes:
            return
        losses = self._names(taught, lambda r: r.loss)
        teaching = (
            f" from labels (weight {self._values(taught, lambda r: f'{r.hard_weight:g}')}) and "
            f"from the predictions of teachers (weight "
            f"{self._values(taught, lambda r: f'{r.soft_weight:g}')}, temperature "
            f"{self._values(taught, lambda r: f'{r.temperature:g}')}, loss {losses}; weights of "
            f"teachers: {self._names(taught, lambda r: r.weighting)})"
        )
        yield (
            f"Students ({self._names(recipes, lambda r: r.backbone.kind)}) were trained"
            f"{teaching if taught else ' from labels'} on "
            f"{self._data(recipes, lambda r: r.data)}, from {self._views(recipes)}, "
            f"{self._schedules(recipes)}; {self._selection(recipes)}."
        )
        if taught and len(taught) < len(recipes):
            yield "Students without teachers were trained from labels alone, in the same way."
        yield from self._choices(recipes)

    def _choices(self, recipes: Sequence[Distill]) -> Iterator[str]:
        """Yield a sentence for each choice that sets some students apart; {} is for its values."""

        def feature_loss(recipe: Distill) -> str:
            return f"{self._name(recipe.feature_loss)} (weight {recipe.feature_weight:g})"

        choices: dict[str, list[str]] = {
            "learned with all logits standardised clip by clip before the temperature divided them"
            + _cite(SOURCES["standardized_logits"]): ["" for r in recipes if r.standardized_logits],
            "learned from labels smoothed by {}": [
                f"{r.label_smoothing:g}" for r in recipes if r.label_smoothing
            ],
            "learned from labels smoothed until they were as uncertain as the teachers' "
            "predictions, in the place of these": [
                "" for r in recipes if r.soft_target == "smoothed-labels"
            ],
            "left out each teacher of a clip but the one with the highest loss with a probability "
            "of {}" + _cite(SOURCES["teacher_dropping"]): [
                f"{r.teacher_dropping:g}" for r in recipes if r.teacher_dropping
            ],
            "also learned from the feature maps of teachers, by {}": [
                feature_loss(r) for r in recipes if r.feature_weight
            ],
            "started from pretrained weights": ["" for r in recipes if r.start == "pretrained"],
            "kept the epoch whose accuracy on held-out videos was nearest to another student's": [
                "" for r in recipes if r.kept_epoch == "equal-accuracy"
            ],
            "saw only the first {} training videos of each class": [
                f"{r.videos_per_class}" for r in recipes if r.videos_per_class
            ],
        }
        for text, values in choices.items():
            if values:
                who = "All students" if len(values) == len(recipes) else "Some students"
                yield f"{who} {text.format(_list(dict.fromkeys(values)))}."

    def _tests(self) -> Iterator[str]:
        if recipes := self._of(Finetune, Distill):
            clips = self._values(recipes, lambda r: _times(r.evaluation))
            yield (
                f"They were tested on {self._data(recipes, lambda r: r.evaluation.test)}: softmax "
                f"averaged over {clips} of each video."
            )

    def _of(self, *kinds: type) -> list[Any]:
        return [recipe for recipe in self.recipes if isinstance(recipe, kinds)]

    def _values(self, recipes: Sequence[Any], text: Callable[[Any], str]) -> str:
        return _list(dict.fromkeys(map(text, recipes)))

    def _names(self, recipes: Sequence[Any], name: Callable[[Any], str]) -> str:
        return _list(self._name(each) for each in dict.fromkeys(map(name, recipes)))

    def _name(self, name: str) -> str:
        titles = {"ae-kd": "AE-KD", "ca-mkd": "CA-MKD", "dkd": "DKD", "dist": "DIST", "kl": "KL"}
        title = titles.get(name) or value_title(name, self.chapter.record.titles)
        return visible(title) + (_cite(SOURCES[name]) if name in SOURCES else "")

    def _data(self, recipes: Sequence[Any], data: Callable[[Any], Subset]) -> str:
        parts: dict[str, dict[str, None]] = {}
        for subset in map(data, recipes):
            size = f"first {subset.num_places:,} of " if subset.num_places else ""
            parts.setdefault(subset.dataset, {})[f"{size}{visible(subset.split)}"] = None
        return _list(f"{self._name(name)} ({_list(found)})" for name, found in parts.items())

    def _views(self, recipes: Sequence[Any]) -> str:
        return self._values(recipes, lambda r: _clip(r.view))

    def _schedules(self, recipes: Sequence[Any]) -> str:
        def values(text: Callable[[Schedule], str]) -> str:
            return self._values(recipes, lambda r: text(r.schedule))

        optimizers = {"sgd": "SGD", "adamw": f"AdamW{_cite(SOURCES['adamw'])}"}
        return (
            f"for {values(lambda s: f'{s.epochs:g}')} epochs of batches of "
            f"{values(lambda s: f'{s.batch_clips:g}')} clips with "
            f"{values(lambda s: optimizers[s.optimizer])} at a learning rate of "
            f"{values(lambda s: f'{s.lr:g}')} (epochs of warm-up: "
            f"{values(lambda s: f'{s.warmup_epochs:g}')}, decay: {values(lambda s: s.decay)}, "
            f"momentum: {values(lambda s: f'{s.momentum:g}')}, weight decay: "
            f"{values(lambda s: f'{s.weight_decay:g}')})"
        )

    def _selection(self, recipes: Sequence[Any]) -> str:
        def text(recipe: Any) -> str:
            if recipe.selection is None:
                return "the last epoch"
            share = f"{100 * recipe.selection.share:g} %"
            return f"the best epoch on {share} of the training videos, held out,"

        return f"{self._values(recipes, text)} was kept"


def _clip(view: View) -> str:
    side, apart = view.size_pixels, f"{view.stride_frames} apart at {view.fps:g} frames/s"
    return f"clips of {view.num_frames} frames of {side} x {side} pixels ({apart})"


def _times(evaluation: Any) -> str:
    crops = " in three crops" if evaluation.num_crops == 3 else ""
    return f"{evaluation.num_clips} clip{'s' * (evaluation.num_clips > 1)}{crops}"


def _cite(key: str) -> str:
    return f"{_MARK}{key}{_MARK}"


def _list(texts: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *most, last = list(texts) or ["none"]
    return f"{', '.join(most)} and {last}" if most else last
