from collections.abc import Callable

import pytest
from support.reports import find_run_id

from kdbatch.report.html.sections import teacher_agreement_table
from kdbatch.report.labels import NO_VALUE
from kdbatch.result.schema import CURVES
from kdbatch.result.write import Measure, write_measures
from kdbatch.vocab.runs import RunFolder


def test_each_teachers_weight_is_that_of_the_last_epoch_averaged_over_seeds(
    studied: Callable,
) -> None:
    record, study = studied(seeds=(0, 1))
    for seed, last in ((0, 0.2), (1, 0.4)):
        run = find_run_id(record, "student", "10k", seed=seed)
        steps = ((10, 0.5), (20, last))
        curves = [
            Measure(
                name=f"teacher_weight_{i}", value=w if i == 0 else 1 - w, unit="share", step=step
            )
            for step, w in steps
            for i in (0, 1)
        ]
        write_measures(RunFolder(study.runs_dir / run).curves, run, curves[::-1], schema=CURVES)
    listing = teacher_agreement_table(record, study)
    assert listing and listing.head[-2:] == ("Weight of T1", "Weight of T2")
    assert [row[-2:] for row in listing.rows] == [("0.30", "0.70"), (NO_VALUE, NO_VALUE)]
    assert listing.rows[0][1:4] == ("66.0", "72.0", "0.41")


@pytest.mark.parametrize("damage", [b"PAR1 no PAR1", b""])
def test_damaged_curves_cost_the_weights_alone(studied: Callable, damage: bytes) -> None:
    record, study = studied()
    RunFolder(study.runs_dir / find_run_id(record, "student", "10k")).curves.write_bytes(damage)
    listing = teacher_agreement_table(record, study)
    assert (
        listing
        and listing.rows[0][1:4] == ("66.0", "72.0", "0.41")
        and listing.rows[0][4:] == (NO_VALUE, NO_VALUE)
    )
