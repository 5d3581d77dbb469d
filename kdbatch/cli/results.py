"""`kdbatch report` and `kdbatch export`."""

from contextlib import nullcontext
from pathlib import Path

from kdbatch.base.progress import silent
from kdbatch.cli.terminal import print_line, progress, warn
from kdbatch.vocab.config import load_config


def report(to: str, *, published: bool, json: bool, complete: bool) -> int:
    from kdbatch.report.build import build_report

    config = load_config()
    with nullcontext(silent) if json else progress("report") as tell:
        made = build_report(
            config.runs_dir,
            to=Path(to) if to else config.report_dir,
            published=published,
            progress=tell,
        )
    if json:
        print_line(made.data.read_text(encoding="utf-8").rstrip())
    else:
        for line in made.warnings:
            warn(line)
        if made.num_superseded:
            print_line(
                f"runs of earlier versions, named there and counted nowhere: {made.num_superseded}"
            )
        print_line(f"{made.done} of {made.total} runs are in the report: {made.page}")
    for line in made.missing if complete else ():
        warn(line)
    return 1 if complete and made.missing else 0


def export(run: str, to: str) -> None:
    from kdbatch.launch.logs import find_run

    folder = find_run(load_config().runs_dir, run)
    folder.load()  # a slip is told before the seconds that importing torch takes
    from kdbatch.run.export import export_run

    place = Path(to) if to else Path("export") / folder.id
    written = export_run(folder, to=place)
    print_line(
        f"{folder.id}: {', '.join(path.name for path in written)} in {place}/. Try it: python {place}/load.py VIDEO"
    )
