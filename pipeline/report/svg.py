"""SVG files as parts of a page: identifiers of their own, the page's colours, nothing that runs or is fetched."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from pipeline.errors import UserError
from pipeline.style import INK, PAPER, RULE

THEME = {INK: "var(--ink)", RULE: "var(--rule)", PAPER: "var(--page)"}
ACTIVE = {"script", "foreignObject", "image", "iframe", "a", "animate", "set"}


def inline(svg: str, prefix: str, place: str) -> str:
    """The `<svg>` element for an HTML page; identifiers get `prefix`, for several drawings share the page.

    Raises `UserError`, naming `place`, if it is not SVG, or holds something that runs or refers elsewhere.
    """
    _check(svg, place)
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", svg[svg.index("<svg") :].strip(), flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r'href="#', f'href="#{prefix}-', text)
    text = re.sub(r"url\(#", f"url(#{prefix}-", text)
    # matplotlib's rule for all elements would apply to all of the page.
    text = text.replace('<style type="text/css">*{', f'<style type="text/css">#{prefix} *{{')
    for colour, variable in THEME.items():
        text = text.replace(colour, variable)
    return text.replace("<svg ", f'<svg id="{prefix}" ', 1)


def width(svg: str) -> int:
    """The width of a drawing in its own units, or 1000 if it does not say."""
    found = re.search(r'<svg [^>]*viewBox="\S+ \S+ (\d+)', svg)
    return int(found.group(1)) if found else 1000


def _check(svg: str, place: str) -> None:
    try:
        root = ElementTree.fromstring(svg)
    except ElementTree.ParseError as error:
        raise UserError(f"{place} is not SVG ({error}); make it again") from None
    if root.tag.rpartition("}")[2] != "svg":
        raise UserError(f"{place} is not SVG (it is <{root.tag}>); make it again")
    if re.search(r"url\((?!#)|@import", svg):
        raise UserError(f"{place} refers elsewhere; draw it without")
    for element in root.iter():
        name = element.tag.rpartition("}")[2]
        names = [(key.rpartition("}")[2], value) for key, value in element.attrib.items()]
        outside = [value for key, value in names if key == "href" and not value.startswith("#")]
        if name in ACTIVE or outside or any(key.startswith("on") for key, _ in names):
            raise UserError(f"{place} holds <{name}> that runs or refers elsewhere; draw it without")
