"""Single flipped bits in every kind of file that a later step reads: told, or without an effect.

The table of docs/ARCHITECTURE.md lists the kinds of files; one that is not tried here, and not
named in ELSEWHERE, fails.
"""

import dataclasses
import random
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file
from support.exports import finished_student
from support.imported_runs import write_import_run
from support.report_runs import write_cka_map
from support.reports import find_run_id
from support.studies import WriteStudy
from support.teacher_logits import recorded_logits
from support.toys import toy_request

from kdbatch.base.atomic_write import write_json
from kdbatch.base.errors import UserError
from kdbatch.base.progress import silent
from kdbatch.report.changes.compared_report import REPORT_VERSION, load_report
from kdbatch.report.data.label_ranks import load_label_ranks
from kdbatch.result.digests import digest_label_ranks, digest_results
from kdbatch.result.read import ReadResult, read_cka, read_curves, read_predictions, read_rows
from kdbatch.run.checkpoint import load_checkpoint, save_checkpoint, save_weights
from kdbatch.run.data.open_shards import open_shards
from kdbatch.run.export import export_run, load_exported
from kdbatch.run.heartbeat import StopSignal
from kdbatch.run.main import main
from kdbatch.run.weights import checked_weights
from kdbatch.shard.build import build_shards
from kdbatch.shard.index import _load_rejected_rows
from kdbatch.shard.verify import verify_shards
from kdbatch.vocab.attempts.exit_rules import EXIT_DONE
from kdbatch.vocab.config import Config
from kdbatch.vocab.done import StageFacts, load_done, save_done
from kdbatch.vocab.plans.records import load_records
from kdbatch.vocab.runs.folder import RunFolder
from kdbatch.vocab.shards.index import load_index
from kdbatch.vocab.shards.subset import find_subset, load_samples
from kdbatch.vocab.status import load_status

pytestmark = pytest.mark.hostile

DOCUMENT = Path(__file__).parents[2] / "docs" / "ARCHITECTURE.md"
ELSEWHERE = {
    "frames of the cache": "tests/run/data/decoding/test_frame_cache.py",
    "other `*.json`: journal, queues, marks": "tests/base/digests/test_sealed_json.py",
}

LABEL_RANKS = "the label ranks of a run"
OPEN_SHARDS = "the tar of open_shards"

Read = Callable[[], Any]
"""Reads a file as the later steps do. Raises UserError, or Told, where it reports damage."""


class Told(Exception):
    """The damage was named in a warning."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    path: Path
    read: Read
    num_flips: int = 150


@pytest.fixture(scope="module")
def stored(toys: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of a data set, to be copied."""
    shards_dir = tmp_path_factory.mktemp("stored")
    request = toy_request("ssv2", videos_per_shard=2)
    build_shards(request, root=toys / "ssv2", shards_dir=shards_dir, progress=silent)
    return shards_dir


@pytest.fixture
def cases(
    stored: Path,
    tmp_path: Path,
    write_study: WriteStudy,
    sharded: Callable[..., Config],
) -> dict[str, Case]:
    record, runs_dir = write_study()
    folder = RunFolder(runs_dir / find_run_id(record, "T1", "10k"))
    write_cka_map(folder)
    sha256 = save_weights(folder.model, torch.nn.Linear(8, 3))
    _finish(folder, sha256)
    other = tmp_path / "checkpoint.pt"
    save_checkpoint(other, {"weights": torch.arange(50.0), "step": 3, "curves": [["loss", 1.5]]})
    return {
        **_run_cases(folder, runs_dir, other),
        **_shard_cases(stored, tmp_path),
        **_export_cases(finished_student(sharded(ucf101=13_320)), tmp_path / "export"),
        "`REPORT/report.json`": _report_case(tmp_path / "report.json"),
        "`runs/*/imported`": _import_case(write_import_run(runs_dir)),
        "`runs/*/teacher_outputs.bin`": _teacher_case(tmp_path / "teacher_outputs.bin"),
    }


