"""Write elements of SVG and HTML; whatever text goes in, well-formed markup comes out."""

from __future__ import annotations

import re
from typing import NewType
from xml.sax import saxutils

Svg = NewType("Svg", str)
"""A finished drawing. Pages escape every other text."""

# XML 1.0, production 2: what is not one of its characters cannot be written, escaped or not.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def escape(text: str) -> str:
    """Make text safe between tags and in quoted attributes."""
    return saxutils.escape(_NOT_XML.sub("\ufffd", text), {'"': "&quot;", "'": "&#39;"})


def tag(name: str, /, *children: str, **attributes: str | float | None) -> str:
    """One element.

    Args:
        name: Of the element.
        children: Markup, already escaped. None at all makes an empty element, which HTML
            allows for its void elements and within SVG only.
        attributes: `class_` is written `class`, `stroke_width` is written `stroke-width`;
            None leaves the attribute out.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_value(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if not children:
        return f"<{name}{written}/>"
    return f"<{name}{written}>{''.join(children)}</{name}>"


def _value(value: str | float) -> str:
    """Coordinates to a tenth of a pixel: finer cannot be seen and makes pages large."""
    if isinstance(value, str):
        return value
    # Adding 0.0 turns -0.0 into 0.0.
    return f"{round(value, 1) + 0.0:.1f}".removesuffix(".0")
