"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const SVG = "http://www.w3.org/2000/svg";
  const at = id => document.getElementById(id);

  // Names are foreign: they only ever become text nodes and values of attributes.
  function element(name, attributes, ...children) {
    return fill(document.createElement(name), attributes, children);
  }
  function shape(name, attributes, ...children) {
    return fill(document.createElementNS(SVG, name), attributes, children);
  }
  function fill(node, attributes, children) {
    for (const [key, value] of Object.entries(attributes || {})) {
      if (value !== null && value !== undefined && value !== false) node.setAttribute(key, value);
    }
    node.append(...children.filter(child => child !== null && child !== undefined).map(String_));
    return node;
  }
  const String_ = child => (child instanceof Node ? child : document.createTextNode(String(child)));
  const clear = node => { node.replaceChildren(); return node; };

  function bytes(count) {
    const sign = count < 0 ? "−" : "";
    let value = Math.abs(count);
    for (const unit of ["B", "KiB", "MiB", "GiB"]) {
      if (value < 1024) return sign + (unit === "B" ? value : value.toFixed(1)) + " " + unit;
      value /= 1024;
    }
    return sign + value.toFixed(1) + " TiB";
  }
  const number = count => count.toLocaleString("en-GB");
  const plural = (count, thing) => number(count) + " " + thing + (count === 1 ? "" : "s");
  const share = (part, whole) => (whole ? (100 * part / whole).toFixed(part / whole < 0.1 ? 1 : 0) : "0") + " %";
  function seconds(micro) {
    if (micro < 1000) return micro + " µs";
    if (micro < 1e6) return (micro / 1000).toFixed(micro < 1e4 ? 1 : 0) + " ms";
    return (micro / 1e6).toFixed(2) + " s";
  }
  // As much of a text as fits, about: 6.4 is the mean width of a letter at 12 pixels.
  function fitted(text, width) {
    const letters = Math.floor(width / 6.4);
    if (letters < 3) return "";
    const all = Array.from(text);
    return all.length <= letters ? text : all.slice(0, letters - 1).join("") + "…";
  }

  function table(caption, columns, rows) {
    const head = columns.map(column => element("th", { scope: "col", class: column.number && "number" }, column.name));
    const body = rows.map(row => element("tr", {}, ...row.map((value, index) =>
      element("td", { class: columns[index].class || (columns[index].number && "number") }, value))));
    return element("table", {}, caption && element("caption", {}, caption),
      element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...body));
  }
  const mono = text => element("code", {}, text);

  // The head of the page.
  at("name").textContent = data.version ? data.name + " " + data.version : data.name;
  at("subject").append(data.what + " ", mono(data.id));
  const facts = [
    ["Content", bytes(data.totals.bytes)], ["Files", number(data.totals.files)],
    ["Packages", number(data.totals.packages)], ["Architecture", data.architecture || "not stated"],
    ["Time stamps", data.time.replace("T", " ").replace("Z", " UTC")], ["Made by", "mkimage " + data.tool],
  ];
  for (const [name, value] of facts) {
    at("facts").append(element("div", {}, element("dt", {}, name), element("dd", {}, value)));
  }
  at("footer").append("Drawn from what the image itself states. This page needs no network and sends nothing.");
  if (data.unknown.length) {
    at("unknown").hidden = false;
    at("unknown-list").append(...data.unknown.map(text => element("li", {}, text)));
  }

  // The disk: partitions side by side, widened where they would vanish.
  function drawDisk(disk) {
    at("disk").hidden = false;
    const width = 1100, height = 112, least = 70;
    const weights = disk.partitions.map(one => Math.sqrt(one.bytes));
    const sum = weights.reduce((all, one) => all + one, 0) || 1;
    const free = Math.max(width - least * weights.length, 0);
    const map = shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-labelledby": "disk-title" });
    let x = 0;
    disk.partitions.forEach((partition, index) => {
      const wide = least + free * weights[index] / sum;
      map.append(shape("rect", { x, y: 22, width: wide, height: 60, class: "free" }));
      let inside = x;
      partition.pieces.forEach(([name, size], piece) => {
        const part = partition.bytes ? wide * size / partition.bytes : 0;
        const title = shape("title", {}, `${name}: ${bytes(size)}`);
        map.append(shape("rect", { x: inside, y: 22, width: part, height: 60, class: "h" + (index + 3 * piece) % 9 }, title));
        if (part > 40) map.append(shape("text", { x: inside + 6, y: 56 }, fitted(name, part - 10)));
        inside += part;
      });
      map.append(shape("text", { x: x + 2, y: 14, class: "strong" }, fitted(partition.name, wide - 4)));
      map.append(shape("text", { x: x + 2, y: 100, class: "plain" }, fitted(bytes(partition.bytes), wide - 4)));
      x += wide;
    });
    at("disk-map").append(map);
    const rows = disk.partitions.map(one => {
      const used = one.pieces.reduce((all, piece) => all + piece[1], 0);
      return [one.name, bytes(one.start), bytes(one.bytes), bytes(used), share(used, one.bytes), one.note];
    });
    const numeric = name => ({ name, number: true });
    at("disk-table").append(table(
      `${bytes(disk.bytes)} in all. Widths grow with the square root of the size, so that small partitions can be seen.`,
      [{ name: "Partition" }, numeric("Begins at"), numeric("Size"), numeric("Used"), numeric(""), { name: "Holds" }], rows));
  }

  // The treemap. A node is [name, bytes, files, children, left out].
  const NAME = 0, BYTES = 1, FILES = 2, CHILDREN = 3, LEFT = 4;
  const place = { view: 0, trail: [] };
  const here = () => place.trail[place.trail.length - 1];

  // Bruls, Huizing, van Wijk, "Squarified treemaps": rows are filled as long as that makes their cells squarer.
  function squarify(items, x, y, width, height) {
    const cells = [];
    let sum = items.reduce((all, item) => all + item.weight, 0);
    let first = 0;
    while (first < items.length && sum > 0 && width > 0 && height > 0) {
      const short = Math.min(width, height), scale = width * height / sum;
      let row = 0, last = first, worst = Infinity;
      for (; last < items.length; last++) {
        const next = row + items[last].weight, side = next * scale / short;
        const ratio = weight => { const other = weight * scale / side; return Math.max(side / other, other / side); };
        const now = Math.max(ratio(items[first].weight), ratio(items[last].weight));
        if (now > worst) break;
        worst = now; row = next;
      }
      const side = row * scale / short;
      let along = 0;
      for (const item of items.slice(first, last)) {
        const length = item.weight * scale / side;
        cells.push(width >= height
          ? { item, x, y: y + along, width: side, height: length } : { item, x: x + along, y, width: length, height: side });
        along += length;
      }
      if (width >= height) { x += side; width -= side; } else { y += side; height -= side; }
      sum -= row; first = last;
    }
    return cells;
  }

  function items(node) {
    const children = node[CHILDREN].filter(child => child[BYTES] > 0).map(child => ({ node: child, weight: child[BYTES] }));
    const rest = node[BYTES] - children.reduce((all, child) => all + child.weight, 0);
    if (rest > 0) {
      const name = node[LEFT] ? `${number(node[LEFT])} smaller` : "files";
      children.push({ node: [name, rest, 0, [], 0], weight: rest, rest: true });
    }
    return children.sort((a, b) => b.weight - a.weight);
  }
  const opens = node => node[CHILDREN].length > 0;

  function drawTreemap(focusIndex) {
    const node = here(), box = at("treemap");
    const width = Math.max(box.clientWidth || 1000, 320), height = Math.round(Math.min(Math.max(width * 0.5, 280), 560));
    const map = shape("svg", {
      viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": `${node[NAME]}, ${bytes(node[BYTES])}`,
    });
    squarify(items(node), 0, 0, width, height).forEach((cell, index) => map.append(drawCell(cell, index, node)));
    clear(box).append(map);
    const cells = map.querySelectorAll(".cell");
    if (cells.length) {
      const chosen = cells[Math.min(focusIndex || 0, cells.length - 1)];
      chosen.setAttribute("tabindex", "0");
      if (focusIndex !== undefined) chosen.focus();
    }
    drawCrumbs();
    drawLargest(node);
  }

  function drawCell({ item, x, y, width, height }, index, parent) {
    const node = item.node, leaf = !opens(node), files = node[FILES] > 1 ? ", " + plural(node[FILES], "file") : "";
    const label = `${node[NAME]}, ${bytes(node[BYTES])}, ${share(node[BYTES], parent[BYTES])}${files}${leaf ? "" : ", opens"}`;
    const hue = place.trail.length > 1 ? (place.hue + index) % 9 : index % 9;
    const cell = shape("g", {
      class: leaf ? "cell leaf" : "cell", role: leaf ? "img" : "button", "aria-label": label, tabindex: "-1",
      "data-index": index, "data-name": node[NAME],
    }, shape("title", {}, label));
    cell.append(shape("rect", { x, y, width, height, class: item.rest ? "h9" : "h" + hue }));
    drawInside(cell, node, x, y, width, height, hue, 1);
    if (width > 34 && height > 16) {
      const size = bytes(node[BYTES]), name = fitted(node[NAME], width - 10);
      const both = width > 7 * (Array.from(node[NAME]).length + size.length + 3);
      cell.append(shape("text", { x: x + 5, y: y + 14, class: "strong" }, both ? `${node[NAME]}  ${size}` : name));
    }
    cell.addEventListener("click", () => open(index));
    cell.addEventListener("focus", () => {
      at("treemap").querySelectorAll("[tabindex='0']").forEach(other => other.setAttribute("tabindex", "-1"));
      cell.setAttribute("tabindex", "0");
    });
    return cell;
  }

  // What lies in a cell, as far as there is room to see it.
  function drawInside(cell, node, x, y, width, height, hue, depth) {
    if (!opens(node) || depth > 3 || width < 60 || height < 46) return;
    for (const inner of squarify(items(node), x + 3, y + 20, width - 6, height - 23)) {
      const wide = inner.width, high = inner.height;
      if (wide < 3 || high < 3) continue;
      cell.append(shape("rect", { x: inner.x, y: inner.y, width: wide, height: high, class: `h${hue} inner` }));
      if (wide > 40 && high > 17) {
        cell.append(shape("text", { x: inner.x + 4, y: inner.y + 14 }, fitted(inner.item.node[NAME], wide - 8)));
      }
      drawInside(cell, inner.item.node, inner.x, inner.y, wide, high, hue, depth + 1);
    }
  }

  function open(index) {
    const item = items(here())[index];
    if (!item || !opens(item.node)) return;
    if (place.trail.length === 1) place.hue = index % 9;
    place.trail.push(item.node);
    drawTreemap(0);
  }
  function back(to) {
    if (to >= place.trail.length - 1) return;
    const left = place.trail[to + 1];
    place.trail.length = to + 1;
    drawTreemap(items(here()).findIndex(item => item.node === left));
  }

  at("treemap").addEventListener("keydown", event => {
    const cell = event.target.closest(".cell");
    if (!cell) return;
    const index = Number(cell.getAttribute("data-index"));
    if (event.key === "Enter" || event.key === " ") open(index);
    else if (event.key === "Escape" || event.key === "Backspace") back(place.trail.length - 2);
    else if (event.key.startsWith("Arrow")) move(cell, event.key.slice(5));
    else if (event.key === "Home" || event.key === "End") {
      const cells = at("treemap").querySelectorAll(".cell");
      cells[event.key === "Home" ? 0 : cells.length - 1].focus();
    } else return;
    event.preventDefault();
  });

  // The nearest cell in a direction, measured from middle to middle.
  function move(from, direction) {
    const middle = node => {
      const box = node.querySelector("rect").getBoundingClientRect();
      return { x: box.x + box.width / 2, y: box.y + box.height / 2 };
    };
    const start = middle(from), sign = direction === "Left" || direction === "Up" ? -1 : 1;
    const sideways = direction === "Left" || direction === "Right";
    let best = null, least = Infinity;
    for (const cell of at("treemap").querySelectorAll(".cell")) {
      const point = middle(cell), dx = point.x - start.x, dy = point.y - start.y;
      const ahead = sign * (sideways ? dx : dy), aside = Math.abs(sideways ? dy : dx);
      if (cell === from || ahead <= 1) continue;
      const distance = ahead + 2 * aside;
      if (distance < least) { least = distance; best = cell; }
    }
    if (best) best.focus();
  }

  function drawCrumbs() {
    const last = place.trail.length - 1;
    clear(at("crumbs")).append(...place.trail.map((node, index) => {
      const name = index === 0 ? data.name : node[NAME];
      const crumb = element("button", { type: "button", "aria-current": index === last && "location" },
        index === last ? `${name}, ${bytes(node[BYTES])}` : name + " ›");
      crumb.addEventListener("click", () => back(index));
      return crumb;
    }));
  }

  function drawLargest(node) {
    const rows = items(node).slice(0, 12).map(({ node: child }) =>
      [child[NAME], bytes(child[BYTES]), share(child[BYTES], node[BYTES]), child[FILES] ? number(child[FILES]) : ""]);
    const cut = node[LEFT] ? ` ${plural(node[LEFT], "smaller entry").replace("entrys", "entries")} summed up.` : "";
    clear(at("largest")).append(table(`The largest of ${place.trail.length > 1 ? node[NAME] : data.name}.${cut}`,
      [{ name: "Name", class: "wrap" }, { name: "Size", number: true }, { name: "Share", number: true },
        { name: "Files", number: true }], rows));
  }

  function choose(view) {
    place.view = view;
    place.trail = [data.sizes[view].root];
    [...at("views").children].forEach((tab, index) => {
      tab.setAttribute("aria-selected", index === view);
      tab.setAttribute("tabindex", index === view ? "0" : "-1");
    });
    drawTreemap();
  }
  data.sizes.forEach((view, index) => {
    const tab = element("button", { type: "button", role: "tab", "aria-controls": "treemap" }, view.label);
    tab.addEventListener("click", () => choose(index));
    tab.addEventListener("keydown", event => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = (index + step + data.sizes.length) % data.sizes.length;
      choose(next);
      at("views").children[next].focus();
      event.preventDefault();
    });
    at("views").append(tab);
  });

  // What changed.
  function drawChanges(changes) {
    at("changes").hidden = false;
    const [before, after] = changes.bytes, grown = after - before;
    const signed = growth =>
      element("span", { class: growth > 0 ? "more" : growth < 0 && "less" }, (growth > 0 ? "+" : "") + bytes(growth));
    const old = changes.old.version ? changes.old.name + " " + changes.old.version : changes.old.name;
    at("changes-summary").append(`Against ${old} `, mono(changes.old.id.slice(0, 12)), `: ${bytes(before)} → ${bytes(after)} (`,
      signed(grown), `), ${plural(changes.counts.added, "file")} added, ${number(changes.counts.changed)} changed, ` +
      `${number(changes.counts.removed)} removed.`);
    const maybe = size => (size === null ? "" : bytes(size));
    const body = at("changes-body");
    if (changes.packages.length) {
      const rows = changes.packages.map(([name, architecture, kind, was, is, oldBytes, newBytes]) =>
        [name, kind, was || "", is || "", maybe(oldBytes), maybe(newBytes)]);
      body.append(element("div", { class: "scroll" }, table("Packages", [{ name: "Package" }, { name: "" },
        { name: "Before", class: "wrap" }, { name: "Now", class: "wrap" }, { name: "Size before", number: true },
        { name: "Size now", number: true }], rows)));
    }
    if (changes.folders.length) {
      body.append(element("div", { class: "scroll" }, table("Folders that grew or shrank", [{ name: "Folder", class: "wrap" },
        { name: "Growth", number: true }], changes.folders.map(([name, growth]) => [name, signed(growth)]))));
    }
    if (changes.files.length) {
      const cut = changes.left_out ? ` ${plural(changes.left_out, "further file")} not listed.` : "";
      const rows = changes.files.map(([path, kind, was, is]) => [path, kind, maybe(was), maybe(is), signed((is || 0) - (was || 0))]);
      body.append(element("div", { class: "scroll" }, table("Files, the heaviest change first." + cut, [{ name: "File", class: "wrap" },
        { name: "" }, { name: "Before", number: true }, { name: "Now", number: true }, { name: "Growth", number: true }], rows)));
    }
  }

  // The timeline: a row a lane and depth, time to the right.
  function drawTimeline(timeline) {
    at("timeline").hidden = false;
    const depths = timeline.lanes.map(() => 1);
    for (const [lane, depth] of timeline.spans) depths[lane] = Math.max(depths[lane], depth + 1);
    const left = 90, width = 1100, high = 20, gap = 8;
    const tops = [];
    let height = 24;
    for (const depth of depths) { tops.push(height); height += depth * high + gap; }
    const end = Math.max(timeline.end, 1), scale = (width - left) / end;
    const map = shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-labelledby": "timeline-title timeline-summary" });
    const step = 10 ** Math.floor(Math.log10(end / 2)) || 1;
    for (let time = 0; time <= end; time += step * (end / step > 12 ? 2 : 1)) {
      const x = left + time * scale;
      map.append(shape("line", { x1: x, x2: x, y1: 18, y2: height, stroke: "var(--line)" }),
        shape("text", { x: x + 3, y: 13, class: "plain" }, seconds(time)));
    }
    timeline.lanes.forEach((name, lane) => map.append(shape("text", { x: 0, y: tops[lane] + 14, class: "strong" }, fitted(name, left - 6))));
    const hues = new Map();
    for (const [lane, depth, start, length, name, cached, done, unit] of timeline.spans) {
      const kind = name.split(" ")[0];
      if (!hues.has(kind)) hues.set(kind, hues.size % 9);
      const amount = done ? ", " + (unit === "bytes" ? bytes(done) : plural(done, "item")) : "";
      const x = left + start * scale, y = tops[lane] + depth * high, wide = Math.max(length * scale, 1);
      const box = shape("rect", { x, y, width: wide, height: high - 2, class: `h${hues.get(kind)}${cached ? " known" : ""}` });
      map.append(shape("g", {}, shape("title", {}, `${name}: ${seconds(length)}${amount}${cached ? ", known before" : ""}`), box,
        wide > 30 ? shape("text", { x: x + 4, y: y + 13 }, fitted(name, wide - 8)) : null));
    }
    at("timeline-map").append(map);
    const sums = new Map();
    for (const [, , , length, name, cached] of timeline.spans) {
      const sum = sums.get(name) || [name, 0, 0, 0];
      sum[1] += length; sum[2] += 1; sum[3] += cached ? 1 : 0;
      sums.set(name, sum);
    }
    const slowest = [...sums.values()].sort((a, b) => b[1] - a[1]).slice(0, 15);
    const cut = timeline.left_out ? ` ${plural(timeline.left_out, "shorter step")} not drawn.` : "";
    at("timeline-summary").textContent = `${seconds(timeline.end)} in all, ${plural(timeline.spans.length, "step")} on ` +
      `${plural(timeline.lanes.length, "lane")}. Steps lie within the steps that began them.${cut}`;
    at("timeline-table").append(table("The steps that took longest", [{ name: "Step", class: "wrap" }, { name: "Time", number: true },
      { name: "Times", number: true }, { name: "Known before", number: true }],
      slowest.map(([name, length, times, cached]) => [name, seconds(length), number(times), cached ? number(cached) : ""])));
  }

  // The bill of materials.
  const bill = data.components.rows.map(row => {
    const [name, version, architecture, source, licence, size, files, supplier, sha256, purl, summary, inRoot] = row;
    const words = [name, version, architecture, source, licence, supplier, purl, summary].filter(Boolean).join("\n").toLowerCase();
    return { name, version, architecture, source, licence, size, files, supplier, sha256, purl, summary, inRoot, words };
  });
  const order = { key: "name", sign: 1 };
  const columns = [
    { key: "name", name: "Name" }, { key: "version", name: "Version" }, { key: "licence", name: "Licence" },
    { key: "source", name: "Built of" }, { key: "size", name: "Size", number: true }, { key: "files", name: "Files", number: true },
  ];
  // A licence of no list is shown as the package calls it; the whole reference stands in the bill.
  const short = licence => licence.replace(/LicenseRef-(?:Debian|RPM)-(\S*?)-[0-9a-f]{8}/g, "$1");
  function drawBill() {
    const words = at("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = bill.filter(one => words.every(word => one.words.includes(word)));
    const value = one => (one[order.key] === null || one[order.key] === undefined ? "" : one[order.key]);
    const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en"));
    found.sort((a, b) => order.sign * compare(value(a), value(b)) || compare(a.name, b.name));
    const heads = columns.map(column => {
      const sorted = column.key === order.key && (order.sign > 0 ? "ascending" : "descending");
      const button = element("button", { type: "button" }, column.name);
      button.addEventListener("click", () => {
        order.sign = column.key === order.key ? -order.sign : column.number ? -1 : 1;
        order.key = column.key;
        drawBill();
        at("bill-table").querySelectorAll("th button")[columns.indexOf(column)].focus();
      });
      return element("th", { scope: "col", class: column.number && "number", "aria-sort": sorted }, button);
    });
    const rows = found.map(one => element("tr", {},
      element("td", { class: "wrap" }, one.name, one.summary ? element("small", {}, one.summary) : null),
      element("td", { class: "wrap" }, one.version || "", one.inRoot ? null : element("small", {}, "boots the image")),
      element("td", { class: "wrap", title: one.licence }, one.licence ? short(one.licence) : "not stated"), element("td", { class: "wrap" }, one.source || ""),
      element("td", { class: "number" }, one.files ? bytes(one.size) : ""), element("td", { class: "number" }, one.files ? number(one.files) : "")));
    clear(at("bill-table")).append(element("table", {}, element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...rows)));
    const cut = data.components.left_out ? `, ${number(data.components.left_out)} not listed` : "";
    at("found").textContent = `${number(found.length)} of ${number(bill.length)}${cut}`;
  }
  at("search").addEventListener("input", drawBill);

  if (data.disk) drawDisk(data.disk);
  choose(0);
  if (data.changes) drawChanges(data.changes);
  if (data.timeline) drawTimeline(data.timeline);
  drawBill();
  for (const section of document.querySelectorAll("section:not([hidden])")) {
    at("contents").append(element("a", { href: "#" + section.id }, section.querySelector("h2").textContent));
  }
  let resizing = 0;
  addEventListener("resize", () => { clearTimeout(resizing); resizing = setTimeout(() => drawTreemap(), 120); });
  // A key anywhere on the page takes its reader to the search.
  addEventListener("keydown", event => {
    if (event.key === "/" && !/input|textarea/i.test(event.target.tagName)) { at("search").focus(); event.preventDefault(); }
  });
})();
