"""The text of an abstract: all that a reader sees, once, in order, with words apart where the layout parts them."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from sum_assets.ingest.xml_text import visible_text

MATH = 'xmlns:m="http://www.w3.org/1998/Math/MathML"'
SQUARE = "<m:msup><m:mi>x</m:mi><m:mn>2</m:mn></m:msup>"
TEX = r"<tex-math>\documentclass{minimal}\begin{document}$$x^2$$\end{document}</tex-math>"


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<p>A:<list><list-item><p>b;</p></list-item><list-item><p>c.</p></list-item></list></p>", "A: b; c."),
        ("<p>A <list><list-item><p>B <list><list-item><p>C</p></list-item></list></p></list-item></list></p>", "A B C"),
        ("<sec><title>Aim</title>To see.</sec><sec><title>Result</title>We saw.</sec>", "Aim To see. Result We saw."),
        (
            "<p>x.</p><def-list><def-item><term>BMI</term><def><p>body mass</p></def></def-item></def-list>",
            "x. BMI body mass",
        ),
        ("<p>Let</p><disp-formula><m:math><m:mi>x</m:mi></m:math></disp-formula><p>grow</p>", "Let x grow"),
        ("<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table>", "a b 1 2"),
        ("<bold>Aim</bold><break/>To see<break/><bold>Result</bold>", "Aim To see Result"),
        ("<verse-group><verse-line>one</verse-line><verse-line>two</verse-line></verse-group>", "one two"),
        # Adjacent emphasis was lines; indices, single letters and punctuation were not.
        ("<b>Patient: 16</b><b>Diagnosis: mass</b><b>Symptoms: none</b>", "Patient: 16 Diagnosis: mass Symptoms: none"),
        ("<i>Proc. R. Soc. B</i><b>281</b><b>.</b>", "Proc. R. Soc. B 281."),
        (
            "(<i>O</i><i>C</i>-6) SO<sub>4</sub><sup>2-</sup> <b>L</b><sub><b>NH2</b></sub>A<i>β</i><sub>1</sub>",
            "(OC-6) SO42- LNH2Aβ1",
        ),
        # So was emphasis where one sentence ends and the next begins; in-word markup was not.
        (
            "<b>Aim</b>: To see.<b>Methods</b>: We saw (n=2).<b>Results:</b>Four<b>Limits</b>: x",
            "Aim: To see. Methods: We saw (n=2). Results: Four Limits: x",
        ),
        (
            "<i>Objective.</i>To see.<i>Main results.</i>We saw.<i>See p. 2</i>",
            "Objective. To see. Main results. We saw. See p. 2",
        ),
        (
            "p<i>Ka</i>: 4, (<i>OR</i>: 2), <i>in</i>Vitro, in<i>vitro</i>, a.<i>b</i>, 0.<i>P</i>, anti-<b>Ras</b>: x",
            "pKa: 4, (OR: 2), inVitro, invitro, a.b, 0.P, anti-Ras: x",
        ),
        ("To <b>a<sup>2<i>n</i></sup></b>-fold<xref>1</xref>", "To a2n-fold1"),
        # One alternative of a formula.
        (f"Let <m:math><m:semantics>{SQUARE}<m:annotation>x^{{2}}</m:annotation></m:semantics></m:math>.", "Let x2."),
        (
            f"<m:semantics>{SQUARE}<m:annotation-xml><m:apply><m:ci>x</m:ci></m:apply></m:annotation-xml></m:semantics>",
            "x2",
        ),
        (f"a<alternatives>{TEX}<m:math>{SQUARE}</m:math></alternatives>b", "ax2b"),
        (f"<inline-formula>{TEX}<m:math>{SQUARE}</m:math></inline-formula>", "x2"),
        (f"<inline-formula>x<sup>2</sup>{TEX}</inline-formula>", "x2"),
        (f"Let <inline-formula>{TEX}</inline-formula>.", "Let x^2."),
        (f"<alternatives><graphic/>{TEX}</alternatives>", "x^2"),
        (
            "<alternatives><graphic/><table><tr><td>1</td><td>2</td></tr></table><textual-form>12</textual-form></alternatives>",
            "1 2",
        ),
        ("<m:math>\n <m:msub>\n  <m:mi>x</m:mi>\n  <m:mn>1</m:mn>\n </m:msub>\n</m:math>", "x1"),
        ("<m:mtable><m:mtr><m:mtd>1</m:mtd><m:mtd>2</m:mtd></m:mtr></m:mtable>", "1 2"),
        ("<m:mi>sin</m:mi><m:mi>x</m:mi><m:mi>y</m:mi>=<m:msub><m:mi>log</m:mi><m:mn>2</m:mn></m:msub>", "sin xy=log2"),
        (
            "<m:msub><m:mi>MR</m:mi><m:mfrac><m:mi>SWI</m:mi><m:mn>12</m:mn></m:mfrac></m:msub><m:mo>+</m:mo>",
            "MR SWI 12 +",
        ),
        # What is no text, and what is after it.
        ("a<!-- no -->b<?no no?>c<inline-graphic><alt-text>no</alt-text></inline-graphic>d", "abcd"),
        ("<object-id>10.1/x</object-id><p>E. <index-term><term>no</term></index-term>coli</p>", "E. coli"),
        ("", ""),
    ],
)
def test_what_a_reader_sees(markup: str, text: str) -> None:
    assert visible_text(etree.fromstring(f"<abstract {MATH}>{markup}</abstract>")) == text


def test_an_element_that_is_missing_and_one_nested_deeply() -> None:
    assert visible_text(None) == ""
    deep = "<sec>" * 2_000 + "deep" + "</sec>" * 2_000
    assert visible_text(etree.fromstring(deep, etree.XMLParser(huge_tree=True))) == "deep"


@dataclass(frozen=True)
class Piece:
    """Markup whose words are replaced by numbered ones as it is written."""

    tag: str
    children: tuple["Piece | None", ...]  # None is a word


BLOCKS = ("p", "sec", "title", "list", "list-item", "def", "term", "td", "disp-quote", "unheard-of", "label", "fn")
INLINES = ("b", "italic", "sub", "sup", "named-content", "ext-link", "xref", "inline-formula")
HIDDEN = ("annotation", "alt-text", "object-id", "index-term")
CONTENT = st.recursive(
    st.none(),
    lambda children: st.builds(
        Piece, st.sampled_from(BLOCKS + INLINES + HIDDEN + ("alternatives",)), st.lists(children, max_size=5).map(tuple)
    ),
    max_leaves=25,
)


def written(piece: Piece | None, numbers: Iterator[int], visible: bool, words: list[str]) -> str:
    """Return the markup of a piece, and add its visible words."""
    if piece is None:
        word = f"w{next(numbers)}"
        words += [word] * visible
        return word
    visible = visible and piece.tag not in HIDDEN
    content, chosen = "", False
    before: Piece | None = None
    for child in piece.children:
        if child is None and piece.tag == "alternatives":
            child = Piece("textual-form", (child,))
        until = len(words)
        markup = written(child, numbers, visible and not chosen, words)
        chosen = piece.tag == "alternatives" and (chosen or len(words) > until)
        blocks = [each is not None and each.tag in BLOCKS for each in (before, child)]
        content += ("" if any(blocks) else " ") + markup
        before = child
    return f"<{piece.tag}>{content}</{piece.tag}>"


@settings(max_examples=300)
@given(children=st.lists(CONTENT, max_size=8).map(tuple))
def test_visible_words_come_once_and_in_order(children: tuple[Piece | None, ...]) -> None:
    words: list[str] = []
    markup = written(Piece("abstract", children), itertools.count(), True, words)
    assert visible_text(etree.fromstring(markup)).split() == words
