// The table of all runs, and the dialog of the runs behind a number. The data are those of
// html/runs.py. Every text gets into the page as textContent, never as markup.
"use strict";
{
const data = JSON.parse(document.getElementById("run-data").textContent);
const runs = data.runs;
const runById = new Map(runs.map(run => [run.id, run]));
const PAGE_ROWS = 25, MORE_ROWS = 250, PRINTED_ROWS = 500, MAX_COLUMNS = 6, MAX_TREES = 20, NONE = "\u2013";
const WIDTH = 260, HEIGHT = 90;

const number = (value, digits = 1) =>
  value == null ? NONE : value.toFixed(digits).replace("-", "\u2212");
const result = run => number(run.value, run.metric === "block_index" ? 2 : 1)
  + (run.interval ? ` [${run.interval.map(end => number(end)).join(", ")}]` : "");
const sum = values => values.reduce((a, b) => a + b, 0);

function make(name, attributes = {}, ...parts) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...parts);
  return element;
}

function button(name, action, ...parts) {
  const element = make("button", {type: "button", class: name}, ...parts);
  element.addEventListener("click", action);
  return element;
}

function tableOf(heads, rows, numTexts = 1) {
  const cells = (texts, name) => texts.map((text, i) => make(
    name, {class: i < numTexts ? "text" : "num", ...(name === "th" && {scope: "col"})}, text));
  const body = rows.map(row => make("tr", {}, ...cells(row, "td")));
  const head = make("thead", {}, make("tr", {}, ...cells(heads, "th")));
  return make("div", {class: "scroll", tabindex: 0},
    make("table", {}, head, make("tbody", {}, ...body)));
}

function folded(title, ...parts) {
  return make("details", {}, make("summary", {}, title), ...parts);
}

// Columns of a comparison: the two sides of a difference, or the runs by recipe.
function groupsOf(sides) {
  if (sides.length > 1) {
    const rest = side => side.length > 1 ? ` and ${side.length - 1} more` : "";
    return sides.map(side => [side[0].title + rest(side), side]);
  }
  const byRecipe = new Map();
  for (const run of sides[0]) {
    byRecipe.set(run.recipe, [...(byRecipe.get(run.recipe) ?? []), run]);
  }
  return [...byRecipe.values()].slice(0, MAX_COLUMNS).map(group => [group[0].title, group]);
}

function recipeTable(groups) {
  const columns = groups.map(([, group]) => {
    const values = new Map();
    for (const recipe of new Set(group.map(run => run.recipe))) {
      for (const [name, value] of data.recipes[recipe].map(i => data.fields[i])) {
        values.set(name, (values.get(name) ?? new Set()).add(value));
      }
    }
    return values;
  });
  const names = [...new Set(columns.flatMap(values => [...values.keys()]))];
  const rows = names.map(name =>
    [name, ...columns.map(values => [...(values.get(name) ?? [NONE])].join(" or "))]);
  const heads = ["Field", ...groups.map(([title]) => title)];
  if (groups.length === 1) return folded("The whole recipe", tableOf(["Field", "Value"], rows, 2));
  const differing = rows.filter(([, ...values]) => new Set(values).size > 1);
  if (!differing.length) return make("p", {}, "The recipes are equal: seeds or parents differ.");
  return tableOf(heads, differing, heads.length);
}

// A run with its parents below it; a damaged file may hold a circle.
function tree(run, above = []) {
  const parents = (run.parents ?? []).filter(id => runById.has(id) && !above.includes(id));
  const lists = parents.map(id => tree(runById.get(id), [...above, run.id]));
  const open = button("number", () => show([[run]]), run.title);
  return make("li", {}, open, ` ${run.id}, ${run.state}`,
    ...(lists.length ? [make("ul", {}, ...lists)] : []));
}

// The page has no address in it, not even that of a namespace.
const SVG = new DOMParser().parseFromString("<svg></svg>", "text/html").body.firstChild.namespaceURI;

function svg(name, attributes, ...parts) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...parts);
  return element;
}

