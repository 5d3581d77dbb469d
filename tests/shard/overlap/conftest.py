from pathlib import Path

import pytest
from support.altered_videos import FOUND, NUM_COPIED, write_altered, write_sources

from kdbatch.base.progress import silent
from kdbatch.shard.build import build_shards
from kdbatch.shard.toy.size import ToySize
from kdbatch.shard.toy.write import write_toy
from kdbatch.vocab.shard_request import ShardRequest

SIZE = ToySize(
    k400_train=1, k400_val=1, num_motions=1, min_frames=110, max_frames=120, extra_frames=0
)


@pytest.fixture(scope="session")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shards of four videos in k400, and of excerpts of two of them in ucf101: one for each
    alteration that is chosen. Read only.
    """
    folder = tmp_path_factory.mktemp("copies")
    write_toy(folder / "toys", processes=1, progress=silent, size=SIZE, datasets=["k400"])
    sources = sorted((folder / "toys" / "k400" / "train").rglob("*.mp4"))
    write_sources(folder / "k400", sources)
    write_altered(folder / "ucf101", sources[:NUM_COPIED], FOUND)
    for dataset, videos_per_shard in (("k400", 2), ("ucf101", 8)):
        build_shards(
            ShardRequest(dataset=dataset, videos_per_shard=videos_per_shard, processes=1),
            root=folder / dataset,
            shards_dir=folder / "shards",
            progress=silent,
        )
    return folder / "shards"
