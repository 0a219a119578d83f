"""README and docs: whole tables, links that lead somewhere, commands and paths that exist, short sentences."""

import re
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from paths import ROOT
from warehouse.contract import read_project

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("benchmarks/*.md"), *ROOT.glob("docs/*.md")])
README_LINES = 120
SENTENCE_WORDS = 25
WORDS = {
    r"\b(train|training|calibration|test) slices?\b": "split",
    r"\brivals?\b": "challenger",
    r"\bjudged?\b": "evaluate",
    r"\busual rate\b": "baseline rate",
    r"\btenth of the (score|T-learner)": "decile",
    r"\b(shuffled arms|arms (shuffled|dealt))": "permuted arms",
    r"\bone row an? ": "one row per",
}

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
# The changelog names what is gone.
each_page_of_today = pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=lambda page: str(page.relative_to(ROOT))
)


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def numbered_prose(page: Path) -> Iterator[tuple[int, str]]:
    """Lines of a page without its code blocks, each with its number."""
    fenced = False
    for number, line in enumerate(read(page).splitlines(), start=1):
        if line.startswith("```"):
            fenced = not fenced
        elif not fenced and not line.startswith("    "):
            yield number, line


def sentences(page: Path) -> Iterator[str]:
    """Sentences outside code, tables and headings; code spans and links count by their words."""
    text = "\n".join("" if line.startswith(("|", "#", "![")) else line for _, line in numbered_prose(page))
    text = re.sub(r"`[^`]*`", "code", text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"\bet al\.", "et al", text)
    for block in re.split(r"\n\s*\n|\n\s*(?:[-*]|\d+\.) ", "\n" + text):
        yield from re.split(r"(?<=[.!?])[*)]*\s+", " ".join(block.split()))


def words(sentence: str) -> list[str]:
    return [word for word in sentence.split() if re.search(r"\w", word)]


def anchors(page: Path) -> set[str]:
    """What GitHub makes of the headings."""
    headings = [line.lstrip("#").strip().lower() for _, line in numbered_prose(page) if re.match(r"#+ ", line)]
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in headings}


def cell_count(row: str) -> int:
    return len(re.findall(r"(?<!\\)\|", re.sub(r"`[^`]*`", "", row))) - 1


@each_page
def test_every_row_is_in_a_table(page: Path) -> None:
    """A table is a header, a separator and rows without a blank line between, all of as many cells."""
    table: list[tuple[int, str]] = []
    for number, line in [*numbered_prose(page), (0, "")]:
        if line.startswith("|"):
            table.append((number, line))
        elif table:
            assert len(table) > 2, f"line {table[0][0]}: a table without header, separator or rows"
            assert re.fullmatch(r"\|( :?-+:? \|)+", table[1][1]), f"line {table[1][0]}: no separator"
            for row_number, row in table:
                assert cell_count(row) == cell_count(table[1][1]), f"line {row_number}: another number of cells"
            table = []


@each_page
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", read(page)):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


@each_page_of_today
def test_every_command_exists(page: Path) -> None:
    text = read(page)
    targets = set(re.findall(r"^([a-z][\w-]*):", read(ROOT / "Makefile"), re.MULTILINE))
    for target in re.findall(r"(?:^    |`)make ([a-z][\w-]*)", text, re.MULTILINE):
        assert target in targets, f"make {target}"
    for module, rest in re.findall(r"python -m ([a-z][\w.]*\w)([^\n`#|]*)", text):
        specification = find_spec(module)
        assert specification, module
        assert not specification.submodule_search_locations or find_spec(f"{module}.__main__"), module
        sources = "\n".join(read(source) for source in (ROOT / module.split(".")[0]).rglob("*.py"))
        for option in re.findall(r"--[a-z][a-z-]*", rest):
            assert option == "--help" or f'"{option}"' in sources, f"python -m {module} {option}"


@each_page_of_today
def test_every_path_exists(page: Path) -> None:
    """Paths in code spans that begin with a folder of the project; `*` and `<layer>` stand for anything."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    folders = {path.split("/")[0] for path in tracked if "/" in path}
    for span in re.findall(r"`([\w.*<>/-]+/[\w.*<>/-]*)`", read(page)):
        if span.split("/")[0] in folders:
            assert list(ROOT.glob(re.sub(r"<\w+>", "*", span.rstrip("/")))), span


@each_page
def test_sentences_are_short(page: Path) -> None:
    long = [sentence for sentence in sentences(page) if len(words(sentence)) > SENTENCE_WORDS]
    assert not long, "\n".join(f"{len(words(sentence))} words: {sentence}" for sentence in long)


def test_one_word_for_one_thing() -> None:
    """In what people read: pages, descriptions, settings and the texts of the reports."""
    sources = [page for page in PAGES if page.name != "CHANGELOG.md"]
    for pattern in ("models/**/*.yml", "bi/measures/*.yml", "ml/config.yml", "ml/report*/**/*.*", "analyses/*.sql"):
        sources += [path for path in ROOT.glob(pattern) if path.suffix != ".pyc"]
    found = [
        f"{source.relative_to(ROOT)}: {match[0]!r}: say {wanted}"
        for source in sources
        for unwanted, wanted in WORDS.items()
        for match in re.finditer(unwanted, read(source), re.IGNORECASE)
    ]
    assert not found, "\n".join(found)


def test_the_list_of_tables_is_whole() -> None:
    listed = re.findall(r"^\| `(\w+)` \| .+ \| .+ \|$", read(ROOT / "docs/tables.md"), re.MULTILINE)
    assert sorted(listed) == [contract.name for contract in read_project().of_layer("marts", "predictions", "bi")]


def test_the_readme_fits_three_screens() -> None:
    assert len(read(ROOT / "README.md").splitlines()) <= README_LINES


def test_a_row_outside_its_table_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("| a | b |\n| --- | --- |\n| 1 | 2 |\n\n| 3 | 4 |\n", encoding="utf-8")
    with pytest.raises(AssertionError, match="line 5"):
        test_every_row_is_in_a_table(page)
