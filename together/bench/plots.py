"""Plots for people and for the documentation, as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from twinveil.errors import BadConfiguration, BadInput
from twinveil.start.extras import needs

PARTS = (("s1_cpu_seconds", "S1"), ("s2_cpu_seconds", "S2"))


def draw(figures: Mapping[str, Any], folder: Path) -> list[Path]:
    """Every plot that the figures have data for; returns the files. Raises as `ready` does."""
    ready(folder)
    made = []
    details = figures.get("details", {})
    if details:
        made.append(_one_picture(details, folder / "one-picture.svg"))
    if len(details) > 1:
        made.append(_key_sizes(details, folder / "key-sizes.svg"))
    if any("error" not in row for row in figures.get("growth", ())):
        made.append(_growth(figures["growth"], folder / "growth.svg"))
    return made


def ready(folder: Path) -> None:
    """Makes the folder. Raises BadInput where nothing can be written, BadConfiguration without matplotlib."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise BadInput(f"plots cannot be written to {folder}: {error.strerror}") from None
    _pyplot()


def _pyplot() -> Any:
    try:
        import matplotlib as mpl

        mpl.use("svg")
        from matplotlib import pyplot
    except ImportError:
        raise BadConfiguration(needs("drawing plots", "matplotlib")) from None
    # The same figures give the same file: no date, no random names in it.
    mpl.rcParams["svg.hashsalt"] = "twinveil"
    return pyplot


def _axes(count: int = 1, width: float = 7.0, height: float = 3.6) -> tuple[Any, list[Any]]:
    figure, axes = _pyplot().subplots(1, count, figsize=(width, height), layout="constrained", squeeze=False)
    for each in axes[0]:
        each.spines[["top", "right"]].set_visible(False)
    return figure, list(axes[0])


def _save(figure: Any, path: Path) -> Path:
    figure.savefig(path, metadata={"Date": None})
    _pyplot().close(figure)
    return path


def _one_picture(details: Mapping[str, Any], path: Path) -> Path:
    """Processor seconds of each function, ahead and online, for the first key size."""
    bits, detail = next(iter(details.items()))
    names = sorted(detail["functions"], key=lambda name: not detail["functions"][name]["ahead"])
    figure, (axis,) = _axes()
    start = [0.0] * len(names)
    for part, label in PARTS:
        values = [detail["functions"][name][part] for name in names]
        axis.barh(names, values, left=start, label=label)
        start = [a + b for a, b in zip(start, values, strict=True)]
    axis.invert_yaxis()
    axis.set_xlabel("processor seconds a picture")
    axis.set_title(f"Where one picture's time goes, {bits} bits")
    axis.legend(frameon=False)
    return _save(figure, path)


def _key_sizes(details: Mapping[str, Any], path: Path) -> Path:
    figure, (axis,) = _axes(width=5.0)
    kinds = ("online", "sustained")
    width = 0.8 / len(details)
    for index, (bits, detail) in enumerate(details.items()):
        values = [detail["seconds"][kind]["median"] for kind in kinds]
        low = [value - detail["seconds"][kind]["least"] for value, kind in zip(values, kinds, strict=True)]
        high = [detail["seconds"][kind]["largest"] - value for value, kind in zip(values, kinds, strict=True)]
        places = [place + index * width for place in range(len(kinds))]
        axis.bar(places, values, width, yerr=[low, high], capsize=3, label=f"{bits} bits")
    axis.set_xticks([place + width * (len(details) - 1) / 2 for place in range(len(kinds))])
    axis.set_xticklabels(["an item ready", "nothing ahead"])
    axis.set_ylabel("seconds a picture")
    axis.legend(frameon=False)
    return _save(figure, path)


def _growth(rows: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """Seconds by the picture's side, by its channels, and by the number of pictures."""
    rows = [row for row in rows if "error" not in row]
    figure, panels = _axes(3, width=10.0)
    smallest = min(row["image_shape"][1] for row in rows)
    single = [row for row in rows if row["pictures"] == 1]
    lines = (
        (
            "side of the picture in pixels",
            {r["image_shape"][1]: r for r in single if r["image_shape"][0] == 1},
        ),
        ("channels", {r["image_shape"][0]: r for r in single if r["image_shape"][1] == smallest}),
        (
            "pictures asked together",
            {r["pictures"]: r for r in rows if r["image_shape"] == [1, smallest, smallest]},
        ),
    )
    for axis, (label, points) in zip(panels, lines, strict=True):
        found = [points[at] for at in sorted(points)]
        axis.plot(sorted(points), [row["online_seconds_a_picture"] for row in found], "o-", label="online")
        axis.plot(sorted(points), [row["item_seconds"] for row in found], "s--", label="an item")
        axis.set_xlabel(label)
        axis.set_xticks(sorted(points))
        axis.set_yscale("log")
    panels[2].set_xscale("log", base=2)
    panels[2].set_xticks(sorted(lines[2][1]), [str(count) for count in sorted(lines[2][1])])
    panels[0].set_ylabel("seconds a picture")
    panels[0].legend(frameon=False)
    return _save(figure, path)
