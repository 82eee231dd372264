"""How a report looks: one style sheet, light and dark."""

STYLE = """
:root { --paper: #fbfaf7; --card: #ffffff; --ink: #1d2a30; --soft: #66757c; --rule: #e3e1da; --c1: #0f6d7a;
  --c2: #b06a1c; --wait: #c9d6d4; --bad: #b83b3b; --good: #2c7a4b; }
@media (prefers-color-scheme: dark) { :root { --paper: #14191c; --card: #1c2327; --ink: #e4e8e8; --soft:
  #93a1a6; --rule: #2e383d; --c1: #57b7c4; --c2: #dd9a52; --wait: #3b4a50; --bad: #e27373; --good: #67bd8a; }
  }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1060px; margin: 0 auto; padding: 36px 24px 60px; }
h1 { font-size: 26px; font-weight: 650; margin: 0 0 2px; letter-spacing: -.01em; }
h2 { font-size: 17px; font-weight: 650; margin: 38px 0 10px; }
p { margin: 4px 0; max-width: 78ch; }
.soft, figcaption { color: var(--soft); }
figcaption { font-size: 13px; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(112px, 1fr)); gap: 12px; margin: 24px 0
  6px; }
.card, figure { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; }
.card { padding: 12px 14px; }
.card b { display: block; font-size: 23px; font-weight: 650; font-variant-numeric: tabular-nums; }
.card span { color: var(--soft); font-size: 13px; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(400px, 1fr)); gap: 14px; }
figure { margin: 0 0 14px; padding: 14px 14px 10px; overflow-x: auto; }
figure.wide { min-width: 0; }
.pair figure { margin: 0; }
svg { display: block; width: 100%; height: auto; }
svg text { font: 11px system-ui, sans-serif; fill: var(--soft); }
svg .note { fill: var(--ink); }
.grid { stroke: var(--rule); }
.axis { stroke: var(--soft); }
.line { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
.line.c1 { stroke: var(--c1); }
.line.c2 { stroke: var(--c2); }
.line.whisker { stroke: var(--soft); stroke-width: 1; }
.area.c1 { fill: var(--c1); opacity: .12; }
.guide { stroke: var(--c2); stroke-dasharray: 4 4; }
.bar.c1, .dot.c1 { fill: var(--c1); }
.bar.wait { fill: var(--wait); }
.bad { fill: var(--bad); }
.good { fill: var(--good); }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 5px 10px; border-bottom: 1px solid var(--rule); white-space: nowrap; }
th { color: var(--soft); font-weight: 500; }
th:first-child, td:first-child { text-align: left; }
.scroll { overflow-x: auto; margin-bottom: 16px; }
.facts td { text-align: left; white-space: normal; word-break: break-word; }
.facts td:first-child { color: var(--soft); width: 34%; }
details { margin-top: 12px; }
summary { cursor: pointer; }
.warning { border-left: 3px solid var(--c2); padding: 2px 12px; margin: 8px 0; }
"""
