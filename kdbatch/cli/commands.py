"""The commands of `kdbatch`: their flags and help texts.

Each imports the rooms that it needs inside itself: `kdbatch --help` stays fast, and a login node
needs no torch.
"""

import sys
from pathlib import Path
from typing import Annotated

from kdbatch.base.output.standard_streams import repair_streams
from kdbatch.base.reading.field_facts import Limits, SameAs, Share
from kdbatch.cli.command import command, dispatch
from kdbatch.vocab.backbones import Backbone
from kdbatch.vocab.shard_request import ShardRequest

# The range of each number that is typed. The default 0 of the first two leaves the choice to
# kdbatch, and is had by leaving the flag out.
Processes = Annotated[
    int, Limits("processes", least=1, most=10_000, advice=", or leave it out for one per core")
]
Jobs = Annotated[
    int,
    Limits("runs", least=1, most=10_000, advice=", or leave it out for one per GPU, or per core"),
]
Lines = Annotated[int, Limits("lines", least=0, most=10**9, advice="; 0 is all of them")]
RowSeconds = Annotated[
    float, Limits("seconds", least=0.001, most=86_400, advice=", as in --seconds=2")
]
Points = Annotated[float, Limits("points", least=0.01, most=100, advice=", as in --effect=2")]
Width = Annotated[float, SameAs(Backbone, "width")]
BatchClips = Annotated[int, Limits("clips", least=4, most=100_000)]


def main() -> None:
    """Run the command line of this process, and exit."""
    repair_streams()
    sys.exit(dispatch(Commands(), sys.argv[1:]))


