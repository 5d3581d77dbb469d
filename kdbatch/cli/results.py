"""The commands `kdbatch report` and `kdbatch export`."""

import os
from contextlib import nullcontext

from kdbatch.base.atomic_write import load_json
from kdbatch.base.command_lines import export_command, report_command, shell_word
from kdbatch.base.progress import silent
from kdbatch.base.study_folder import expand_home, find_study
from kdbatch.cli.live.progress import progress
from kdbatch.cli.study import check_target, load_existing_config
from kdbatch.cli.terminal import print_json, print_line, warn


def report(to: str, *, published: bool, against: str, json: bool, complete: bool) -> int:
    """Build the report; return exit code 1 where `complete` is set and something is missing."""
    from kdbatch.report.figures.config_folder import choose_config_folder

    choose_config_folder(os.environ)
    from kdbatch.report.build import build_report
    from kdbatch.report.changes.lines import changes_lines

    config = load_existing_config()
    folder = expand_home(to) if to else config.report_dir
    check_target(folder, config, spelling=report_command(to="FOLDER"))
    with nullcontext(silent) if json else progress("report") as show_progress:
        summary = build_report(
            config.runs_dir,
            to=folder,
            published=published,
            against=expand_home(against) if against else None,
            progress=show_progress,
        )
    if json:
        print_json(load_json(summary.data))
    else:
        for line in (*summary.warnings, *summary.without_published):
            warn(line)
        if summary.num_superseded:
            print_line(
                f"runs of earlier versions, listed but not counted: {summary.num_superseded}"
            )
        if summary.changes:
            for line in changes_lines(summary.changes, table=folder / "tables" / "changes.md"):
                print_line(line)
        print_line(f"{summary.done} of {summary.total} runs are in the report: {summary.page}")
    for line in summary.missing if complete else ():
        warn(line)
    return 1 if complete and summary.missing else 0


def export(run: str, to: str) -> None:
    """Write a finished run's network as a folder that works without kdbatch."""
    from kdbatch.launch.logs import find_run

    config = load_existing_config()
    run_folder = find_run(config.runs_dir, run)
    folder = expand_home(to) if to else find_study() / "export" / run_folder.id
    check_target(folder, config, spelling=export_command(run_folder.id, to="FOLDER"))
    run_folder.load()  # reports a damaged run.json before the seconds that importing torch takes
    from kdbatch.run.export import export_run

    paths = export_run(run_folder, to=folder)
    names = ", ".join(path.name for path in paths)
    example = shell_word(folder / "load.py")
    print_line(f"{run_folder.id}: {names} in {folder}/. Try it: python {example} VIDEO")
