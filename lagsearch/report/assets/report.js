"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const SVG = "http://www.w3.org/2000/svg";
  const PAGE = 50;

  const make = (tag, className, text) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const draw = (tag, attributes, text) => {
    const element = document.createElementNS(SVG, tag);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    return element;
  };

  /* ---- themes ---- */

  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const themeName = () => root.dataset.theme || (system.matches ? "dark" : "light");
  const theme = () => data.themes[themeName()];

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

  let deepest = 1;
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
    const share = deepest > 1 ? (block.layer - 1) / (deepest - 1) : 0.4;
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
    legend.append(make("span", "", "From the embedding (left) up; colour: where a layer comes from."));
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
  const state = { key: "rank", isUp: true, text: "", kind: "all", shown: PAGE, picked: new Set() };
  const { columns, rows, winner } = data.ranking;
  const gaps = rows.map((row) => row.gap).filter((gap) => gap !== null).sort((a, b) => a - b);
  const widest = gaps.length ? gaps[Math.floor(0.9 * (gaps.length - 1))] || gaps[gaps.length - 1] : 0;
  for (const row of rows) row.search = `${row.name} ${row.operator || ""} ${row.map || ""} ${row.failure || ""} ${row.evidence || ""}`.toLowerCase();

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
    rank: (value, row) => [String(value), make("span", "error", row.ranks ? ` (${row.ranks[0]}–${row.ranks[1]})` : "")],
    share: (value) => [value === null ? "" : value >= 0.005 ? `${(100 * value).toFixed(0)}%` : "< 1%"],
    loss: (value) => [fixed(value, 4)],
    flops: (value) => [value === null ? "" : value.toExponential(2)],
    map: (value) => [drawMap(value)],
    name: (value, row) => {
      const button = make("button", "", value);
      button.type = "button";
      button.setAttribute("aria-pressed", String(state.picked.has(value)));
      button.addEventListener("click", () => pick(value));
      const cells = [button];
      if (value === winner) cells.push(tag("winner", "winner"));
      if (row.best && value !== winner) cells.push(tag("best", "best at the end"));
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
      bar.style.width = `${widest > 0 ? Math.min(56, (56 * value) / widest) : 0}px`;
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
    if (state.picked.has(row.name)) line.classList.add("picked");
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
      `${found.length.toLocaleString("en-US")} candidates${some}` + (shown < found.length ? `, ${shown} shown` : "");
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

  /* ---- charts ---- */

  const DIVERGING = {
    light: [[0, "#b2182b"], [0.25, "#ef9f7c"], [0.5, "#f4f5f6"], [0.75, "#7db4d8"], [1, "#2166ac"]],
    dark: [[0, "#e0637a"], [0.25, "#8a4250"], [0.5, "#262d35"], [0.75, "#3f729c"], [1, "#77b9ee"]],
  };
  const SHADES = {
    light: ["#440154", "#3b528b", "#21918c", "#4fb35f", "#c2b21c"],
    dark: ["#b58bd9", "#7f9ee0", "#3fc1bb", "#7fdc87", "#fde725"],
  };

  const alpha = (color, share) => {
    const [red, green, blue] = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
    return `rgba(${red},${green},${blue},${share})`;
  };
  const resolve = (value) => {
    if (Array.isArray(value)) return value.map(resolve);
    if (typeof value !== "string" || !value.startsWith("@")) return value;
    if (value === "@diverging") return DIVERGING[themeName()];
    if (value.startsWith("@shade")) return SHADES[themeName()][Number(value.slice(6)) % 5];
    const [name, share] = value.slice(1).split("/");
    return share ? alpha(theme()[name], share) : theme()[name];
  };
  const COLORS = new Set(["color", "fillcolor", "colorscale"]);
  const paint = (value, key) => {
    if (COLORS.has(key)) return resolve(value);
    if (Array.isArray(value)) return value.map((each) => (typeof each === "object" && each ? paint(each) : each));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, paint(each, name)]));
    }
    return value;
  };

  const place = (step) => Math.log10(1 + step);
  const ticks = (last) => {
    const found = [0];
    for (let power = 1; power <= last; power *= 10) found.push(...[1, 2, 5].map((each) => each * power).filter((each) => each <= last));
    const bare = found.length > 10 ? found.filter((step) => step < 1 || /^1/.test(String(step))) : found;
    return { tickvals: bare.map(place), ticktext: bare.map((step) => step.toLocaleString("en-US")) };
  };

  const axesOf = {};
  const isNarrow = () => window.innerWidth < 640;

  const heightOf = (chart) => chart.layout.height || 360;

  const layoutOf = (chart, last) => {
    const colors = theme();
    const axis = { gridcolor: colors.line, linecolor: colors.line, zeroline: false, automargin: true, tickfont: { size: 11 }, title: { font: { size: 12 }, standoff: 8 } };
    const own = paint(chart.layout);
    const layout = {
      height: heightOf(chart),
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: colors.ink, family: getComputedStyle(document.body).fontFamily, size: 12 },
      margin: { l: 56, r: 14, t: 26, b: 44 },
      hovermode: "closest",
      hoverdistance: 30,
      hoverlabel: { bgcolor: colors.card, bordercolor: colors.muted, font: { color: colors.ink }, namelength: -1, align: "left" },
      legend: { orientation: "h", y: -0.2, x: 0, yanchor: "top", font: { size: 11 }, bgcolor: "rgba(0,0,0,0)" },
      dragmode: isNarrow() ? false : "zoom",
      modebar: { bgcolor: "rgba(0,0,0,0)", color: colors.rest, activecolor: colors.ink },
      separators: ".,",
      ...own,
      xaxis: { ...axis, ...own.xaxis, title: { ...axis.title, ...(own.xaxis || {}).title } },
      yaxis: { ...axis, ...own.yaxis, title: { ...axis.title, ...(own.yaxis || {}).title } },
    };
    if (axesOf[chart.id].y) {
      layout.yaxis.type = "log";
      delete layout.yaxis.range;
    }
    if (!chart.steps) return layout;
    layout.xaxis.title.text = data.over;
    const move = axesOf[chart.id].x ? place : (step) => step;
    if (axesOf[chart.id].x) Object.assign(layout.xaxis, ticks(last));
    layout.xaxis.range = [axesOf[chart.id].x ? -0.06 : -0.02 * last, move(last) * 1.02];
    layout.shapes = chart.marks.map((mark) => ({ type: "line", xref: "x", yref: "paper", x0: move(mark.x), x1: move(mark.x), y0: 0, y1: 1, line: { color: colors.muted, width: 1, dash: "dot" } }));
    layout.annotations = chart.marks.map((mark) => ({ text: mark.label, xref: "x", yref: "paper", x: move(mark.x), y: 1, xanchor: mark.x > 0.6 * last ? "right" : "left", yanchor: "top", showarrow: false, font: { size: 11, color: colors.muted } }));
    return layout;
  };

  const tracesOf = (chart) => {
    const move = chart.steps && axesOf[chart.id].x ? place : null;
    const made = chart.data.map((trace) => {
      const painted = paint(trace);
      if (move) painted.x = painted.x.map(move);
      if (painted.lift) painted.y = painted.y.map((value) => value + painted.lift);
      delete painted.lift;
      if (trace.type === "heatmap" && isNarrow()) delete painted.texttemplate;
      if (trace.meta !== undefined && state.picked.has(trace.meta)) {
        painted.line = { ...painted.line, color: theme().picked, width: 3 };
        painted.name = trace.text;
        painted.legendgroup = "picked";
        painted.showlegend = true;
      }
      return painted;
    });
    const isPicked = (trace) => trace.meta !== undefined && state.picked.has(trace.meta);
    return [...made.filter((trace) => !isPicked(trace)), ...made.filter(isPicked)];
  };

  const drawChart = (chart) => {
    const last = chart.steps ? Math.max(1, ...chart.data.map((trace) => Math.max(0, ...trace.x))) : 0;
    return Plotly.react(`chart-${chart.id}`, tracesOf(chart), layoutOf(chart, last), {
      responsive: true,
      displaylogo: false,
      displayModeBar: isNarrow() ? false : "hover",
      modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
      toImageButtonOptions: { format: "svg", filename: chart.id },
    });
  };

  const addToggle = (chart, axis, label) => {
    const holder = document.querySelector(`.axes[data-chart="${chart.id}"]`);
    const button = make("button");
    button.type = "button";
    const show = () => {
      button.textContent = `${label} ${axesOf[chart.id][axis] ? "log" : "linear"}`;
      button.setAttribute("aria-pressed", String(axesOf[chart.id][axis]));
    };
    button.addEventListener("click", () => {
      axesOf[chart.id][axis] = !axesOf[chart.id][axis];
      show();
      drawChart(chart);
    });
    show();
    holder.append(button);
  };

  const pick = (name) => {
    if (!state.picked.delete(name)) state.picked.add(name);
    drawRows();
    for (const chart of data.charts) if (chart.data.some((trace) => trace.meta === name)) drawChart(chart);
  };

  const drawAll = () => {
    const left = [...data.charts];
    const step = () => {
      const chart = left.shift();
      if (!chart) {
        root.dataset.drawn = themeName();
        return;
      }
      drawChart(chart);
      setTimeout(step, 0);
    };
    delete root.dataset.drawn;
    step();
  };

  const changeTheme = () => {
    root.dataset.theme = themeName() === "dark" ? "light" : "dark";
    drawAll();
  };
  document.getElementById("theme").addEventListener("click", changeTheme);
  system.addEventListener("change", drawAll);

  document.querySelector(".copy")?.addEventListener("click", async (event) => {
    const code = document.querySelector(".next code");
    try {
      await navigator.clipboard.writeText(code.textContent);
      event.target.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
    }
  });

  for (const holder of document.querySelectorAll("[data-map]")) holder.append(drawMap(holder.dataset.map, 1.4, 32));
  drawLegend();
  drawHead();
  drawRows();
  for (const chart of data.charts) {
    document.getElementById(`chart-${chart.id}`).style.height = `${heightOf(chart)}px`;
    axesOf[chart.id] = { x: Boolean(chart.steps), y: false };
    if (chart.steps) addToggle(chart, "x", "steps");
    if (chart.log_y) addToggle(chart, "y", "loss");
  }
  drawAll();
})();
