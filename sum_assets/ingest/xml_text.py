"""The text that a reader of JATS, PubMed XML or MathML sees, from one walk over the tree."""

import re
from collections.abc import Iterator
from typing import Any

from lxml import etree

_MATHML = "{http://www.w3.org/1998/Math/MathML}"
# fmt: off
# MathML lays out only what stands in these: white space between its other elements is none of the formula.
_TOKENS = frozenset({"mi", "mn", "mo", "mtext", "ms", "ci", "cn", "csymbol"})
_NAMES = frozenset({"mi", "mtext", "ci"})  # two of these that touch are two words, if not two letters
_MATH = _TOKENS | {
    "math", "mrow", "mfrac", "msqrt", "mroot", "mstyle", "merror", "mpadded", "mfenced", "menclose", "msub", "msup",
    "msubsup", "munder", "mover", "munderover", "mmultiscripts", "mprescripts", "none", "semantics", "maction",
    "mglyph",
}
_CELLS = frozenset({"mtable", "mtr", "mlabeledtr", "mtd", "mspace"})
_EMPHASIS = frozenset({
    "b", "bold", "i", "italic", "u", "underline", "em", "strong", "roman", "sans-serif", "monospace", "overline",
    "strike", "styled-content",
})
# All other elements stand apart from what is around them: paragraphs, titles, items, lines, and so on.
_INLINE = _EMPHASIS | _MATH | {
    "sub", "sup", "sc", "small", "fixed-case", "span", "a", "font", "tt", "code", "abbrev", "named-content", "xref",
    "ext-link", "uri", "email", "inline-formula", "alternatives", "tex-math", "inline-graphic", "inline-media",
    "inline-supplementary-material", "private-char", "chem-struct", "target", "milestone-start", "milestone-end",
    "overline-start", "overline-end", "underline-start", "underline-end", "x", "ruby", "rb", "rt", "rp",
    "related-article", "related-object", "institution", "institution-wrap",
}
_HIDDEN = frozenset({
    "annotation", "annotation-xml", "mphantom", "alt-text", "long-desc", "object-id", "index-term",
    "index-term-range-end", "sec-meta",
})
# fmt: on
_TEX_BODY = re.compile(r"\\begin\{document\}(.*?)\\end\{document\}", re.DOTALL)
_JOINING = re.compile(r"[\s(\[{/\u2010-\u2015-]\Z")
_SENTENCE_END = re.compile(r"[.!?][)\]\"'\u2019\u201d]*\Z")
_LABEL_END = re.compile(r"[.!?:]\s*\Z")
_WORD_END = re.compile(r"[^\W\d_]{4}\Z")
_CAPITALIZED = re.compile(r"[A-Z][^\W\d_]")
_JOINED = re.compile(r"[\s.,;:!?)\]}%/\u2010-\u2015-]")


def visible_text(element: Any) -> str:
    """Return what a reader sees of an element: each text once, in order, white space collapsed.

    Words stay apart where the layout separates them. Of the alternatives of a formula one is taken, TeX only where
    there is no other. `None` has no text.
    """
    if element is None:
        return ""
    text = "".join(_pieces(element)) if len(element) else element.text or ""
    return " ".join(text.split())


def local_name(element: Any) -> str:
    """Return an element's name without its namespace, "" for a comment, an instruction or `None`."""
    return element.tag.rpartition("}")[2].rpartition(":")[2] if isinstance(getattr(element, "tag", None), str) else ""


def _pieces(element: Any) -> Iterator[str]:
    walk = etree.iterwalk(element, events=("start", "end", "comment", "pi"))
    left_out: set[Any] = set()
    name_before = ""  # the last identifier of a formula, if nothing came since
    for event, node in walk:
        name = local_name(node)
        if event == "start":
            if node in left_out or (name in _HIDDEN and node is not element):
                walk.skip_subtree()
            elif name == "tex-math":
                yield from _tex(node)
                walk.skip_subtree()
            else:
                left_out.update(_left_out(node, name))
                yield _gap(node, name) if node is not element else ""
                if name in _EMPHASIS and node is not element and _begins_sentence(node):
                    yield " "
                text = _text(node, name, node.text)
                is_name = name in _NAMES
                if is_name and name_before and len(name_before + text) > 2:
                    yield " "
                if text or is_name:
                    name_before = text if is_name else ""
                yield text
        elif node is not element:
            yield " " if name in _EMPHASIS and _ends_sentence(node) else _gap(node, name)
            tail = _text(node.getparent(), local_name(node.getparent()), node.tail)
            if tail:
                name_before = ""
            yield tail
            if name in _EMPHASIS and _lines_apart(node):
                yield " "


