// Shows one figure of each family, by choice, and the values of figures under the pointer: those
// of a matrix by cell, also by arrow keys, and those of all curves of a panel at the nearest step.
// Adds the smoothing of curves, over a faint line of what was measured.
"use strict";
{
  for (const views of document.querySelectorAll(".views")) {
    const label = document.createElement("label"), select = document.createElement("select");
    const choices = [...views.children];
    for (const view of choices) select.append(new Option(view.querySelector("h4").textContent));
    const choose = () => choices.forEach(
      (view, i) => { view.hidden = i !== select.selectedIndex; });
    select.addEventListener("input", choose);
    choose();
    label.append("Show ", select);
    label.className = "choice";
    views.classList.add("chosen");
    views.prepend(label);
  }

  const tip = document.createElement("div");
  tip.className = "tip";
  tip.setAttribute("role", "status");
  tip.hidden = true;
  document.body.append(tip);

  const show = (text, x, y) => {
    tip.textContent = text;
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    const right = document.documentElement.clientWidth - box.width - 8;
    tip.style.left = `${Math.max(4, Math.min(x + 14, right))}px`;
    tip.style.top = `${y + 18 + box.height < innerHeight ? y + 18 : y - 12 - box.height}px`;
  };
  const hide = () => { tip.hidden = true; };
  const written = (value, digits) => value.toFixed(digits).replace("-", "\u2212");

  for (const image of document.querySelectorAll("image[data-values]")) {
    const rows = JSON.parse(image.dataset.rows);
    const columns = JSON.parse(image.dataset.columns);
    const bytes = atob(image.dataset.values);
    let row = 0, column = 0;
    const showCell = (x, y) => {
      const byte = bytes.charCodeAt(row * columns.length + column);
      const value = byte === 255 ? "not measured" : written(byte / 100 - 1, 2);
      show(`${rows[row]}\n${columns[column]}\n${value}`, x, y);
    };
    const within = (share, count) => Math.max(0, Math.min(count - 1, Math.floor(share * count)));
    image.addEventListener("pointermove", event => {
      const box = image.getBoundingClientRect();
      row = within((event.clientY - box.top) / box.height, rows.length);
      column = within((event.clientX - box.left) / box.width, columns.length);
      showCell(event.clientX, event.clientY);
    });
    image.addEventListener("pointerleave", hide);
    image.addEventListener("blur", hide);
    image.addEventListener("keydown", event => {
      const step = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]};
      if (event.key === "Escape") hide();
      if (!(event.key in step)) return;
      event.preventDefault();
      row = Math.max(0, Math.min(rows.length - 1, row + step[event.key][0]));
      column = Math.max(0, Math.min(columns.length - 1, column + step[event.key][1]));
      const box = image.getBoundingClientRect();
      showCell(box.left + box.width * (column + 0.5) / columns.length,
        box.top + box.height * (row + 0.5) / rows.length);
    });
  }

  const read = path => path.getAttribute("d").slice(1).split("L").map(
    pair => pair.split(" ").map(Number));
  // A curve is drawn in an inner <svg>, whose edges are the ends of the axes.
  const makeCurve = path => {
    const [left, right, low, high] = path.dataset.axes.split(" ").map(Number);
    const [x, y, width, height] = path.ownerSVGElement.getAttribute("viewBox").split(" ")
      .map(Number);
    const points = read(path);
    return {
      path, points,
      digits: Math.max(0, Math.min(9, 3 - Math.floor(Math.log10(high - low)))),
      nearest: at => points.reduce((a, b) => Math.abs(b[0] - at) < Math.abs(a[0] - at) ? b : a),
      step: point => left + (point[0] - x) / width * (right - left),
      value: point => high - (point[1] - y) / height * (high - low),
    };
  };
  const average = (points, reach) => points.map(([x], i) => {
    const near = points.slice(Math.max(0, i - reach), i + reach + 1);
    return [x, near.reduce((sum, point) => sum + point[1], 0) / near.length];
  });

  for (const figure of document.querySelectorAll("figure")) {
    const all = [];
    for (const svg of figure.querySelectorAll(".parts > svg")) {
      const curves = [...svg.querySelectorAll("path[data-curve]")].map(makeCurve);
      if (!curves.length) continue;
      all.push(...curves);
      const line = document.createElementNS(svg.namespaceURI, "line");
      line.setAttribute("class", "zero");
      svg.addEventListener("pointermove", event => {
        const place = new DOMPoint(event.clientX, event.clientY)
          .matrixTransform(svg.getScreenCTM().inverse());
        const longest = curves.reduce((a, b) => b.points.length > a.points.length ? b : a);
        const at = longest.nearest(place.x)[0];
        const lines = curves.map(curve => {
          const value = curve.value(curve.nearest(at));
          return `${curve.path.dataset.curve} ${written(value, curve.digits)}`;
        });
        const step = Math.round(longest.step(longest.nearest(place.x)));
        show(`step ${step}\n${lines.join("\n")}`, event.clientX, event.clientY);
        const box = longest.path.ownerSVGElement.viewBox.baseVal;
        for (const [name, value] of [["x1", at], ["x2", at], ["y1", box.y],
          ["y2", box.y + box.height]]) line.setAttribute(name, value);
        svg.append(line);
      });
      svg.addEventListener("pointerleave", () => { line.remove(); hide(); });
    }
    if (!all.some(curve => curve.points.length > 8)) continue;
    const label = document.createElement("label");
    const input = Object.assign(document.createElement("input"),
      {type: "range", min: 0, max: 12, value: 0});
    label.className = "smoothing";
    label.append("Smoothing ", input);
    figure.prepend(label);
    const measured = all.map(({path}) => {
      const copy = path.cloneNode();
      copy.removeAttribute("data-curve");
      copy.setAttribute("class", "measured");
      return copy;
    });
    input.addEventListener("input", () => {
      const reach = Number(input.value);
      all.forEach(({path, points}, i) => {
        const smooth = average(points, reach);
        path.setAttribute("d", `M${smooth.map(point => point.join(" ")).join("L")}`);
        if (reach) path.before(measured[i]);
        else measured[i].remove();
      });
    });
  }
}
