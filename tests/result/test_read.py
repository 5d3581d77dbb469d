import errno
import json
import os
import random
import shutil
from pathlib import Path

import pytest

from kdbatch.result import read as reading
from kdbatch.result.digests import digest_results
from kdbatch.result.read import read_cka, read_curves, read_predictions, read_rows
from kdbatch.result.schema import CKA, CURVES, PREDICTIONS, ROWS
from kdbatch.result.write import Measure, write_measures, write_table
from kdbatch.vocab.done import Done, save_done
from kdbatch.vocab.runs.folder import RunFolder


def write_run(runs_dir: Path, run_id: str, *, top1: float = 50.0, done: bool = True) -> RunFolder:
    folder = RunFolder(runs_dir / run_id)
    measure = Measure(name="top1", value=top1, unit="percent", subset="ucf101/test01")
    write_measures(folder.rows, run_id, [measure], schema=ROWS)
    if done:
        folder.done.write_text("{}")
    return folder


def test_rows_come_from_finished_runs_only(tmp_path: Path) -> None:
    write_run(tmp_path, "ra", top1=61.0)
    write_run(tmp_path, "rb", top1=99.0, done=False)
    result = read_rows(tmp_path, ["ra", "rb", "rc"])
    assert result.frame.select("run_id", "value").rows() == [("ra", 61.0)]
    assert result.warnings == ()


def test_reading_no_file_gives_the_columns_of_the_schema(tmp_path: Path) -> None:
    for read, names in ((read_rows, ROWS), (read_curves, CURVES)):
        result = read(tmp_path, [])
        assert result.frame.is_empty() and result.frame.columns == list(names)
    assert read_cka(tmp_path, ["rx"]).frame.is_empty()


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "hole"])
def test_a_damaged_file_is_named_and_the_others_are_read(tmp_path: Path, damage: str) -> None:
    write_run(tmp_path, "ra")
    bad = write_run(tmp_path, "rb").rows
    whole = bad.read_bytes()
    damaged = {
        "cut": whole[:-30],
        "empty": b"",
        "text": b"not parquet at all",
        "hole": whole[:4] + bytes(len(whole) - 8) + whole[-4:],
    }
    bad.write_bytes(damaged[damage])
    result = read_rows(tmp_path, ["ra", "rb"])
    assert result.frame["run_id"].to_list() == ["ra"]
    (warning,) = result.warnings
    assert str(bad) in warning and "Left out" in warning and "\n" not in warning


def test_flipped_bytes_give_warnings_not_exceptions(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "ra")
    whole = folder.rows.read_bytes()
    rng = random.Random(5)
    for _ in range(50):
        broken = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            broken[rng.randrange(len(broken))] ^= 1 << rng.randrange(8)
        folder.rows.write_bytes(bytes(broken))
        result = read_rows(tmp_path, ["ra"])
        assert len(result.warnings) + result.frame.height >= 1


def test_a_file_with_other_columns_is_named(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "ra")
    write_table(folder.curves, [{"loss": 1.0}], schema={"loss": ROWS["value"]})
    result = read_curves(tmp_path, ["ra"])
    assert result.frame.is_empty() and "curves.parquet" in result.warnings[0]


def test_rows_of_another_run_are_refused(tmp_path: Path) -> None:
    write_run(tmp_path, "ra").rows.replace(write_run(tmp_path, "rb").rows)
    result = read_rows(tmp_path, ["rb"])
    assert result.frame.is_empty() and "holds rows of ra, not of rb" in result.warnings[0]


def test_among_many_files_the_one_with_rows_of_another_run_is_named(tmp_path: Path) -> None:
    for run_id in ("ra", "rb", "rc"):
        write_run(tmp_path, run_id)
    shutil.copy(tmp_path / "rc" / "rows.parquet", tmp_path / "rb")
    result = read_rows(tmp_path, ["ra", "rb", "rc"])
    (warning,) = result.warnings
    assert result.frame["run_id"].to_list() == ["ra", "rc"]
    assert f"{tmp_path}/rb/rows.parquet: cannot be read (holds rows of rc, not of rb)" in warning


