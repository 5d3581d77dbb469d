"""Every place where text from outside meets another program, with the same twenty strings.

A program is the real one where it runs here: rich, a Unicode terminal's rules, bash, the parsers of
HTML, CSV, TOML, JSON, XML, Pillow, submitit, Polars, Arrow, FFmpeg, fire. Apptainer's and LaTeX's
rules are those of their documentation. tests/cluster has Apptainer, tests/report has Chromium and
LaTeX, tests/launch/slurm the job script.
"""

import ast
import csv
import io
import json
import re
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import av
import polars as pl
import pytest
from fire.core import Fire
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.backends.backend_pdf import RendererPdf
from rich.console import Console
from submitit.core.utils import JobPaths
from support.foreign_strings import STRINGS

from kdbatch.base.command_lines import command_line, shell_line
from kdbatch.base.errors import UserError
from kdbatch.base.output.visible_text import visible
from kdbatch.base.parse import parse
from kdbatch.base.reading.local_name import local_name
from kdbatch.cli.arguments.signature import check_arguments
from kdbatch.cli.command import command
from kdbatch.cli.live.console import styled
from kdbatch.launch.container.command import as_argv, as_shell_line, bind_option, env_option
from kdbatch.launch.init_config import toml_string
from kdbatch.launch.slurm.job.job_script import check_submit_folder
from kdbatch.report.escape import (
    csv_line,
    escape_html,
    escape_latex,
    escape_markdown,
    safe_file_name,
)
from kdbatch.report.figures.drawing import Drawing, Label
from kdbatch.report.figures.render.files import draw_pdf, draw_png
from kdbatch.report.figures.render.svg import svg_parts
from kdbatch.vocab.config import Site