def _finish(folder: RunFolder, sha256: str) -> None:
    done = load_done(folder.done, warn=pytest.fail)
    assert done is not None
    done = dataclasses.replace(
        done,
        files=digest_results(folder, known={}),
        label_ranks_sha256=digest_label_ranks(folder),
        facts=StageFacts(model_sha256=sha256),
    )
    save_done(folder.done, done)


def _run_cases(folder: RunFolder, runs_dir: Path, checkpoint: Path) -> dict[str, Case]:
    (plan,) = (runs_dir / "plans").glob("*.json")
    record = load_done(folder.done, warn=pytest.fail)
    assert record is not None
    record_of_run = {folder.id: record}

    def frame(read: Callable[..., ReadResult]) -> Read:
        return lambda: _of(read(runs_dir, [folder.id]))

    def done() -> Any:
        warnings: list[str] = []
        return _told(load_done(folder.done, warn=warnings.append), warnings)

    def label_ranks() -> Any:
        ranks, warnings = load_label_ranks(runs_dir, [folder.id], done=record_of_run)
        return _told(ranks[folder.id].rank_N.tolist() if ranks else None, list(warnings))

    def status() -> Any:
        return _told(load_status(folder.status), [])

    def state() -> Any:
        saved = load_checkpoint(checkpoint)
        assert saved is not None
        return {**saved, "weights": saved["weights"].tolist()}

    def weights() -> Any:
        tensors = load_file(checked_weights(folder))
        return {name: tensor.tolist() for name, tensor in tensors.items()}

    return {
        "`runs/plans/*.json`": Case(path=plan, read=lambda: load_records(runs_dir)),
        "`runs/*/run.json`": Case(path=folder.assignment, read=folder.load),
        "`runs/*/status.json`": Case(path=folder.status, read=status),
        "`runs/*/checkpoint.pt`": Case(path=checkpoint, read=state),
        "`runs/*/done.json`": Case(path=folder.done, read=done),
        "`runs/*/model.safetensors`": Case(path=folder.model, read=weights),
        "`runs/*/rows.parquet`": Case(path=folder.rows, read=frame(read_rows)),
        "`runs/*/curves.parquet`": Case(path=folder.curves, read=frame(read_curves)),
        "`runs/*/cka.parquet`": Case(path=folder.cka, read=frame(read_cka)),
        "`runs/*/predictions.parquet`": Case(path=folder.predictions, read=frame(read_predictions)),
        LABEL_RANKS: Case(path=folder.predictions, read=label_ranks),
    }


def _shard_cases(stored: Path, tmp_path: Path) -> dict[str, Case]:
    folder = Path(shutil.copytree(stored / "ssv2", tmp_path / "ssv2"))
    subset = find_subset(load_index(tmp_path, "ssv2"), "train", "all", where="test")

    def verify() -> Any:
        return verify_shards("ssv2", shards_dir=tmp_path, progress=silent)

    def clips() -> Any:
        dataset = open_shards(folder, "train", num_frames=2)
        return [
            (clip["__key__"], clip["label"], clip["class"], clip["clip"].sum().item())
            for clip in cast(Iterable[dict[str, Any]], dataset)
        ]

    return {
        "`shards/*/index.json`": Case(
            path=folder / "index.json", read=lambda: load_index(tmp_path, "ssv2")
        ),
        "`shards/*/PART-*.json`": Case(
            path=folder / "train-00001.json", read=lambda: list(load_samples(tmp_path, subset))
        ),
        "`shards/*/PART-*.tar`": Case(path=folder / "train-00000.tar", read=verify, num_flips=50),
        OPEN_SHARDS: Case(path=folder / "train-00000.tar", read=clips),
        "`shards/*/rejected.parquet`": Case(
            path=folder / "rejected.parquet",
            read=lambda: _load_rejected_rows(folder / "rejected.parquet"),
        ),
    }


