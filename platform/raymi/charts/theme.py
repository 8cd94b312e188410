"""The look of pages and charts, light and dark, as one style sheet."""

from __future__ import annotations

# Okabe and Ito's palette for all kinds of colour vision (jfly.uni-koeln.de/color), darkened for
# light ground and lightened for dark ground until lines have a contrast of 3:1 or more (WCAG 2.2,
# 1.4.11).
LIGHT = ("#0072b2", "#d55e00", "#00805d", "#b4558f", "#9a6700", "#2a8fc4", "#5b5b5b", "#7a3e9d")
DARK = ("#56b4e9", "#ff8a3d", "#2cc295", "#e79ac4", "#e69f00", "#9ad0f5", "#b8b8b8", "#c79be6")

LIGHT_GROUND = "#ffffff"
DARK_GROUND = "#15181d"


def _properties(colours: tuple[str, ...]) -> str:
    return "".join(f"--c{index}:{colour};" for index, colour in enumerate(colours))


_LIGHT_PROPERTIES = (
    f"--ground:{LIGHT_GROUND};--card:#f5f6f8;--ink:#1a1d21;--soft:#565c66;--grid:#dfe2e7;"
    f"--axis:#8a919c;--alarm:#c0182b;{_properties(LIGHT)}"
)
_DARK_PROPERTIES = (
    f"--ground:{DARK_GROUND};--card:#1f242b;--ink:#e8eaed;--soft:#a6adb8;--grid:#30363f;"
    f"--axis:#6d7581;--alarm:#ff6b78;{_properties(DARK)}"
)

_CHARTS = """
.chart{display:block;width:100%;height:auto;font:12px system-ui,sans-serif;
font-variant-numeric:tabular-nums;overflow:visible}
.chart text{fill:var(--soft)}
.chart .title{fill:var(--ink);font-size:13px;font-weight:600}
.chart .name{fill:var(--ink)}
.chart .key{font-weight:600}
.chart .name,.chart .halo{paint-order:stroke;stroke:var(--ground);stroke-width:3px;
stroke-linejoin:round}
.chart .grid{stroke:var(--grid)}
.chart .axis{stroke:var(--axis)}
.chart .line{fill:none;stroke-width:1.8;stroke-linejoin:round}
.chart .interval{opacity:.45}
.chart .reference{stroke:var(--ink);stroke-dasharray:4 3}
.chart .marker line{stroke:var(--axis);stroke-dasharray:1 3}
.chart .marker path,.chart path.marker{fill:var(--axis)}
.chart .alarm line{stroke:var(--alarm);stroke-dasharray:none}
.chart .alarm path,.chart path.alarm{fill:none;stroke:var(--alarm);stroke-width:2}
.chart .alarm-name{fill:var(--alarm)}
@media(min-width:900px){.chart{font-size:10.5px}.chart .title{font-size:12px}}
"""

_PAGE = """
*{box-sizing:border-box}
body{margin:0 auto;max-width:1160px;padding:24px 20px 48px;background:var(--ground);
color:var(--ink);font:15px/1.5 system-ui,sans-serif}
h1{font-size:1.5rem;line-height:1.25;margin:0;overflow-wrap:anywhere}
h2{font-size:1.1rem;margin:36px 0 12px}
p{margin:4px 0;max-width:75ch}
.lead{font-size:1.05rem;margin:10px 0}
.soft,.note{color:var(--soft);max-width:none}
.tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:10px;
margin:22px 0 0}
.tile{background:var(--card);border-radius:8px;padding:10px 12px;margin:0}
.tile dt{color:var(--soft);font-size:.8rem}
.tile dd{margin:0;font-size:1.25rem;font-weight:600;font-variant-numeric:tabular-nums;
line-height:1.3;overflow-wrap:anywhere}
.tile .note{font-size:.8rem;font-weight:400}
.tile dd.absent{font-size:.9rem;font-weight:400;color:var(--soft);padding-top:5px}
.alarm{color:var(--alarm)}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,420px),1fr));
gap:28px 36px}
.wide{overflow-x:auto;margin-top:14px}
.charts+p{margin-top:14px}
table{border-collapse:collapse;font-size:.87rem;font-variant-numeric:tabular-nums;width:100%}
caption{text-align:left;color:var(--soft);padding-bottom:4px}
th,td{text-align:left;vertical-align:top;padding:5px 14px 5px 0;border-bottom:1px solid var(--grid)}
th{color:var(--soft);font-weight:500;white-space:nowrap}
.number{text-align:right;white-space:nowrap}
details{margin-top:12px}
summary{cursor:pointer}
pre{background:var(--card);border-radius:8px;padding:12px;overflow-x:auto;
font:12.5px/1.45 ui-monospace,monospace}
@media(max-width:700px){.wide table{width:max-content;min-width:100%}.wide td{max-width:46ch}}
@media print{body{max-width:none;padding:0}.charts figure,.tile{break-inside:avoid}}
"""


def stylesheet() -> str:
    """CSS of a whole page; the reader's device says whether it is light or dark."""
    series = "".join(
        f".chart .line.c{i}{{stroke:var(--c{i})}}.chart .fill.c{i}{{fill:var(--c{i})}}"
        for i in range(len(LIGHT))
    )
    return (
        f":root{{color-scheme:light dark;{_LIGHT_PROPERTIES}}}"
        f"@media(prefers-color-scheme:dark){{:root{{{_DARK_PROPERTIES}}}}}"
        f"{_PAGE}{_CHARTS}{series}"
    )
