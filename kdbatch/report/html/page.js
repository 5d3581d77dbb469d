// Sorts a table that has data-sortable when a header of its last header line is clicked.
// Rows are sorted within each tbody, so that controls stay below the models. Numbers are compared
// by data-value, or else by the number with which their text begins.
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
        const text = cell.textContent.trim().replace("\u2212", "-").replace(/,/g, "");
        const value = parseFloat(cell.dataset.value ?? text);
        return head.classList.contains("num") ? (Number.isNaN(value) ? -Infinity : value) : text;
      };
      for (const body of table.tBodies) {
        const rows = [...body.rows].filter(row => !row.classList.contains("part"));
        rows.sort((a, b) => {
          const [x, y] = [key(a), key(b)];
          const order = typeof x === "number"
            ? x - y
            : x.localeCompare(y, undefined, {numeric: true});
          return (rising ? 1 : -1) * (order || 0);
        });
        body.append(...rows);
      }
    });
  });
}

// Puts the buttons that copy a table below it. Where the browser refuses its clipboard to a file on
// the disk, the text is copied out of a hidden field.
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const field = document.createElement("textarea");
    field.value = text;
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
}
for (const place of document.querySelectorAll("p.copy")) {
  for (const [name, text] of Object.entries({...place.dataset})) {
    const button = document.createElement("button");
    const title = `Copy as ${name === "latex" ? "LaTeX" : "Markdown"}`;
    [button.type, button.className, button.textContent] = ["button", "copy", title];
    button.addEventListener("click", async () => {
      await copyText(text);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = title; }, 1500);
    });
    place.append(button);
  }
  place.hidden = false;
}
