"""Envelopes, limits and entities: whatever holds the articles, and whatever a hostile file declares."""

import gzip
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from sum_assets.errors import UserError
from sum_assets.ingest.readers import read_records
from sum_assets.ingest.records import Item, ReaderOptions, Record, Skipped

JATS = 'xmlns="https://jats.nlm.nih.gov/ns/archiving/1.3/"'
OAI = 'xmlns="http://www.openarchives.org/OAI/2.0/"'


def article(number: int, abstract: str = "A.", attributes: str = "", after: str = "") -> str:
    return (
        f'<article {attributes}><front><article-meta><article-id pub-id-type="pmc">{number}</article-id>'
        f"<title-group><article-title>T</article-title></title-group><abstract><p>{abstract}</p></abstract>"
        f"</article-meta></front>{after}</article>"
    )


def record(number: int, title: str | None, abstract: str) -> Record:
    return Record(number, title, abstract, 0, id_space="pmc")


def read(path: Path, content: str) -> list[Item]:
    path.write_bytes(gzip.compress(content.encode()) if path.suffix == ".gz" else content.encode())
    with path.open("rb") as stream:
        return list(read_records(stream, path, ReaderOptions()))


@pytest.mark.parametrize(
    "envelope",
    [
        "<pmc-articleset>{}{}</pmc-articleset>",
        "<articles>\n{}\n{}\n</articles>",
        f"<OAI-PMH {OAI}><ListRecords><record><header/><metadata>{{}}</metadata></record><record><metadata>{{}}"
        "</metadata></record></ListRecords></OAI-PMH>",
        "<our><own n='1'>{}</own><own>{}</own></our>",
    ],
)
@pytest.mark.parametrize("attributes", ["", JATS, 'xmlns:xlink="x"'])
def test_articles_are_found_in_whatever_holds_them(tmp_path: Path, envelope: str, attributes: str) -> None:
    content = envelope.format(article(5, attributes=attributes), article(6, attributes=attributes))
    assert read(tmp_path / "a.xml", content) == [record(5, "T", "A."), record(6, "T", "A.")]


