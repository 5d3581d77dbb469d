from dataclasses import replace

import pytest
from support.inputs import JOBS
from support.reports import RATES, find_run_id
from support.studies import MakeStudy, with_single_teachers

from kdbatch.plan.resolve import make_plan
from kdbatch.report.html.chapter import untestable_html
from kdbatch.report.html.sections import frame_rate_table, teacher_agreement_table
from kdbatch.report.labels import NO_VALUE
from kdbatch.result.schema import CURVES
from kdbatch.result.write import Measure, write_measures
from kdbatch.vocab.config import Config
from kdbatch.vocab.plans.declarations import Untestable
from kdbatch.vocab.runs.folder import RunFolder


def weight_curves(*points: tuple[int, float]) -> list[Measure]:
    """Return curves of the weights of two teachers; `points` are (step, weight of the first)."""
    curves = []
    for step, weight in points:
        for i, value in enumerate((weight, 1 - weight)):
            name = f"teacher_weight_{i}"
            curves.append(Measure(name=name, value=value, unit="1", step=step))
    return curves


def test_each_teachers_weight_is_that_of_the_last_epoch_averaged_over_seeds(
    make_study: MakeStudy,
) -> None:
    record, study = make_study(seeds=(0, 1))
    for seed, last in ((0, 0.2), (1, 0.4)):
        run = find_run_id(record, "student", "10k", seed=seed)
        curves = weight_curves((10, 0.5), (20, last))
        write_measures(RunFolder(study.runs_dir / run).curves, run, curves[::-1], schema=CURVES)
    table = teacher_agreement_table(record, study)
    assert table and table.head[-2:] == ("Weight of T1", "Weight of T2")
    assert [row[-2:] for row in table.rows] == [("0.30", "0.70"), (NO_VALUE, NO_VALUE)]
    assert table.rows[0][1:4] == ("66.0", "72.0", "0.41")


def test_a_single_teacher_agrees_with_no_other(make_study: MakeStudy) -> None:
    record, study = make_study()
    some = with_single_teachers(study, find_run_id(record, "student", "10k"))
    table = teacher_agreement_table(record, some)
    assert table and [row[0] for row in table.rows] == ["UCF101 · 30k"]
    assert teacher_agreement_table(record, with_single_teachers(study)) is None


@pytest.mark.parametrize("damage", [b"PAR1 no PAR1", b""])
def test_damaged_curves_cost_only_the_weights(make_study: MakeStudy, damage: bytes) -> None:
    record, study = make_study()
    RunFolder(study.runs_dir / find_run_id(record, "student", "10k")).curves.write_bytes(damage)
    table = teacher_agreement_table(record, study)
    assert table and table.rows[0][1:] == ("66.0", "72.0", "0.41", NO_VALUE, NO_VALUE)


def test_the_share_of_repeated_frames_is_a_row_per_subset(make_study: MakeStudy) -> None:
    record, _ = make_study()
    slow = replace(
        RATES,
        subset="ssv2/train[:30000]",
        least_video_fps=12.0,
        most_video_fps=23.976,
        repeated_share=0.4875,
        num_too_slow=1200,
    )
    table = frame_rate_table(replace(record, rates=(slow,)))
    assert table and table.rows == (
        ("ssv2/train[:30000]", "12 to 23.976 fps", "16 at 25 fps", "48.8 %", "1,200"),
    )
    assert frame_rate_table(replace(record, rates=())) is None


def test_a_statement_that_cannot_be_tested_stands_with_its_reason() -> None:
    says, why = "The map is <symmetrical>.", "Every map of a network with itself is."
    html = untestable_html([Untestable(says=says, why=why)])
    assert "cannot be tested" in html and why in html and "&lt;symmetrical&gt;" in html
    assert untestable_html([]) == ""


def test_the_symmetry_of_a_map_is_listed_as_untestable_by_the_first_experiment() -> None:
    (record,) = make_plan([JOBS / "subset_size.yaml"], profile="paper", config=Config()).records
    (statement,) = record.untestable
    assert "symmetrical" in statement.says and "itself" in statement.why
