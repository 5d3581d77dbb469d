"""Tables of specs, to which installed distributions add entries by entry points."""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, Protocol, TypeVar

from kdbatch.base.errors import UserError
from kdbatch.base.lookup import lookup
from kdbatch.base.reading.field_facts import check_limits
from kdbatch.vocab.extensions.sources import Code, code_here


class Spec(Protocol):
    """Facts about a thing. `load` is None for those of kdbatch, whose code is in run/."""

    @property
    def load(self) -> Callable[[], Any] | None: ...


S = TypeVar("S", bound=Spec)
R = TypeVar("R")


class SpecTable(Mapping[str, S], Generic[S]):
    """Specs by name: `built_in` ones, and those that entry points of a group name.

    An entry point is imported when its name is looked up, so that a broken one harms only those who
    use it. Every method raises a UserError where a name is there twice.
    """

    def __init__(self, built_in: Mapping[str, S], *, kind: type[S], group: str) -> None:
        self.built_in = built_in
        self.kind = kind
        self.group = group

    def __getitem__(self, name: str) -> S:
        if name in self.built_in:
            return self.built_in[name]
        return _spec(self.entries[name], self.kind)

    def __contains__(self, name: object) -> bool:
        return name in self.built_in or name in self.entries

    def __iter__(self) -> Iterator[str]:
        yield from self.built_in
        yield from self.entries

    def __len__(self) -> int:
        return len(self.built_in) + len(self.entries)

    @property
    def entries(self) -> Mapping[str, EntryPoint]:
        """The entry points by name; nothing is imported."""
        found: dict[str, EntryPoint] = {}
        for entry in _entry_points(self.group):
            if entry.name in self.built_in or entry.name in found:
                others = found.get(entry.name)
                raise UserError(
                    f"{place_of(entry)}: {self.group} has the name {entry.name!r} twice: "
                    f"{place_of(others) if others else 'kdbatch'} has it, too. Rename it in "
                    "the pyproject.toml of one of them, or: pip uninstall "
                    f"{distribution_of(entry)}"
                )
            found[entry.name] = entry
        return found

    def code_of(self, name: str) -> Code | None:
        """The installed code that a name stands for; None for what kdbatch has itself."""
        entry = self.entries.get(name)
        return code_of(entry) if entry else None

    def loaded(self, name: str, own: Mapping[str, R], *, where: str) -> R:
        """The entry of `own`, a table of run/, for a name; for an installed one, what it loads.

        Raises:
            UserError: there is no such name, or it cannot be loaded.
        """
        if name in own:
            return own[name]
        spec = lookup(self, name, where=where)
        return _loaded(self.entries[name], spec)


def code_of(entry: EntryPoint) -> Code:
    """The package of an entry point."""
    package = entry.module.partition(".")[0]
    code = code_here(distribution_of(entry), package)
    if code is None:
        raise UserError(f"{place_of(entry)}: there is no package {package}. Install it again.")
    return code


def place_of(entry: EntryPoint) -> str:
    """Distribution and object, for an error."""
    return f"{distribution_of(entry)}: {entry.value}"


def distribution_of(entry: EntryPoint) -> str:
    assert entry.dist
    return entry.dist.name


@cache
def _entry_points(group: str) -> tuple[EntryPoint, ...]:
    return tuple(sorted(entry_points(group=group), key=lambda e: (e.name, distribution_of(e))))


@cache
def _spec(entry: EntryPoint, kind: type[S]) -> S:
    try:
        found = entry.load()
        if isinstance(found, kind):
            check_limits(found)
    except (Exception, SystemExit) as error:  # code of others: it may raise anything
        raise UserError(_broken(entry, "import", error)) from error
    if not isinstance(found, kind):
        raise UserError(f"{place_of(entry)}: is of {type(found)}. Write a {kind.__name__}.")
    if not callable(found.load):
        raise UserError(
            f"{place_of(entry)}: load is missing. It is a function without arguments that imports "
            "and returns the code (docs/ARCHITECTURE.md, Adding a thing)."
        )
    return found


@cache
def _loaded(entry: EntryPoint, spec: Spec) -> Any:
    assert spec.load
    try:
        return spec.load()
    except (Exception, SystemExit) as error:
        raise UserError(_broken(entry, "load", error)) from error


def _broken(entry: EntryPoint, what: str, error: BaseException) -> str:
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    hint = ""
    if what == "import" and getattr(error, "name", "") in ("torch", "torchvision"):
        hint = " Plans are made without torch: import it inside of load."
    return f"{place_of(entry)}: {what} failed ({reason}).{hint}"
