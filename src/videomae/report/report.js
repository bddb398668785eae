"use strict";
// The table of videos: search, filters, sorting, and clips that play on click. Plain JavaScript, nothing is loaded.
for (const place of document.querySelectorAll(".videos")) {
  const data = JSON.parse(place.querySelector("script").textContent);
  const STEP = 20;
  let shown = STEP, column = null, isDown = false, open = null;

  const make = (tag, values = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), values);
    element.append(...children);
    return element;
  };
  const search = make("input", {type: "search", placeholder: "search", ariaLabel: "search videos"});
  const filters = data.filters.map(({label, column, values}) => {
    const select = make("select", {ariaLabel: label});
    select.append(make("option", {value: "", textContent: label}));
    for (const value of values) select.append(make("option", {value, textContent: value}));
    return {select, column};
  });
  const count = make("span", {className: "count"});
  count.setAttribute("aria-live", "polite");
  const head = make("tr"), body = make("tbody");
  const more = make("button", {type: "button", textContent: "show more"});
  place.append(
    make("div", {className: "controls"}, search, ...filters.map(({select}) => select), count),
    make("div", {className: "scroll"}, make("table", {}, make("thead", {}, head), body)),
    more,
  );
  data.header.forEach((title, number) => {
    const button = make("button", {type: "button", className: "sort", textContent: title});
    button.onclick = () => { isDown = column === number ? !isDown : isNumber(number); column = number; draw(); };
    const cell = make("th", {scope: "col", className: isNumber(number) ? "number" : ""}, button);
    head.append(cell);
  });

  function isNumber(number) { return data.numbers.includes(number); }
  function text(cell) { return typeof cell === "number" ? (100 * cell).toFixed(1) + " %" : cell ?? ""; }

  function chosen() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const rows = data.rows.filter((row) =>
      filters.every(({select, column}) => !select.value || row.cells[column] === select.value) &&
      words.every((word) => row.cells.some((cell) => String(cell).toLowerCase().includes(word))));
    if (column !== null) {
      const value = (row) => row.cells[column] ?? (isNumber(column) ? -1 : "");
      const order = isNumber(column)
        ? (a, b) => value(a) - value(b) : (a, b) => String(value(a)).localeCompare(String(value(b)));
      rows.sort((a, b) => (isDown ? -1 : 1) * order(a, b));
    }
    return rows;
  }

  function play(row, line) {
    if (open) { open.remove(); const same = open.row === row; open = null; if (same) return; }
    const video = make("video", {controls: true, muted: true, loop: true, autoplay: true, playsInline: true});
    const cell = make("td", {colSpan: data.header.length}, video);
    video.onerror = () => cell.replaceChildren(`This browser cannot play ${row.source}: moved away, or of a format that it does not know.`);
    video.src = row.source;
    open = make("tr", {className: "player"}, cell);
    open.row = row;
    line.after(open);
  }

  function draw() {
    const rows = chosen();
    open = null;
    body.replaceChildren(...rows.slice(0, shown).map((row) => {
      const line = make("tr", {className: ["right", ""].includes(row.cells[data.outcome]) ? "" : "wrong"});
      row.cells.forEach((cell, number) => {
        const element = make("td", {className: isNumber(number) ? "number" : "", title: number ? "" : row.path});
        if (number === 0 && row.source) {
          const button = make("button", {type: "button", className: "play", textContent: "▶\u00a0" + text(cell)});
          button.onclick = () => play(row, line);
          element.append(button);
        } else element.textContent = text(cell);
        line.append(element);
      });
      return line;
    }));
    count.textContent = `${rows.length} of ${data.rows.length} videos`;
    more.hidden = rows.length <= shown;
    head.querySelectorAll("th").forEach((cell, number) => {
      if (number === column) cell.ariaSort = isDown ? "descending" : "ascending"; else cell.removeAttribute("aria-sort");
    });
  }

  search.oninput = () => { shown = STEP; draw(); };
  for (const {select} of filters) select.onchange = () => { shown = STEP; draw(); };
  more.onclick = () => { shown += 10 * STEP; draw(); };
  draw();
}