def test_a_prolog_and_a_text_of_any_length(tmp_path: Path) -> None:
    prolog = (
        f"<?xml version='1.0'?><!--{'x' * 200_000}--><!DOCTYPE article SYSTEM 'none.dtd' [<!-- {'y' * 70_000} -->]>"
    )
    assert read(tmp_path / "a.nxml", prolog + article(5)) == [record(5, "T", "A.")]
    body = f"<body><p>{'x' * 11_000_000}</p></body>"
    assert read(tmp_path / "b.nxml.gz", article(5, after=body)) == [record(5, "T", "A.")]
    (long,) = read(tmp_path / "c.nxml", article(5, "y" * 11_000_000))
    assert isinstance(long, Record)
    assert len(long.abstract) == 11_000_000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<html><body><article/></body></html>", "this is a web page"),
        ("<pmc-articleset><Reply error='none'/></pmc-articleset>", "root element is pmc-articleset, and there is no"),
        (f"<OAI-PMH {OAI}><error code='badArgument'/></OAI-PMH>", "there is no"),
    ],
)
def test_a_file_without_articles_is_refused_by_its_root(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(tmp_path / "a.xml", content)
    assert read(tmp_path / "b.xml", "<PubmedArticleSet/>") == []


DECLARED = """<!DOCTYPE article SYSTEM "none.dtd" [
<!ENTITY alpha "\u03b1"><!ENTITY b '<bold>"B"</bold>'><!ENTITY c "c&b;&#38;lt;&amp;"><!ENTITY id "77">
<!ENTITY file SYSTEM "SECRET"><!ENTITY % more SYSTEM "SECRET"> %more;]>"""


@pytest.mark.parametrize(
    ("abstract", "text"),
    [
        ("TNF-&alpha; rises", "TNF-\u03b1 rises"),
        ("&#945;&lt;&c;.", '\u03b1<c"B"<&.'),
        ("&beta;&nbsp;&le;&bsol;&lbrace;", "β ≤\\{"),  # of the character sets that every JATS DTD includes
        ("x&amp;file;", "x&file;"),
        ("x&file;", None),
        ("x&unheard;", None),
    ],
)
def test_entities_declared_in_the_file_are_text_and_others_are_never_fetched(
    tmp_path: Path, abstract: str, text: str | None
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("password")
    content = DECLARED.replace("SECRET", str(secret)) + "<articles>" + article(5, abstract) + article(6) + "</articles>"
    expected = Skipped("unknown_entity", "line 3") if text is None else record(5, "T", text)
    first, second = read(tmp_path / "a.xml", content)
    assert first == expected
    assert second == record(6, "T", "A.")


def test_an_entity_that_is_unknown_costs_no_more_than_what_it_is_in(tmp_path: Path) -> None:
    doctype = '<!DOCTYPE article SYSTEM "none.dtd">'
    content = article(5, after="<body>&unheard;</body>").replace(">T<", ">T &unheard;<")
    assert read(tmp_path / "a.xml", doctype + content) == [
        replace(record(5, None, "A."), title_left_out="unknown_entity")
    ]
    with pytest.raises(UserError, match="Entity 'unheard' not defined, line 1"):
        read(tmp_path / "a.xml", article(5, "&unheard;"))  # without a DTD, this is not XML


LAUGHS = '<!ENTITY l0 "laughter">' + "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 9))
BOMBS = {
    "laughs": f"<!DOCTYPE article [{LAUGHS}]>" + article(5, "&l8;"),
    "in an attribute": f"<!DOCTYPE article [{LAUGHS}]>" + article(5, attributes='id="&l8;"'),
    "loop": '<!DOCTYPE article [<!ENTITY a "&b;"><!ENTITY b "&a;">]>' + article(5, "&a;"),
    "quadratic": f'<!DOCTYPE article [<!ENTITY a "{"x" * 100_000}">]>' + article(5, "&a;" * 5_000),
    "never used up to the end": f"<!DOCTYPE article [{LAUGHS}]>" + article(5, after="<body>&l8;</body>"),
}

READ_AND_MEASURE = """
import sys, pathlib, resource
from sum_assets.errors import UserError
from sum_assets.ingest.readers import read_records
from sum_assets.ingest.records import ReaderOptions

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in map(pathlib.Path, sys.argv[1:]):
    with path.open("rb") as stream:
        try:
            print(list(read_records(stream, path, ReaderOptions())))
        except UserError as error:
            print("refused:", error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def refusals(*paths: Path) -> tuple[list[str], int]:
    """What became of each file, and the growth of a process that read them in MiB."""
    command = [sys.executable, "-c", READ_AND_MEASURE, *map(str, paths)]
    *lines, growth = subprocess.check_output(command, text=True).splitlines()
    return lines, int(growth)


def test_entities_that_grow_without_bounds_are_refused_in_little_memory(tmp_path: Path) -> None:
    for name, content in BOMBS.items():
        (tmp_path / f"{name}.xml").write_text(content)
    lines, growth = refusals(*sorted(tmp_path.iterdir()))
    assert len(lines) == len(BOMBS)
    for line in lines:
        assert line.startswith("refused:"), line
        assert "entity" in line
        assert "Fetch it again" not in line
    assert growth < 50


def test_a_small_file_that_unfolds_to_gigabytes_is_read_or_refused_in_bounded_memory(tmp_path: Path) -> None:
    head, tail = article(5, after="<body>|</body>").split("|")
    unit = b"<p>" + b"x" * 2**20 + b"</p>"
    with gzip.open(tmp_path / "one.xml.gz", "wb", compresslevel=1) as file:
        file.writelines([head.encode(), *[unit] * 600, tail.encode()])
    with gzip.open(tmp_path / "set.xml.gz", "wb", compresslevel=1) as file:
        file.writelines(
            [b"<articles>", *[article(5, after="<p>" + "x" * 2**20 + "</p>").encode()] * 600, b"</articles>"]
        )
    assert max(path.stat().st_size for path in tmp_path.iterdir()) < 4_000_000
    lines, growth = refusals(tmp_path / "set.xml.gz")
    assert lines[0].count("Record(abstract_id=5") == 600
    assert growth < 60
    lines, growth = refusals(tmp_path / "one.xml.gz")
    assert "more than 512 MiB" in lines[0]
    assert growth < 700
