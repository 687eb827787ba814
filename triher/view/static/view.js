// The patient browser: list, slices, and what is known of a patient. All text goes in as text, never as markup.

const HEAT = [[0, 0, 4], [22, 11, 57], [66, 10, 104], [106, 23, 110], [147, 38, 103], [188, 55, 84], [221, 81, 58],
  [243, 120, 25], [252, 165, 10], [246, 215, 70], [252, 255, 164]]; // matplotlib's inferno in tenths
const AGAINST = [86, 170, 255];
const OUTLINE = "#40e0d0";
const MAP_TOP = 127; // as the server scales maps
const KEPT = 8; // patients whose images stay in memory
const SPLITS = { oof: "out of fold", test: "held out", new: "new cohort" };
const LONG_SPLITS = {
  oof: "Predicted out of fold: by a model that did not see this patient.",
  test: "Held out: predicted by the locked model, which did not see this patient.",
  new: "New cohort: predicted by a locked bundle.",
};
// Where rows and columns of a slice point, by plane: left, right, top and bottom edge.
const SIDES = { axial: "RLAP", coronal: "RLSI", sagittal: "APSI" };

const METHODS = {
  gradcam: "Grad-CAM",
  hirescam: "HiResCAM, in log-odds",
  rollout: "attention rollout, which knows nothing of the classes",
  "gradient-rollout": "attention rollout weighted by gradients",
  occlusion: "occlusion, in log-odds",
};

const at = (id) => document.getElementById(id);
const percent = (p) => `${(100 * p).toFixed(p > 0.0995 && p < 0.9995 ? 0 : 1)} %`;

const run = { cases: [], classes: [], maps: null, caution: "" };
const view = {
  position: -1, images: null, slice: 0, phase: 1, all: false, zoom: 1, outline: true,
  heat: true, heatClass: 0, strength: 0.65, against: false, window: [0, 65535],
};
let shown = []; // positions of the cases in the list, in its order
let about = null;
const kept = new Map(); // position -> promise of images

// Elements

function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in node) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

