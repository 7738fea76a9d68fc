"use strict";
/* Themes and charts. Another script of the page uses what this one returns. */
const page = (() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const SVG = "http://www.w3.org/2000/svg";

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
  const picked = new Set();
  const isPaper = () => root.classList.contains("paper");
  const isNarrow = () => window.innerWidth < 640 && !isPaper();

  /* A legend of several rows, and labels above the axes, take nothing from the axes. */
  const heightOf = (chart) => {
    const names = new Set(chart.data.filter((trace) => trace.name && trace.showlegend !== false).map((trace) => trace.name));
    const width = document.getElementById(`chart-${chart.id}`).clientWidth - 76;
    const widest = Math.max(0, ...[...names].map((name) => 46 + 6.2 * name.length));
    const rows = chart.layout.showlegend === false || names.size < 2 ? 1 : Math.ceil(names.size / Math.max(1, Math.floor(width / widest)));
    return (chart.layout.height || 360) + 20 * (rows - 1) + (chart.marks && chart.marks.length ? 16 : 0);
  };

  /* The labels of marks stand above the axes, on the side where there is room; one without is left out. */
  const labelsOf = (chart, [low, high], move) => {
    const width = document.getElementById(`chart-${chart.id}`).clientWidth - 76;
    const taken = [];
    const found = [];
    for (const mark of [...chart.marks].sort((a, b) => a.x - b.x)) {
      const [x, wide] = [move(mark.x), 7 * mark.label.length + 4];
      const at = (width * (x - low)) / (high - low);
      const sides = [["center", at - wide / 2], ["left", at], ["right", at - wide]];
      const side = sides.find(([, from]) => from >= -20 && from + wide <= width + 12 && taken.every(([a, b]) => from > b || from + wide < a));
      if (!side) continue;
      taken.push([side[1], side[1] + wide]);
      found.push({ text: mark.label, x, xanchor: side[0] });
    }
    return found;
  };

  const layoutOf = (chart, last) => {
    const colors = theme();
    const axis = { gridcolor: colors.line, linecolor: colors.line, zeroline: false, automargin: true, tickfont: { size: 11 }, title: { font: { size: 12 }, standoff: 8 } };
    const own = paint(chart.layout);
    const legend = { orientation: "h", yref: "container", y: 0, x: 0, yanchor: "bottom", font: { size: 11 }, bgcolor: "rgba(0,0,0,0)" };
    const layout = {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: colors.ink, family: getComputedStyle(document.body).fontFamily, size: 12 },
      margin: { l: 56, r: 14, t: 26, b: 44 },
      hovermode: "closest",
      hoverdistance: 30,
      hoverlabel: { bgcolor: colors.card, bordercolor: colors.muted, font: { color: colors.ink }, namelength: -1, align: "left" },
      dragmode: isNarrow() ? false : "zoom",
      modebar: { bgcolor: "rgba(0,0,0,0)", color: colors.rest, activecolor: colors.ink },
      separators: ".,",
      ...own,
      height: heightOf(chart),
      ...(isPaper() ? { width: document.getElementById(`chart-${chart.id}`).clientWidth } : { autosize: true }),
      legend: { ...legend, ...own.legend },
      xaxis: { ...axis, ...own.xaxis, title: { ...axis.title, ...(own.xaxis || {}).title } },
      yaxis: { ...axis, ...own.yaxis, title: { ...axis.title, ...(own.yaxis || {}).title } },
    };
    if (layout.xaxis.exponentformat) {
      layout.margin.r = 32;
      if (isNarrow() && layout.xaxis.type !== "log") layout.xaxis.nticks = 3;
    }
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
    layout.annotations = labelsOf(chart, layout.xaxis.range, move).map((label) => ({ ...label, xref: "x", yref: "paper", y: 1, yanchor: "bottom", showarrow: false, font: { size: 11, color: colors.muted } }));
    if (chart.marks.length) layout.margin.t = 44;
    return layout;
  };

  const tracesOf = (chart) => {
    const move = chart.steps && axesOf[chart.id].x ? place : null;
    const made = chart.data.map((trace) => {
      const painted = paint(trace);
      if (move) painted.x = painted.x.map(move);
      if (painted.lift) painted.y = painted.y.map((value) => value + painted.lift);
      delete painted.lift;
      if (trace.meta !== undefined && picked.has(trace.meta)) {
        painted.line = { ...painted.line, color: theme().picked, width: 3 };
        painted.name = trace.text;
        painted.legendgroup = "picked";
        painted.showlegend = true;
      }
      return painted;
    });
    const isPicked = (trace) => trace.meta !== undefined && picked.has(trace.meta);
    return [...made.filter((trace) => !isPicked(trace)), ...made.filter(isPicked)];
  };

  const drawChart = (chart) => {
    document.getElementById(`chart-${chart.id}`).style.height = `${heightOf(chart)}px`;
    const last = chart.steps ? Math.max(1, ...chart.data.map((trace) => Math.max(0, ...trace.x))) : 0;
    return Plotly.react(`chart-${chart.id}`, tracesOf(chart), layoutOf(chart, last), {
      responsive: true,
      displaylogo: false,
      displayModeBar: isNarrow() ? false : "hover",
      modeBarButtons: [["toImage", "zoom2d", "pan2d", "autoScale2d", "resetScale2d"]],
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
    if (!picked.delete(name)) picked.add(name);
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
  /* On paper all is light, as wide as the paper, and drawn before the browser goes on. */
  const onPaper = (isOn) => {
    root.classList.toggle("paper", isOn);
    if (isOn) {
      chosen = root.dataset.theme;
      root.dataset.theme = "light";
    } else if (chosen) root.dataset.theme = chosen;
    else delete root.dataset.theme;
    for (const chart of data.charts) drawChart(chart);
  };
  let chosen;
  window.addEventListener("beforeprint", () => onPaper(true));
  window.addEventListener("afterprint", () => onPaper(false));
  document.getElementById("theme").addEventListener("click", changeTheme);
  system.addEventListener("change", drawAll);

  for (const chart of data.charts) {
    document.getElementById(`chart-${chart.id}`).style.height = `${heightOf(chart)}px`;
    axesOf[chart.id] = { x: chart.steps === "log", y: false };
    if (chart.steps) addToggle(chart, "x", "steps");
    if (chart.log_y) addToggle(chart, "y", "loss");
  }
  setTimeout(drawAll, 0);
  return { data, make, draw, picked, pick };
})();
