"""Reads the entries of an XML file of any size one by one, safely: nothing is fetched, nothing grows without bounds."""

import io
import re
from collections.abc import Iterator
from html.entities import html5
from typing import Any

from lxml import etree

from sum_assets.ingest.xml_text import local_name

CHUNK = 1 << 16
# An entry is held as a tree, in about this much memory: its bytes, and a node for each tag and attribute.
_LARGEST_ENTRY = 512 << 20
_NODE = 100

# Entities stay references until `_resolved`. libxml2 counts what they would grow to, also with huge_tree,
# which lifts its limit of 10 MB for one text.
_XML = {"load_dtd": False, "no_network": True, "huge_tree": True, "remove_comments": True, "remove_pis": True}
_REFERENCE = re.compile(r"&([^#;&\s][^;&\s]*);")
_PREDEFINED = frozenset({"amp", "lt", "gt", "quot", "apos"})
_ENTITY_ERRORS = (
    etree.ErrorTypes.ERR_ENTITY_LOOP,
    etree.ErrorTypes.ERR_RESOURCE_LIMIT,
    etree.ErrorTypes.ERR_UNDECLARED_ENTITY,
)


class Entry:
    """An element of the file, its line there, and the entities in it whose text is not in the file."""

    def __init__(self, element: Any) -> None:
        self.line: int = element.sourceline
        self.unresolved: set[str] = set()
        self.is_whole_file: bool = element.getparent() is None
        self.element = element
        if next(element.iter(etree.Entity), None) is not None:
            self.element = self._resolved(element)

    def lacks_text(self, *texts: str) -> bool:
        """Tell whether one of the texts has a reference to an entity that the file does not declare."""
        return any(f"&{name};" in text for name in self.unresolved for text in texts)

    def _resolved(self, element: Any) -> Any:
        """Return the element with its entities replaced: those declared in the file, and characters of HTML's names."""
        dtd = element.getroottree().docinfo.internalDTD
        declared = {e.name: e.orig for e in dtd.iterentities() if e.orig is not None} if dtd is not None else {}
        names = {e.name for e in element.iter(etree.Entity)}.union(*map(_REFERENCE.findall, declared.values()))
        lines = [f"<!ENTITY {name} {_quoted(text)}>" for name, text in declared.items()]
        for name in names - declared.keys() - _PREDEFINED:
            characters = html5.get(f"{name};")
            if characters is None:
                self.unresolved.add(name)
            text = f"&{name};" if characters is None else characters
            lines.append(f'<!ENTITY {name} "{"".join(f"&#38;#{ord(each)};" for each in text)}">')
        markup = etree.tostring(element, encoding="unicode", with_tail=False)
        parser = etree.XMLParser(resolve_entities="internal", **_XML)
        return etree.fromstring(f"<!DOCTYPE entry [{''.join(lines)}]>{markup}", parser)


def _quoted(literal: str) -> str:
    return f"'{literal}'" if '"' in literal else f'"{literal}"'


def read_entries(stream: io.BufferedIOBase, names: tuple[str, ...]) -> Iterator[Entry]:
    """Yield the elements of these names, in any namespace and at any depth, in flat memory.

    Raises ValueError where there is none, where one is too large or an entity grows without bounds;
    etree.XMLSyntaxError where the file is not XML.
    """
    parser = etree.XMLPullParser(events=["end"], tag=[f"{{*}}{name}" for name in names], resolve_entities=False, **_XML)
    root, weight = None, 0
    try:
        while chunk := stream.read(CHUNK):
            weight += len(chunk) + _NODE * (chunk.count(b"<") + chunk.count(b"="))
            if weight > _LARGEST_ENTRY:
                raise ValueError(
                    f"an entry that needs more than {_LARGEST_ENTRY >> 20} MiB is not read, or there is none"
                )
            parser.feed(chunk)
            for _, element in parser.read_events():
                if root is None:
                    root = element.getroottree().getroot()
                    _require_no_page(root)
                yield Entry(element)
                _forget(element)
                weight = 0
        end = parser.close()
    except etree.XMLSyntaxError as error:
        # The first error is the reason; what lxml raises may be a consequence.
        first = next(iter(parser.feed_error_log), None)
        if (first.type if first else error.code) in _ENTITY_ERRORS:
            raise ValueError(f"{first.message if first else error.msg}, line {first.line if first else 0}") from error
        raise
    if root is None:
        _require_no_page(end)
        if not local_name(end).endswith("Set"):  # an empty one of PubMed's
            raise ValueError(f"its root element is {end.tag}, and there is no {' or '.join(names[:3])} in it")


def _require_no_page(root: Any) -> None:
    if local_name(root).lower() == "html":
        raise ValueError("its root element is html: this is a web page, neither PubMed nor JATS")


def _forget(element: Any) -> None:
    """Free an element and all that is before it."""
    element.clear()
    while (parent := element.getparent()) is not None:
        while element.getprevious() is not None:
            del parent[0]
        element = parent
