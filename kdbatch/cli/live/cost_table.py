"""`kdbatch status --costs`: a line for each experiment, of at most 80 columns."""

from collections.abc import Sequence

from kdbatch.launch.run_costs import Costs

NAME_WIDTH = 30
HEADER = ("experiment", "runs", "done", "device-h", "lost-h", "idle", "kWh")
WIDTHS = (NAME_WIDTH, 6, 6, 10, 8, 5, 9)


def cost_lines(costs: Sequence[Costs]) -> list[str]:
    """The table; a dash is a number that was not measured."""
    rows = [
        (
            _cut(each.experiment),
            f"{each.runs}",
            f"{each.done}",
            f"{each.device_hours:.2f}",
            f"{each.lost_hours:.2f}",
            _or_dash(each.idle_percent, "{:.0f}%"),
            _or_dash(each.energy_kwh, "{:.2f}"),
        )
        for each in costs
    ]
    return [_line(HEADER), *map(_line, rows)]


def _line(cells: Sequence[str]) -> str:
    name, *numbers = zip(cells, WIDTHS, strict=True)
    return "".join([f"{name[0]:{name[1]}}", *(f"{cell:>{width}}" for cell, width in numbers)])


def _cut(name: str) -> str:
    return name if len(name) < NAME_WIDTH else f"{name[: NAME_WIDTH - 2]}…"


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)
