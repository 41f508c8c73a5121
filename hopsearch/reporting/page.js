// Figures are drawn when they come near the window; tables sort by a click on their head; a trial's number tells all of it.
(function () {
  "use strict";
  const facts = JSON.parse(document.getElementById("facts").textContent);
  const figures = JSON.parse(document.getElementById("figures").textContent);
  function draw(box) {
    if (box.dataset.drawn) return;
    box.dataset.drawn = "begun";
    const figure = figures[box.dataset.figure];
    Plotly.newPlot(box, figure.data, figure.layout, { responsive: true, displaylogo: false })
      .then(function () { box.dataset.drawn = "yes"; });
  }
  const boxes = Array.from(document.querySelectorAll("[data-figure]"));
  const near = new IntersectionObserver(function (seen) {
    seen.forEach(function (one) { if (one.isIntersecting) { near.unobserve(one.target); draw(one.target); } });
  }, { rootMargin: "1200px" });
  boxes.forEach(function (box) { near.observe(box); });
  window.drawAll = function () { boxes.forEach(draw); };       // before printing
  window.addEventListener("beforeprint", window.drawAll);

  function value(cell) {
    const text = cell.dataset.value !== undefined ? cell.dataset.value : cell.textContent;
    return text === "" ? null : isNaN(text) ? text : Number(text);
  }
  document.querySelectorAll("table.sortable th").forEach(function (head) {
    head.addEventListener("click", function () {
      const body = head.closest("table").tBodies[0], column = head.cellIndex;
      const down = head.dataset.order !== "down";
      head.dataset.order = down ? "down" : "up";
      Array.from(body.rows)
        .map(function (row) { return [value(row.cells[column]), row]; })
        .sort(function (a, b) {
          if (a[0] === null || b[0] === null) return (a[0] === null) - (b[0] === null);  // what is absent comes last
          return (a[0] > b[0] ? 1 : a[0] < b[0] ? -1 : 0) * (down ? 1 : -1);
        })
        .forEach(function (pair) { body.appendChild(pair[1]); });
    });
  });

  const detail = document.getElementById("detail");
  const byTrial = new Map(facts.leaderboard.map(function (row) { return [String(row.trial), row]; }));
  function show() {
    const match = location.hash.match(/^#trial-(\d+)$/);
    const row = match && byTrial.get(match[1]);
    if (!row) return;
    detail.textContent = JSON.stringify(row, null, 1);
    detail.hidden = false;
    detail.scrollIntoView({ block: "nearest" });
  }
  window.addEventListener("hashchange", show);
  show();
})();
