"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const palette = ["#2f7fb8", "#e07b1f", "#3a9e57", "#c9403a", "#8c6bb8", "#96705f", "#d672b8", "#8a9a2b", "#21a6b5", "#6b7a8f"];
  const colour = (label) => {
    if (data.floors.includes(label)) return "#9aa0a8";
    const others = data.labels.filter((each) => !data.floors.includes(each));
    return palette[others.indexOf(label) % palette.length];
  };
  const isGiven = (label) => data.given.includes(label);
  const named = (label) => (isGiven(label) ? "◇ " : "") + label;
  const metricNames = Object.keys(data.metrics);
  const title = (name) => {
    const metric = data.metrics[name] || { title: name, unit: "" };
    return (metric.title || name) + (metric.unit ? " (" + metric.unit + ")" : "");
  };
  const text = (tag, content, attributes = {}) => {
    const element = document.createElement(tag);
    element.textContent = content;
    Object.entries(attributes).forEach(([key, value]) => element.setAttribute(key, value));
    return element;
  };
  const fill = (select, entries, chosen) => {
    entries.forEach(([value, name]) => select.append(text("option", name, { value })));
    if (chosen !== undefined && chosen !== null) select.value = chosen;
  };
  // Plotly reads a few tags and entities in labels; none of ours is meant as such.
  const plain = (label) => label.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

  // ---- sorting
  const table = byId("leaderboard");
  table.querySelectorAll("thead th").forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => {
      const ascending = heading.getAttribute("aria-sort") !== "ascending";
      table.querySelectorAll("thead th").forEach((each) => each.setAttribute("aria-sort", "none"));
      heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      const numeric = heading.classList.contains("number");
      const value = (row) => row.children[column].dataset.value;
      const compare = (one, other) => {
        const a = value(one), b = value(other);
        if (numeric && (a === "" || b === "")) return (a === "") - (b === "");  // empty ones last
        const order = numeric ? Number(a) - Number(b) : a.localeCompare(b);
        return ascending ? order : -order;
      };
      // Each body by itself: what was trained under other rules keeps an order of its own.
      table.querySelectorAll("tbody:not(.apart)").forEach((body) => body.append(...[...body.rows].sort(compare)));
    });
  });

  // ---- pairs
  const pairMetrics = [...new Set(data.pairs.map((pair) => pair.metric))];
  const drawPairs = () => {
    const metric = byId("pair-metric").value;
    const target = byId("pair-table");
    target.replaceChildren();
    const pairs = data.pairs.filter((pair) => pair.metric === metric);
    const labels = data.labels.filter((label) => pairs.some((p) => p.model_a === label || p.model_b === label));
    const head = document.createElement("tr");
    head.append(text("th", ""));
    labels.forEach((label) => head.append(text("th", named(label), { scope: "col" })));
    target.append(head);
    labels.forEach((label) => {
      const row = document.createElement("tr");
      row.append(text("th", named(label), { scope: "row" }));
      labels.forEach((other) => {
        const pair = pairs.find((p) => p.model_a === label && p.model_b === other);
        const back = pairs.find((p) => p.model_b === label && p.model_a === other);
        const found = pair || back;
        const cell = document.createElement("td");
        if (found && found.win_rate !== null) {
          const sign = pair ? 1 : -1;
          const share = pair ? found.win_rate : 1 - found.win_rate;
          cell.append(text("span", Math.round(100 * share) + " %"));
          const [low, high] = pair ? [found.low, found.high] : [-found.high, -found.low];
          const digits = (value) => value === null ? "?" : (value > 0 ? "+" : "") + Number(value).toPrecision(2);
          const interval = found.low === null ? "" : " [" + digits(low) + ", " + digits(high) + "]";
          cell.append(text("small", digits(sign * found.difference) + interval));
          if (!found.distinguishable) cell.className = "unsure";
        }
        row.append(cell);
      });
      target.append(row);
    });
  };
  fill(byId("pair-metric"), pairMetrics.map((name) => [name, name]), data.ranking);
  byId("pair-metric").addEventListener("change", drawPairs);
  if (pairMetrics.length) {
    if (!byId("pair-metric").value) byId("pair-metric").selectedIndex = 0;
    drawPairs();
  } else byId("pairs").hidden = true;

  // ---- plots
  const layout = (x, y, more = {}) => {
    const ink = dark.matches ? "#e8e6e1" : "#1c1d20";
    const line = dark.matches ? "#34383e" : "#e5e2dc";
    const axis = (name, extra) => ({ title: { text: name }, gridcolor: line, zerolinecolor: line, automargin: true, ...extra });
    return {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: ink, family: "system-ui, sans-serif", size: 12 },
      margin: { l: 56, r: 16, t: 18, b: 48 }, hovermode: "closest",
      legend: { orientation: "h", y: -0.22 },
      xaxis: axis(x, more.xaxis), yaxis: axis(y, more.yaxis),
    };
  };
  const options = { displaylogo: false, responsive: true, displayModeBar: false };

  const mean = (model, metric) => data.intervals.find((row) => row.model === model && row.metric === metric);
  const drawSpeed = () => {
    const metric = byId("speed-metric").value, hardware = byId("speed-hardware").value;
    const { direction, judged } = data.metrics[metric];
    const points = data.speeds.filter((row) => row.device + " · " + row.hardware === hardware)
      .map((row) => ({ ...row, found: mean(row.model, metric) }))
      .filter((row) => row.found && row.found.mean !== null);
    const goodness = (row) => {
      const found = mean(row.model, judged);
      if (!found) return -Infinity;
      return direction === "higher" ? found.mean : -found.mean;
    };
    const traces = points.map((row) => ({
      x: [row.images_per_s], y: [row.found.mean], name: plain(row.model), text: [plain(row.model)],
      mode: "markers+text", textposition: "top center", marker: { size: 11, color: colour(row.model), symbol: isGiven(row.model) ? "diamond-open" : "circle" },
      error_y: row.found.low === null ? undefined : {
        type: "data", symmetric: false, thickness: 1,
        array: [row.found.high - row.found.mean], arrayminus: [row.found.mean - row.found.low],
      },
      hovertemplate: "%{text}<br>%{x:,.0f} images/s<br>%{y:.4g}<extra></extra>", showlegend: false,
    }));
    const rivals = data.trains ? points.filter((row) => !isGiven(row.model)) : points;
    const front = rivals.filter((row) => !rivals.some((other) => other !== row &&
      other.images_per_s >= row.images_per_s && goodness(other) >= goodness(row) &&
      (other.images_per_s > row.images_per_s || goodness(other) > goodness(row))))
      .sort((one, other) => one.images_per_s - other.images_per_s);
    traces.unshift({
      x: front.map((row) => row.images_per_s), y: front.map((row) => row.found.mean),
      mode: "lines", line: { dash: "dot", width: 1.5, color: "#8a8f98" }, name: "Pareto front", hoverinfo: "skip",
    });
    Plotly.react("speed-plot", traces, layout("images/s (predict)", title(metric), { xaxis: { type: "log" } }), options);
  };
  const hardwares = [...new Set(data.speeds.map((row) => row.device + " · " + row.hardware))];
  fill(byId("speed-metric"), metricNames.map((name) => [name, title(name)]), data.ranking);
  fill(byId("speed-hardware"), hardwares.map((name) => [name, name]));
  const hasSpeed = hardwares.length > 0 && metricNames.length > 0;
  byId("speed-plot").hidden = !hasSpeed;
  byId("speed-none").hidden = hasSpeed;

  const drawLearning = () => {
    const metric = byId("learning-metric").value, cost = byId("learning-cost").value;
    const loss = metric === "loss (of each method's own kind)";
    const curves = loss ? data.losses : data.learning.filter((curve) => curve.metric === metric);
    const last = Math.max(0, ...curves.map((curve) => Math.max(...curve[cost])));
    const traces = curves.map((curve) => {
      let x = curve[cost], y = loss ? curve.loss : curve.value;
      const still = x.length === 1 && x[0] < 0.01 * last;
      if (still) [x, y] = [[last / 100, last], [y[0], y[0]]];  // needs no training: a level to beat
      return {
        x, y, name: plain(curve.model), mode: loss || still ? "lines" : "lines+markers",
        line: { color: colour(curve.model), width: 2, dash: still ? "dot" : "solid" }, marker: { size: 6 },
      };
    });
    const axis = { type: "log" };
    Plotly.react("learning-plot", traces, layout(cost === "flops" ? "FLOP" : cost, loss ? "loss" : title(metric), { xaxis: axis, yaxis: loss ? { type: "log" } : {} }), options);
  };
  const learned = [...new Set(data.learning.map((curve) => curve.metric))];
  const lossName = "loss (of each method's own kind)";
  fill(byId("learning-metric"), [...learned.map((name) => [name, data.metrics[name] ? title(name) : name]), ...(data.losses.length ? [[lossName, lossName]] : [])], learned.includes(data.ranking) ? data.ranking : learned[0]);
  const hasLearning = data.learning.length > 0 || data.losses.length > 0;
  byId("learning-plot").hidden = !hasLearning;
  byId("learning-none").hidden = hasLearning;

  // ---- conditions
  const conditions = data.conditions;
  const drawConditions = () => {
    const metric = byId("condition-metric").value;
    const rows = conditions.rows.filter((row) => row.metric === metric);
    const labels = data.labels.filter((label) => rows.some((row) => row.model === label)).reverse();
    const pick = (key) => labels.map((label) => conditions.names.map((name) => {
      const found = rows.find((row) => row.model === label && row.condition === name);
      return found && found[key] !== null ? found[key] : null;
    }));
    const losses = pick("loss"), means = pick("mean"), lows = pick("low"), highs = pick("high");
    const most = Math.max(1e-9, ...losses.flat().map((value) => Math.abs(value ?? 0)));
    const digits = (value) => value === null ? "" : Number(value).toPrecision(3);
    const hover = means.map((row, i) => row.map((value, j) => digits(value) +
      (lows[i][j] === null ? "" : " [" + digits(lows[i][j]) + ", " + digits(highs[i][j]) + "]") +
      "<br>loss " + digits(losses[i][j])));
    const none = dark.matches ? "#24282d" : "#f7f5f1";
    const trace = {
      type: "heatmap", x: conditions.names, y: labels.map(plain), z: losses, zmin: -most, zmax: most,
      colorscale: [[0, "#4d97cc"], [0.5, none], [1, "#d9574e"]], xgap: 2, ygap: 2,
      text: means.map((row) => row.map(digits)), texttemplate: "%{text}", hovertext: hover,
      hovertemplate: "%{y}, %{x}<br>%{hovertext}<extra></extra>", colorbar: { title: { text: "loss" }, thickness: 12 },
    };
    const plot = byId("condition-plot");
    plot.style.height = 110 + 34 * labels.length + "px";
    Plotly.react(plot, [trace], layout("", "", { xaxis: { side: "top", type: "category" }, yaxis: { type: "category" } }), options);
  };
  if (conditions) {
    fill(byId("condition-metric"), Object.entries(conditions.metrics), conditions.ranking);
    byId("condition-metric").addEventListener("change", drawConditions);
  }

  const drawPlots = () => {
    if (conditions) drawConditions();
    if (hasSpeed) drawSpeed();
    if (hasLearning) drawLearning();
  };
  ["speed-metric", "speed-hardware"].forEach((id) => byId(id).addEventListener("change", drawSpeed));
  ["learning-metric", "learning-cost"].forEach((id) => byId(id).addEventListener("change", drawLearning));
  dark.addEventListener("change", drawPlots);
  drawPlots();

  // ---- pictures
  const pictures = data.pictures;
  if (!pictures) {
    byId("browser").hidden = true;
    byId("pictures-none").hidden = false;
    return;
  }
  const painted = data.labels.filter((label) => label in pictures.models);
  let place = 0, order = [];
  const score = (model, metric, index) => ((pictures.scores[model] || {})[metric] || [])[index];
  const arrange = () => {
    const kind = byId("picture-order").value, model = byId("picture-model").value, metric = byId("picture-metric").value;
    order = pictures.ids.map((_, index) => index);
    if (kind === "random") {
      let state = 12345;  // the same shuffle every time
      for (let i = order.length - 1; i > 0; i--) {
        state = (state * 1103515245 + 12345) % 2147483648;
        const j = state % (i + 1);
        [order[i], order[j]] = [order[j], order[i]];
      }
    } else {
      const { direction, judged } = data.metrics[metric];
      const sign = (direction === "higher" ? -1 : 1) * (kind === "best" ? 1 : -1);
      const value = (index) => {
        const found = score(model, judged, index);
        return found === undefined || found === null ? Infinity : sign * found;
      };
      order.sort((one, other) => value(one) - value(other));
    }
    place = 0;
    show();
  };
  const tile = (name, sources, lines) => {
    const figure = document.createElement("figure");
    sources.forEach(([source, alt]) => {
      const image = document.createElement("img");
      image.src = source;
      image.alt = alt;
      figure.append(image);
    });
    const caption = text("figcaption", name);
    lines.forEach((line) => caption.append(document.createElement("br"), text("span", line, { class: "faint" })));
    figure.append(caption);
    return figure;
  };
  const show = () => {
    const index = order[place], metric = byId("picture-metric").value;
    byId("picture-place").textContent = pictures.ids[index] + " · " + (place + 1) + " of " + order.length;
    const tiles = [tile("grey, the input", [[pictures.grey[index], "grey"]], []), tile("truth", [[pictures.truth[index], "truth"]], [])];
    painted.forEach((label) => {
      const value = score(label, metric, index);
      const line = value === undefined || value === null ? [] : [title(metric) + " " + Number(value).toPrecision(4)];
      tiles.push(tile(named(label), [[pictures.models[label][index], label], [pictures.errors[label][index], "error of " + label]], line));
    });
    byId("tiles").replaceChildren(...tiles);
  };
  const step = (by) => {
    place = (place + by + order.length) % order.length;
    show();
  };
  fill(byId("picture-model"), painted.map((label) => [label, label]));
  fill(byId("picture-metric"), metricNames.map((name) => [name, title(name)]), data.ranking);
  ["picture-order", "picture-model", "picture-metric"].forEach((id) => byId(id).addEventListener("change", arrange));
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  document.addEventListener("keydown", (event) => {
    if (event.target.closest("select, input, textarea") || event.altKey || event.ctrlKey || event.metaKey) return;
    const box = byId("browser").getBoundingClientRect();
    if (box.bottom < 0 || box.top > window.innerHeight) return;  // not in sight
    if (event.key === "ArrowRight") step(1);
    else if (event.key === "ArrowLeft") step(-1);
    else return;
    event.preventDefault();
  });
  byId("picture-note").textContent = pictures.ids.length + " of " + pictures.all + " test images are in this page: the best and worst of each model, and random ones.";
  arrange();
})();