def _export_cases(student: RunFolder, folder: Path) -> dict[str, Case]:
    export_run(student, to=folder)
    clip_BCTHW = 255 * torch.rand(1, 3, 8, 32, 32, generator=torch.Generator().manual_seed(0))

    def exported() -> Any:
        network, config = load_exported(folder)
        return network(clip_BCTHW).tolist(), config

    return {
        "`EXPORT/config.json`": Case(path=folder / "config.json", read=exported),
        "`EXPORT/model.safetensors`": Case(path=folder / "model.safetensors", read=exported),
        "`EXPORT/model.ts`": Case(path=folder / "model.ts", read=exported),
    }


def _report_case(path: Path) -> Case:
    """A report with a run, as another report is compared with it."""
    run = {"run_id": "r1", "kind": "distill", "state": "done", "parents": ["r2"], "recipe": 0}
    run |= {"code": [], "results": "d"}
    empty = {name: [] for name in ("tables", "claims", "cells")}
    recipes = [{"schedule.epochs": "5"}]
    versions = {"version": REPORT_VERSION, "statistics": 1}
    write_json(path, {**versions, **empty, "runs": [run], "recipes": recipes})
    return Case(path=path, read=lambda: load_report(path))


def _import_case(folder: RunFolder) -> Case:
    def start() -> Any:
        for path in (folder.done, folder.status):
            path.unlink(missing_ok=True)
        if main([str(folder.path)], stop=StopSignal()) != EXIT_DONE:
            status = load_status(folder.status)
            raise Told(status.reason if status else "")
        return load_file(checked_weights(folder))["conv1.0.weight"].tolist()

    return Case(path=folder.imported, read=start)


def _teacher_case(path: Path) -> Case:
    read = recorded_logits(path)
    read()
    return Case(path=path, read=read)


def _of(result: ReadResult) -> Any:
    return _told(result.frame.to_dicts(), list(result.warnings))


def _told(value: Any, warnings: list[str]) -> Any:
    if warnings or value is None:
        raise Told("; ".join(warnings))
    return value


def test_every_kind_of_file_is_tried(cases: dict[str, Case]) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    section = text.partition("## Which file vouches for which")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.*?) \| ", section, re.MULTILINE)
    assert set(rows) - {"file", "---"} == (set(cases) - {LABEL_RANKS, OPEN_SHARDS} | set(ELSEWHERE))
    root = DOCUMENT.parents[1]
    assert all((root / place).exists() for place in ELSEWHERE.values())


def test_no_flipped_bit_is_silent(cases: dict[str, Case], rng: random.Random) -> None:
    silent_flips: list[str] = []
    num_tried = 0
    for name, case in cases.items():
        raw, before = case.path.read_bytes(), case.read()
        for _ in range(case.num_flips):
            bit = rng.randrange(8 * len(raw))
            damaged = bytearray(raw)
            damaged[bit // 8] ^= 1 << bit % 8
            case.path.write_bytes(damaged)
            num_tried += 1
            try:
                after = case.read()
            except (UserError, Told) as error:
                assert len(str(error).splitlines()) <= 1, (name, bit, error)
            else:
                if after != before:
                    silent_flips.append(f"{name}, bit {bit}")
        case.path.write_bytes(raw)
        assert case.read() == before, name
    assert not silent_flips
    assert num_tried >= 2000


def test_no_missing_file_is_silent(cases: dict[str, Case]) -> None:
    for name, case in cases.items():
        if name in ("`runs/*/checkpoint.pt`", "`runs/*/status.json`", "`runs/*/done.json`"):
            continue  # they come and go while a run is under way
        if any(word in name for word in ("plans", "rejected", "teacher_outputs", "model.ts")):
            continue
        away = case.path.with_name("away")
        shutil.move(case.path, away)
        with pytest.raises((UserError, Told)):
            case.read()
        shutil.move(away, case.path)