function svg(tag, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function trouble(text) {
  at("trouble").textContent = text;
  at("trouble").hidden = !text;
}

// Answers of the server

async function ask(path) {
  let answer;
  try {
    answer = await fetch(path);
  } catch {
    trouble("The server does not answer: 'triher view' has ended. Start it again and open the new address.");
    throw new Error("no answer");
  }
  if (!answer.ok) {
    trouble(`The server refused (${answer.status}): ${await answer.text()}`);
    throw new Error(`status ${answer.status}`);
  }
  trouble("");
  return answer.headers.get("content-type").startsWith("application/json") ? answer.json() : unpack(await answer.arrayBuffer());
}

const TYPES = { Uint8: Uint8Array, Int8: Int8Array, Uint16: Uint16Array };

// Header and arrays of triher/view/packet.py.
function unpack(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const facts = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  for (const [name, { type, shape, at: start }] of Object.entries(facts.arrays)) {
    const size = shape.reduce((product, n) => product * n, 1);
    facts.arrays[name] = { values: new TYPES[type](buffer, 4 + length + start, size), shape };
  }
  return facts;
}

function imagesOf(position) {
  if (!kept.has(position)) {
    kept.set(position, ask(`cases/${position}/pictures`).catch((error) => {
      kept.delete(position);
      throw error;
    }));
    if (kept.size > KEPT) kept.delete(kept.keys().next().value);
  }
  return kept.get(position);
}

// The list

const ORDERS = {
  "errors first, surest on top": (a, b) => (b.wrongness ?? -2) - (a.wrongness ?? -2),
  "right ones first, surest on top": (a, b) => (a.wrongness ?? 2) - (b.wrongness ?? 2),
  "least certain first": (a, b) => margin(a) - margin(b),
  "order of the table": (a, b) => a.position - b.position,
  "patient id": (a, b) => a.id.localeCompare(b.id, undefined, { numeric: true }),
};

const SHOWS = {
  everybody: () => true,
  "wrong ones": isWrong,
  "right ones": (c) => c.truth >= 0 && !isWrong(c),
  "several classes in the set": (c) => c.set !== null && c.set.length > 1,
  "outside the training range": (c) => c.outside !== "",
  "with maps": (c) => c.maps,
};

function isWrong(c) {
  return c.truth >= 0 && c.predicted !== c.truth;
}

function margin(c) {
  const sorted = [...c.p].sort((a, b) => b - a);
  return sorted[0] - sorted[1];
}

function options(select, names, first) {
  if (first !== undefined) select.append(el("option", { value: "" }, first));
  for (const name of names) select.append(el("option", { value: name }, name));
}

function prepareFilters() {
  for (const [n, name] of run.classes.entries()) ORDERS[`most likely ${name} first`] = (a, b) => b.p[n] - a.p[n];
  options(at("order"), Object.keys(ORDERS));
  const anyMaps = run.cases.some((c) => c.maps);
  options(at("show"), Object.keys(SHOWS).filter((name) => anyMaps || name !== "with maps"));
  options(at("truth"), [...run.classes, "not known"], "all");
  for (const key of ["site", "cohort", "split"]) {
    const values = [...new Set(run.cases.map((c) => c[key]))].sort((a, b) => a.localeCompare(b, undefined, { numeric: true }));
    at(key).append(el("option", { value: "" }, "all"));
    at(key).parentElement.hidden = values.length < 2;
    for (const value of values) at(key).append(el("option", { value }, key === "split" ? SPLITS[value] ?? value : value));
  }
  for (const id of ["order", "show", "truth", "site", "cohort", "split"]) at(id).addEventListener("change", drawList);
  at("find").addEventListener("input", drawList);
}

function isListed(c) {
  const truth = at("truth").value;
  const words = at("find").value.toLowerCase().split(/\s+/).filter(Boolean);
  const text = [c.id, c.site, c.cohort, SPLITS[c.split] ?? c.split, truthOf(c)].join("\n").toLowerCase();
  return SHOWS[at("show").value](c) && (!truth || truthOf(c) === truth)
    && ["site", "cohort", "split"].every((key) => !at(key).value || c[key] === at(key).value)
    && words.every((word) => text.includes(word));
}

function truthOf(c) {
  return c.truth < 0 ? "not known" : run.classes[c.truth];
}

function className(n) {
  return el("span", { className: run.classes[n] }, run.classes[n]);
}

function caseRow(c) {
  const state = c.truth < 0 ? "" : isWrong(c) ? "wrong" : "right";
  const mark = { wrong: "✗", right: "✓", "": "·" }[state];
  const told = c.truth < 0 ? [className(c.predicted)] : [className(c.truth), " → ", className(c.predicted)];
  const bar = el("span", { className: "split-bar", ariaHidden: "true" });
  for (const [n, p] of c.p.entries()) {
    const part = el("i", { className: run.classes[n] });
    part.style.width = `${100 * p}%`;
    bar.append(part);
  }
  const row = el("div", { className: "case", id: `case-${c.position}`, role: "option", ariaSelected: String(c.position === view.position) },
    el("span", { className: `mark ${state}`, ariaHidden: "true" }, mark),
    el("span", { className: "id", title: c.id }, c.id),
    el("span", { className: "told" }, ...told),
    el("span", { className: "soft" }, [c.site, SPLITS[c.split] ?? c.split].join(" · ")), bar,
    el("span", { className: "hear" }, state ? `, ${state}, true class first` : ", true class not known"));
  row.addEventListener("click", () => choose(c.position));
  return row;
}

function drawList() {
  const order = ORDERS[at("order").value];
  const listed = run.cases.filter(isListed).sort((a, b) => order(a, b) || a.position - b.position);
  shown = listed.map((c) => c.position);
  at("list").replaceChildren(...(listed.length ? listed.map(caseRow) : [el("p", { className: "none", role: "option", ariaDisabled: "true", ariaSelected: "false" }, "Nobody fits these filters.")]));
  const wrong = listed.filter(isWrong).length;
  const known = listed.filter((c) => c.truth >= 0).length;
  at("count").textContent = `${listed.length} of ${run.cases.length}${known ? `, ${wrong} wrong` : ""}`;
  markChosen();
}

function markChosen() {
  for (const row of at("list").querySelectorAll("[aria-selected=true]")) row.ariaSelected = "false";
  const row = at(`case-${view.position}`);
  at("list").removeAttribute("aria-activedescendant");
  if (row) {
    row.ariaSelected = "true";
    at("list").setAttribute("aria-activedescendant", row.id);
    row.scrollIntoView({ block: "nearest" });
  }
  const place = shown.indexOf(view.position);
  at("previous").disabled = place < 1 && shown.length > 0 && place !== -1;
  at("next").disabled = place === shown.length - 1;
}

function step(by) {
  const place = shown.indexOf(view.position);
  const next = place < 0 ? 0 : Math.min(Math.max(place + by, 0), shown.length - 1);
  if (next !== place && shown.length) choose(shown[next]);
}

function listKeys(event) {
  const by = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -shown.length, End: shown.length }[event.key];
  if (!by || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  step(by);
}

// One patient

function choose(position) {
  if (location.hash === `#${position}`) show(position);
  else location.hash = String(position);
  at("patients").classList.remove("open");
  at("fold").ariaExpanded = "false";
}

async function show(position) {
  const c = run.cases[position];
  view.position = position;
  at("who").textContent = c.id;
  at("verdict").replaceChildren(...verdict(c));
  drawPrediction(c);
  markChosen();
  about = null;
  clearAbout();
  clearImages();
  await showImages(position, c);
  if (view.position !== position) return;
  await showAbout(position, c);
  const next = run.cases[shown[shown.indexOf(position) + 1]];
  if (next && next.images && view.position === position) imagesOf(next.position).catch(() => {});
}

function verdict(c) {
  const place = `${[c.cohort, c.site].filter((text, n, all) => text && all.indexOf(text) === n).join(", ")} · ${SPLITS[c.split] ?? c.split}`;
  const predicted = ["predicted ", className(c.predicted), ` at ${percent(c.p[c.predicted])}`];
  if (c.truth < 0) return ["True class not known, ", ...predicted, ` · ${place}`];
  const word = el("b", { className: `mark ${isWrong(c) ? "wrong" : "right"}` }, isWrong(c) ? "Wrong" : "Right");
  return [word, ": truly ", className(c.truth), ", ", ...predicted, ` · ${place}`];
}

function drawPrediction(c) {
  at("bars").replaceChildren(...run.classes.map((name, n) => {
    const fill = el("i", { className: name });
    fill.style.width = `${100 * c.p[n]}%`;
    const badges = el("span", { className: "badges" });
    if (n === c.truth) badges.append(el("span", { className: "badge truth" }, "true class"));
    if (n === c.predicted) badges.append(el("span", { className: "badge" }, "predicted"));
    if (c.set?.includes(name)) badges.append(el("span", { className: "badge" }, "in the set"));
    return el("div", { className: "class-row" }, el("b", { className: name }, name),
      el("span", { className: "full-bar", ariaHidden: "true" }, fill), el("span", { className: "amount" }, percent(c.p[n])), badges);
  }));
  const remarks = [];
  if (c.set !== null) {
    const of = c.repeats > 1 ? " of the first repeat" : "";
    remarks.push(el("li", {}, `Conformal set${of}: ${c.set.length ? c.set.join(" or ") : "empty, no class fits"}.`));
  }
  if (c.repeats > 1) remarks.push(el("li", {}, `Probabilities are means over ${c.repeats} repeats.`));
  remarks.push(el("li", {}, LONG_SPLITS[c.split] ?? c.split));
  remarks.push(range(c));
  at("remarks").replaceChildren(...remarks);
}

function range(c) {
  if (!c.outside) {
    return el("li", {}, c.split === "oof" ? "Training range: not judged out of fold." : "Inside the training range.");
  }
  const reasons = c.outside.split("; ");
  const list = el("ul", {}, ...reasons.map((reason) => el("li", {}, reason)));
  const text = reasons.length > 1 ? `Outside the training range in ${reasons.length} ways` : "Outside the training range";
  return el("li", { className: "warn" }, el("details", { open: reasons.length < 2 }, el("summary", {}, text), list));
}

function clearAbout() {
  for (const id of ["table-part", "shap-part"]) at(id).hidden = true;
  at("near").replaceChildren();
  at("near-text").textContent = "…";
}

// No image of one patient may stand under the name of another, not even until the next answer comes.
function clearImages() {
  view.images = null;
  at("stage").replaceChildren();
  at("stage").setAttribute("aria-label", "Slices, being read");
  for (const id of ["curve-part", "no-images", "caution"]) at(id).hidden = true;
  for (const id of ["slice-text", "map-text", "said"]) at(id).textContent = "";
  at("profile").replaceChildren();
  delete document.body.dataset.shown;
}

// Comes after the images: the server reads the cohort and all embeddings when it is first asked.
async function showAbout(position, c) {
  const found = await ask(`cases/${position}`);
  if (view.position !== position) return;
  about = found;
  const unread = about.why_no_facts ? [["not read", about.why_no_facts]] : [];
  at("table").replaceChildren(...[...about.facts, ...about.notes.map((text) => ["note", text]), ...unread].map(([name, value]) =>
    el("div", {}, el("dt", {}, name), el("dd", {}, value))));
  at("table-part").hidden = !at("table").children.length;
  drawShares();
  drawNeighbors(c);
  drawCurve();
}

// What moved the prediction

function drawShares() {
  const shares = about.shap;
  at("shap-part").hidden = !shares;
  if (!shares) return;
  const largest = Math.max(...shares.groups.flatMap((group) => group.values.map(Math.abs)), 1e-9);
  const head = el("tr", {}, el("th", { scope: "col" }, "group"), ...run.classes.map((name) => el("th", { scope: "col", className: name }, name)));
  const rows = shares.groups.map((group) => el("tr", {}, el("th", { scope: "row" }, group.name), ...group.values.map((value) => push(value, largest))));
  const base = el("tr", { className: "base" }, el("th", { scope: "row" }, "mean in training"), ...shares.base.map((value) => el("td", {}, signed(value))));
  at("shap").replaceChildren(el("table", {}, el("thead", {}, head), el("tbody", {}, ...rows, base)),
    el("p", { className: "soft" }, "Shapley values in log-odds of each class: what the model, as locked, adds to the mean of the training patients it is compared with; above 0 speaks for the class."));
}

function signed(value) {
  return value === null ? "" : `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;
}

// A number with a bar from the middle of its cell, as long as the share is large.
function push(value, largest) {
  const bar = el("i", { className: value < 0 ? "minus" : "plus" });
  bar.style.width = `${(50 * Math.abs(value ?? 0)) / largest}%`;
  bar.style.left = value < 0 ? `${50 - (50 * Math.abs(value)) / largest}%` : "50%";
  return el("td", {}, signed(value), el("span", { className: "push", ariaHidden: "true" }, bar));
}

// Neighbors

function drawNeighbors(c) {
  const near = about.neighbors;
  const same = near.filter((n) => run.cases[n.case].truth === c.truth).length;
  const agreement = c.truth >= 0 && near.length ? ` ${same} of ${near.length} ${same === 1 ? "is" : "are"} truly ${run.classes[c.truth]}, too.` : "";
  at("near-text").textContent = about.why_no_neighbors || `By the cosine of the standardized vectors that the head was given.${agreement}`;
  at("near").replaceChildren(...near.map((n) => {
    const other = run.cases[n.case];
    const picture = other.images ? el("canvas", { width: 1, height: 1, ariaHidden: "true" }) : el("span", { className: "blank" });
    const truth = other.truth < 0 ? ["true class not known"] : ["true ", className(other.truth)];
    const button = el("button", { type: "button" }, picture, el("span", { className: "id", title: other.id }, other.id),
      el("span", {}, ...truth), el("span", {}, "predicted ", className(other.predicted)),
      el("span", { className: "soft" }, [n.her2, `site ${other.site}`, `cosine ${n.cosine.toFixed(2)}`].filter(Boolean).join(" · ")));
    button.addEventListener("click", () => {
      choose(n.case);
      at("images").scrollIntoView({ block: "nearest" });
    });
    if (other.images) drawThumbnail(picture, n.case, view.position);
    return el("li", {}, button);
  }));
}

async function drawThumbnail(canvas, position, asked) {
  const found = await ask(`cases/${position}/thumbnail`);
  if (found.why || view.position !== asked) return;
  const { values, shape: [rows, cols] } = found.arrays.voxels;
  [canvas.width, canvas.height] = [cols, rows];
  canvas.getContext("2d").putImageData(new ImageData(grayPixels(values, 0, rows * cols, found.window), cols, rows), 0, 0);
}

// Images

async function showImages(position, c) {
  let found;
  try {
    found = await imagesOf(position);
  } catch {
    found = { why: "The images could not be read." };
  }
  if (view.position !== position) return;
  at("viewer").hidden = Boolean(found.why);
  at("no-images").hidden = !found.why;
  at("no-images").textContent = found.why ?? "";
  view.images = found.why ? null : found;
  if (!view.images) return;
  view.slice = found.largest_slice;
  view.phase = Math.min(view.phase, found.phases.length - 1);
  view.window = [...found.window];
  view.zoom = 1;
  view.heatClass = c.predicted;
  prepareViewer();
  draw();
  drawCurve();
  document.body.dataset.shown = position;
}

function prepareViewer() {
  const images = view.images;
  at("phases").replaceChildren(...images.phases.map((name, n) => {
    const button = el("button", { type: "button" }, name);
    button.addEventListener("click", () => setPhase(n));
    return button;
  }));
  at("all").hidden = images.phases.length < 2;
  at("slice").max = images.arrays.voxels.shape[1] - 1;
  at("heat-tools").hidden = !images.maps;
  if (images.maps) at("heat-class").value = String(view.heatClass);
  at("map-text").textContent = mapText(images);
  at("caution").textContent = run.caution;
  at("caution").hidden = !run.caution || Boolean(run.maps && !images.maps);
  const largest = Math.max(...images.area_mm2, 1);
  at("profile").replaceChildren(...images.area_mm2.map((area, n) => {
    const bar = el("i", { className: area ? "lesion" : "" });
    if (images.maps?.slices.includes(n)) bar.classList.add("mapped");
    bar.style.height = `${100 * area / largest}%`;
    return bar;
  }));
  setWindowSliders();
}

function mapText(images) {
  if (!images.maps) return run.maps ? "This patient has no maps." : "";
  const trained = images.maps.in_training ? ` The model that is explained was trained on this patient, and says ${explained(images)}.` : "";
  return `Map: ${METHODS[run.maps.method] ?? run.maps.method}; one scale for all slices and classes; on the slices in amber.${trained}`;
}

// What the explained model says, which for a patient it was trained on is not what the list shows.
function explained(images) {
  const most = images.maps.log_odds.indexOf(Math.max(...images.maps.log_odds));
  return `${run.maps.classes[most]} at ${percent(1 / (1 + Math.exp(-images.maps.log_odds[most])))}`;
}

function place(images) {
  return `${view.slice + 1} of ${images.arrays.voxels.shape[1]}`;
}

function sliceText(images) {
  const area = images.area_mm2[view.slice];
  return `${place(images)}, no. ${images.first_slice + view.slice + 1} of the exam${area ? `, lesion ${Math.round(area)} mm²` : ""}`;
}

let speaking;
function draw() {
  const images = view.images;
  if (!images) return;
  const stage = at("stage");
  const phases = view.all ? images.phases.map((_, n) => n) : [view.phase];
  while (stage.children.length > phases.length) stage.lastChild.remove();
  while (stage.children.length < phases.length) stage.append(frame());
  const size = fitted(images, phases.length);
  for (const [n, phase] of phases.entries()) drawFrame(stage.children[n], images, phase, size);
  stage.classList.toggle("zoomed", view.zoom > 1);
  stage.setAttribute("aria-label", `Slices of ${run.cases[view.position].id}`);
  drawControls(images);
  clearTimeout(speaking);
  speaking = setTimeout(() => { at("said").textContent = spoken(images); }, 300);
}

function spoken(images) {
  const phases = view.all ? "all phases" : `phase ${images.phases[view.phase]}`;
  return `Slice ${sliceText(images)}, ${phases}${mapSlice() >= 0 && view.heat ? ", map shown" : ""}`;
}

function drawControls(images) {
  for (const [n, button] of [...at("phases").children].entries()) button.ariaPressed = String(n === view.phase && !view.all);
  at("all").ariaPressed = String(view.all);
  at("outline").ariaPressed = String(view.outline);
  at("heat").ariaPressed = String(view.heat);
  at("slice").value = view.slice;
  at("slice").setAttribute("aria-valuetext", sliceText(images));
  at("slice-text").textContent = sliceText(images);
  for (const [n, bar] of [...at("profile").children].entries()) bar.classList.toggle("here", n === view.slice);
  at("out").disabled = view.zoom <= 1;
  at("in").disabled = view.zoom >= 8;
}

function frame() {
  const sides = ["l", "r", "t", "b"].map((side) => el("span", { className: `side ${side}`, ariaHidden: "true" }));
  return el("figure", { className: "frame" }, el("canvas", { role: "img" }), el("figcaption"), ...sides);
}

// Size of a slice on the page, in CSS pixels: its true proportions, as large as the stage allows, times the zoom.
function fitted(images, n) {
  const [, , rows, cols] = images.arrays.voxels.shape;
  const [, rowMm, colMm] = images.spacing_mm;
  const stage = at("stage");
  const ratio = (rows * rowMm) / (cols * colMm);
  const width = stage.clientWidth / n - 7;
  const tall = getComputedStyle(stage).maxHeight !== "none" ? Math.max(window.innerHeight * 0.6, 200) : stage.clientHeight;
  const fit = Math.max(Math.min(width, (tall - 2) / ratio), 60);
  return [fit * view.zoom, fit * ratio * view.zoom];
}

function drawFrame(figure, images, phase, [width, height]) {
  const [canvas, caption, ...sides] = figure.children;
  const density = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * density);
  canvas.height = Math.round(height * density);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  caption.textContent = images.phases[phase];
  canvas.setAttribute("aria-label", `Phase ${images.phases[phase]}, slice ${place(images)}`);
  for (const [n, side] of sides.entries()) side.textContent = (SIDES[images.plane] ?? "    ")[n];
  const [, slices, rows, cols] = images.arrays.voxels.shape;
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  const start = (phase * slices + view.slice) * rows * cols;
  const pixels = grayPixels(images.arrays.voxels.values, start, rows * cols, view.window);
  context.drawImage(small(pixels, cols, rows), 0, 0, canvas.width, canvas.height);
  if (view.heat && mapSlice() >= 0) {
    context.drawImage(small(heatPixels(images, rows * cols), cols, rows), 0, 0, canvas.width, canvas.height);
  }
  if (view.outline) drawOutline(context, images, canvas.width / cols, canvas.height / rows, density);
  drawScale(context, canvas, images, density);
}

function small(pixels, cols, rows) {
  const canvas = new OffscreenCanvas(cols, rows);
  canvas.getContext("2d").putImageData(new ImageData(pixels, cols, rows), 0, 0);
  return canvas;
}

function grayPixels(values, start, n, [low, high]) {
  const pixels = new Uint8ClampedArray(4 * n);
  const factor = 255 / Math.max(high - low, 1e-6);
  for (let i = 0; i < n; i += 1) {
    const gray = (values[start + i] - low) * factor;
    pixels[4 * i] = gray;
    pixels[4 * i + 1] = gray;
    pixels[4 * i + 2] = gray;
    pixels[4 * i + 3] = 255;
  }
  return pixels;
}

// Which map lies on the slice that is shown, -1 for none.
function mapSlice() {
  return view.images?.maps ? view.images.maps.slices.indexOf(view.slice) : -1;
}

function heatPixels(images, n) {
  const { values, shape: [, slices] } = images.arrays.maps;
  const start = (view.heatClass * slices + mapSlice()) * n;
  const pixels = new Uint8ClampedArray(4 * n);
  for (let i = 0; i < n; i += 1) {
    const heat = values[start + i] / MAP_TOP;
    if (heat <= 0 && !view.against) continue;
    const color = heat > 0 ? hot(heat) : AGAINST;
    pixels.set(color, 4 * i);
    pixels[4 * i + 3] = 255 * view.strength * Math.sqrt(Math.abs(heat));
  }
  return pixels;
}

function hot(heat) {
  const place = Math.min(heat, 1) * (HEAT.length - 1);
  const below = Math.min(Math.floor(place), HEAT.length - 2);
  return HEAT[below].map((value, n) => value + (place - below) * (HEAT[below + 1][n] - value));
}

// The edges between lesion and not lesion, drawn between the pixels.
function drawOutline(context, images, stepX, stepY, density) {
  const [, slices, rows, cols] = images.arrays.voxels.shape;
  const start = view.slice * rows * cols;
  const mask = images.arrays.mask.values;
  const inside = (row, col) => row >= 0 && row < rows && col >= 0 && col < cols && mask[start + row * cols + col] > 0;
  const path = new Path2D();
  for (let row = 0; row <= rows; row += 1) {
    for (let col = 0; col <= cols; col += 1) {
      if (inside(row, col) !== inside(row - 1, col)) {
        path.moveTo(col * stepX, row * stepY);
        path.lineTo((col + 1) * stepX, row * stepY);
      }
      if (inside(row, col) !== inside(row, col - 1)) {
        path.moveTo(col * stepX, row * stepY);
        path.lineTo(col * stepX, (row + 1) * stepY);
      }
    }
  }
  context.lineCap = "square";
  for (const [color, width] of [["rgb(0 0 0 / .55)", 3], [OUTLINE, 1.5]]) {
    context.strokeStyle = color;
    context.lineWidth = width * density;
    context.stroke(path);
  }
}

function drawScale(context, canvas, images, density) {
  const [, , , cols] = images.arrays.voxels.shape;
  const perMm = canvas.width / (cols * images.spacing_mm[2]);
  const length = [50, 20, 10, 5].find((mm) => mm * perMm < canvas.width / 3) ?? 2;
  const [right, bottom] = [canvas.width - 8 * density, canvas.height - 8 * density];
  context.fillStyle = "rgb(0 0 0 / .5)";
  context.fillRect(right - length * perMm - 2 * density, bottom - 16 * density, length * perMm + 4 * density, 21 * density);
  context.fillStyle = "#fff";
  context.fillRect(right - length * perMm, bottom, length * perMm, 2 * density);
  context.font = `${11 * density}px system-ui, sans-serif`;
  context.textAlign = "right";
  context.fillText(`${length} mm`, right, bottom - 4 * density);
}

// Steering

function setSlice(slice) {
  if (!view.images) return;
  const last = view.images.arrays.voxels.shape[1] - 1;
  const wanted = Math.min(Math.max(slice, 0), last);
  if (wanted === view.slice) return;
  view.slice = wanted;
  draw();
}

function setPhase(phase) {
  if (!view.images || phase < 0 || phase >= view.images.phases.length) return;
  [view.phase, view.all] = [phase, false];
  draw();
  drawCurve();
}

function setZoom(zoom) {
  const stage = at("stage");
  const wanted = Math.min(Math.max(zoom, 1), 8);
  const middle = [(stage.scrollLeft + stage.clientWidth / 2) / stage.scrollWidth, (stage.scrollTop + stage.clientHeight / 2) / stage.scrollHeight];
  view.zoom = wanted;
  draw();
  stage.scrollLeft = middle[0] * stage.scrollWidth - stage.clientWidth / 2;
  stage.scrollTop = middle[1] * stage.scrollHeight - stage.clientHeight / 2;
}

function toggle(name) {
  view[name] = !view[name];
  draw();
  drawCurve();
}

function setWindowSliders() {
  at("level").value = (1000 * (view.window[0] + view.window[1])) / 2 / 65535;
  at("width").value = (1000 * (view.window[1] - view.window[0])) / 65535;
}

function setWindow(level, width) {
  const half = Math.max(width, 65) / 2;
  view.window = [level - half, level + half];
  draw();
}

const STAGE_KEYS = {
  ArrowUp: () => setSlice(view.slice - 1),
  ArrowDown: () => setSlice(view.slice + 1),
  PageUp: () => setSlice(view.slice - 5),
  PageDown: () => setSlice(view.slice + 5),
  Home: () => setSlice(0),
  End: () => setSlice(Infinity),
  ArrowLeft: () => setPhase(view.phase - 1),
  ArrowRight: () => setPhase(view.phase + 1),
  "+": () => setZoom(view.zoom * 1.5),
  "=": () => setZoom(view.zoom * 1.5),
  "-": () => setZoom(view.zoom / 1.5),
  0: () => setZoom(1),
  o: () => toggle("outline"),
  m: () => toggle("heat"),
  s: () => toggle("all"),
  n: () => step(1),
  p: () => step(-1),
};

function stageKeys(event) {
  const act = STAGE_KEYS[event.key];
  if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  act();
}

let wheeled = 0;
function stageWheel(event) {
  if (!view.images) return;
  event.preventDefault();
  if (event.ctrlKey) {
    setZoom(view.zoom * (event.deltaY < 0 ? 1.2 : 1 / 1.2));
    return;
  }
  wheeled += event.deltaMode === 0 ? event.deltaY : 40 * event.deltaY;
  const slices = Math.trunc(wheeled / 40);
  if (slices) {
    wheeled -= 40 * slices;
    setSlice(view.slice + Math.sign(slices) * Math.min(Math.abs(slices), 3));
  }
}

function stageDrag(event) {
  const adjusts = event.button === 2;
  if (!view.images || event.pointerType === "touch" || !(adjusts || (event.button === 0 && view.zoom > 1))) return;
  const stage = at("stage");
  const begin = { x: event.clientX, y: event.clientY, left: stage.scrollLeft, top: stage.scrollTop, window: [...view.window] };
  const move = (now) => {
    const [dx, dy] = [now.clientX - begin.x, now.clientY - begin.y];
    if (!adjusts) {
      stage.scrollTo(begin.left - dx, begin.top - dy);
      return;
    }
    const [low, high] = begin.window;
    const width = (high - low) * Math.exp(dx / 200);
    setWindow((low + high) / 2 + ((high - low) * dy) / 300, width);
    setWindowSliders();
  };
  stage.setPointerCapture(event.pointerId);
  stage.addEventListener("pointermove", move);
  stage.addEventListener("pointerup", () => stage.removeEventListener("pointermove", move), { once: true });
}

// The enhancement curve

function drawCurve() {
  const images = view.images;
  at("curve-part").hidden = !images?.uptake;
  if (!images?.uptake) return;
  const { mean, lower, upper } = images.uptake;
  const times = about?.times_s ?? null;
  const [w, h, left, right, top, bottom] = [340, 190, 44, 14, 12, 34];
  const places = times ?? mean.map((_, n) => n);
  const [from, to] = [places[0], places.at(-1)];
  const x = (n) => left + ((places[n] - from) / (to - from || 1)) * (w - left - right);
  const [least, most] = [Math.min(0, ...lower), Math.max(10, ...upper)];
  const y = (value) => top + ((most - value) / (most - least)) * (h - top - bottom);
  const parts = [];
  for (const value of ticks(least, most)) {
    parts.push(svg("line", { class: "axis", x1: left, x2: w - right, y1: y(value), y2: y(value) }));
    parts.push(svg("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, `${value} %`));
  }
  const edge = [...upper.map((v, n) => [x(n), y(v)]), ...lower.map((v, n) => [x(n), y(v)]).reverse()];
  parts.push(svg("polygon", { class: "band", points: edge.map((p) => p.join(",")).join(" ") }));
  parts.push(svg("polyline", { class: "mean", points: mean.map((v, n) => `${x(n)},${y(v)}`).join(" ") }));
  for (const [n, name] of images.phases.entries()) {
    const here = !view.all && n === view.phase ? "here" : "";
    parts.push(svg("circle", { class: here, cx: x(n), cy: y(mean[n]), r: 4 }));
    const anchor = n === 0 ? "start" : n === mean.length - 1 ? "end" : "middle";
    const text = times ? `${name} ${Math.round(times[n])} s` : name;
    parts.push(svg("text", { x: x(n) + (n === 0 ? -6 : n === mean.length - 1 ? 6 : 0), y: h - 12, "text-anchor": anchor }, text));
  }
  const words = images.phases.map((name, n) => `${name} ${Math.round(mean[n])} % (${Math.round(lower[n])} to ${Math.round(upper[n])})`);
  at("curve").replaceChildren(svg("svg", { viewBox: `0 0 ${w} ${h}`, role: "img", "aria-label": `Mean and middle half: ${words.join(", ")}` }, ...parts));
}

function ticks(least, most) {
  const step = [5, 10, 20, 25, 50, 100, 200, 500, 1000, 5000].find((size) => (most - least) / size <= 5) ?? 10000;
  const found = [];
  for (let value = Math.ceil(least / step) * step; value <= most; value += step) found.push(value);
  return found;
}

// Beginning

function wire() {
  at("list").addEventListener("keydown", listKeys);
  at("previous").addEventListener("click", () => step(-1));
  at("next").addEventListener("click", () => step(1));
  at("fold").addEventListener("click", () => {
    at("fold").ariaExpanded = String(at("patients").classList.toggle("open"));
    document.getElementById(`case-${view.position}`)?.scrollIntoView({ block: "nearest" });
  });
  at("all").addEventListener("click", () => toggle("all"));
  at("outline").addEventListener("click", () => toggle("outline"));
  at("heat").addEventListener("click", () => toggle("heat"));
  at("in").addEventListener("click", () => setZoom(view.zoom * 1.5));
  at("out").addEventListener("click", () => setZoom(view.zoom / 1.5));
  at("fit").addEventListener("click", () => setZoom(1));
  at("slice").addEventListener("input", () => setSlice(Number(at("slice").value)));
  at("strength").addEventListener("input", () => { view.strength = at("strength").value / 100; draw(); });
  at("against").addEventListener("change", () => { view.against = at("against").checked; draw(); });
  at("heat-class").addEventListener("change", () => { view.heatClass = Number(at("heat-class").value); draw(); });
  const moved = () => setWindow((at("level").value * 65535) / 1000, (at("width").value * 65535) / 1000);
  at("level").addEventListener("input", moved);
  at("width").addEventListener("input", moved);
  at("light-reset").addEventListener("click", () => { view.window = [...view.images.window]; setWindowSliders(); draw(); });
  const stage = at("stage");
  stage.addEventListener("keydown", stageKeys);
  stage.addEventListener("wheel", stageWheel, { passive: false });
  stage.addEventListener("pointerdown", stageDrag);
  stage.addEventListener("contextmenu", (event) => event.preventDefault());
  new ResizeObserver(() => draw()).observe(at("images"));
  window.addEventListener("hashchange", () => showHash());
}

function showHash() {
  const position = Number.parseInt(location.hash.slice(1), 10);
  if (run.cases[position]) show(position);
}

async function begin() {
  history.replaceState(null, "", location.pathname + location.hash); // the token leaves the address bar
  const found = await ask("cases");
  Object.assign(run, found);
  for (const [position, c] of run.cases.entries()) c.position = position;
  at("run").textContent = run.run;
  document.title = `${run.run}: TriHER patient browser`;
  const known = run.cases.filter((c) => c.truth >= 0);
  const wrong = known.length ? `, ${known.filter(isWrong).length} of ${known.length} with a known class are predicted wrong` : "";
  at("summary").textContent = `${run.cases.length} predictions${wrong} · ${[run.encoder, run.head].filter(Boolean).join(" + ")}`;
  for (const [n, name] of (run.maps?.classes ?? []).entries()) at("heat-class").append(el("option", { value: String(n) }, name));
  prepareFilters();
  wire();
  drawList();
  if (run.cases[Number.parseInt(location.hash.slice(1), 10)]) showHash();
  else if (shown.length) choose(shown[0]);
}

begin();
