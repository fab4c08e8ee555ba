"use strict";
// Sorts the table by a column: best first, then the other way round; models without a value stay last.
for (const button of document.querySelectorAll("#board thead button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th"), body = document.querySelector("#board tbody");
    const column = [...head.parentElement.children].indexOf(head);
    const first = head.dataset.first || "descending";
    const other = first === "descending" ? "ascending" : "descending";
    const order = head.getAttribute("aria-sort") === first ? other : first;
    const sign = order === "ascending" ? 1 : -1;
    const key = (row) => row.children[column].dataset.key || "";
    const compare = (a, b) => {
      const x = key(a), y = key(b);
      if (x === "" || y === "") return (x === "") - (y === "");
      const numbers = Number(x) - Number(y);
      return sign * (Number.isNaN(numbers) ? x.localeCompare(y) : numbers);
    };
    for (const row of [...body.rows].sort(compare)) body.append(row);
    for (const th of head.parentElement.children) th.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", order);
  });
}
