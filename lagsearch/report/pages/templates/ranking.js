"use strict";
(() => {
  const { data, make, draw, picked } = page;
  const PAGE = 50;

  /* ---- layer maps ---- */

  const HUES = [255, 45, 155, 325, 95, 200];

  const parseMap = (text) => {
    const [layers, width] = text.split("[");
    const blocks = layers.trim().split(/\s+/).filter(Boolean).map((token) => {
      const found = /^(\D?)(\d+)([*°~]?)$/u.exec(token);
      if (!found) return { token, source: 0, layer: 0, mark: "R" };
      const source = found[1] ? found[1].codePointAt(0) - 97 : 0;
      return { token, prefix: found[1], source, layer: Number(found[2]), mark: found[3] };
    });
    return { blocks, width: width ? width.replace("]", "") : "" };
  };

  let deepest = 0;
  let longest = 1;
  let several = false;
  for (const row of data.ranking.rows) {
    for (const block of parseMap(row.map || "").blocks) {
      deepest = Math.max(deepest, block.layer);
      longest = Math.max(longest, block.token.length);
      several = several || Boolean(block.prefix);
    }
  }

  const blockColor = (block) => {
    const share = deepest > 0 ? block.layer / deepest : 0.4;
    const hue = several ? HUES[block.source % HUES.length] : 275 - 165 * share;
    const light = 0.5 + 0.32 * share;
    return { fill: `oklch(${light.toFixed(3)} 0.11 ${hue.toFixed(0)})`, ink: light < 0.66 ? "#fff" : "#15191d" };
  };

  /* New layers stand taller. A copy is filled, one that adds nothing yet hollow, a mix has a
     diagonal, a random one is crossed: all can be told apart without colour. */
  const drawBlock = (block, x, width, hasText) => {
    const group = draw("g", {});
    const isNew = block.mark === "*" || block.mark === "°" || block.mark === "R";
    const [y, height] = isNew ? [0, 22] : [5, 17];
    const { fill, ink } = blockColor(block);
    const box = { x, y, width, height, rx: Math.min(2, width / 4) };
    const line = Math.min(1.5, width / 4);
    const inner = { ...box, x: x + line / 2, y: y + line / 2, width: width - line, height: height - line };
    let color = ink;
    if (block.mark === "R") {
      group.append(draw("rect", { ...inner, fill: "none", stroke: "var(--muted)", "stroke-width": line, "stroke-dasharray": hasText ? "3 2" : "2 1.5" }));
      color = "var(--ink)";
    } else if (block.mark === "°") {
      group.append(draw("rect", { ...inner, fill: "none", stroke: fill, "stroke-width": line }));
      color = "var(--ink)";
    } else if (block.mark === "~") {
      group.append(draw("rect", { ...inner, fill, "fill-opacity": 0.3, stroke: fill, "stroke-width": line }));
      group.append(draw("path", { d: `M${x + line} ${y + height - line}L${x + width - line} ${y + line}`, stroke: fill, "stroke-width": line, "stroke-opacity": hasText ? 0.4 : 1 }));
      color = "var(--ink)";
    } else {
      group.append(draw("rect", { ...box, fill }));
      if (block.mark === "*") group.append(draw("rect", { x, y, width, height: 3, fill: "var(--ink)" }));
    }
    if (hasText) group.append(draw("text", { x: x + width / 2, y: 17, fill: color, class: "block-text" }, block.token));
    return group;
  };

  const labelWidth = Math.max(14, 4.9 * longest + 2.5);

  const drawMap = (text, scale = 1, labelled = 16) => {
    const { blocks, width: widened } = parseMap(text);
    const hasText = blocks.length <= labelled;
    const gap = hasText ? 2 : 1;
    const width = hasText ? labelWidth : Math.max(2.5, 300 / blocks.length - gap);
    const total = Math.max(1, blocks.length * (width + gap) - gap);
    const svg = draw("svg", { viewBox: `0 0 ${total} 22`, width: total * scale, height: 22 * scale, role: "img", "aria-label": `layers ${text}` });
    svg.append(draw("title", {}, text));
    blocks.forEach((block, place) => svg.append(drawBlock(block, place * (width + gap), width, hasText)));
    const holder = make("div", "layers");
    holder.append(svg);
    if (widened) holder.append(make("div", "error", widened));
    return holder;
  };

  const drawLegend = () => {
    const words = { "": "a layer of the source", "*": "a new copy", "°": "a new copy that adds nothing yet", "~": "a learned mix", R: "a new random layer" };
    const seen = new Map();
    for (const row of data.ranking.rows) {
      for (const block of parseMap(row.map || "").blocks) if (!seen.has(block.mark)) seen.set(block.mark, block);
    }
    if (!seen.size) return;
    const legend = document.getElementById("legend");
    legend.append(make("span", "", "From the embedding (left) up, numbered from 0; colour: where a layer comes from."));
    for (const mark of Object.keys(words)) {
      if (!seen.has(mark)) continue;
      const item = make("span");
      const svg = draw("svg", { viewBox: `0 0 ${labelWidth} 22`, width: labelWidth, height: 22, "aria-hidden": "true" });
      svg.append(drawBlock(seen.get(mark), 0, labelWidth, true));
      item.append(svg, words[mark]);
      legend.append(item);
    }
  };

  /* ---- the table ---- */

  const fixed = (value, digits) => (value === null || value === undefined ? "" : value.toFixed(digits));
  const state = { key: "rank", isUp: true, text: "", kind: "all", shown: PAGE };
  const { columns, rows, winner } = data.ranking;
  const hasBaselines = rows.some((row) => row.baseline);
  const gaps = rows.map((row) => row.gap).filter((gap) => gap !== null).sort((a, b) => a - b);
  const widest = gaps.length ? gaps[Math.floor(0.9 * (gaps.length - 1))] || gaps[gaps.length - 1] : 0;
  for (const row of rows) row.search = `${row.name} ${row.also.join(" ")} ${row.operator || ""} ${row.map || ""} ${row.failure || ""} ${row.evidence || ""}`.toLowerCase();

  const KINDS = {
    all: () => true,
    growths: (row) => !row.baseline,
    baselines: (row) => row.baseline,
    tied: (row) => row.tied || row.name === winner,
    stopped: (row) => row.stopped !== null,
    failed: (row) => row.failure !== null,
  };

  const wanted = () => {
    const words = state.text.toLowerCase().split(/\s+/).filter(Boolean);
    const found = rows.filter((row) => KINDS[state.kind](row) && words.every((word) => row.search.includes(word)));
    const sign = state.isUp ? 1 : -1;
    const value = (row) => (state.key === "map" ? row.map : row[state.key]);
    return found.sort((a, b) => {
      const [left, right] = [value(a), value(b)];
      const [noLeft, noRight] = [left === null || left === undefined, right === null || right === undefined];
      if (noLeft || noRight) return noLeft - noRight || a.rank - b.rank;
      const order = typeof left === "string" ? left.localeCompare(right, "en", { numeric: true }) : left - right;
      return sign * order || a.rank - b.rank;
    });
  };

  const tag = (kind, text) => make("span", `tag ${kind}`, text);

  const CELLS = {
    count: (value) => [value === null ? "" : value.toLocaleString("en-US")],
    rank: (value, row) => [value === null ? "" : String(value), make("span", "error", row.ranks ? ` (${row.ranks[0]}–${row.ranks[1]})` : "")],
    share: (value) => [value === null ? "" : value >= 0.005 ? `${(100 * value).toFixed(0)}%` : "< 1%"],
    loss: (value) => [fixed(value, 4)],
    flops: (value) => [value === null ? "" : value.toExponential(2)],
    map: (value) => [drawMap(value)],
    name: (value, row) => {
      const button = make("button", "", value);
      button.type = "button";
      button.setAttribute("aria-pressed", String(picked.has(value)));
      button.addEventListener("click", () => pick(value));
      const cells = [button, ...row.also.map((name) => make("span", "", ` = ${name}`))];
      if (value === winner) cells.push(tag("winner", "winner"));
      if (row.best && value !== winner) cells.push(tag("best", "best final loss"));
      if (row.baseline) cells.push(tag("baseline", "baseline"));
      return cells;
    },
    error: (value, row) => {
      if (row.failure !== null) return [make("span", "failure", `failed: ${row.failure}`)];
      if (row.stopped !== null) return [make("span", "stopped", `stopped at ${row.stopped.toLocaleString("en-US")}`)];
      return [fixed(value, 4), make("span", "error", row.se ? ` ± ${fixed(row.se, 4)}` : "")];
    },
    gap: (value, row) => {
      if (row.stopped !== null) return [make("span", "evidence", row.evidence)];
      if (value === null) return [""];
      const cell = make("span", "gap");
      const holder = make("span", "bar");
      const bar = make("i");
      bar.style.width = `${widest > 0 ? Math.max(0, Math.min(56, (56 * value) / widest)) : 0}px`;
      if (value > widest && widest > 0) {
        bar.className = "cut";
        bar.title = "longer than the bar can show";
      }
      holder.append(bar);
      const equal = make("span", "equal", row.tied ? "=" : "");
      if (row.tied) equal.title = "cannot be told apart from the winner";
      cell.append(holder, equal, `${value < 0 ? "−" : "+"}${fixed(Math.abs(value), 4)}`);
      return [cell];
    },
  };

  const body = document.querySelector("#table tbody");
  const isText = (column) => column.kind === "name" || column.kind === "map";

  const drawHead = () => {
    const line = make("tr");
    for (const column of columns) {
      const cell = make("th", isText(column) ? "" : "number");
      cell.scope = "col";
      if (state.key === column.key) cell.setAttribute("aria-sort", state.isUp ? "ascending" : "descending");
      const button = make("button", "", column.label);
      button.type = "button";
      button.dataset.key = column.key;
      if (column.note) button.title = column.note;
      button.addEventListener("click", () => {
        state.isUp = state.key === column.key ? !state.isUp : true;
        state.key = column.key;
        drawHead();
        drawRows();
        document.querySelector(`#table th button[data-key="${CSS.escape(column.key)}"]`).focus();
      });
      cell.append(button);
      line.append(cell);
    }
    document.querySelector("#table thead").replaceChildren(line);
  };

  const drawRow = (row) => {
    const line = make("tr", row.name === winner ? "winner" : "");
    if (picked.has(row.name)) line.classList.add("picked");
    for (const column of columns) {
      const cell = make("td", isText(column) ? column.kind : "number");
      cell.append(...CELLS[column.kind](row[column.key] ?? null, row));
      line.append(cell);
    }
    return line;
  };

  const drawRows = () => {
    const found = wanted();
    const lines = document.createDocumentFragment();
    for (const row of found.slice(0, state.shown)) lines.append(drawRow(row));
    body.replaceChildren(lines);
    const shown = Math.min(state.shown, found.length);
    const some = found.length === rows.length ? "" : ` found, of ${rows.length.toLocaleString("en-US")}`;
    document.getElementById("count").textContent =
      `${found.length.toLocaleString("en-US")} ${hasBaselines ? "rows" : "candidates"}${some}` + (shown < found.length ? `, ${shown} shown` : "");
    const more = document.getElementById("more");
    more.replaceChildren();
    if (shown < found.length) {
      for (const [text, number] of [[`Show ${PAGE} more`, state.shown + PAGE], [`Show all ${found.length.toLocaleString("en-US")}`, Infinity]]) {
        const button = make("button", "", text);
        button.type = "button";
        button.addEventListener("click", () => {
          state.shown = number;
          drawRows();
        });
        more.append(button);
      }
    }
  };

  document.getElementById("filter").addEventListener("input", (event) => {
    state.text = event.target.value;
    state.shown = PAGE;
    drawRows();
  });
  document.getElementById("kind").addEventListener("change", (event) => {
    state.kind = event.target.value;
    state.shown = PAGE;
    drawRows();
  });

  const pick = (name) => {
    page.pick(name);
    drawRows();
  };

  let shown = PAGE;
  window.addEventListener("beforeprint", () => {
    shown = state.shown;
    state.shown = Infinity;
    drawRows();
  });
  window.addEventListener("afterprint", () => {
    state.shown = shown;
    drawRows();
  });

  for (const button of document.querySelectorAll(".copy")) button.addEventListener("click", async () => {
    const code = button.parentElement.querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
    }
  });

  for (const holder of document.querySelectorAll("[data-map]")) holder.append(drawMap(holder.dataset.map, 1.4, 32));
  drawLegend();
  drawHead();
  drawRows();
})();
