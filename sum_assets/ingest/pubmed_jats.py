"""Reads PubMed and JATS XML.

pubmed_parser, the field's library, is not used: of PubMed it drops the version of a PMID and text deep inside
markup; of JATS it takes author summaries and TeX for abstract, and raises on articles without a year of print.
"""

import io
from collections.abc import Iterator
from typing import Any

from lxml import etree

from sum_assets.ingest.records import ReaderOptions, Record, Skipped, make_record
from sum_assets.ingest.xml_text import visible_text

# An entity that is left alone can read no file and open no connection, nor grow.
_XML = {"resolve_entities": False, "load_dtd": False, "no_network": True}
_JATS_IDS = {"pmc": ("pmc", "pmcid"), "pmid": ("pmid",)}


def read_xml(stream: io.BufferedReader, options: ReaderOptions) -> Iterator[Record | Skipped]:
    """Yield the records of a PubMed or JATS file, distinguished by the root element."""
    head = etree.XMLPullParser(events=["start"], **_XML)
    head.feed(stream.peek())
    root = next((element.tag for _, element in head.read_events()), None)
    if root == "PubmedArticleSet":
        yield from _pubmed(stream)
    elif root == "article":
        yield _jats(stream.read(), options)
    elif root is None:
        head.close()  # raises what is wrong
    else:
        raise ValueError(f"its root element is {root}, neither PubmedArticleSet (PubMed) nor article (JATS)")


def _pubmed(stream: io.BufferedReader) -> Iterator[Record | Skipped]:
    articles = etree.iterparse(stream, tag=("PubmedArticle", "PubmedBookArticle"), **_XML)
    for _, article in articles:
        yield _citation(article)
        article.clear()
        while article.getprevious() is not None:
            del article.getparent()[0]


def _citation(article: Any) -> Record | Skipped:
    head = next(article.iterchildren("MedlineCitation", "BookDocument"), article)
    body = head if head.tag == "BookDocument" else head.find("Article")
    pmid = head.findtext("PMID", "")
    where = f"PMID {pmid}" if pmid else f"line {article.sourceline}"
    if body is None:
        return make_record(pmid, "", "", 0, where)
    parts = [(part.get("Label"), visible_text(part)) for part in body.iterfind("Abstract/AbstractText")]
    abstract = "\n".join(f"{label}: {text}" if label else text for label, text in parts if text)
    version = int(head.find("PMID").get("Version", "1")) if pmid else 0
    return make_record(
        pmid, visible_text(body.find("ArticleTitle")), abstract, version * 100_000_000 + _day(head), where
    )


def _day(citation: Any) -> int:
    """Return the day of the last revision as yyyymmdd, 0 without one."""
    for name in ("DateRevised", "DateCompleted"):
        day = [citation.findtext(f"{name}/{part}", "") for part in ("Year", "Month", "Day")]
        if all(part.isdecimal() for part in day):
            return int(day[0]) * 10_000 + int(day[1]) * 100 + int(day[2])
    return 0


def _jats(article: bytes, options: ReaderOptions) -> Record | Skipped:
    meta = etree.fromstring(article, etree.XMLParser(**_XML)).find("front/article-meta")
    if meta is None:
        return make_record("", "", "", 0, "article-meta")
    ids = {each.get("pub-id-type"): (each.text or "").strip() for each in meta.iterfind("article-id")}
    article_id = next((ids[kind] for kind in _JATS_IDS[options.jats_id] if kind in ids), "")
    titles = [visible_text(meta.find(f"title-group/{part}")) for part in ("article-title", "subtitle")]
    # Author summaries, highlights and the like are abstracts with a type.
    abstracts = meta.findall("abstract")
    main = next((each for each in abstracts if each.get("abstract-type") is None), *abstracts[:1] or [None])
    return make_record(article_id, " ".join(filter(None, titles)), visible_text(main), 0, "the article")
