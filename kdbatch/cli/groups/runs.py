"""The commands that plan, start, show and stop runs."""

from pathlib import Path
from typing import Annotated

from kdbatch.base.reading.field_facts import Limits
from kdbatch.cli.command import command

# The default 0 leaves the choice to kdbatch, and is had by leaving the flag out.
Jobs = Annotated[
    int,
    Limits("runs", least=1, most=10_000, advice=", or leave it out for one per GPU, or per core"),
]
Lines = Annotated[int, Limits("lines", least=0, most=10**9, advice="; 0 is all of them")]
Points = Annotated[float, Limits("points", least=0.01, most=100, advice=", as in --effect=2")]


class RunCommands:
    """`kdbatch plan` to `kdbatch cancel`."""

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