def test_a_finished_run_without_rows_is_named_and_without_curves_is_not(tmp_path: Path) -> None:
    write_run(tmp_path, "ra").rows.unlink()
    assert "is missing, though the run is done" in read_rows(tmp_path, ["ra"]).warnings[0]
    assert read_curves(tmp_path, ["ra"]).warnings == ()


def test_predictions_are_read_without_logits(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "ra")
    row = {
        "run_id": "ra",
        "key": "v1",
        "label": 1,
        "place": 0,
        "probability_K": [0.25, 0.75],
        "logit_K": [0.0, 1.0],
    }
    write_table(folder.predictions, [row], schema=PREDICTIONS)
    assert read_predictions(tmp_path, ["ra"]).frame.rows() == [("ra", "v1", 1, [0.25, 0.75])]


def finished(runs_dir: Path, run_id: str) -> RunFolder:
    """A run whose done.json vouches for its files."""
    folder = write_run(runs_dir, run_id, done=False)
    save_done(
        folder.done, Done(run_id=run_id, kind="finetune", files=digest_results(folder, known={}))
    )
    return folder


def test_what_a_run_wrote_is_read_and_a_flipped_bit_is_named(tmp_path: Path) -> None:
    good, bad = finished(tmp_path, "ra"), finished(tmp_path, "rb")
    assert read_rows(tmp_path, ["ra", "rb"]).warnings == ()
    raw = bytearray(bad.rows.read_bytes())
    for i in range(0, 8 * len(raw), 101):
        damaged = bytearray(raw)
        damaged[i // 8] ^= 1 << i % 8
        bad.rows.write_bytes(damaged)
        result = read_rows(tmp_path, ["ra", "rb"])
        assert set(result.frame["run_id"]) == {"ra"}
        (warning,) = result.warnings
        assert warning == (
            f"{bad.rows}: is not what was written there: its sha256 is another one. Left out. "
            f"Make it again: rm -r {bad.path} && kdbatch resume --retry-failed"
        )
    assert good.rows.exists()


def test_a_file_that_a_run_wrote_and_that_is_gone_is_named(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "ra", done=False)
    write_table(folder.cka, [], schema=CKA)
    save_done(folder.done, Done(run_id="ra", kind="c", files=digest_results(folder, known={})))
    folder.cka.unlink()
    (warning,) = read_cka(tmp_path, ["ra"]).warnings
    assert "cka.parquet: is missing, though the run is done" in warning
    assert not read_curves(tmp_path, ["ra"]).warnings  # it wrote none


def test_a_file_that_the_run_did_not_write_is_left_out(tmp_path: Path) -> None:
    folder = finished(tmp_path, "ra")
    write_measures(folder.curves, "ra", [], schema=ROWS)
    (warning,) = read_curves(tmp_path, ["ra"]).warnings
    assert "curves.parquet: is not among the files in done.json" in warning


def test_a_changed_done_json_vouches_for_nothing(tmp_path: Path) -> None:
    folder = finished(tmp_path, "ra")
    raw = json.loads(folder.done.read_text())
    del raw["files"]
    folder.done.write_text(json.dumps(raw))
    result = read_rows(tmp_path, ["ra"])
    assert result.frame.is_empty() and "done.json: was changed or damaged" in result.warnings[0]


def test_the_record_of_another_run_vouches_for_nothing(tmp_path: Path) -> None:
    folder, other = finished(tmp_path, "ra"), finished(tmp_path, "rb")
    for name in ("rows.parquet", "done.json"):
        shutil.copy(other.path / name, folder.path / name)
    result = read_rows(tmp_path, ["ra"])
    assert result.frame.is_empty() and "is the record of another run (rb)" in result.warnings[0]


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EACCES, errno.EIO])
def test_an_error_of_the_disk_is_no_reason_to_make_a_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    folder = write_run(tmp_path, "ra")

    def fail(path: Path) -> None:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(reading, "_check_magic", fail)
    (warning,) = read_rows(tmp_path, ["ra"]).warnings
    assert f"{folder.rows}: cannot be read ({os.strerror(number)})" in warning
    assert "rm -r" not in warning and "ls -ld" in warning
