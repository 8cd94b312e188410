"""A page is one file that asks for nothing else, runs nothing and escapes everything."""

from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymi.charts import theme
from raymi.charts.lines import LineChart, Series, line_chart
from raymi.charts.page import Charts, Details, Page, Prose, Section, Table, Tile, render
from raymi.charts.plane import Axis

HOSTILE = "<img src=x onerror=alert(1)>&\x07"


def page(text: str) -> Page:
    chart = line_chart(LineChart(text, Axis("x"), Axis("y"), [Series(text, [(0, 0), (1, 1)])]))
    blocks = [
        Prose(text),
        Charts([chart]),
        Table([text, "number"], [[text, "1"]], numbers=frozenset({1}), caption=text),
        Details(text, text),
    ]
    tiles = [Tile(text, text, text), Tile(text, None)]
    return Page(text, text, tiles, [Section(text, blocks)], lead=text)


def parsed(document: str) -> ET.Element:
    return ET.fromstring(document)  # noqa: S314 - our own text


@given(text=st.text(max_size=30))
def test_whatever_text_goes_in_a_well_formed_page_comes_out(text):
    assert parsed(render(page(text))).tag == "html"


def test_markup_in_text_stays_text():
    document = render(page(HOSTILE))

    assert "<img" not in document
    assert document.count("&lt;img src=x onerror=alert(1)&gt;") >= 11


def test_a_page_runs_nothing_and_asks_for_nothing():
    root = parsed(render(page("plain")))

    elements = list(root.iter())
    policies = [e.get("content") for e in elements if e.get("http-equiv")]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]
    assert not {"script", "link", "img", "iframe"} & {element.tag for element in elements}
    assert not {"src", "href", "onclick"} & {name for e in elements for name in e.attrib}
    assert "url(" not in theme.stylesheet()
    assert "@import" not in theme.stylesheet()


def test_what_is_not_known_says_why():
    tile = Tile("MFU", None, "not known for this device")

    root = parsed(render(Page("t", tiles=[tile])))

    (shown,) = root.iter("dd")
    assert shown.text == "not known for this device"


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(a: str, b: str) -> float:
    lighter, darker = sorted((luminance(a), luminance(b)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("colour", theme.LIGHT)
def test_lines_stand_out_on_light_ground(colour):
    assert contrast(colour, theme.LIGHT_GROUND) >= 3.0


@pytest.mark.parametrize("colour", theme.DARK)
def test_lines_stand_out_on_dark_ground(colour):
    assert contrast(colour, theme.DARK_GROUND) >= 3.0


def test_the_page_follows_the_readers_preference():
    assert "@media(prefers-color-scheme:dark)" in theme.stylesheet()
