"""The commands that set up a folder and store videos."""

from pathlib import Path
from typing import Annotated

from kdbatch.base.reading.field_facts import Limits, SameAs, Share
from kdbatch.cli.command import command
from kdbatch.vocab.shard_request import ShardRequest

# The default 0 leaves the choice to kdbatch, and is had by leaving the flag out.
Processes = Annotated[
    int, Limits("processes", least=1, most=10_000, advice=", or leave it out for one per core")
]


class VideoCommands:
    """`kdbatch init` to `kdbatch shard overlap`."""

    @command
    def init(self) -> None:
        """Write kdbatch.toml for this machine, and jobs/.

        jobs/ gets the experiments and profiles that come with kdbatch. A file that exists is kept;
        delete it to have it written again. The folder is then a study: commands that are typed in
        folders below it find it.
        """
        from kdbatch.cli.launch import init

        init()

    @command
    def doctor(self, *, submit: bool = False) -> int:
        """Find what would make runs fail later.

        It checks the folders, SLURM's limits and signals, the image and versions. --submit also
        checks a node, with a job of two minutes in the image: packages, GPUs, shards, signals.
        """
        from kdbatch.cli.launch import doctor

        return doctor(submit=submit)

    @command
    def toy(
        self,
        folder: Path,
        *,
        size: str = "full",
        datasets: str = "",
        seed: Annotated[int, Limits("seed", least=0, most=2**32 - 1)] = 0,
        processes: Processes = 0,
    ) -> None:
        """Write small stand-ins of the four data sets into FOLDER.

        They have the published layouts and codecs. --size=small makes as many as the profile micro
        reads, in seconds; the profile toy needs full, and jobs/demo/known_answer.yaml demo.
        --datasets=k400,ucf101 makes these alone; the rest may follow later.
        """
        from kdbatch.cli.shard import toy

        toy(folder, size=size, datasets=datasets, seed=seed, processes=processes)

    @command
    def shard(
        self,
        dataset: str,
        *,
        subset: str = ShardRequest.subset,
        split: str = ShardRequest.split,
        root: str = ShardRequest.root,
        videos_per_shard: Annotated[
            int, SameAs(ShardRequest, "videos_per_shard")
        ] = ShardRequest.videos_per_shard,
        max_rejected: Share = ShardRequest.max_rejected,
        no_transcode: bool = not ShardRequest.transcode,
        processes: Processes = ShardRequest.processes,
        shards: str = "",
        slurm: bool = False,
        dry_run: bool = False,
    ) -> None:
        """Store the videos of a data set as WebDataset tars.

        DATASET is k400, ssv2, ucf101, hmdb51 or a name of your own that kdbatch.toml has under
        [datasets]. --subset takes 50k, 10%, 2000 or all; a larger subset later only adds tars.
        --root is the folder as its owner publishes it; it may be in kdbatch.toml instead, as
        [datasets.NAME] root. --no-transcode stores the videos as they are: larger, and slower to
        read. Rerun the same command to resume.

        --slurm spreads the shards over a SLURM array, with the resources of [resources.shard] in
        kdbatch.toml; the element that ends last writes the index. --shards 40:80 makes only the
        shards 40 to 79, as one element does. --dry-run only prints what would be done.
        """
        from kdbatch.cli.shard import shard

        request = ShardRequest(
            dataset=dataset,
            subset=subset,
            split=split,
            root=root,
            videos_per_shard=videos_per_shard,
            max_rejected=max_rejected,
            transcode=not no_transcode,
            processes=processes,
        )
        shard(request, shards=shards, slurm=slurm, dry_run=dry_run)

    @command
    def shard_verify(self, dataset: str, *, processes: Processes = 0) -> None:
        """Check all hashes of a data set, and decode all videos."""
        from kdbatch.cli.live.progress import progress
        from kdbatch.cli.study import load_study_config
        from kdbatch.cli.terminal import print_line
        from kdbatch.shard.verify import verify_shards

        config = load_study_config()
        with progress(f"verify {dataset}") as show:
            count = verify_shards(
                dataset, shards_dir=config.shards_dir, processes=processes, progress=show
            )
        folder = config.shards_dir / dataset
        print_line(f"{dataset}: {count} videos in {folder}/ are what was written, and all decode.")

    @command
    def shard_overlap(
        self,
        first: str,
        second: str,
        *,
        to: Path = Path(),
        processes: Processes = 0,
        json: bool = False,
    ) -> None:
        """List videos of FIRST that show what videos of SECOND show.

        Both are stored data sets, as in: kdbatch shard overlap k400 ucf101. Frames are compared by
        perceptual hashes, so the footage may be encoded again, scaled, cropped a little, mirrored,
        or another excerpt that shares two seconds or more. The hashes are kept next to the shards:
        rerun the same command to resume.

        The list is a csv file, --to overlap-FIRST-SECOND.csv if it is not named. Look at the videos
        in it, and delete the lines of those that are to stay. Then `without:` in the pretrain of an
        experiment's teacher, or in a profile, leaves the others out. --json prints the list for a
        program as well.
        """
        from kdbatch.cli.shards.overlap import overlap

        overlap(first, second, to=to, processes=processes, json=json)
