"""`kdbatch.open_shards`, as another training loop uses it, with torch's DataLoader."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from support.clips import read_frames
from support.inputs import JOBS
from support.toys import toy_request
from torch.utils.data import DataLoader, IterableDataset
from webdataset.compat import WebDataset

import kdbatch
from kdbatch.base.errors import UserError
from kdbatch.base.progress import silent
from kdbatch.run.data.clip_reader import ClipReader
from kdbatch.shard.build import build_shards
from kdbatch.vocab.shards.index import Sample, load_index
from kdbatch.vocab.shards.subset import find_subset, load_samples

CLIP: dict[str, Any] = {"num_frames": 4, "stride_frames": 2, "crop_pixels": 96}


@pytest.fixture(scope="module")
def k400(toys: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All 12 training videos of the Kinetics stand-in, in 6 tars of 2. Read only."""
    shards_dir = tmp_path_factory.mktemp("open") / "a path #1 is no URL?"
    request = toy_request(videos_per_shard=2)
    build_shards(request, root=toys / "k400", shards_dir=shards_dir, progress=silent)
    return shards_dir / "k400"


def stored(folder: Path, split: str = "train") -> dict[str, tuple[Path, Sample]]:
    subset = find_subset(load_index(folder.parent, folder.name), split, "all", where="here")
    return {sample.key: (tar, sample) for tar, sample in load_samples(folder.parent, subset)}


def clips_of(dataset: WebDataset) -> list[dict[str, Any]]:
    return list(cast(Iterable[dict[str, Any]], dataset))


def keys_of(dataset: WebDataset, num_workers: int = 0, **options: Any) -> list[str]:
    clips = cast(IterableDataset, dataset)  # it is one, but not by its stubs
    loader = DataLoader(clips, batch_size=None, num_workers=num_workers, **options)
    return [clip["__key__"] for clip in loader]


def assert_frames_are_those_of_the_reader(clip: dict[str, Any], folder: Path, split: str) -> None:
    """The frames that a clip names, read from the tar by kdbatch's own reader."""
    tar, sample = stored(folder, split)[clip["__key__"]]
    reader = ClipReader(decoder="pyav")
    frame_THWC = read_frames(tar, sample, clip["frames"].tolist(), clip_reader=reader)
    assert np.array_equal(clip["clip"].permute(1, 2, 3, 0).numpy(), frame_THWC)
    assert clip["label"] == sample.label and clip["__url__"] == str(tar)


def test_it_is_a_webdataset_whose_clips_are_those_of_kdbatchs_own_reader(k400: Path) -> None:
    dataset = kdbatch.open_shards(k400, "train", num_frames=8, stride_frames=1, seed=3)
    assert isinstance(dataset, WebDataset)
    clips = clips_of(dataset)
    assert sorted(clip["__key__"] for clip in clips) == sorted(stored(k400))
    classes = load_index(k400.parent, "k400").classes
    for clip in clips:
        assert clip["clip"].dtype == torch.uint8 and clip["clip"].shape[:2] == (3, 8)
        assert clip["class"] == classes[clip["label"]]
        assert np.diff(clip["frames"]).tolist() == [1] * 7
        assert_frames_are_those_of_the_reader(clip, k400, "train")


def test_without_a_seed_the_order_is_the_stored_one_and_clips_are_in_the_middle(
    k400: Path,
) -> None:
    whole, cropped = (
        clips_of(kdbatch.open_shards(k400, "train", num_frames=4, **options))
        for options in cast(list[dict[str, Any]], [{}, {"crop_pixels": 96}])
    )
    assert [clip["__key__"] for clip in whole] == list(stored(k400))
    for clip, crop in zip(whole, cropped, strict=True):
        _, sample = stored(k400)[clip["__key__"]]
        before, after = clip["frames"][0], sample.num_frames - 1 - clip["frames"][-1]
        assert abs(int(before - after)) <= 1
        top, left = (sample.height - 96) // 2, (sample.width - 96) // 2
        assert torch.equal(crop["clip"], clip["clip"][..., top : top + 96, left : left + 96])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_dataloader_reads_every_clip_once_whatever_the_number_of_workers(
    k400: Path, num_workers: int
) -> None:
    dataset = kdbatch.open_shards(k400, "train", seed=1, **CLIP)
    loader = DataLoader(cast(IterableDataset, dataset), batch_size=3, num_workers=num_workers)
    batches = list(loader)
    assert [tuple(batch["clip"].shape) for batch in batches] == [(3, 3, 4, 96, 96)] * 4
    assert all(batch["label"].dtype == torch.int64 for batch in batches)
    found = {key: clip for b in batches for key, clip in zip(b["__key__"], b["clip"], strict=True)}
    alone = {clip["__key__"]: clip["clip"] for clip in clips_of(dataset)}
    assert found.keys() == alone.keys() == stored(k400).keys()
    assert all(torch.equal(found[key], alone[key]) for key in alone)


