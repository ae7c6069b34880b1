// The table of all runs: sorted by a click on the head of a column, chosen by sweep. Without scripts it is a plain table.
for (const table of document.querySelectorAll("table.glasslit-runs")) {
  const rows = [...table.tBodies[0].rows];
  const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  const by = (row, column) => row.cells[column].dataset.by;
  const compare = (a, b) => a !== "" && b !== "" && !isNaN(a) && !isNaN(b) ? a - b : a.localeCompare(b, "en", { numeric: true });

  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const filled = rows.filter((row) => by(row, column) !== "");
      filled.sort((a, b) => (down ? -1 : 1) * compare(by(a, column), by(b, column)));
      table.tBodies[0].append(...filled, ...rows.filter((row) => by(row, column) === ""));
    });
  });

  const choice = table.parentElement.previousElementSibling;
  const select = choice.querySelector("select");
  const choose = () => {
    rows.forEach((row) => { row.hidden = select.value !== "" && row.dataset.sweep !== select.value; });
    choice.querySelector("[role=status]").textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} runs`;
  };
  select.addEventListener("change", choose);
  choice.hidden = false;
  choose();
}