PACKAGE = Path(__file__).parents[1] / "kdbatch"
TERMINAL_CONTROLS = re.compile(
    "[\x00-\x08\x0a-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
each = pytest.mark.parametrize("text", STRINGS)


def is_file_name(text: str) -> bool:
    return "/" not in text and "\0" not in text


@each
def test_a_terminal_obeys_nothing_and_reads_the_text(text: str) -> None:
    shown = visible(text)
    assert not TERMINAL_CONTROLS.search(shown)
    if not TERMINAL_CONTROLS.search(text) and "\u200b" not in text:
        assert shown == text
    shown.encode()


@each
def test_rich_takes_no_text_for_markup(text: str) -> None:
    out = Console(file=io.StringIO(), width=500, force_terminal=True, color_system=None)
    out.print(styled("run ", (text, "bold")))
    assert isinstance(out.file, io.StringIO)
    drawn = re.sub(r"\x1b\[[0-9;]*m", "", out.file.getvalue()).removesuffix("\n")
    assert drawn.expandtabs() == f"run {visible(text)}".expandtabs()


class _Collector(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str | None] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [value for _, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


@each
def test_html_has_the_text_as_text_and_in_attributes(text: str) -> None:
    parser = _Collector()
    parser.feed(f'<p title="{escape_html(text)}">{escape_html(text)}</p>')
    parser.close()
    expected = "\n".join(map(visible, text.split("\n")))
    assert parser.tags == ["p"] and parser.attributes == [expected]
    assert parser.text == expected


@each
def test_a_spreadsheet_calculates_nothing_and_a_program_reads_the_text(text: str) -> None:
    line = csv_line(["role", text, 1.5, None, -2])
    (row,) = csv.reader(io.StringIO(line))
    assert row[0] == "role" and row[2:] == ["1.5", "", "-2"]
    assert not re.match(r"\s*[=+\-@\uff1d]|[\t\r]", row[1])
    assert row[1].removeprefix("'") == "\n".join(map(visible, text.split("\n")))
    # A spreadsheet of a locale whose separator is ; or a tab splits no text.
    assert len(next(csv.reader(io.StringIO(line), delimiter=";"))) <= 1 + line.count('"')


@each
def test_markdown_keeps_the_cell_and_marks_nothing(text: str) -> None:
    cell = escape_markdown(text)
    assert "\n" not in cell
    # CommonMark 6.1: a backslash before punctuation makes it text.
    assert not re.search(r"(?<!\\)(?:\\\\)*[|`*_\[\]<>~$&]", re.sub(r"\\.", "", cell))
    assert re.sub(r"\\([\\`*_\[\]|<>~$&])", r"\1", cell) == visible(text.replace("\n", " "))


@each
def test_latex_has_no_command_of_the_text(text: str) -> None:
    rest = re.sub(
        r"\\text[a-z]+\{\}|\\[&%$#_{}]|\$(?:\\pm|-|\\geq|\\cdot|<|>)\$|\{[][*]\}|-\{\}",
        "",
        escape_latex(text),
    )
    assert not re.search(r"[\\&%$#_{}~^\[\]*|<>`\n]|--", rest)


def recording(draw_text: Callable[..., None], drawn: list[Any]) -> Callable[..., None]:
    def record(*args: Any, ismath: bool, **how: Any) -> None:
        drawn.append((args[4], ismath))
        draw_text(*args, ismath=ismath, **how)

    return record


@each
def test_figures_have_the_text_in_all_formats(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    for renderer in (RendererAgg, RendererPdf):
        monkeypatch.setattr(renderer, "draw_text", recording(renderer.draw_text, drawn))
    label = Label(at=(0.1, 0.5), text=text, points=8)
    drawing = Drawing(width=4, height=1, title=text, caption=text, marks=[label])
    assert draw_png(drawing) and draw_pdf(drawing) and drawn == [(visible(text), False)] * 2
    (written,) = ElementTree.fromstring(svg_parts(drawing)[0][0]).itertext()
    assert written == visible(text)


@each
def test_bash_reads_the_words_of_a_printed_command(text: str) -> None:
    line = shell_line("printf", r"%s\0", "x", text)
    assert not TERMINAL_CONTROLS.search(line)
    done = subprocess.run(["bash", "-c", line], capture_output=True, check=True)
    assert done.stdout.split(b"\0")[1] == text.encode(errors="surrogateescape")


def test_a_path_in_a_command_is_no_option() -> None:
    assert command_line("plan", Path("-x.yaml")) == "kdbatch plan ./-x.yaml"


class _Words:
    @command
    def echo(self, *words: str, to: str = "") -> int:
        self.heard = (words, to)
        return 0


@each
def test_fire_hands_on_every_word_as_it_was_typed(text: str) -> None:
    commands = _Words()
    words = [word for word in (text, "1e5", "None", "[a]", "007") if not word.startswith("-")]
    checked = check_arguments("echo", commands.echo, [*words, f"--to={text}"])
    Fire(commands, command=["echo", *checked], serialize=lambda _: None).call()
    assert commands.heard == (tuple(words), text)


@each
def test_slurm_and_submitit_keep_the_folder_or_it_is_refused(tmp_path: Path, text: str) -> None:
    folder = tmp_path / text.replace("/", "\u2215")
    try:
        check_submit_folder(folder)
    except UserError as error:
        assert "\n" not in str(error)
        return
    assert JobPaths(folder, job_id="7_3").stdout == folder / "7_3_0_log.out"
    assert not re.search(r"%(?:%|\d*[A-Za-z])|\\|[\x00-\x1f]", str(folder))


@each
def test_a_value_of_the_site_stays_in_its_line_of_the_script(text: str) -> None:
    try:
        site = parse(Site, {"account": text}, where="site")
    except UserError:
        return
    account = site.account or ""
    assert not re.search(r"[\x00-\x08\x0a-\x1f]", account)
    assert not account.startswith("-")


@each
def test_apptainer_binds_the_folder_itself(text: str) -> None:
    folder = f"/study/{text}/runs"
    option = bind_option(folder.replace("$", "$$"))
    (word,) = as_argv([option])
    if word.startswith("--bind="):  # internal/pkg of Apptainer 1.4: splits at these
        assert word == f"--bind={folder}" and not re.search(r"[,:^]", folder)
    else:
        (fields,) = csv.reader(io.StringIO(word.removeprefix("--mount="), newline=""))
        assert fields == ["type=bind", f"source={folder}", f"destination={folder}"]
    line = f"printf '%s' {as_shell_line([option])}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, check=True)
    assert done.stdout.decode(errors="surrogateescape") == word


@each
def test_apptainer_sets_the_variable_to_the_text(text: str) -> None:
    if "\n" in text or text.endswith('"'):
        return  # refused by Container
    (word,) = as_argv([env_option("X", text.replace("$", "$$"))])
    value = word.removeprefix("--env=")
    if value.count("=") > 1 and value.startswith('"'):
        value = next(csv.reader(io.StringIO(value)))[0]
    name, _, value = value.partition("=")
    # The image's shell reads it in double quotes, in which Apptainer has escaped ".
    quoted = value.replace('"', '\\"')
    done = subprocess.run(
        ["bash", "-c", f'printf "%s" "{quoted}"'], capture_output=True, check=True
    )
    assert (name, done.stdout.decode(errors="surrogateescape")) == ("X", text)


@each
def test_toml_and_json_read_back_what_was_written(text: str) -> None:
    if "\udcff" not in text:
        assert tomllib.loads(f"x = {toml_string(text)}") == {"x": text}
    assert json.loads(json.dumps(text)) == text


@each
def test_polars_reads_the_file_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if "\udcff" in text:
        return  # Rust's paths in Python are UTF-8
    path = Path(text.replace("/", "\u2215")) / "rows.parquet"
    path.parent.mkdir()
    pl.DataFrame({"x": [1]}).write_parquet(local_name(path))
    assert path.is_file()
    assert pl.scan_parquet([local_name(path)], glob=False).collect().height == 1


@each
def test_ffmpeg_opens_files_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path(text.replace("/", "\u2215").replace("\udcff", "") + ".mp4")
    with av.open(local_name(path), "w") as video:
        stream = video.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 16
        stream.pix_fmt = "yuv420p"
        video.mux(stream.encode(av.VideoFrame(16, 16, "yuv420p")))
        video.mux(stream.encode(None))
    assert [child.name for child in tmp_path.iterdir()] == [path.name]
    with av.open(local_name(path)) as video:
        assert video.streams.video


def test_file_names_are_plain_and_of_one_text_each() -> None:
    names = [safe_file_name(text) for text in STRINGS]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name) for name in names)


# The guard: no module uses one of these programs around its function.

HOMES: dict[str, tuple[str, ...]] = {
    "shlex": ("base/command_lines.py",),
    "rich": ("cli/live/",),
    "html": ("report/escape.py",),
    # These read; the last one also writes its own words, numbers, and videos' names, which begin
    # with that of a data set.
    "csv": (
        "shard/datasets/k400.py",
        "shard/datasets/video_table.py",
        "report/data/published.py",
        "vocab/leaks/overlap_list.py",
    ),
}
OPENERS = ("scan_parquet", "read_parquet", "write_parquet", "read_table", "ParquetWriter")
FIGURE_TEXTS = ("set_title", "set_xlabel", "set_ylabel", "set_label", "legend", "draw_text")


def _calls() -> Iterator[tuple[str, ast.Call]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield str(path.relative_to(PACKAGE)), node


def _found(is_wrong: Callable[[str, str, ast.Call], bool]) -> list[str]:
    return [
        f"{where}:{call.lineno}: {ast.unparse(call)[:90]}"
        for where, call in _calls()
        if is_wrong(where, ast.unparse(call.func), call)
    ]


def _is_template(node: ast.expr) -> bool:
    """Whether it is an f-string, `%` or `+` with a value that is not escaped by `re.escape`."""
    if isinstance(node, ast.JoinedStr):
        parts = [part.value for part in node.values if isinstance(part, ast.FormattedValue)]
        return not all("escape(" in ast.unparse(part) or _is_constant(part) for part in parts)
    return isinstance(node, ast.BinOp) and not isinstance(node.left, ast.Constant)


def _is_constant(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) or ast.unparse(node).isupper()


def test_each_program_is_called_in_its_home_alone() -> None:
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        where = str(path.relative_to(PACKAGE))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            for name in names:
                homes = HOMES.get(name.partition(".")[0])
                if homes and not where.startswith(homes):
                    wrong.append(f"{where}: imports {name}")
    assert not wrong


def test_rich_gets_no_strings() -> None:
    def is_wrong(where: str, name: str, call: ast.Call) -> bool:
        if name.endswith((".add_row", "out.print")) and not where.startswith("plan/"):
            return any(isinstance(argument, ast.Constant | ast.JoinedStr) for argument in call.args)
        return name in ("Text", "TextColumn", "Panel") and bool(call.args)

    assert not _found(is_wrong)


def test_lines_are_printed_by_the_functions_that_write_out_controls() -> None:
    # main prints its usage, and imports print JSON.
    homes = (
        "cli/terminal.py",
        "shard/codec_check.py",
        "run/main.py",
        "run/extensions/__main__.py",
        "run/imports/__main__.py",
    )

    def is_wrong(where: str, name: str, call: ast.Call) -> bool:
        is_print = name in ("print", "sys.stdout.write", "sys.stderr.write")
        return is_print and where not in homes and "visible(" not in ast.unparse(call)

    assert not _found(is_wrong)


def test_no_pattern_is_made_of_a_name() -> None:
    def is_wrong(_: str, name: str, call: ast.Call) -> bool:
        is_pattern = name.startswith("re.") and name != "re.escape"
        # a pattern of its own function, and the hexadecimal digits of a hash
        is_known = any(word in ast.unparse(call) for word in ("{number}", "_study_hash("))
        return bool(is_pattern and call.args) and _is_template(call.args[0]) and not is_known

    assert not _found(is_wrong)


def test_no_glob_is_made_of_a_name() -> None:
    suffixes = {"{EVENTS}", "{suffix}", "{names}", "{kind}"}  # constants of their callers

    def is_wrong(_: str, name: str, call: ast.Call) -> bool:
        if not name.endswith(("glob", "fnmatch")) or not call.args:
            return False
        argument = call.args[0]
        if not isinstance(argument, ast.JoinedStr):
            return False
        parts = {
            ast.unparse(part) for part in argument.values if not isinstance(part, ast.Constant)
        }
        return not {re.sub(r"^f?['\"]|['\"]$", "", part) for part in parts} <= suffixes

    assert not _found(is_wrong)


def test_no_message_is_a_template_of_the_log() -> None:
    def is_wrong(_: str, name: str, call: ast.Call) -> bool:
        methods = ("_log.info", "_log.warning", "_log.error", "_log.exception")
        return name in methods and not isinstance(call.args[0], ast.Constant | ast.Name)

    assert not _found(is_wrong)


def test_libraries_that_take_urls_get_local_names() -> None:
    def is_wrong(where: str, name: str, call: ast.Call) -> bool:
        is_open = "av.open" in name and call.args and "BytesIO" not in ast.unparse(call)
        last = name.rpartition(".")[2]
        if not is_open and (last not in OPENERS or not call.args):
            return False
        files = [argument for argument in call.args if "local_name" in ast.unparse(argument)]
        plain = {"buffer", "av.open", "file", "contents", "names"}
        is_ours = where == "shard/datasets/own.py" and name == "read_table"
        return not files and ast.unparse(call.args[0]) not in plain and not is_ours

    assert not _found(is_wrong)


def test_no_figure_draws_text_but_as_a_label() -> None:
    def is_wrong(path: str, name: str, call: ast.Call) -> bool:
        is_text = name.rpartition(".")[2] in FIGURE_TEXTS
        return is_text and "figures/" in path and not path.endswith("render/files.py")

    assert not _found(is_wrong)


def test_a_module_that_is_started_never_comes_from_the_current_folder() -> None:
    """There a file `random.py`, of the user or of somebody else, would be run in its place."""
    unsafe = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            words = [e.value for e in getattr(node, "elts", ()) if isinstance(e, ast.Constant)]
            if "-m" in words and "-P" not in words:
                unsafe.append(f"{path.relative_to(PACKAGE)}:{getattr(node, 'lineno', 0)}")
    assert not unsafe