class Commands:
    """kdbatch runs distillation studies on video, from raw videos to a report.

    kdbatch shard k400 --subset 50k           videos -> WebDataset tars
    kdbatch submit jobs/task_complexity.yaml  experiment -> SLURM or local queue
    kdbatch report                            results -> tables, CKA maps, claims
    """

    def __dir__(self) -> list[str]:
        """The names of the commands, in the order of this class, which is also that of the help."""
        return [name for name in vars(type(self)) if not name.startswith("_")]

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

    @command
    def plan(
        self,
        *files: Path,
        profile: str = "paper",
        json: bool = False,
        power: bool = False,
        effect: Points = 0.0,
        seed_sd: Points = 0.0,
    ) -> None:
        """Show the runs that FILES need and their cost; write nothing.

        Before the videos are stored it counts with the published sizes, and prints the commands
        that store what the runs need. --json prints everything for a program.

        --power shows instead, for every claim, the smallest true effect that the report would
        decide in 80 % of studies with these seeds and test videos. --effect=2 adds the seeds that
        an effect of 2 points needs. --seed-sd is the standard deviation between seeds, in points;
        without it finished runs tell, and before there are any 0.6 is assumed.
        """
        from kdbatch.cli.planning.plan import plan

        request = None
        if power or effect or seed_sd:  # numpy and polars take half a second to import
            from kdbatch.cli.planning.power import PowerRequest

            request = PowerRequest(effect=effect, seed_sd=seed_sd)
            request.check(wanted=power)
        plan(files, profile=profile, json=json, power=request)

    @command
    def submit(
        self,
        *files: Path,
        profile: str = "paper",
        local: bool = False,
        jobs: Jobs = 0,
        retry_failed: bool = False,
        dry_run: bool = False,
        wait: bool = False,
    ) -> int:
        """Start every run that FILES need and that is not done.

        The runs become SLURM arrays where there is sbatch, else they go through a local queue.
        --local forces the queue, --jobs is how many runs it takes at a time (one per GPU, or per
        core), --dry-run only shows what would be done. Ctrl-C stops the local queue after its runs
        have saved their progress; `kdbatch resume`, or the same command, goes on.

        A run that has failed before, and the runs that wait for it, are left out without
        --retry-failed. Where SLURM takes no more jobs, the rest stays planned; with --wait the
        command stays, and hands over more when some have ended.
        """
        from kdbatch.cli.submit import SubmitRequest, submit

        request = SubmitRequest(files=files, profile=profile, local=local, jobs=jobs)
        return submit(request, dry_run=dry_run, retry_failed=retry_failed, wait=wait)

    @command
    def resume(
        self,
        *files: Path,
        profile: str = "",
        retry_failed: bool = False,
        dry_run: bool = False,
    ) -> int:
        """Go on with all that was submitted, as it was submitted.

        That is: with its profile, in SLURM or the local queue, with the same --jobs. FILES and
        --profile choose among what was submitted. --retry-failed also starts runs that have failed.
        """
        from kdbatch.cli.submit import resume

        return resume(files, profile=profile, dry_run=dry_run, retry_failed=retry_failed)

    @command
    def run(self, run_dir: Path) -> int:
        """Run one run folder here and now, as a node would."""
        from kdbatch.cli.run_here import run_here

        return run_here(run_dir)

    @command
    def status(
        self,
        *what: str,
        state: str = "",
        profile: str = "",
        watch: bool = False,
        json: bool = False,
        costs: bool = False,
    ) -> None:
        """Show the runs: state, progress, time left, last result.

        WHAT is the FILE of an experiment or a RUN (an id, or its beginning); without it all runs
        are shown, by experiment. --state=failed, or failed,lost, and --profile choose among them.
        --watch refreshes until all of them have ended. --json prints them for a program. --costs
        shows what each experiment took: device-hours, lost ones, idle time, energy. SLURM is asked
        once a minute at most, by all terminals together.
        """
        from kdbatch.cli.status import status

        status(what, state=state, profile=profile, json=json, watch=watch, costs=costs)

    @command
    def logs(self, run: str, *, follow: bool = False, lines: Lines = 100) -> None:
        """Show the last lines of the log of RUN.

        RUN is an id of `kdbatch status`, or its beginning. --follow (-f) shows new lines until the
        run has ended. --lines 0 shows everything.
        """
        from kdbatch.cli.status import logs

        logs(run, follow_on=follow, lines=lines)

    @command
    def cancel(self, *what: str, profile: str = "", all: bool = False) -> int:
        """Take runs out of SLURM's queue: of a FILE, a RUN, or --all.

        A FILE may have been submitted with several profiles: --profile chooses one. Progress is
        kept; `kdbatch resume` goes on.
        """
        from kdbatch.cli.launch import cancel

        return cancel(what, profile=profile, everything=all)

    @command
    def sync_tensorboard(self, folder: Path) -> None:
        """Write curves and results for `tensorboard --logdir FOLDER`.

        Every run that has started is one TensorBoard run: its curves up to its last checkpoint, its
        recipe as hyperparameters, its state, and its final numbers. Type it again at any time, also
        every minute while runs are under way: it adds what is new.
        """
        from kdbatch.cli.sync import sync_tensorboard

        sync_tensorboard(folder)

    @command
    def sync_wandb(self, project: str) -> None:
        """Write curves and results to a project of Weights & Biases.

        PROJECT may be ENTITY/PROJECT. Nothing is sent unless wandb's own mode is online, as with
        WANDB_MODE=online; without it, the files are in wandb/ until `wandb sync` uploads them. One
        wandb run per run, with its id. Type it again at any time: it adds what is new.
        """
        from kdbatch.cli.sync import sync_wandb

        sync_wandb(project)

    @command
    def sync_mlflow(self, target: str) -> None:
        """Write curves and results to MLflow: a folder or a server.

        TARGET is a folder (mlflow.db is made in it) or a tracking URI, as in
        sqlite:///FILE or http://HOST:5000. Every run that has started is one MLflow run of the
        experiment kdbatch. Type it again at any time: it adds what is new.
        """
        from kdbatch.cli.sync import sync_mlflow

        sync_mlflow(target)

    @command
    def report(
        self,
        *,
        to: str = "",
        published: bool = False,
        against: str = "",
        json: bool = False,
        complete: bool = False,
    ) -> int:
        """Turn finished runs into tables, maps, claims and one page.

        The page is report/index.html. --published adds the numbers that the study published
        below ours. --against OLD/report.json, the file of an earlier report, adds what moved
        since then, and why; --against report/report.json compares with the last one. --json prints
        tables, claims and coverage for a program; they are also in report.json, and every measured
        row in results.parquet. --complete fails, with exit code 1, where the page lacks something
        that the experiments declare: a run, a number in a table, a map, a claim's verdict.
        """
        from kdbatch.cli.results import report

        return report(to, published=published, against=against, json=json, complete=complete)

    @command
    def export(self, run: str, *, to: str = "") -> None:
        """Write a finished network as a folder that needs no study.

        It has weights, config, class names and a loading example; TorchScript is added where the
        network can be traced. A pretrained network is a backbone, which computes features. RUN is
        an id of `kdbatch status`, or its beginning. The folder is --to, or export/RUN.
        """
        from kdbatch.cli.results import export

        export(run, to)

    @command
    def bench_data(
        self, *, videos: str = "", seconds: RowSeconds = 2.0, json: bool = False
    ) -> None:
        """Measure training clips per CPU-second, and baselines.

        --videos is a folder of original videos; without it a few toy videos are made, whose ratios
        mean little. --seconds is how long each row is measured, five times. --json prints the rows
        for a program.
        """
        from kdbatch.cli.bench import measure_data

        measure_data(videos, seconds=seconds, json=json)

    @command
    def bench_step(
        self,
        *,
        backbone: str = "",
        stage: str = "",
        width: Width = 1.0,
        batch: BatchClips = 8,
        frames: Annotated[int, Limits("frames", least=2, most=10_000)] = 16,
        pixels: Annotated[int, Limits("pixels", least=16, most=4096)] = 112,
        seconds: RowSeconds = 2.0,
        limit: Annotated[float, Limits("seconds", least=1, most=86_400)] = 120.0,
        compiled: bool = False,
        json: bool = False,
    ) -> None:
        """Measure training steps, their parts, and a baseline loop.

        --backbone is r21d_10, r2plus1d_18, shufflenet_2x, r3d_18, c3d, mobilenet3d, squeezenet3d or
        swin3d_t; without it r21d_10 and shufflenet_2x are measured. --stage is finetune, distill
        (two teachers) or pretrain (RSPNet), or all without it; --width, --batch, --frames and
        --pixels make it small enough for a CPU. --seconds is how long each row is measured, up to
        five times. The command ends after --limit seconds: on a CPU it takes smaller clips and
        fewer of them for that. With --compiled it compares compiled networks instead of feeds, and
        their compilation may take longer. --json prints a line of JSON for each row.
        """
        from kdbatch.cli.bench import measure_step

        measure_step(
            backbone,
            stage,
            width=width,
            shape=(batch, frames, pixels),
            seconds=seconds,
            limit=limit,
            compiled=compiled,
            json=json,
        )

    @command
    def bench_cka(
        self,
        *,
        backbone: str = "r2plus1d_18",
        width: Width = 1.0,
        layers: str = "24",
        clips: BatchClips = 64,
        frames: Annotated[int, Limits("frames", least=1, most=10_000)] = 8,
        pixels: Annotated[int, Limits("pixels", least=1, most=4096)] = 32,
        json: bool = False,
    ) -> None:
        """Measure a CKA map, its parts, and other tools.

        The other tools are torch_cka and pytorch_cka. --backbone is one of those of `kdbatch bench
        step`. --layers is a number of convolutions, batch norms and ReLUs of the network, evenly
        spread, or a layer set: res, act or all, without the other tools. One batch has --clips
        clips of --frames frames, --pixels high and wide. --json prints the rows for a program.
        """
        from kdbatch.cli.bench import measure_cka

        measure_cka(
            backbone,
            width=width,
            layers=layers,
            clips=clips,
            frames=frames,
            pixels=pixels,
            json=json,
        )
