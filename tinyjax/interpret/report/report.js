"use strict";
// Heads one at a time, stories token by token, and units that are searched. What is shown comes from #data.

const data = JSON.parse(document.getElementById("data").textContent);
const get = (selector, within = document) => within.querySelector(selector);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const percent = (share) => `${(100 * share).toFixed(share && share < 0.0995 ? 1 : 0)} %`;
const capital = (text) => text[0].toUpperCase() + text.slice(1);
const short = (value) => String(Number(value.toPrecision(3))).replace("-", "−");

function make(tag, className = "", text = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.textContent = text;
  return element;
}

// A token as it is told of: spaces and line breaks can be seen.
function piece(text) {
  return make("span", "piece", text.replaceAll("\n", "↵").replaceAll("\t", "⇥") || "∅");
}

function row(...cells) {
  const made = make("tr");
  made.append(...cells);
  return made;
}

function heading(text, scope) {
  const made = make("th", "", text);
  made.scope = scope;
  return made;
}

function bytes(packed) {
  return Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
}

function blockOf(unit) {
  return data.kinds[unit.kind].layers[unit.layer].replace("/neurons", "").replace("block", "block ");
}

function nameOf(unit) {
  return unit.kind === "neurons" ? `${blockOf(unit)}, neuron ${unit.index}` : `feature ${unit.index}`;
}

// Arrow keys move among elements of which one can be tabbed to. Elements of a grid stand in rows of `columns`.
function rove(elements, columns, enter) {
  const choose = (chosen) => elements.forEach((element) => { element.tabIndex = element === chosen ? 0 : -1; });
  choose(elements[0]);
  elements.forEach((element, i) => {
    element.addEventListener("focus", () => { choose(element); enter?.(i); });
    element.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
      const to = event.key === "Home" ? 0 : event.key === "End" ? elements.length - 1 : step && i + step;
      if (to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      elements[to]?.focus();
    });
  });
  return choose;
}

get("#without-script").hidden = true;

// Heads: the grid, and the evidence of the chosen one.

const cells = all(".cell");
const articles = all("article.head");

function chooseHead(number) {
  cells.forEach((cell, i) => cell.setAttribute("aria-pressed", String(i === number)));
  articles.forEach((article, i) => { article.hidden = i !== number; });
}

cells.forEach((cell, i) => cell.addEventListener("click", () => chooseHead(i)));
rove(cells, Math.max(...data.heads.map(([, head]) => head)) + 1);
articles.forEach((article, i) => get(".to-story", article).addEventListener("click", () => {
  reader.showHead(i);
  reader.go();
}));
chooseHead(data.first);

// Stories: tokens coloured by where a head looks, or by a unit; what the model would say next.

