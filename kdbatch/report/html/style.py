"""The page's style and its one script, inline: the page is a single file and asks nothing of the
network.
"""

STYLE = """
:root{color-scheme:light dark;--paper:#fdfdfc;--card:#fff;--ink:#1c2024;--faint:#646b75;--line:#e4e4e0;--tint:#f5f5f2;
--accent:#0b6e8f;--holds:#1a7f4b;--fails:#b42318;--undecided:#8a5a00;--not-yet:#646b75;--student:#d55e00}
@media (prefers-color-scheme:dark){:root{--paper:#14171a;--card:#1b1f23;--ink:#e7e9ea;--faint:#9aa3ad;--line:#2d3338;--tint:#1f2429;
--accent:#6cc3e0;--holds:#5fc98f;--fails:#ff8a7a;--undecided:#e0b04a;--not-yet:#9aa3ad;--student:#ff9a52}}
*{box-sizing:border-box}
html{scroll-behavior:smooth;-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif}
main,body>header,body>footer{max-width:71rem;margin:0 auto;padding:0 1.25rem}
body>header{padding-top:3rem}
h1{font-size:clamp(1.7rem,4.5vw,2.4rem);line-height:1.15;letter-spacing:-.02em;margin:.2rem 0 .8rem;font-weight:680;text-wrap:balance}
h2{font-size:1.5rem;line-height:1.25;letter-spacing:-.01em;margin:0 0 .3rem;text-wrap:balance}
h3{font-size:1.06rem;line-height:1.35;margin:2.2rem 0 .5rem}
p{margin:.4rem 0;max-width:46rem}
a{color:var(--accent);text-underline-offset:.15em;text-decoration-thickness:1px}
.kicker{font-size:.8rem;letter-spacing:.08em;text-transform:uppercase;color:var(--faint);margin:0}
.lede{font-size:1.13rem}
.faint,figcaption,caption{color:var(--faint);font-size:.9rem}
section{margin:3.5rem 0 0;padding-top:1.6rem;border-top:1px solid var(--line)}
nav{margin:1.2rem 0 0;display:flex;flex-wrap:wrap;gap:.3rem 1.2rem;font-size:.95rem}
.bar{display:flex;height:.55rem;border-radius:.3rem;overflow:hidden;background:var(--line);margin:1.1rem 0 .5rem;max-width:46rem}
.bar span{display:block}.bar .done{background:var(--accent)}.bar .failed{background:var(--fails)}
.bar .running{background:var(--undecided)}
.key{display:flex;flex-wrap:wrap;gap:.2rem 1.1rem;list-style:none;margin:0;padding:0;font-size:.9rem;color:var(--faint)}
.key i{display:inline-block;width:.65rem;height:.65rem;border-radius:.15rem;margin-right:.4rem;background:var(--line)}
.key .done i{background:var(--accent)}.key .failed i{background:var(--fails)}.key .running i{background:var(--undecided)}
.scroll{overflow-x:auto;margin:.6rem 0;-webkit-overflow-scrolling:touch}
.scroll:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
table{border-collapse:collapse;font-size:.94rem;font-variant-numeric:tabular-nums;min-width:min(100%,24rem)}
th,td{padding:.36rem .8rem;text-align:left;vertical-align:baseline;border-bottom:1px solid var(--line)}
th:first-child,td:first-child{padding-left:0}
tbody th{font-weight:500}
thead th{font-weight:600;font-size:.86rem;color:var(--faint);border-bottom:1px solid var(--faint);white-space:nowrap}
thead tr:not(:last-child) th{border-bottom-color:var(--line)}
th.over{text-align:center;color:var(--ink)}
.num{text-align:right;white-space:nowrap}
.none,.sd{color:var(--faint)}.sd{font-size:.86em}
.grid td,.grid thead th{padding-left:.55rem;padding-right:.55rem}.grid thead th:first-child{padding-left:0}
.grid tbody th{white-space:nowrap;position:sticky;left:0;background:var(--paper)}
.grid tr.student th{font-weight:680}
.grid tr.student th::after{content:"";display:inline-block;width:.5rem;height:.5rem;
border-radius:50%;margin-left:.45rem;background:var(--student)}
.grid tr.part th,.verdicts tr.part th{font-weight:600;font-size:.82rem;color:var(--faint);padding-top:1.1rem;position:static}
tbody.control td,tbody.control th,tbody.ensemble td,tbody.ensemble th{border-bottom-style:dotted}
tbody.ensemble{color:var(--faint)}
th button{all:unset;cursor:pointer;color:inherit}
th button:focus-visible{outline:2px solid var(--accent);outline-offset:3px}
th button::after{position:absolute;padding-left:.15em}
th[aria-sort=ascending] button::after{content:"↑"}th[aria-sort=descending] button::after{content:"↓"}
figure{margin:1rem 0 2rem}figure .scroll{margin:0}
figure img{display:block;max-width:100%;height:auto;background:#fff;border:1px solid var(--line);border-radius:.4rem;padding:.5rem}
figcaption{margin-top:.5rem;max-width:46rem}
.claim{background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:.9rem 1.1rem;margin:.8rem 0}
.claim header{display:flex;gap:.8rem;align-items:baseline;flex-wrap:wrap}
.claim .says{margin:0;font-weight:560;flex:1 1 16rem}
.claim p{max-width:none}
.effect{font-variant-numeric:tabular-nums}
.badge{display:inline-flex;gap:.35rem;align-items:baseline;font-size:.82rem;font-weight:650;
border:1.5px solid currentColor;border-radius:1rem;padding:.05rem .6rem;white-space:nowrap}
.badge.holds{color:var(--holds)}.badge.fails{color:var(--fails)}.badge.undecided{color:var(--undecided);border-style:dashed}
.badge.not-yet{color:var(--not-yet);border-style:dotted}
.forest th{font-weight:400;font-size:.9rem}
.forest td,.forest th{border-bottom:0;padding-top:.12rem;padding-bottom:.12rem;vertical-align:middle}
svg{display:block}svg .zero{stroke:var(--faint);stroke-width:1;stroke-dasharray:2 2}svg .range{stroke:var(--ink);stroke-width:1.6}
svg circle{fill:var(--ink)}
.notice{border-left:3px solid var(--fails);background:var(--tint);padding:.7rem 1rem;margin:1.2rem 0;border-radius:0 .3rem .3rem 0}
.notice ul{margin:.3rem 0;padding-left:1.1rem;overflow-wrap:anywhere;font-size:.92rem}
details{margin:.8rem 0}summary{cursor:pointer;color:var(--accent)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1.2rem;font-size:.92rem;margin:.6rem 0}
dt{color:var(--faint)}dd{margin:0;overflow-wrap:anywhere}
code{font:.88em ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
body>footer{padding:3rem 1.25rem 4rem;color:var(--faint);font-size:.88rem}
@media (max-width:36rem){body{font-size:15.5px}th,td{padding:.34rem .55rem}dl{grid-template-columns:1fr}dt{margin-top:.4rem}
.grid tbody th{white-space:normal}
body>header{padding-top:1.6rem}section{margin-top:2.4rem}.claim{padding:.8rem .85rem}
.forest tr{display:grid;grid-template-columns:auto 1fr;align-items:center}.forest th{grid-column:1/-1;padding-left:0}
.forest .plot{padding-left:0}}
@media print{:root{color-scheme:light;--paper:#fff;--card:#fff;--ink:#000;--faint:#444;--line:#bbb;--tint:#fff;--accent:#000}
body{font-size:10.5pt}nav,th button::after{display:none}section:not(#claims){break-before:page}
h2,h3{break-after:avoid}figure,.claim,tr{break-inside:avoid}
.scroll{overflow:visible}
a{text-decoration:none}}
"""

# Sorts inside each tbody, so that controls stay below the models; numbers by data-value or by what
# their text begins with.
SCRIPT = """
"use strict";
for (const table of document.querySelectorAll("table[data-sortable]")) {
  const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const rising = head.getAttribute("aria-sort") === "descending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", rising ? "ascending" : "descending");
      const key = row => {
        const cell = row.cells[column];
        const text = cell.textContent.trim().replace("\\u2212", "-").replace(/,/g, "");
        const value = parseFloat(cell.dataset.value ?? text);
        return head.classList.contains("num") ? (Number.isNaN(value) ? -Infinity : value) : text;
      };
      for (const body of table.tBodies) {
        const rows = [...body.rows].filter(row => !row.classList.contains("part"));
        rows.sort((a, b) => {
          const [x, y] = [key(a), key(b)];
          const order = typeof x === "number" ? x - y : x.localeCompare(y, undefined, {numeric: true});
          return (rising ? 1 : -1) * (order || 0);
        });
        body.append(...rows);
      }
    });
  });
}
"""
