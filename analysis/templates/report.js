// Makes the report handier: sorting, filtering, reading curves, jumping, folding and the theme.
// Nothing is lost without it. Text goes in as text nodes only, never as markup.
"use strict";
(() => {
  const root = document.documentElement;
  const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];
  const make = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  };

  // Theme: as the system has it, or as chosen. Storage may be forbidden, then the choice lasts as long as the page.
  const kept = (value) => {
    try {
      if (value === undefined) return localStorage.getItem("triher-theme");
      localStorage.setItem("triher-theme", value);
    } catch {
      return null;
    }
    return value;
  };
  const setTheme = (value) => {
    if (value === "light" || value === "dark") root.dataset.theme = value;
    else delete root.dataset.theme;
  };
  setTheme(kept());

  // Sorting. "0.86 (0.76 to 0.94)" counts as 0.86 and "< 0.001" as a little less; what is not known comes last.
  const NUMBER = /^([<>≤≥]?)\s*([-+−]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:e[-+]?\d+)?)(?=$|[\s%(;])/i;
  const UNKNOWN = /^(?:|[-–—]|n\/a|none|unknown|not estimable.*|no interval.*)$/i;
  const keyOf = (cell) => {
    const text = cell.textContent.trim();
    if (UNKNOWN.test(text)) return null;
    if (/^not reached/i.test(text)) return Infinity;
    const found = NUMBER.exec(text);
    if (!found) return text;
    const number = Number(found[2].replace(/,/g, "").replace("−", "-"));
    return number + (found[1] === "<" ? -1e-12 : found[1] === ">" ? 1e-12 : 0);
  };
  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a < b ? -1 : a > b ? 1 : 0;
    if (typeof a === "number") return -1;
    if (typeof b === "number") return 1;
    return a.localeCompare(b, "en", { numeric: true });
  };
  const sorted = (rows, column, direction) => {
    const keyed = rows.map((row) => ({ row, key: keyOf(row.cells[column]) }));
    const known = keyed.filter((item) => item.key !== null);
    known.sort((a, b) => direction * compare(a.key, b.key));
    return [...known, ...keyed.filter((item) => item.key === null)].map((item) => item.row);
  };
  const NEXT = { none: "ascending", ascending: "descending", descending: "none" };
  const makeSortable = (table) => {
    const body = table.tBodies[0];
    const original = [...body.rows];
    const heads = [...table.tHead.rows[0].cells];
    if (original.length < 3 || original.some((row) => row.cells.length !== heads.length)) return;
    heads.forEach((head, column) => {
      if (!head.textContent.trim()) return;
      const button = make("button", { type: "button", class: "sort" });
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const order = NEXT[head.getAttribute("aria-sort") ?? "none"];
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        if (order === "none") return body.append(...original);
        head.setAttribute("aria-sort", order);
        body.append(...sorted(original, column, order === "ascending" ? 1 : -1));
      });
    });
  };

  // Filtering: a row stays when it holds every word.
  const FEWEST_TO_FILTER = 13;
  const makeFilterable = (table) => {
    const rows = [...table.tBodies[0].rows];
    if (rows.length < FEWEST_TO_FILTER) return;
    const field = make("input", { type: "search", autocomplete: "off", spellcheck: "false" });
    const count = make("output", {}, `${rows.length} rows`);
    const box = make("p", { class: "filter" }, make("label", {}, "Filter ", field), count);
    const texts = rows.map((row) => row.textContent.replace(/\s+/g, " ").toLowerCase());
    field.addEventListener("input", () => {
      const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      rows.forEach((row, i) => { row.hidden = !words.every((word) => texts[i].includes(word)); });
      const n = rows.filter((row) => !row.hidden).length;
      box.classList.toggle("active", words.length > 0);
      count.textContent = words.length ? `${n} of ${rows.length} rows` : `${rows.length} rows`;
    });
    const caption = table.caption ? table.caption.textContent : "table";
    field.setAttribute("aria-label", `Filter the rows of: ${caption}`);
    table.closest(".board").prepend(box);
  };

  // Boxes that scroll sideways: reachable by keyboard while they do, and they say so.
  const mindScrolling = (boxes) => {
    const mind = (box) => {
      const scrolls = box.scrollWidth > box.clientWidth + 1;
      box.parentElement.classList.toggle("scrolls", scrolls);
      for (const [name, value] of [["tabindex", "0"], ["role", "group"]]) {
        if (scrolls) box.setAttribute(name, value);
        else box.removeAttribute(name);
      }
      if (scrolls) box.setAttribute("aria-label", box.dataset.label);
      else box.removeAttribute("aria-label");
    };
    for (const box of boxes) box.dataset.label = box.getAttribute("aria-label") ?? "Figure";
    const watcher = new ResizeObserver((entries) => entries.forEach((entry) => mind(entry.target)));
    for (const box of boxes) watcher.observe(box);
  };

  // Reading curves: the drawing says where its axes lie and which of its paths are curves.
  const onScale = (share, [low, high], logarithmic) =>
    logarithmic ? low * (high / low) ** share : low + share * (high - low);
  const written = (value, [low, high], logarithmic) => {
    if (logarithmic) return String(Number(value.toPrecision(2)));
    const reach = Math.abs(high - low);
    const decimals = reach < 0.2 ? 3 : reach <= 3 ? 2 : reach <= 200 ? 1 : 0;
    return (Math.abs(value) < 0.5 * 10 ** -decimals ? 0 : value).toFixed(decimals);
  };
  const pointsOf = (group) => {
    const path = all("path", group).find((one) => !one.closest("defs"));
    const found = [];
    for (const part of path ? path.getAttribute("d").split("M").slice(1) : []) {
      const numbers = part.match(/-?[\d.]+/g).map(Number);
      const points = [];
      for (let i = 0; i + 1 < numbers.length; i += 2) points.push([numbers[i], numbers[i + 1]]);
      found.push(points);
    }
    const marks = all("use", group).map((use) => [Number(use.getAttribute("x")), Number(use.getAttribute("y"))]);
    const painted = getComputedStyle(path ?? all("use", group)[0] ?? group);
    const swatch = painted.stroke === "none" ? painted.fill : painted.stroke;
    return { label: group.dataset.curve, lines: found, marks, swatch };
  };
  // Heights of a curve at one place: two where it climbs straight up or comes back, none where it is not drawn.
  const NEAR = 0.25;
  const heightsAt = (curve, x, nearest) => {
    const heights = [];
    for (const points of curve.lines) {
      for (let i = 1; i < points.length; i += 1) {
        const [[x0, y0], [x1, y1]] = [points[i - 1], points[i]];
        if (x0 === x1 && Math.abs(x - x0) <= NEAR) heights.push(y0, y1);
        else if (x >= Math.min(x0, x1) && x <= Math.max(x0, x1)) heights.push(y0 + ((x - x0) / (x1 - x0)) * (y1 - y0));
      }
    }
    if (!curve.lines.length) {
      const mark = curve.marks.reduce((best, one) => (Math.abs(one[0] - x) < Math.abs(best[0] - x) ? one : best));
      if (Math.abs(mark[0] - x) <= nearest) heights.push(mark[1]);
    }
    return heights;
  };
  const readable = (svg) => {
    const axes = JSON.parse(svg.dataset.axes);
    const figure = svg.closest("figure");
    const reading = make("div", { class: "reading", "aria-live": "polite" });
    const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
    line.setAttribute("class", "cross");
    figure.append(reading);
    svg.append(line);
    const hint = figure.querySelector("figcaption");
    // The browser would show the title beside the reading.
    all("title", svg).forEach((title) => title.remove());
    svg.setAttribute("tabindex", "0");
    hint.append(make("span", { class: "hint" }, " Point at the curves, or focus and use the arrow keys, to read them."));
    const curvesOf = axes.map((_, i) => all(`[data-axes-number="${i}"]`, svg));
    let at = null;

    const hide = () => {
      at = null;
      reading.replaceChildren();
      line.removeAttribute("d");
    };
    const show = (number, x) => {
      const { box, x: xs, y: ys, log, names } = axes[number];
      const [left, right, top, bottom] = box;
      at = { number, x: Math.min(right, Math.max(left, x)) };
      const value = onScale((at.x - left) / (right - left), xs, log[0]);
      const rows = curvesOf[number].map(pointsOf).map((curve) => {
        const heights = heightsAt(curve, at.x, (right - left) / 12);
        if (!heights.length) return "";
        const ends = [Math.max(...heights), Math.min(...heights)].map((height) =>
          written(onScale((bottom - height) / (bottom - top), ys, log[1]), ys, log[1]));
        const swatch = make("i");
        swatch.style.background = curve.swatch;
        const text = ends[0] === ends[1] ? ends[0] : `${ends[0]} to ${ends[1]}`;
        return make("div", {}, swatch, `${curve.label || names[1]}: `, make("b", {}, text));
      });
      reading.replaceChildren(make("div", {}, `${names[0] || "x"} ${written(value, xs, log[0])}`), ...rows);
      line.setAttribute("d", `M${at.x} ${top}V${bottom}`);
      const [place, outer] = [svg.getBoundingClientRect(), figure.getBoundingClientRect()];
      const scale = place.width / svg.viewBox.baseVal.width;
      const middle = place.left - outer.left + at.x * scale;
      const isLeft = middle + reading.offsetWidth + 16 > outer.width;
      reading.style.left = `${Math.max(4, isLeft ? middle - reading.offsetWidth - 12 : middle + 12)}px`;
      reading.style.top = `${place.top - outer.top + top * scale}px`;
    };
    const usable = axes.map((_, i) => i).filter((i) => curvesOf[i].length);
    svg.addEventListener("pointermove", (event) => {
      const place = svg.getBoundingClientRect();
      const scale = svg.viewBox.baseVal.width / place.width;
      const [x, y] = [(event.clientX - place.left) * scale, (event.clientY - place.top) * scale];
      const inside = usable.find((i) => {
        const [left, right, top, bottom] = axes[i].box;
        return x >= left && x <= right && y >= top && y <= bottom;
      });
      if (inside === undefined) hide();
      else show(inside, x);
    });
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("blur", hide);
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (event.key === "Escape") hide();
      if (!step) return;
      event.preventDefault();
      const number = at ? at.number : usable[0];
      const [left, right] = axes[number].box;
      show(number, at ? at.x + (step * (right - left)) / 50 : left + (right - left) / 2);
    });
  };

  // A bar that stays in sight: where one is, where one may go, folded parts, theme.
  const chooser = (label, options) => {
    const select = make("select", { "aria-label": label });
    for (const [value, text] of options) select.append(make("option", { value }, text));
    return select;
  };
  const addBar = () => {
    const jump = make("select", { "aria-label": "Jump to a section" }, make("option", { value: "top" }, "Top of the page"));
    for (const topic of all("nav.contents div")) {
      const group = make("optgroup", { label: topic.querySelector("dt").textContent });
      for (const link of all("a", topic)) group.append(make("option", { value: link.hash.slice(1) }, link.textContent));
      jump.append(group);
    }
    jump.addEventListener("change", () => { location.hash = jump.value; });
    const folds = all("details");
    const unfold = make("button", { type: "button" }, "Open all");
    unfold.addEventListener("click", () => {
      const open = folds.some((fold) => !fold.open);
      folds.forEach((fold) => { fold.open = open; });
    });
    const name = () => { unfold.textContent = folds.some((fold) => !fold.open) ? "Open all" : "Close all"; };
    folds.forEach((fold) => fold.addEventListener("toggle", name));
    unfold.hidden = !folds.length;
    const theme = chooser("Light or dark", [["auto", "Auto"], ["light", "Light"], ["dark", "Dark"]]);
    theme.value = root.dataset.theme ?? "auto";
    theme.addEventListener("change", () => { setTheme(kept(theme.value) ?? theme.value); });
    document.querySelector("main").before(make("aside", { class: "tools", "aria-label": "Page tools" },
      make("div", {}, jump, unfold, theme)));
    const sections = all("main > section");
    const follow = () => {
      const reached = sections.filter((section) => section.getBoundingClientRect().top < innerHeight / 3);
      // A short last section never climbs that high.
      if (scrollY > 0 && innerHeight + scrollY > root.scrollHeight - 2) reached.push(sections[sections.length - 1]);
      jump.value = reached.length ? reached[reached.length - 1].id : "top";
    };
    let waiting = false;
    addEventListener("scroll", () => {
      if (!waiting) requestAnimationFrame(() => { waiting = false; follow(); });
      waiting = true;
    }, { passive: true });
    follow();
  };

  // Links to sections copy themselves.
  const copyLinks = () => {
    const said = make("p", { class: "said", role: "status" });
    document.body.append(said);
    for (const link of all("a.anchor")) {
      link.addEventListener("click", async () => {
        try {
          await navigator.clipboard.writeText(link.href);
          said.textContent = "Link copied";
        } catch {
          said.textContent = "The link is in the address bar";
        }
        setTimeout(() => { said.textContent = ""; }, 2500);
      });
    }
  };

  // Print everything, also in browsers whose style sheets cannot open what is folded.
  const printAll = () => {
    let opened = [];
    addEventListener("beforeprint", () => {
      opened = all("details:not([open])");
      opened.forEach((fold) => { fold.open = true; });
    });
    addEventListener("afterprint", () => opened.forEach((fold) => { fold.open = false; }));
  };

  document.addEventListener("DOMContentLoaded", () => {
    for (const table of all("main table[data-sortable]")) makeSortable(table);
    for (const table of all("main .board table")) makeFilterable(table);
    mindScrolling(all(".scroll"));
    for (const svg of all("figure svg[data-axes]")) readable(svg);
    addBar();
    copyLinks();
    printAll();
  });
})();
