"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  table.querySelectorAll("thead th").forEach((head, column) => {
    const sort = () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = (row) => row.cells[column].dataset.key ?? row.cells[column].textContent.trim();
      for (const body of table.tBodies) {
        const rows = Array.from(body.rows).filter((row) => !row.classList.contains("group"));
        const numeric = rows.every((row) => key(row) === "" || !isNaN(Number(key(row))));
        rows.sort((a, b) => {
          const x = key(a), y = key(b);
          if (x === "" || y === "") return (x === "") - (y === "");  // blanks last, either way
          const order = numeric ? Number(x) - Number(y) : x.localeCompare(y);
          return down ? -order : order;
        });
        body.append(...rows);
      }
    };
    head.tabIndex = 0;
    head.title = "Sort by this column";
    head.addEventListener("click", sort);
    head.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); sort(); }
    });
  });
}

// The table and the Pareto figure light up together.
{
  const marked = Array.from(document.querySelectorAll("#compared tr[data-policy], #pareto .point"));
  const light = (one, on) => {
    for (const other of marked) {
      const same = other.dataset.policy === one.dataset.policy && other.dataset.group === one.dataset.group;
      other.classList.toggle("lit", on && same);
    }
    document.getElementById("pareto")?.classList.toggle("choosing", on);
  };
  for (const one of marked) {
    one.addEventListener("mouseenter", () => light(one, true));
    one.addEventListener("mouseleave", () => light(one, false));
    one.addEventListener("focus", () => light(one, true));
    one.addEventListener("blur", () => light(one, false));
    const choose = () => document.dispatchEvent(new CustomEvent("choose-run", { detail: one.dataset }));
    one.addEventListener("click", choose);
    one.addEventListener("keydown", (event) => { if (event.key === "Enter") choose(); });
    if (one.tagName === "TR") one.tabIndex = 0;
  }
}