function makeReader() {
  const form = get("#stories form");
  const box = get(".tokens");
  const status = get("output", form);
  let story, patterns, values, tokens, chooseToken;
  let kept = null; // the token that was clicked
  let at = 0;

  const weight = (head, query, source) => {
    const count = story.tokens.length;
    return patterns[(head * count * (count + 1)) / 2 + (query * (query + 1)) / 2 + source] / 255;
  };
  const isHead = () => form.view.value === "head";
  const head = () => Number(form.head.value);

  function unitNumber() {
    const [kind, layer] = form.layer.value.split(" ");
    const index = Number(form.unit.value || NaN);
    return data.units.findIndex((unit) => unit.kind === kind && unit.layer === Number(layer) && unit.index === index);
  }

  function activation(number, i) {
    return (values[number * story.tokens.length + i] / 127) * data.units[number].scale;
  }

  function open() {
    story = data.stories[Number(form.story.value)];
    patterns = bytes(story.patterns);
    values = new Int8Array(bytes(story.values).buffer);
    kept = null;
    tokens = story.tokens.map((text, i) => {
      const token = make("span", i ? "token" : "token start", text);
      token.setAttribute("role", "option");
      token.addEventListener("mouseenter", () => { if (kept === null) show(i); });
      token.addEventListener("click", () => { keep(kept === i ? null : i); });
      return token;
    });
    box.replaceChildren(...tokens);
    chooseToken = rove(tokens, 10, (i) => { if (kept !== null) keep(i); show(i); });
    get("#stories .cut").textContent = story.whole > story.tokens.length
      ? `The first ${story.tokens.length} tokens of ${story.whole}.` : "";
    show(firstOfInterest());
  }

  // The first word after the middle, so that there is something to look back at.
  function firstOfInterest() {
    const middle = Math.floor(story.tokens.length / 2);
    const found = story.tokens.findIndex((text, i) => i >= middle && /^ [A-Za-z]{2}/.test(text));
    return found < 0 ? middle : found;
  }

  function keep(i) {
    kept = i;
    tokens.forEach((token, j) => token.classList.toggle("kept", j === i));
    if (i !== null) show(i);
  }

  function show(i) {
    at = i;
    chooseToken(tokens[i]);
    tokens.forEach((token, j) => {
      token.classList.toggle("here", j === i);
      token.setAttribute("aria-selected", String(j === i));
    });
    if (isHead()) colourByHead();
    else colourByUnit();
    get(".at h3").replaceChildren(`Token ${i}: `, piece(story.tokens[i]));
    showLens();
    showMoved();
    showSources();
  }

  function colour(i, share, title, below = false) {
    tokens[i].style.setProperty("--w", share.toFixed(3));
    tokens[i].classList.toggle("below", below);
    tokens[i].title = title;
  }

  function colourByHead() {
    const most = Math.max(...tokens.slice(0, at + 1).map((_, j) => weight(head(), at, j)), 1e-9);
    tokens.forEach((token, j) => {
      const share = j <= at ? weight(head(), at, j) : 0;
      colour(j, (share / most) ** 0.75, j <= at ? `${percent(share)} of attention` : "");
      token.classList.toggle("later", j > at);
    });
    const sources = [...Array(at + 1).keys()].map((j) => [weight(head(), at, j), j]).filter(([share]) => share >= 0.005);
    sources.sort(([a, i], [b, j]) => b - a || j - i);
    const [block, number, kind] = data.heads[head()];
    list(`Block ${block}, head ${number} (${kind}) looks at`, sources.slice(0, 8).map(([share, j]) => [story.tokens[j], percent(share)]));
    status.value = "";
  }

  function colourByUnit() {
    const number = unitNumber();
    tokens.forEach((token) => token.classList.remove("later"));
    if (number < 0) {
      tokens.forEach((_, i) => colour(i, 0, ""));
      status.value = "not among those on this page; see report.json";
      list("", []);
      return;
    }
    const unit = data.units[number];
    const found = tokens.map((_, i) => activation(number, i));
    found.forEach((value, i) => colour(i, Math.abs(value / unit.scale), short(value), value < 0));
    status.value = `strongest anywhere: ${short(unit.scale)}`;
    const strongest = found.map((value, i) => [value, i]).sort(([a, i], [b, j]) => Math.abs(b) - Math.abs(a) || i - j);
    list(`${capital(nameOf(unit))}: ${short(found[at])} here, strongest in this story at`, strongest.slice(0, 6).map(([value, i]) => [story.tokens[i], short(value)]));
  }

  function list(title, pairs) {
    const items = make("ol");
    items.append(...pairs.map(([text, value]) => {
      const item = make("li");
      item.append(piece(text), ` ${value}`);
      return item;
    }));
    get(".looking").replaceChildren(make("h4", "", title), items);
  }

  function showLens() {
    const next = story.tokens[at + 1] ?? story.next;
    const title = heading("really ", "col");
    title.append(piece(next));
    const body = story.lens.map((after, number) => {
      const name = number === 0 ? "embedding" : number === story.lens.length - 1 ? "at the end" : `block ${number - 1}`;
      const shares = after.probabilities[at].map((share) => share / 1000);
      const guesses = after.tokens[at].map((token, i) => {
        const text = data.vocabulary[token];
        const cell = make("td", text === next ? "text right" : "text");
        cell.append(piece(text), ` ${percent(shares[i])}`);
        return cell;
      });
      return row(heading(name, "row"), ...guesses, make("td", "", percent(shares.at(-1))));
    });
    const blank = make("td");
    const top = row(blank, ...["likeliest", "second", "third"].slice(0, story.lens[0].tokens[at].length).map((text) => heading(text, "col")), title);
    const thead = make("thead");
    thead.append(top);
    get(".lens").replaceChildren(thead, ...body);
  }

  // Heads and neurons by their direct effect; choosing one colours the story by it.
  function showMoved() {
    get(".moved").replaceChildren(...story.moved[at].map(([kind, layer, number, effect]) => {
      const button = make("button", "effect", `block ${layer}, ${kind} ${number}`);
      button.type = "button";
      button.addEventListener("click", () => {
        if (kind === "head") showHead(data.heads.findIndex(([of, head]) => of === layer && head === number));
        else showUnit({ kind: "neurons", layer, index: number });
      });
      const item = make("li");
      item.append(button, ` ${effect < 0 ? "" : "+"}${short(effect)}`);
      return item;
    }));
  }

  // A table of blocks and heads; each says the source that it gives most.
  const sources = data.heads.map(([block, number, kind], i) => {
    const button = make("button", "source");
    button.type = "button";
    button.append(make("span", "piece"), make("small"));
    button.title = `block ${block}, head ${number}: ${kind}`;
    button.addEventListener("click", () => showHead(i));
    return button;
  });
  const columns = Math.max(...data.heads.map(([, number]) => number)) + 1;
  const blocks = [...new Set(data.heads.map(([block]) => block))];
  const numbers = make("thead");
  numbers.append(row(make("td"), ...Array.from({ length: columns }, (_, number) => heading(`head ${number}`, "col"))));
  get(".sources").append(numbers, ...blocks.map((block) => row(heading(`block ${block}`, "row"), ...data.heads.flatMap(([of], i) => {
    if (of !== block) return [];
    const cell = make("td");
    cell.append(sources[i]);
    return [cell];
  }))));
  rove(sources, columns);

  function showSources() {
    sources.forEach((button, i) => {
      let best = 0;
      for (let j = 1; j <= at; j++) if (weight(i, at, j) >= weight(i, at, best)) best = j;
      const share = weight(i, at, best);
      const [text, note] = button.children;
      text.textContent = piece(story.tokens[best]).textContent;
      note.textContent = `${percent(share)}, ${at === best ? "itself" : `${at - best} back`}`;
      button.style.setProperty("--w", (0.7 * share).toFixed(3));
      button.setAttribute("aria-pressed", String(isHead() && i === head()));
      button.setAttribute("aria-label", `${button.title}: ${text.textContent} ${note.textContent}`);
    });
  }

  function setView(view) {
    form.view.value = view;
    all(".of-head", form).forEach((label) => { label.hidden = view !== "head"; });
    all(".of-unit", form).forEach((label) => { label.hidden = view !== "unit"; });
  }

  function showHead(i) {
    setView("head");
    form.head.value = String(i);
    show(at);
  }

  function showUnit(unit) {
    setView("unit");
    form.layer.value = `${unit.kind} ${unit.layer}`;
    form.unit.value = String(unit.index);
    show(at);
  }

  function go() {
    get("#stories").scrollIntoView();
    tokens[at].focus({ preventScroll: true });
  }

  form.reset();
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", (event) => {
    setView(form.view.value);
    if (event.target.name === "story") open();
    else show(at);
  });
  setView("head");
  form.head.value = String(data.first);
  open();
  return { showHead, showUnit, go };
}