// A line per run; the caption has the range of the values, so that the picture needs no axes.
function curveFigure(name, chosen) {
  const curves = chosen.map(run => [run, ...run.curves[name]]);
  const steps = curves.flatMap(([, x]) => x), values = curves.flatMap(([, , y]) => y);
  const [low, high, last] = [Math.min(...values), Math.max(...values), Math.max(...steps, 1)];
  const lines = curves.map(([run, x, y]) => {
    const points = x.map((step, i) => [4 + (WIDTH - 8) * step / last,
      HEIGHT - 4 - (HEIGHT - 8) * (y[i] - low) / (high - low || 1)].map(v => v.toFixed(1)));
    const title = svg("title", {}, `${run.title}: ${y[0]} to ${y[y.length - 1]}`);
    const shape = points.length > 1
      ? ["polyline", {points: points.map(p => p.join()).join(" ")}]
      : ["circle", {cx: points[0][0], cy: points[0][1], r: 3}];
    return svg(...shape, title);
  });
  const text = `${name.replaceAll("_", " ")}: ${low} to ${high}, up to step ${last}`;
  const picture = svg("svg", {
    class: "curve", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, width: WIDTH, height: HEIGHT, role: "img",
    "aria-label": text,
  }, ...lines);
  return make("figure", {}, picture, make("figcaption", {}, text));
}

function curves(chosen) {
  const names = [...new Set(chosen.flatMap(run => Object.keys(run.curves ?? {})))];
  const figures = names.map(name => curveFigure(name, chosen.filter(run => run.curves?.[name])));
  return figures.length ? [make("h3", {}, "Curves"), make("div", {class: "curves"}, ...figures)] : [];
}

// Accuracy by class, of the runs of each group that were tested on the videos of the first one.
function classTable(groups) {
  const tested = groups.flatMap(([, group]) => group).find(run => run.right);
  if (!tested) return [];
  const place = tested.right[0], test = data.tests[place];
  const columns = groups.map(([title, group]) =>
    [title, group.filter(run => run.right?.[0] === place)]).filter(([, group]) => group.length);
  const accuracies = columns.map(([, group]) => test.videos.map((videos, k) =>
    videos ? 100 * sum(group.map(run => run.right[1][k])) / group.length / videos : null));
  const rows = test.videos.map((videos, k) =>
    [test.classes[k] ?? `class ${k}`, String(videos), ...accuracies.map(of => number(of[k]))]);
  const heads = ["Class", "Videos", ...columns.map(([title]) => title)];
  return [folded("Accuracy by class, in percent", tableOf(heads, rows))];
}

function confusionTable(run) {
  const names = data.tests[run.right?.[0]]?.classes ?? [];
  if (!run.confusions) return [];
  const rows = run.confusions.map(([label, predicted, videos]) =>
    [names[label] ?? `class ${label}`, names[predicted] ?? `class ${predicted}`, String(videos)]);
  return [folded("Most frequent confusions", tableOf(["Class", "Taken for", "Videos"], rows, 2))];
}

function compareWith(run) {
  const others = runs.filter(other => other.kind === run.kind && other !== run);
  if (!others.length) return [];
  const select = make("select", {}, make("option", {value: ""}, "choose a run"),
    ...others.map(other => make("option", {value: other.id}, `${other.title} (${other.id})`)));
  select.addEventListener("change", () => select.value
    && show([[run], [runById.get(select.value)]]));
  return [make("label", {class: "compare"}, "Compare with ", select)];
}

const dialog = make("dialog", {"aria-labelledby": "dialog-title"});
dialog.addEventListener("click", event => event.target === dialog && dialog.close());
document.body.append(dialog);

function show(sides) {
  const chosen = [...new Set(sides.flat())], single = chosen.length === 1 ? chosen[0] : null;
  const groups = groupsOf(sides);
  const uses = single?.roles ?? [];
  const experiments = [...new Set(chosen.flatMap(run => (run.roles ?? []).map(([i]) => i)))];
  const heads = ["Run", "Id", "Kind", "State", "Seed", "Result, 95 % interval", "Videos",
    "Device-hours", "Finished"];
  const rows = chosen.map(run => [
    button("number", () => show([[run]]), run.title), run.id, run.kind, run.state,
    String(run.seed ?? NONE), result(run), String(run.videos ?? NONE), number(run.hours, 3),
    run.finished ?? NONE,
  ]);
  const facts = single
    ? make("dl", {}, ...heads.slice(1).flatMap((name, i) =>
      [make("dt", {}, name), make("dd", {}, rows[0][i + 1])]))
    : tableOf(heads, rows, 4);
  const trees = chosen.filter(run => run.parents?.length).slice(0, MAX_TREES);
  const commands = [...experiments.map(i => data.experiments[i].command),
    ...chosen.slice(0, MAX_TREES).map(run => data.logs.replace("ID", run.id))];
  const log = single?.log
    ? [make("h3", {}, "End of its log"), make("pre", {tabindex: 0}, single.log)] : [];
  dialog.replaceChildren(
    button("close", () => dialog.close(), "Close"),
    make("h2", {id: "dialog-title"}, single ? single.title : `${chosen.length} runs`),
    ...uses.map(([i, role]) => make("p", {class: "faint"}, `${data.experiments[i].title}: ${role}`)),
    facts,
    ...chosen.filter(run => run.reason).map(run => make("p", {}, `${run.id}: ${run.reason}`)),
    make("h3", {}, groups.length > 1 ? "What differs between the recipes" : "Recipe"),
    recipeTable(groups), ...(single ? compareWith(single) : []),
    ...(trees.length ? [make("h3", {}, "Parents"),
      make("ul", {class: "tree"}, ...trees.map(run => tree(run)))] : []),
    ...(chosen.length <= MAX_TREES ? curves(chosen) : []),
    ...classTable(groups), ...(single ? confusionTable(single) : []), ...log,
    make("h3", {}, "Folders, and the commands that repeat the runs and show their logs"),
    make("pre", {tabindex: 0},
      [...chosen.map(run => `${data.folder}/${run.id}`), ...commands].join("\n")),
  );
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}

