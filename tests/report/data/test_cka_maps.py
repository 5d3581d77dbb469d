import numpy as np
import pytest
from support.studies import MakeStudy

from kdbatch.report.data.cka_maps import load_maps
from kdbatch.report.data.study import load_study
from kdbatch.report.figures.cka import map_caption
from kdbatch.result.read import read_cka
from kdbatch.result.schema import CKA, ROWS
from kdbatch.result.write import Measure, write_measures, write_table
from kdbatch.vocab.plans.records import PlanRecord
from kdbatch.vocab.runs.folder import RunFolder


def map_run(record: PlanRecord) -> str:
    return next(c.run_id for c in record.cells if c.role == "map:map_T1")


def test_a_map_is_loaded_as_it_was_measured(make_study: MakeStudy) -> None:
    maps, warnings = load_maps(*make_study())
    assert [m.declared.id for m in maps] == ["map_T1", "map_T2", "map_student"]
    assert warnings == ()
    first = maps[0]
    assert first.value_LM.shape == (12, 12) and np.allclose(np.diag(first.value_LM), 1.0)
    assert first.value_LM[0, 5] == pytest.approx(np.exp(-1))
    assert first.layers_a[5] == "stage1.conv1"
    assert first.numbers == {"block index": "0.30", "grid share": "0.70"}


def test_a_self_map_has_all_its_measures_and_the_interval_of_the_block_index(
    make_study: MakeStudy,
) -> None:
    record, study = make_study()
    run = map_run(record)
    values = {
        "block_index": 0.3,
        "block_index_low": 0.21,
        "block_index_high": 0.39,
        "run_90": 0.5,
        "pc1_drop": 0.12,
        "loud_drop": 0.04,
    }
    measures = [Measure(name=name, value=value, unit="1") for name, value in values.items()]
    write_measures(RunFolder(study.runs_dir / run).rows, run, measures, schema=ROWS)
    maps, _ = load_maps(record, load_study(study.runs_dir))
    assert maps[0].numbers == {
        "block index": "0.30 [0.21, 0.39]",
        "longest run (\u2265 .9)": "0.50",
        "drop without PC1": "0.12",
        "without high-norm clips": "0.04",
    }


def test_numbers_are_over_all_seeds_and_the_caption_names_the_drawn_one(
    make_study: MakeStudy,
) -> None:
    maps, _ = load_maps(*make_study(seeds=(0, 1)))
    assert maps[0].numbers == {"block index": "0.31 ± 0.01", "grid share": "0.69 ± 0.01"}
    assert "Seed 0 is drawn" in map_caption(maps[0])


def test_a_file_of_an_older_version_has_a_map_of_cka_and_none_of_rsa(make_study: MakeStudy) -> None:
    record, study = make_study()
    run = map_run(record)
    frame = read_cka(study.runs_dir, [run]).frame
    frame.drop("rsa").write_parquet(RunFolder(study.runs_dir / run).cka)
    maps, warnings = load_maps(record, study)
    assert warnings == () and maps[0].rsa_LM is None and maps[1].rsa_LM is not None
    assert maps[1].rsa_LM[0, 3] == pytest.approx(np.exp(-1))


def test_a_map_that_is_not_done_is_left_out(make_study: MakeStudy) -> None:
    maps, _ = load_maps(*make_study(unfinished=[("map:map_T2", "30k")]))
    assert [m.declared.id for m in maps] == ["map_T1", "map_student"]


@pytest.mark.parametrize(
    ("index", "message"), [(2_000_000_000, "pairs for a map of"), (-1, "pairs without an index")]
)
def test_a_map_with_impossible_indexes_is_named(
    make_study: MakeStudy, index: int, message: str
) -> None:
    record, study = make_study()
    run = map_run(record)
    rows = read_cka(study.runs_dir, [run]).frame.to_dicts()
    rows[0] |= {"index_a": index}
    write_table(RunFolder(study.runs_dir / run).cka, rows, schema=CKA)
    maps, warnings = load_maps(record, study)
    assert len(maps) == 2 and message in warnings[0] and run in warnings[0]
