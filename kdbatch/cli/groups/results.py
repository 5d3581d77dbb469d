"""The commands that read finished runs."""

from pathlib import Path

from kdbatch.cli.command import command


class ResultCommands:
    """`kdbatch sync`, `kdbatch report` and `kdbatch export`."""

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