@pytest.mark.rare  # the next process group spawns its workers too
def test_workers_that_are_spawned_get_the_same_clips(k400: Path) -> None:
    dataset = kdbatch.open_shards(k400, "train", seed=1, **CLIP)
    forked, spawned = (
        keys_of(dataset, 2, multiprocessing_context=start) for start in ("fork", "spawn")
    )
    assert forked == spawned and len(set(forked)) == 12


def test_a_seed_gives_one_order_and_another_seed_another(k400: Path) -> None:
    orders = [keys_of(kdbatch.open_shards(k400, "train", seed=seed, **CLIP)) for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2] and sorted(orders[0]) == sorted(orders[2])
    assert sorted(orders[0]) != orders[0] != list(stored(k400))
    again = kdbatch.open_shards(k400, "train", seed=1, **CLIP)
    assert keys_of(again) == keys_of(again)
    frames = [
        {clip["__key__"]: clip["frames"].tolist() for clip in clips_of(dataset)}
        for dataset in (again, kdbatch.open_shards(k400, "train", seed=2, **CLIP))
    ]
    assert frames[0] != frames[1]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_ranks_and_workers_share_the_tars(
    k400: Path, num_workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    shares = []
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        shares.append(keys_of(kdbatch.open_shards(k400, "train", seed=1, **CLIP), num_workers))
    assert [len(share) for share in shares] == [4, 4, 4]
    assert sorted(key for share in shares for key in share) == sorted(stored(k400))


def test_a_spawned_worker_of_a_process_group_reads_the_tars_of_its_rank(
    k400: Path, tmp_path: Path
) -> None:
    """Two ranks by torch.distributed alone, without RANK: a spawned worker cannot ask for it."""
    code = (
        "import sys, torch.distributed as dist, kdbatch\n"
        "from torch.utils.data import DataLoader\n"
        "if __name__ == '__main__':\n"
        "    folder, store, rank = sys.argv[1:]\n"
        "    early = kdbatch.open_shards(folder, 'train')\n"
        "    dist.init_process_group('gloo', init_method=f'file://{store}', rank=int(rank),"
        " world_size=2)\n"
        "    dataset = kdbatch.open_shards(folder, 'train', num_frames=2)\n"
        "    loader = DataLoader(dataset, batch_size=None, num_workers=1,"
        " multiprocessing_context='spawn')\n"
        "    print(*(clip['__key__'] for clip in loader))\n"
        "    try: next(iter(early))\n"
        "    except Exception as error: print(error)\n"
        "    dist.destroy_process_group()\n"
    )
    script = tmp_path / "train.py"
    script.write_text(code)
    ranks = [
        subprocess.Popen(
            [sys.executable, str(script), str(k400), str(tmp_path / "store"), str(rank)],
            cwd=JOBS.parent,
            env={"PYTHONPATH": str(JOBS.parent), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    lines = [rank.communicate(timeout=120)[0].splitlines() for rank in ranks]
    shares = [found[0].split() for found in lines]
    assert [len(share) for share in shares] == [6, 6]
    assert sorted(shares[0] + shares[1]) == sorted(stored(k400))
    assert all("after torch.distributed.init_process_group" in found[1] for found in lines)


def test_a_subset_is_the_first_videos(k400: Path) -> None:
    dataset = kdbatch.open_shards(k400, "train", subset="3", **CLIP)
    assert keys_of(dataset) == list(stored(k400))[:3]


def test_all_means_all_that_is_stored(toys: Path, tmp_path: Path) -> None:
    request = toy_request(videos_per_shard=2, subset="4")
    build_shards(request, root=toys / "k400", shards_dir=tmp_path, progress=silent)
    assert len(keys_of(kdbatch.open_shards(tmp_path / "k400", "train", **CLIP))) == 4
    with pytest.raises(UserError, match="5 videos asked for, 4 sharded so far. Add them: kdbatch"):
        kdbatch.open_shards(tmp_path / "k400", "train", subset="5")


@pytest.mark.parametrize("split", ["train01", "test01"])
def test_splits_that_share_tars_are_kept_apart(all_shards: Path, split: str) -> None:
    dataset = kdbatch.open_shards(all_shards / "ucf101", split, **CLIP)
    assert keys_of(dataset) == list(stored(all_shards / "ucf101", split))


def test_originals_are_decoded_as_kdbatchs_own_reader_does(toys: Path, tmp_path: Path) -> None:
    request = toy_request("ssv2", transcode=False)
    build_shards(request, root=toys / "ssv2", shards_dir=tmp_path, progress=silent)
    clips = clips_of(kdbatch.open_shards(tmp_path / "ssv2", "train", num_frames=4))
    assert clips
    for clip in clips:
        assert_frames_are_those_of_the_reader(clip, tmp_path / "ssv2", "train")


def test_a_video_that_is_shorter_than_the_clip_is_looped(k400: Path) -> None:
    clip = clips_of(kdbatch.open_shards(k400, "train", num_frames=64, stride_frames=1))[0]
    _, sample = stored(k400)[clip["__key__"]]
    assert clip["frames"].tolist() == [i % sample.num_frames for i in range(64)]
    assert_frames_are_those_of_the_reader(clip, k400, "train")


def test_mistakes_name_what_would_do(
    k400: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        UserError, match=f"is not a sharded data set. Name its folder, as {re.escape(str(k400))}"
    ):
        kdbatch.open_shards(k400.parent, "train")
    with pytest.raises(UserError, match="no 'tran'. Did you mean 'train'"):
        kdbatch.open_shards(k400, "tran")
    with pytest.raises(UserError, match="k400/val has no shards. Make them: kdbatch shard k400"):
        kdbatch.open_shards(k400, "val")
    with pytest.raises(UserError, match="too small for crop_pixels=500"):
        clips_of(kdbatch.open_shards(k400, "train", crop_pixels=500))
    copy = tmp_path / "k400"
    shutil.copytree(k400, copy)
    (copy / "train-00002.tar").unlink()
    with pytest.raises(UserError, match=r"train-00002.tar: 1 of 6 tars missing. .*kdbatch shard k"):
        kdbatch.open_shards(copy, "train")
    monkeypatch.setenv("WORLD_SIZE", "7")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(UserError, match="has 6 tars for 7 ranks"):
        kdbatch.open_shards(k400, "train")


def test_a_damaged_video_is_named(k400: Path, tmp_path: Path) -> None:
    copy = tmp_path / "k400"
    shutil.copytree(k400, copy)
    tar, sample = next(iter(stored(copy).values()))
    raw = bytearray(tar.read_bytes())
    raw[sample.offset + 900 : sample.offset + sample.num_bytes] = bytes(sample.num_bytes - 900)
    tar.write_bytes(raw)
    with pytest.raises(UserError, match=f"train-00000.tar: {sample.key} cannot be read"):
        clips_of(kdbatch.open_shards(copy, "train", **CLIP))


def test_the_package_is_imported_without_torch() -> None:
    code = (
        "import sys, kdbatch\n"
        "assert not {'torch', 'webdataset', 'av', 'numpy'} & set(sys.modules)\n"
        "sys.modules['webdataset'] = None\n"
        "try: kdbatch.open_shards\n"
        "except ImportError as error: print(error)\n"
        "try: kdbatch.open_shard\n"
        "except AttributeError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=JOBS.parent, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    needs, unknown = done.stdout.splitlines()
    assert needs.startswith("kdbatch.open_shards needs webdataset")
    assert needs.endswith("pip install 'kdbatch[worker]'")
    assert unknown == "module 'kdbatch' has no attribute 'open_shard'"
