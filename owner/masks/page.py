"""How the report looks: one column, tables that turn into cards on a phone, light and dark."""

STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5b6676; --line: #d9dee6; --page: #fbfcfd;
  --card: #ffffff; --good: #0f6b4f; --good-soft: #e3f4ed; --bad: #8a2f2f; --wait: #7a5a10; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6eaf0; --soft: #9aa6b6; --line: #333d4b; --page: #141a22; --card: #1b222c;
    --good: #6fd6ae; --good-soft: #17372c; --bad: #f0a0a0; --wait: #e4c170; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 1rem; }
h2 { font-size: 1.2rem; margin: 2.4rem 0 .5rem; }
p { max-width: 46rem; margin: .4rem 0 .9rem; }
.lead { font-size: 1.15rem; }
small { color: var(--soft); white-space: nowrap; }
table { width: 100%; border-collapse: collapse; background: var(--card); border: 1px solid var(--line);
  font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: .5rem .7rem; border-bottom: 1px solid var(--line); }
thead th { font-size: .85rem; color: var(--soft); font-weight: 600; }
tbody th { font-weight: 600; white-space: nowrap; }
td small { display: block; }
tr.kept { background: var(--good-soft); }
ul.effects { list-style: none; padding: 0; }
ul.effects li { margin: 0 0 .8rem; }
ul.effects small { white-space: normal; }
.verdict { display: inline-block; font-size: .85rem; font-weight: 700; border: 1px solid currentColor;
  border-radius: .3rem; padding: 0 .4rem; margin-right: .3rem; color: var(--wait); }
.appears { color: var(--good); }
.does-not-appear { color: var(--bad); }
.strip { display: flex; gap: .8rem; align-items: center; margin: .5rem 0; }
.strip > span { flex: 0 0 4.5rem; color: var(--soft); font-size: .9rem; }
.strip > div { display: flex; flex-wrap: wrap; gap: .4rem; }
.strip img { display: block; width: 96px; height: auto; border: 1px solid var(--line);
  image-rendering: pixelated; }
@media (max-width: 40rem) {
  main { padding: 1.2rem .9rem 3rem; }
  thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  table, tbody, tr, th, td { display: block; }
  tr { padding: .5rem 0; border-bottom: 1px solid var(--line); }
  tbody th, td { border: 0; padding: .15rem .8rem; }
  tbody th br { display: none; }
  td[data-label] { position: relative; padding-left: 11.5rem; min-height: 1.85rem; }
  td[data-label]::before { content: attr(data-label); position: absolute; left: .8rem; color: var(--soft);
    font-size: .85rem; }
  td[data-label=""] { padding-left: .8rem; }
  td:empty { display: none; }
  td small { display: inline; margin-left: .4rem; }
  .strip { display: block; }
  .strip > div { display: grid; grid-template-columns: repeat(6, 1fr); gap: .25rem; }
  .strip img { width: 100%; }
}
"""
