"""Reads PubMed and JATS XML.

pubmed_parser, the field's library, is not used: of PubMed it drops the version of a PMID and text deep inside
markup; of JATS it takes author summaries and TeX for abstract, and raises on articles without a year of print.
"""

import io
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from sum_assets.ingest.records import ReaderOptions, Record, Skipped, Withdrawal, make_deletion, make_record
from sum_assets.ingest.xml_stream import Entry, read_entries
from sum_assets.ingest.xml_text import local_name, visible_text

_NAMES = ("PubmedArticle", "PubmedBookArticle", "article", "DeleteCitation", "DeleteDocument", "header")
_OF_VERSION = 100_000_000  # a version of PubMed's and a day: nyyyymmdd
_OAI_ID = re.compile(r"oai:pubmedcentral\.nih\.gov:([0-9]+)")
_JATS_IDS = {"pmc": ("pmc", "pmcid"), "pmid": ("pmid",)}


def read_xml(stream: io.BufferedIOBase, options: ReaderOptions) -> Iterator[Record | Withdrawal | Skipped]:
    """Yield the records of a PubMed or JATS file: one article, or many in whatever holds them."""
    for entry in read_entries(stream, _NAMES):
        match local_name(entry.element):
            case "PubmedArticle" | "PubmedBookArticle":
                yield _citation(entry)
            case "DeleteCitation" | "DeleteDocument":
                yield from _deletions(entry)
            case "header":
                if entry.element.get("status") == "deleted":
                    yield _deleted_by_oai(entry, options)
            case "article" if next(entry.element.iterancestors("{*}article"), None) is None:
                yield _jats(entry, options)


def _deletions(entry: Entry) -> Iterator[Withdrawal | Skipped]:
    for pmid in entry.element.iterfind("{*}PMID"):
        # After every day of the version that is deleted, before any later version.
        version = int(pmid.get("Version", "1")) * _OF_VERSION + _OF_VERSION - 1
        yield make_deletion(visible_text(pmid), version, f"deletion of PMID {visible_text(pmid)}", "pubmed", "pmid")


def _deleted_by_oai(entry: Entry, options: ReaderOptions) -> Withdrawal | Skipped:
    identifier = visible_text(entry.element.find("{*}identifier"))
    match = _OAI_ID.fullmatch(identifier) if options.jats_id == "pmc" else None
    return make_deletion(match[1] if match else identifier, 0, f"deletion of {identifier}", "none", "pmc")


def _citation(entry: Entry) -> Record | Skipped:
    article = entry.element
    head = next(article.iterchildren("MedlineCitation", "BookDocument"), article)
    body = head if head.tag == "BookDocument" else head.find("Article")
    pmid = visible_text(head.find("PMID"))
    where = f"PMID {pmid}" if pmid else f"line {entry.line}"
    if body is None:
        return make_record(pmid, "", "", 0, where, "pubmed", "pmid")
    parts = [(part.get("Label"), visible_text(part)) for part in body.iterfind("Abstract/AbstractText")]
    abstract = "\n".join(f"{label}: {text}" if label else text for label, text in parts if text)
    version = int(head.find("PMID").get("Version", "1")) if pmid else 0
    title = visible_text(body.find("ArticleTitle"))
    record = make_record(pmid, title, abstract, version * _OF_VERSION + _day(head), where, "pubmed", "pmid")
    return _whole(entry, record, where)


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
    title = " ".join(filter(None, titles))
    return _whole(entry, make_record(article_id, title, visible_text(main), 0, where, "none", options.jats_id), where)


def _whole(entry: Entry, record: Record | Skipped, where: str) -> Record | Skipped:
    """Return the record without a title, or the reason to skip it, where the text of an entity is missing from it."""
    if isinstance(record, Skipped):
        return record
    if entry.lacks_text(record.abstract):
        return Skipped("unknown_entity", where)
    if record.title and entry.lacks_text(record.title):
        return replace(record, title=None, title_left_out="unknown_entity")
    return record
