"""Reads PubMed and JATS XML.

pubmed_parser, the field's library, is not used: of PubMed it drops the version of a PMID and text deep inside
markup; of JATS it takes author summaries and TeX for abstract, and raises on articles without a year of print.
"""

import io
from collections.abc import Iterator
from typing import Any

from sum_assets.ingest.records import ReaderOptions, Record, Skipped, make_record
from sum_assets.ingest.xml_stream import Entry, read_entries
from sum_assets.ingest.xml_text import local_name, visible_text

_NAMES = ("PubmedArticle", "PubmedBookArticle", "article")
_JATS_IDS = {"pmc": ("pmc", "pmcid"), "pmid": ("pmid",)}


def read_xml(stream: io.BufferedIOBase, options: ReaderOptions) -> Iterator[Record | Skipped]:
    """Yield the records of a PubMed or JATS file: one article, or many in whatever holds them."""
    for entry in read_entries(stream, _NAMES):
        if local_name(entry.element) != "article":
            yield _citation(entry)
        elif next(entry.element.iterancestors("{*}article"), None) is None:
            yield _jats(entry, options)


def _citation(entry: Entry) -> Record | Skipped:
    article = entry.element
    head = next(article.iterchildren("MedlineCitation", "BookDocument"), article)
    body = head if head.tag == "BookDocument" else head.find("Article")
    pmid = visible_text(head.find("PMID"))
    where = f"PMID {pmid}" if pmid else f"line {entry.line}"
    if body is None:
        return make_record(pmid, "", "", 0, where)
    parts = [(part.get("Label"), visible_text(part)) for part in body.iterfind("Abstract/AbstractText")]
    abstract = "\n".join(f"{label}: {text}" if label else text for label, text in parts if text)
    version = int(head.find("PMID").get("Version", "1")) if pmid else 0
    return _record(
        entry, pmid, visible_text(body.find("ArticleTitle")), abstract, version * 100_000_000 + _day(head), where
    )


def _day(citation: Any) -> int:
    """Return the day of the last revision as yyyymmdd, 0 without one."""
    for name in ("DateRevised", "DateCompleted"):
        day = [citation.findtext(f"{name}/{part}", "") for part in ("Year", "Month", "Day")]
        if all(part.isdecimal() for part in day):
            return int(day[0]) * 10_000 + int(day[1]) * 100 + int(day[2])
    return 0


def _jats(entry: Entry, options: ReaderOptions) -> Record | Skipped:
    where = "the article" if entry.is_whole_file else f"line {entry.line}"
    meta = entry.element.find("{*}front/{*}article-meta")
    if meta is None:
        return make_record("", "", "", 0, f"article-meta of {where}")
    ids = {each.get("pub-id-type"): visible_text(each) for each in meta.iterfind("{*}article-id")}
    article_id = next((ids[kind] for kind in _JATS_IDS[options.jats_id] if kind in ids), "")
    titles = [visible_text(meta.find(f"{{*}}title-group/{{*}}{part}")) for part in ("article-title", "subtitle")]
    # Author summaries, highlights and the like are abstracts with a type.
    abstracts = meta.findall("{*}abstract")
    main = next((each for each in abstracts if each.get("abstract-type") is None), *abstracts[:1] or [None])
    return _record(entry, article_id, " ".join(filter(None, titles)), visible_text(main), 0, where)


def _record(entry: Entry, article_id: str, title: str, abstract: str, version: int, where: str) -> Record | Skipped:
    """Return the record, or the reason to skip it, where the text of an entity is missing from it."""
    record = make_record(article_id, "" if entry.lacks_text(title) else title, abstract, version, where)
    return Skipped("unknown_entity", where) if isinstance(record, Record) and entry.lacks_text(abstract) else record