const reader = makeReader();

// Units: searched, sorted, a few at a time.

function words(unit) {
  const sentences = unit.top.map(([sentence]) => data.sentences[sentence]);
  const writes = [...unit.promotes, ...unit.suppresses].map(([text]) => text);
  return [nameOf(unit), `${unit.layer}.${unit.index}`, ...(unit.role ?? ["dead"]).slice(0, 2), ...sentences, ...writes].join(" ").toLowerCase();
}

function topTokens(list, unit, tops) {
  list.classList.toggle("below", unit.sign < 0);
  list.replaceChildren(...tops.map(([sentence, start, end, value]) => {
    const text = data.sentences[sentence];
    const said = make("span");
    said.append(text.slice(0, start), make("mark", "", text.slice(start, end).replaceAll("\n", "↵")), text.slice(end).trimEnd());
    const item = make("li");
    item.append(make("span", "value", short(value)), said);
    return item;
  }));
}

function svg(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// Bins go by powers of two; those of many tokens are far higher than others, so heights go by square roots.
function histogram(into, unit) {
  const counts = unit.histogram;
  const most = Math.sqrt(Math.max(...counts, 1));
  const whole = counts.reduce((sum, count) => sum + count, 0);
  const from = Math.max(counts.findIndex((count) => count > 0) - 1, 0);
  const to = Math.min(counts.findLastIndex((count) => count > 0) + 2, counts.length);
  const width = 320 / (to - from);
  const place = (i) => (i - from) * width;
  for (let i = from; i < to; i++) {
    const height = (70 * Math.sqrt(counts[i])) / most;
    const bar = svg("rect", { class: "bins-of-unit", x: place(i) + 0.5, y: 74 - height, width: Math.max(width - 1, 0.5), height });
    const low = i ? short(data.edges[i - 1]) : "−∞";
    const high = i < data.edges.length ? short(data.edges[i]) : "∞";
    bar.append(svg("title", {}));
    bar.firstChild.textContent = `${low} to ${high}: ${counts[i].toLocaleString("en")} tokens, ${percent(counts[i] / whole)}`;
    into.append(bar);
  }
  into.append(svg("path", { class: "axis", d: "M0 74.5H320" }));
  data.edges.forEach((edge, i) => {
    const x = place(i + 1);
    if (i + 1 <= from || i + 1 >= to || ![-4, -0.25, 0, 0.25, 4].includes(edge)) return;
    const label = svg("text", { x, y: 88, "text-anchor": "middle" });
    label.textContent = short(edge);
    into.append(label);
  });
  into.setAttribute("aria-label", `Histogram of activations, from ${short(unit.lowest)} to ${short(unit.highest)}; most tokens near ${short(unit.mean)}`);
}

function roles(into, unit) {
  const scale = unit.deviation || 1;
  for (const [kind, groups] of Object.entries(unit.means)) {
    const table = make("table");
    table.append(row(heading(kind, "col"), heading(`explains ${percent(unit.explained[kind] ?? 0)}`, "col")));
    for (const [group, mean] of Object.entries(groups)) {
      const value = (mean - unit.mean) / scale;
      const drawn = svg("svg", { viewBox: "-48 0 96 10", "aria-hidden": "true" });
      const length = Math.min(Math.abs(value), 3) * 16;
      drawn.append(svg("rect", { class: "bins-of-unit", x: value < 0 ? -length : 0, y: 1, width: length, height: 8 }), svg("path", { class: "axis", d: "M0 0V10" }));
      const cell = make("td");
      cell.append(drawn);
      table.append(row(heading(group, "row"), make("td", "", short(Number(value.toFixed(2)))), cell));
    }
    into.append(table);
  }
}

function writes(into, pairs) {
  into.append(...pairs.map(([text, value]) => {
    const one = make("span");
    one.append(piece(text), " ", make("small", "", short(value)));
    return one;
  }));
}

function card(unit) {
  const made = document.getElementById("unit").content.firstElementChild.cloneNode(true);
  const [kind, name, share, selectivity] = unit.role ?? [];
  get("h3", made).append(`${capital(nameOf(unit))}: `, unit.role ? (kind === "word" ? `the word “${name}”` : name) : "dead");
  const rare = unit.role && !unit.telling ? "active in too few stories to tell; " : "";
  const said = unit.role ? `${rare}${kind} of ${percent(share)} of its strongest tokens, selectivity ${selectivity.toFixed(2)}; ` : "";
  get(".facts", made).textContent = `${said}${short(unit.lowest)} to ${short(unit.highest)}, mean ${short(unit.mean)} ± ${short(unit.deviation)}, not 0 on ${percent(unit.active)} of tokens`;
  topTokens(get(".tops", made), unit, unit.top.slice(0, 5));
  const details = get("details", made);
  details.addEventListener("toggle", () => {
    if (get(".histogram", made).childElementCount) return;
    histogram(get(".histogram", made), unit);
    roles(get(".roles", made), unit);
    writes(get(".promotes", made), unit.promotes);
    writes(get(".suppresses", made), unit.suppresses);
    topTokens(get(".rest", made), unit, unit.top.slice(5));
  });
  get(".to-story", made).addEventListener("click", () => {
    reader.showUnit(unit);
    reader.go();
  });
  return made;
}

const ORDERS = {
  selectivity: (unit) => (unit.telling ? unit.role[3] : -1),
  peak: (unit) => Math.max(unit.highest - unit.mean, unit.mean - unit.lowest) / (unit.deviation || Infinity),
  explained: (unit) => unit.explained["word class"] ?? 0,
  order: (unit) => -(unit.layer * 1e6 + unit.index),
};

function setUpUnits(browser) {
  const { kind, name } = browser.dataset;
  const units = data.units.filter((unit) => unit.kind === kind);
  const texts = new Map(units.map((unit) => [unit, words(unit)]));
  const form = get("form", browser);
  const more = get(".more", browser);
  const step = 8;
  let limit = step;

  function matches(unit) {
    if (form.layer?.value && unit.layer !== Number(form.layer.value)) return false;
    if (form.role.value && unit.role?.[0] !== form.role.value) return false;
    return form.query.value.toLowerCase().split(/\s+/).every((word) => texts.get(unit).includes(word));
  }

  function show() {
    const order = ORDERS[form.sort.value];
    const found = units.filter(matches);
    found.sort((a, b) => order(b) - order(a) || ORDERS.peak(b) - ORDERS.peak(a)); // in order where equal
    get(".found", browser).replaceChildren(...found.slice(0, limit).map(card));
    more.hidden = found.length <= limit;
    const whole = data.kinds[kind].whole;
    const note = units.length < whole ? `; ${units.length} of ${whole}, those of the clearest roles, are on this page` : "";
    get("output", form).value = `${found.length} of ${units.length} ${name}s${note}`;
  }

  form.reset();
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", () => {
    limit = step;
    show();
  });
  more.addEventListener("click", () => {
    const before = limit;
    limit += step;
    show();
    const next = get(".found", browser).children[before];
    next.tabIndex = -1;
    next.focus({ preventScroll: true });
  });
  show();
}

all(".units").forEach(setUpUnits);
