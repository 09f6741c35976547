// A click on a table's head sorts its rows, a second one turns them round, a third puts them back.
"use strict";
const NEXT = { none: "ascending", ascending: "descending", descending: "none" };
const MISSING = "–";

// What a cell is sorted by: its number where the column has numbers, else its text; null is last.
function key(cell, numeric) {
  if (numeric) return "sort" in cell.dataset ? Number(cell.dataset.sort) : null;
  const text = cell.textContent.trim();
  return text === MISSING ? null : text;
}

function compare(a, b, sign) {
  if (a === null || b === null) return (a === null) - (b === null);
  if (typeof a === "number") return sign * (a - b);
  return sign * a.localeCompare(b, undefined, { numeric: true });
}

function sorted(rows, column, order) {
  if (order === "none") return rows;
  const numeric = rows.some((row) => "sort" in row.cells[column].dataset);
  const sign = order === "ascending" ? 1 : -1;
  const keyed = rows.map((row) => [key(row.cells[column], numeric), row]);
  return keyed.sort(([a], [b]) => compare(a, b, sign)).map(([, row]) => row);
}

for (const table of document.querySelectorAll("table[data-sortable]")) {
  const rows = [...table.tBodies[0].rows], heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button"), name = document.createElement("b");
    button.type = "button";
    button.append(...head.childNodes);
    name.append(button.firstChild);
    button.prepend(name);
    head.append(button);
    head.ariaSort = "none";
    button.addEventListener("click", () => {
      const order = NEXT[head.ariaSort];
      for (const other of heads) other.ariaSort = other === head ? order : "none";
      table.tBodies[0].append(...sorted(rows, column, order));
    });
  });
}
