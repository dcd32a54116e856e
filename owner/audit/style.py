"""The report's looks: one column on a phone, light or dark as the reader's device is."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark;
  --ink: #1b1f24; --soft: #5b6672; --page: #fbfbf9; --card: #fff; --line: #dfe3e6;
  --low: #1b7f4b; --medium: #9a6700; --high: #b3261e; --none: #5b6672; }
@media (prefers-color-scheme: dark) { :root {
  --ink: #e7eaee; --soft: #a0abb6; --page: #14171a; --card: #1c2024; --line: #343b42;
  --low: #5cc78d; --medium: #e0b04a; --high: #ff8a80; --none: #a0abb6; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.2rem 1rem 3rem; max-width: 62rem; background: var(--page);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .5rem; }
p, ul { margin: .4rem 0; max-width: 46rem; }
.soft { color: var(--soft); font-size: .92rem; }
.cards { display: grid; gap: .7rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 17rem), 1fr)); }
.card, figure, .scroll { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; }
.card { padding: .8rem .9rem; }
.card h3 { display: flex; justify-content: space-between; gap: .6rem; align-items: baseline; margin: 0;
  font-size: 1rem; }
.card p { font-size: .92rem; }
.level { font-weight: 700; font-size: .85rem; white-space: nowrap; }
.low { color: var(--low); } .medium { color: var(--medium); }
.high { color: var(--high); } .none { color: var(--none); }
.row { display: grid; grid-template-columns: 10.5rem 1fr; gap: .15rem .8rem; align-items: center;
  padding: .35rem 0; border-bottom: 1px solid var(--line); }
.row > div { font-size: .9rem; line-height: 1.3; }
.row small { display: block; color: var(--soft); }
.strip { display: block; width: 100%; max-width: 44rem; image-rendering: pixelated; }
.charts { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 18rem), 1fr)); }
figure { margin: 0; padding: .7rem; }
figcaption { font-weight: 600; font-size: .95rem; margin-bottom: .3rem; }
svg { display: block; width: 100%; height: auto; }
.grid { stroke: var(--line); }
.tick { fill: var(--soft); font-size: 10.5px; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1rem; font-size: .85rem; color: var(--soft); }
.legend i { display: inline-block; width: .8rem; height: .2rem; margin-right: .35rem;
  vertical-align: middle; }
.scroll { overflow-x: auto; }
table { border-collapse: separate; border-spacing: 0; width: 100%; font-size: .88rem;
  font-variant-numeric: tabular-nums; }
th { vertical-align: bottom; }
th, td { padding: .35rem .55rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: var(--card); }
tr:last-child td { border-bottom: 0; }
dl { display: grid; grid-template-columns: minmax(7rem, 13rem) 1fr; gap: .2rem .8rem; font-size: .92rem; }
dt { color: var(--soft); }
dd { margin: 0; min-width: 0; }
@media (max-width: 40rem) {
  .row, dl { grid-template-columns: 1fr; }
  dd { margin-bottom: .4rem; }
  .row small { display: inline; margin-left: .4rem; } }
"""
