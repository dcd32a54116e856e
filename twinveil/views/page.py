"""The report as one HTML page that needs nothing else: pictures side by side, verdict, figures."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from twinveil.network.plan import IMAGE
from twinveil.views.audit import ViewsReport
from twinveil.views.chances import FALSE_ALARMS
from twinveil.views.collection import Asked, Collection, with_items
from twinveil.views.statistics import Finding
from twinveil.views.view import Event, View

Grey = npt.NDArray[np.uint8]

PICTURES = 4
"""Queries that are shown."""

SEEN = {
    ("packed", "cloud_s1"): {
        ("half", IMAGE): "the user's m",
        ("received", "item_inputs"): "E(u), encrypted",
        ("shared", f"{IMAGE} - u"): "x - u, its share",
    },
    ("packed", "cloud_s2"): {
        ("half", IMAGE): "the user's d xor m",
        ("decrypted", "ahead"): "sums + s, decrypted",
        ("shared", f"{IMAGE} - r"): "x - r, its share",
    },
    ("textbook", "cloud_s1"): {
        ("half", IMAGE): "the user's d·M",
        ("received", "encrypted_shares"): "E(x + R), encrypted",
        ("received", "corrections"): "S2's flipped choices",
    },
    ("textbook", "cloud_s2"): {
        ("half", IMAGE): "the user's M⁻¹",
        ("decrypted", IMAGE): "P + s, decrypted",
        ("evaluated", IMAGE): "x + R, out of a circuit",
    },
}
"""By engine and cloud: what of a query and of its item is shown, and how it is called."""

STYLE = """
:root{--ink:#1d2433;--soft:#667085;--line:#e3e7ee;--good:#0a7f4f;--bad:#b42318;--paper:#fff;--ground:#f5f7fa}
@media(prefers-color-scheme:dark){:root{--ink:#e8ecf4;--soft:#98a2b3;--line:#2b3446;--good:#3ccb8f;
--bad:#ff8478;--paper:#171d2a;--ground:#0f1420}}
*{box-sizing:border-box}body{margin:0;background:var(--ground);color:var(--ink);
font:16px/1.5 system-ui,sans-serif}main{max-width:1040px;margin:0 auto;padding:32px 20px 64px}
h1{font-size:28px;margin:0 0 4px}h2{font-size:19px;margin:40px 0 8px}p{margin:6px 0;max-width:70ch}
.soft{color:var(--soft)}.verdict{font-weight:600;font-size:18px;margin:16px 0}
.good{color:var(--good)}.bad{color:var(--bad)}
.card{background:var(--paper);border:1px solid var(--line);border-radius:10px;padding:16px;margin:12px 0}
.query{display:grid;grid-template-columns:1fr 3fr 3fr;gap:24px}
.party h3{font-size:14px;margin:0 0 8px;font-weight:600}.tiles{display:flex;gap:12px}
figure{margin:0;flex:1;min-width:0}figure img{width:100%;image-rendering:pixelated;display:block;
border:1px solid var(--line);border-radius:4px}
figcaption{font-size:12px;line-height:1.35;color:var(--soft);margin-top:6px}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:14px}
th,td{text-align:left;padding:6px 12px 6px 0;border-bottom:1px solid var(--line);white-space:nowrap}
th{font-weight:600;color:var(--soft)}td.number,th.number{text-align:right}
.bar{position:relative;height:22px;min-width:180px;background:var(--ground);border-radius:4px}
.bar i{position:absolute;top:8px;height:6px;background:var(--soft);border-radius:3px;opacity:.6}
.bar b{position:absolute;top:4px;width:4px;height:14px;margin-left:-2px;background:var(--ink)}
.bar u{position:absolute;top:0;height:22px;left:50%;border-left:1px dashed var(--soft)}
@media(max-width:640px){.query{grid-template-columns:1fr}.user .tiles{max-width:33%}main{padding:20px 14px}}
"""


def page(report: ViewsReport, collection: Collection) -> str:
    """The whole document."""
    shown = [each for each in collection.matched if len(each[1]) == 2][:PICTURES]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Twinveil: what each cloud saw</title><style>{STYLE}</style></head><body><main>"
        "<h1>What each cloud saw</h1>"
        f'<p class="soft">{len(collection.views)} recorded views: every value that a cloud received, '
        "decrypted or got out of a circuit.</p>"
        + _verdict(report)
        + "".join(_query(picture, views, collection.views) for picture, views in shown)
        + _structure(report)
        + _guesses(report)
        + _statistics(report)
        + "</main></body></html>\n"
    )


def _verdict(report: ViewsReport) -> str:
    if report.clean:
        words = f"No alarm in {report.tests:,} tests: they find nothing that depends on a picture, weight or"
        told = f'<p class="verdict good">{words} answer.</p>'
    else:
        rows = "".join(f"<li>{html.escape(each)}</li>" for each in report.alarms[:40])
        told = f'<p class="verdict bad">{len(report.alarms)} alarms</p><ul>{rows}</ul>'
    return (
        f'<section aria-label="verdict">{told}<p class="soft">Honest clouds raise any alarm in at most '
        f"one of {round(1 / FALSE_ALARMS):,} such pages, over all tests (Holm).</p></section>"
    )


def _query(picture: Asked, views: Mapping[str, View], recorded: Sequence[View]) -> str:
    pixels = picture.array()
    grey = pixels[0] if len(pixels) != 3 else np.moveaxis(pixels, 0, -1)
    size = pixels.shape[1:]
    own = _tile(grey, f"shows {picture.truth}; the answer was {picture.answer}")
    return (
        '<section class="card query">'
        + _party("user", "The user has", [own])
        + _party("cloud", "S1 sees", _tiles(views["cloud_s1"], recorded, size))
        + _party("cloud", "S2 sees", _tiles(views["cloud_s2"], recorded, size))
        + "</section>"
    )


def _party(kind: str, title: str, tiles: Iterable[str]) -> str:
    return f'<div class="party {kind}"><h3>{title}</h3><div class="tiles">{"".join(tiles)}</div></div>'


def _tiles(query: View, recorded: Sequence[View], size: tuple[int, ...]) -> list[str]:
    wanted = SEEN[query.subject.engine, query.role]
    found: dict[tuple[str, str], Event] = {}
    for view in with_items(query, recorded):
        for event in view.events:
            found.setdefault((event.what, event.name), event)
    return [_tile(_noise(found[what], size), caption) for what, caption in wanted.items() if what in found]


def _noise(event: Event, size: tuple[int, ...]) -> Grey:
    """What reached the cloud, as a picture of the same size: the low byte of each value, or all bytes."""
    array = next(iter(event.arrays.values()))
    count = int(np.prod(size))
    data = array[:, 0] if array.ndim == 2 and len(array) >= count else array.reshape(-1)
    return np.resize(data, count).astype(np.uint8).reshape(size)


def _tile(pixels: Grey, caption: str) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    data = base64.b64encode(file.getvalue()).decode()
    words = html.escape(caption)
    image = f'<img alt="{words}" src="data:image/png;base64,{data}">'
    return f"<figure>{image}<figcaption>{words}</figcaption></figure>"


def _structure(report: ViewsReport) -> str:
    rows = [
        (
            each.cloud,
            each.what,
            f"{each.views:,}",
            f"{each.messages:,}",
            f"{each.bytes:,}",
            f"{each.decryptions:,}",
            each.differs or "the same in all",
        )
        for each in report.kinds
    ]
    head = ("cloud", "conversation", "views", "messages", "bytes", "decryptions", "structure")
    told = "Count, size and order of messages and decryptions."
    if report.unfinished:
        told += (
            f" {report.unfinished:,} views are of conversations that were broken off: each must look like "
            f"the beginning of the others; {report.not_shown}."
        )
    return f"<h2>Structure</h2><p>{told}</p>" + _table(head, rows)


def _guesses(report: ViewsReport) -> str:
    title = "<h2>A trained distinguisher</h2>"
    if not report.guesses:
        return f"{title}<p>Too few views of two classes of pictures to train one.</p>"
    rows = []
    for each in report.guesses:
        low, high = each.bounds
        bar = (
            f'<div class="bar" role="img" aria-label="accuracy {each.accuracy:.0%}"><u></u>'
            f'<i style="left:{low:.1%};width:{high - low:.1%}"></i>'
            f'<b style="left:{each.accuracy:.1%}"></b></div>'
        )
        words = f"{each.accuracy:.0%} ({low:.0%} to {high:.0%})"
        named = (each.cloud, html.escape(each.what), html.escape(each.classes))
        rows.append((*named, f"{each.right} of {each.guesses}", words, bar))
    head = ("cloud", "conversation", "classes", "right", "accuracy, 95 % interval", "guessing is 50 %")
    told = "<p>It learned from half of the views and guessed what the others show.</p>"
    return title + told + _table(head, rows, escape=False)


def _statistics(report: ViewsReport) -> str:
    fields: dict[tuple[str, str], list[Finding]] = {}
    for each in report.findings:
        fields.setdefault((each.cloud, each.field), []).append(each)
    rows = []
    for (cloud, field), found in fields.items():
        least = min(found, key=lambda each: each.p)
        values = max(each.values for each in found)
        rows.append((cloud, field, f"{values:,}", str(len(found)), f"{least.p:.2g}", least.test))
    head = ("cloud", "field", "values", "tests", "least p", "in the test of")
    told = (
        "<p>Uniformity, differences between views and between neighbours, range of masks, serial "
        "correlation. p is the probability of such a sample if the cloud learns nothing. A single value "
        f"outside its mask's range is an alarm among up to {report.lone:,} views of a kind.</p>"
    )
    return "<h2>Statistics of every masked field</h2>" + told + _table(head, rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], escape: bool = True) -> str:
    cells = "".join(f"<th>{html.escape(each)}</th>" for each in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(each) if escape else each}</td>" for each in row) + "</tr>"
        for row in rows
    )
    return (
        f'<div class="card scroll"><table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>'
    )