def _gap(node: Any, name: str) -> str:
    """Return a space where an element stands apart from what is before and after it."""
    if not name or name in _HIDDEN:
        return ""
    if local_name(node.getparent()) == "mfrac":
        return " "  # the bar
    if name in _INLINE:
        return ""
    takes_place = local_name(node.getparent()).endswith("alternatives")  # of them all, where they stand
    return "" if name not in _CELLS and (takes_place or node.tag.startswith(_MATHML)) else " "


def _text(node: Any, name: str, text: str | None) -> str:
    if not text or (text.isspace() and (name in _MATH or node.tag.startswith(_MATHML)) and name not in _TOKENS):
        return ""
    return text


def _left_out(node: Any, name: str) -> Iterator[Any]:
    """Yield the children that say what another child says: all alternatives but one, TeX beside a formula."""
    if name.endswith("alternatives"):
        shown = [each for each in node if local_name(each) not in ("", *_HIDDEN) and _has_text(each)]
        chosen = min(shown, key=lambda each: local_name(each) == "tex-math", default=None)
        yield from (each for each in node if each is not chosen)
    elif name.endswith("formula"):
        others = [each for each in node if local_name(each) not in ("", "tex-math", "label", *_HIDDEN)]
        tails = [node.text, *(each.tail for each in node)]
        if any(tail and not tail.isspace() for tail in tails) or any(map(_has_text, others)):
            yield from node.iterchildren("{*}tex-math")


def _has_text(element: Any) -> bool:
    walk = etree.iterwalk(element, events=("start", "end"))
    for event, node in walk:
        if event == "end":
            text = node.tail if node is not element else None
        elif local_name(node) in _HIDDEN:
            walk.skip_subtree()
            text = None
        else:
            text = node.text
        if text and not text.isspace():
            return True
    return False


def _tex(node: Any) -> Iterator[str]:
    """Yield TeX without the document that PMC wraps around it."""
    text = "".join(node.itertext())
    body = _TEX_BODY.search(text)
    yield body[1].strip().strip("$") if body else text


def _begins_sentence(node: Any) -> bool:
    """Tell whether an emphasized text begins a sentence, as a label does: "...was seen.<b>Methods</b>: ..."."""
    previous = node.getprevious()
    before = (previous.tail if previous is not None else node.getparent().text) or ""
    text = "".join(node.itertext())
    if not _CAPITALIZED.match(text):
        return False
    is_label = text.rstrip().endswith(":") or (node.tail or "").lstrip().startswith(":")
    # In-word markup follows upon a letter or two. A label may follow upon a word whose full stop is missing.
    return bool(_SENTENCE_END.search(before) or (is_label and _WORD_END.search(before)))


def _ends_sentence(node: Any) -> bool:
    """Tell whether an emphasized text ends a sentence, as in "<i>Approach.</i>We used"."""
    return bool(_CAPITALIZED.match(node.tail or "") and _LABEL_END.search("".join(node.itertext())))


def _lines_apart(node: Any) -> bool:
    """Tell whether two emphasized texts that touch were lines: PubMed drops the line break between them.

    Two single characters stay together (<i>O</i><i>C</i>-6-54), and so does punctuation.
    """
    following = node.getnext()
    if node.tail or following is None or local_name(following) not in _EMPHASIS:
        return False
    before, after = "".join(node.itertext()), "".join(following.itertext())
    if not before or not after or len(before) == len(after) == 1:
        return False
    return not _JOINING.search(before) and not _JOINED.match(after)
