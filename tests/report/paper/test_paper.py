"""The folder for a paper: methods from the recipes, and an article that compiles."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from support.finished_plans import write_finished_plan
from support.inputs import JOBS
from support.latex import compile_latex, pdflatex
from support.studies import BuiltReport

from kdbatch.plan.resolve import make_plan
from kdbatch.report.data.study import load_study
from kdbatch.report.html.citations import BIB_PATH
from kdbatch.report.html.sections import Chapter
from kdbatch.report.paper.methods import methods_markdown, methods_sections
from kdbatch.report.paper.sources import SOURCES
from kdbatch.report.stats.gains import student_gains
from kdbatch.vocab.config import Config
from kdbatch.vocab.tasks import TASKS

__all__ = ["pdflatex"]  # a fixture


def test_methods_have_the_values_of_the_recipes(finished_report: BuiltReport) -> None:
    text = (finished_report.report_dir / "paper" / "methods.md").read_text(encoding="utf-8")
    assert "by RSPNet [@arXiv:2011.07949] (complexity 1) on Kinetics-400" in text
    assert "(first 10,000 of train and first 30,000 of train)" in text
    assert "weight 0.9, temperature 4, loss KL [@arXiv:1503.02531]; weights of teachers: " in text
    assert "AE-KD [@AE-KD]" in text and text.count("[@arXiv:1212.0402]") == 1
    assert "the last epoch was kept" in text and "Seeds: 0." in text
    assert "Controls and references of the student: Labels only." in text


def test_every_citation_has_an_entry_and_every_task_a_source(finished_report: BuiltReport) -> None:
    paper = finished_report.report_dir / "paper"
    cited = re.findall(r"\\cite\{(.*?)\}", (paper / "methods.tex").read_text(encoding="utf-8"))
    entries = re.findall(r"^@\w+\{(.*),$", (paper / "references.bib").read_text(), re.MULTILINE)
    assert cited and set(cited) == set(entries) and len(set(entries)) == len(entries)
    known = re.findall(r"^@\w+\{(.*),$", BIB_PATH.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(SOURCES.values()) <= set(known) and set(TASKS.built_in) <= set(SOURCES)


def test_the_article_compiles_and_has_methods_numbers_and_references(
    pdflatex: str, finished_report: BuiltReport, tmp_path: Path
) -> None:
    paper = shutil.copytree(finished_report.report_dir / "paper", tmp_path / "paper")
    compile_latex(pdflatex, paper / "main.tex")
    if has_bibtex := shutil.which("bibtex"):
        done = subprocess.run(["bibtex", "main"], cwd=paper, capture_output=True, check=False)
        assert done.returncode == 0, done.stdout
        compile_latex(pdflatex, paper / "main.tex")
    text = re.sub(r"\s+", " ", compile_latex(pdflatex, paper / "main.tex"))
    assert "Student ShuffleNet 76.0 88.0" in text and "pretrained without labels" in text
    if has_bibtex:
        assert "Relative speed perception for unsupervised video" in text and "[?]" not in text


def test_methods_say_what_sets_some_students_apart(sharded: Callable[..., Config]) -> None:
    """Experiment 6 has students of every loss, and of smoothed labels."""
    config = sharded(k400=240_000, ucf101=13_320)
    plan = make_plan([JOBS / "methods.yaml"], profile="paper", config=config)
    write_finished_plan(plan, config)
    study = load_study(config.runs_dir)
    (record,) = study.records
    chapter = Chapter(
        record=record,
        runs=study.runs_of(record),
        grids=(),
        figures=(),
        text_tables=(),
        claims=(),
        gains=student_gains(record, study),
        cost_figure=None,
    )
    text = methods_markdown(methods_sections([chapter]))
    for said in (
        "logits standardised clip by clip before the temperature divided them [@arXiv:2403.01427].",
        "Some students learned from labels smoothed by 0.1.",
        "smoothed until they were as uncertain as the teachers",
        "each teacher of a clip but the one with the highest loss with a probability of 0.5",
        "by CA-MKD (weight 50), hints [@arXiv:1412.6550] (weight 100) and cosine-l1",
    ):
        assert said in text, text
