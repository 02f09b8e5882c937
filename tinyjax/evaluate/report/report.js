"use strict";
// Lists that are searched: of each, the rows or articles that match, a few at a time.

function setUp(list) {
  const items = [...list.querySelectorAll(".item")].map((item) => {
    const stories = [...item.querySelectorAll(".story")];
    const leaves = (stories.length ? stories : [item]).map((element) => ({
      element,
      text: (element.textContent + " " + (item.querySelector(".opening")?.textContent ?? "")).toLowerCase(),
    }));
    return { item, leaves, rows: [...item.querySelectorAll(".row")], others: item.querySelector(".others"), open: false };
  });
  const form = list.querySelector("form");
  const more = list.querySelector(".more");
  const status = list.querySelector("output");
  const step = Number(list.dataset.step);
  const what = list.classList.contains("stories") ? "stories" : "items";
  const whole = items.reduce((sum, { leaves }) => sum + leaves.length, 0);
  let limit = step;

  function inGrade(wanted, grade) {
    if (wanted === "none" || grade === "none") return wanted === grade;
    const [low, high] = wanted.split(" ").map(Number);
    return grade >= low && (grade < high || high === 10);
  }

  function matches(leaf, wanted) {
    const data = leaf.element.dataset;
    return wanted.every(([name, value]) => {
      if (name === "query") return value.toLowerCase().split(/\s+/).every((word) => leaf.text.includes(word));
      return name === "grade" ? inGrade(value, data.grade) : data[name] === value;
    });
  }

  function show() {
    const wanted = [...new FormData(form)].map(([name, value]) => [name, value.trim()]).filter(([, value]) => value);
    let found = 0;
    let shown = 0;
    for (const one of items) {
      const matching = one.leaves.filter((leaf) => matches(leaf, wanted));
      found += matching.length;
      one.item.hidden = !matching.length || shown >= limit;
      shown += matching.length > 0;
      if (one.item.hidden || !one.rows.length) continue;
      for (const leaf of one.leaves) leaf.element.hidden = !matching.includes(leaf);
      const folded = !wanted.length && !one.open;
      one.rows.forEach((row, i) => { row.hidden = (folded && i > 0) || !row.querySelector(".story:not([hidden])"); });
      if (one.others) one.others.hidden = !folded;
    }
    more.hidden = shown <= limit;
    status.value = found === whole ? `${whole} ${what}` : `${found} of ${whole} ${what}`;
  }

  function filter() {
    limit = step;
    show();
  }

  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => {
    limit += step;
    show();
  });
  for (const one of items) {
    one.others?.addEventListener("click", () => {
      one.open = true;
      show();
      const next = one.rows[1].querySelector(".story");
      next.tabIndex = -1;
      next.focus({ preventScroll: true });
    });
  }
  form.reset();
  show();
}

document.querySelectorAll(".list").forEach(setUp);
