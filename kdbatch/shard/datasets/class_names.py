"""One spelling for each class where lists and folders spell the names of classes differently."""

import re
import unicodedata
from collections import defaultdict


class ClassNames:
    """The names of classes, from lists first and then from folders.

    Two names from different sources that differ in case, accents, spaces or punctuation only are
    one class, and the spelling that was added first counts. Names from one source are never joined.
    """

    def __init__(self) -> None:
        self._source_of: dict[str, str] = {}
        self._same: defaultdict[str, list[str]] = defaultdict(list)
        self._other_spellings: dict[str, tuple[str, str]] = {}
        self._alike: dict[str, str] = {}

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(sorted(self._source_of))

    def find(self, name: str) -> str | None:
        """The class of this name, also in another spelling; None for no class or several."""
        if name in self._source_of:
            return name
        names = self._same.get(_folded(name), [])
        return names[0] if len(names) == 1 else None

    def add(self, name: str, *, source: str) -> str:
        """Add a name, unless another source has the class; return the spelling that counts."""
        known = self.find(name)
        if known is None or (known != name and self._source_of[known] == source):
            if known is not None:
                self._alike[name] = known
            self._source_of[name] = source
            self._same[_folded(name)].append(name)
            return name
        self.note_spelling(name, known, source=source)
        return known

    def note_spelling(self, name: str, known: str, *, source: str) -> None:
        """Remember that `source` spells the class `known` as `name`."""
        if name != known:
            self._other_spellings.setdefault(name, (known, source))

    def notes(self) -> tuple[str, ...]:
        """Lines on classes with two spellings, and on classes with nearly the same name."""
        alike = tuple(
            f"{self._source_of[name]}: has both {name!r} and {known!r}, which count as two classes."
            for name, known in sorted(self._alike.items())[:1]
        )
        if not self._other_spellings:
            return alike
        name, (known, source) = min(self._other_spellings.items())
        return (
            *alike,
            f"{source}: spells {len(self._other_spellings)} of {len(self._source_of)} classes in "
            f"another way than {self._source_of[known]}, whose spelling counts; the first is "
            f"{name!r} for {known!r}.",
        )


def _folded(name: str) -> str:
    """The letters and digits of a name, and those marks that tell names apart (C++ and C#)."""
    plain = unicodedata.normalize("NFKD", name.casefold())
    return re.sub(r"[^\w+#&%]|_", "", plain) or name