function addOpeners(place) {
  for (const cell of place.querySelectorAll("[data-runs]")) {
    const sides = () => cell.dataset.runs.split("|").map(
      side => side.split(" ").map(id => runById.get(id)).filter(Boolean)).filter(s => s.length);
    cell.append(button("number", () => show(sides()), ...cell.childNodes));
  }
}
addOpeners(document);

// A browser that runs scripts reads what is in <noscript> as one text. Of its thousands of rows only
// those that are shown become elements. Their texts were escaped when the page was written.
function parsed(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content;
}
const section = document.getElementById("runs"), whole = section.querySelector("noscript");
const [frame, ...lines] = whole.textContent.split('<tr class="run">');
whole.replaceWith(parsed(frame));
function rowOf(run) {
  if (!run.row) {
    const content = parsed(`<tr class="run">${run.line}`);
    addOpeners(content);
    run.row = content.firstElementChild;
  }
  return run.row;
}

const [search, output] = [section.querySelector("input"), section.querySelector("output")];
const selects = [...section.querySelectorAll("select")];
const body = section.querySelector("tbody"), more = section.querySelector(".more");
const heads = [...section.querySelectorAll("th[data-by]")];
let sortedBy = "", rising = true, limit = PAGE_ROWS;
runs.forEach((run, i) => {
  run.line = lines[i];
  run.experiment = (run.roles ?? []).map(([place]) => data.experiments[place].title);
  run.text = [run.title, run.id, run.kind, run.state, run.host ?? "",
    ...run.experiment, ...(run.roles ?? []).map(([, role]) => role)].join(" ").toLowerCase();
});
for (const select of selects) {
  const values = new Set(runs.flatMap(run => run[select.dataset.by]));
  select.append(...[...values].sort().map(value => make("option", {}, value)));
}

function compare(a, b) {
  const [x, y] = [a[sortedBy], b[sortedBy]];
  if (x == null || y == null) return (x == null) - (y == null);
  const order = typeof x === "number" ? x - y : x < y ? -1 : Number(x > y);
  return rising ? order : -order;
}

function draw() {
  const words = search.value.toLowerCase().split(/\s+/);
  const wanted = selects.filter(select => select.value);
  const found = runs.filter(run => words.every(word => run.text.includes(word))
    && wanted.every(select => [run[select.dataset.by]].flat().includes(select.value)));
  if (sortedBy) found.sort(compare);
  body.replaceChildren(...found.slice(0, limit).map(rowOf));
  const shown = Math.min(found.length, limit);
  output.textContent = `${shown} of ${found.length} runs shown`;
  more.hidden = shown === found.length;
  more.textContent = `Show ${Math.min(found.length - shown, MORE_ROWS)} more`;
}

for (const head of heads) {
  head.append(button("", () => {
    rising = sortedBy === head.dataset.by ? !rising : head.className === "text";
    sortedBy = head.dataset.by;
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", rising ? "ascending" : "descending");
    draw();
  }, ...head.childNodes));
}
for (const control of [search, ...selects]) {
  control.addEventListener("input", () => { limit = PAGE_ROWS; draw(); });
}
section.querySelector("form").addEventListener("submit", event => event.preventDefault());
more.addEventListener("click", () => { limit += MORE_ROWS; draw(); });
addEventListener("beforeprint", () => { limit = Math.max(limit, PRINTED_ROWS); draw(); });
section.querySelector("form").hidden = false;
draw();
section.querySelector("details").open = true;
}
