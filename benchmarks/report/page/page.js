"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const grid = document.getElementById("grid");
  const body = grid.tBodies[0];
  const rows = [...body.rows];
  const form = document.querySelector(".filters");
  const first = data.names + 1; // cells before the first metric: names and seeds

  // --- filter ---
  const words = rows.map((row) => Object.values(row.dataset).join(" ").toLowerCase());
  const selects = [...form.querySelectorAll("select")];
  const boxes = [...form.querySelectorAll("input[type=checkbox]")];
  function filter() {
    const text = form.querySelector("input[type=search]").value.toLowerCase().split(/\s+/);
    let shown = 0;
    rows.forEach((row, i) => {
      const fits =
        text.every((word) => words[i].includes(word)) &&
        selects.every((s) => !s.value || (row.dataset[s.dataset.of] || "") === s.value);
      row.hidden = !fits;
      shown += fits;
    });
    form.querySelector("output").textContent = `${shown} of ${rows.length} networks`;
  }
  function columns() {
    const hidden = boxes.filter((box) => !box.checked).map((box) => +box.value + first + 1);
    const rule = hidden.map((n) => `#grid tr>:nth-child(${n})`).join(",");
    document.getElementById("hidden").textContent = rule && `${rule}{display:none}`;
  }
  form.addEventListener("input", filter);
  form.addEventListener("change", columns);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(() => { filter(); columns(); }));

  // --- sort ---
  const heads = [...grid.tHead.rows[0].cells];
  const names = new Intl.Collator("en", { numeric: true });
  function value(row, column) {
    if (column < data.names) return row.cells[column].textContent;
    if (column === data.names) return +row.cells[column].textContent;
    return data.rows[row.dataset.row].cells[column - first][0];
  }
  function compare(a, b) {
    return typeof a === "string" ? names.compare(a, b) : a - b;
  }
  heads.forEach((head, column) => {
    head.firstChild.addEventListener("click", () => {
      const order = { null: "ascending", ascending: "descending" }[head.getAttribute("aria-sort")];
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      if (order) head.setAttribute("aria-sort", order);
      const sign = order === "descending" ? -1 : 1;
      const keyed = rows.map((row, i) => [value(row, column), i, row]);
      if (order) {
        keyed.sort(([a, i], [b, j]) => {
          if (a === null || b === null) return (a === null) - (b === null) || i - j;
          return sign * compare(a, b) || i - j;
        });
      }
      body.append(...keyed.map(([, , row]) => row));
    });
  });

  // --- what a cell is made of ---
  const dialog = document.getElementById("cell");
  function add(parent, tag, text, attributes = {}) {
    const element = document.createElement(tag);
    element.textContent = text;
    Object.entries(attributes).forEach(([name, told]) => element.setAttribute(name, told));
    parent.append(element);
    return element;
  }
  function show(row, column) {
    const { seeds, runs, cells } = data.rows[row.dataset.row];
    const [mean, sd, n, ratio, values, busy] = cells[column];
    const unit = data.units[column] && ` ${data.units[column]}`;
    const told = [...row.cells].slice(0, data.names).map((cell) => cell.textContent).filter(Boolean);
    dialog.replaceChildren();
    add(dialog, "h3", data.columns[column]);
    add(dialog, "p", told.join(", "));
    if (mean === null) add(dialog, "p", "no value");
    else add(dialog, "p", `mean ${mean}${unit}, sd ${sd === null ? "–" : sd}, n = ${n}`);
    if (ratio !== null) add(dialog, "p", `${ratio} × the baseline, geometric mean over seeds`);
    if (busy) add(dialog, "p", busy);
    const table = add(dialog, "table", "");
    const head = add(add(table, "thead", ""), "tr", "");
    ["seed", "value", "run"].forEach((text) => add(head, "th", text, { scope: "col" }));
    const lines = add(table, "tbody", "");
    seeds.forEach((seed, i) => {
      const line = add(lines, "tr", "");
      add(line, "td", seed);
      const found = values[i];
      add(line, "td", Array.isArray(found) ? data.reasons[found[0]] : `${found}${unit}`);
      const run = add(line, "td", "");
      if (runs[i]) add(run, "a", "manifest", { href: runs[i] });
      else run.textContent = "no manifest";
    });
    add(dialog, "button", "close", { type: "button" }).addEventListener("click", () => dialog.close());
    dialog.showModal();
  }
  body.addEventListener("click", (event) => {
    const link = event.target.closest("td a");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    const cell = link.closest("td");
    show(cell.parentElement, cell.cellIndex - first);
  });
  body.addEventListener("keydown", (event) => {
    const link = event.target.closest("td a[role=button]");
    if (link && (event.key === "Enter" || event.key === " ")) link.click();
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  filter();
})();
