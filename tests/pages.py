"""The documents' pages, as the tests about them read them: their blocks of code, what they tell a person to run."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
OPERATORS_PAGES = [
    ROOT / "README.md",
    ROOT / "docs" / "getting-started.md",
    ROOT / "docs" / "console.md",
    *sorted((ROOT / "docs" / "operations").glob("*.md")),
]

_BLOCK = re.compile(
    r"^```(?P<language>\w*)\n(?P<fenced>.*?)^```$|(?<=\n\n)(?P<indented>(?: {4}[^\n]*\n|\n(?= {4}))+)", re.M | re.S
)
_COMMAND = re.compile(
    r"(?:python -m (?P<module>catalog|activity|metering)_service"
    r"|\./ctl (?:--compose )?(?P<ctl>catalog|activity|metering)"
    r"|docker compose run --rm (?P<job>catalog|activity|metering)-migrate"
    r")(?=\s|$)(?P<rest>[^\n]*)"
)


@dataclass(frozen=True, slots=True)
class Block:
    """One block of code of a page; `language` is empty where none is said, as in an indented one."""

    page: str
    language: str
    text: str

    @property
    def first_line(self) -> str:
        """The line that it is known by, without what a comment says and what goes on in the next line."""
        return re.split(r"\s+(?:# |\\$)", self.text.strip().splitlines()[0])[0]


def list_blocks(page: Path) -> Iterator[Block]:
    """Return a page's blocks, fenced and indented, in their order."""
    for found in _BLOCK.finditer(page.read_text()):
        fenced = found["fenced"]
        text = re.sub(r"^ {4}", "", found["indented"], flags=re.M) if fenced is None else fenced
        yield Block(page.relative_to(ROOT).as_posix(), found["language"] or "", text)


def list_named_commands(page: Path) -> Iterator[tuple[str, list[str]]]:
    """Return every command of a service that a page names: the service, and the words after it.

    `[--option VALUE]` counts as given; of `one|other` each is returned.
    """
    text = page.read_text()
    codes = [block.text.replace("\\\n", " ") for block in list_blocks(page)]
    prose = _BLOCK.sub("\n\n", text)
    codes += [re.sub(r"\s+", " ", span) for span in re.findall(r"`([^`]+)`", prose)]
    for code in codes:
        for found in _COMMAND.finditer(code):
            service = found["module"] or found["ctl"] or found["job"]
            rest = re.split(r"\s(?:#|>|<|\||&&)|[;)]|\.\.\.", found["rest"])[0]
            words = shlex.split(rest.replace("[", " ").replace("]", " "))
            many = next(
                (number for number, word in enumerate(words) if re.fullmatch(r"[a-z-]+(\|[a-z-]+)+", word)), None
            )
            if many is None:
                yield service, words
            else:
                for each in words[many].split("|"):
                    yield service, [*words[:many], each, *words[many + 1 :]]


def list_links(page: Path) -> Iterator[tuple[Path, str]]:
    """Return the files that a page links to, itself among them, and what stands after the `#`."""
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)", page.read_text()):
        if "://" not in target:
            yield (page.parent / target if target else page), anchor


def list_anchors(page: Path) -> set[str]:
    """Return what a link to a heading of the page may say after its `#`, as GitHub makes it."""
    anchors: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", _BLOCK.sub("\n\n", page.read_text()), re.M):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        base = re.sub(r"[^\w\- ]", "", words.strip().lower()).replace(" ", "-")
        number, anchor = 0, base
        while anchor in anchors:
            number += 1
            anchor = f"{base}-{number}"
        anchors.add(anchor)
    return anchors
