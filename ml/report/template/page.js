"use strict";
// Draws the pages from the JSON in this file. Every text goes in as text, never as HTML.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const level = `${Math.round(data.confidence * 1000) / 10} %`;
  const byId = (id) => document.getElementById(id);

  // ---- words and numbers ---------------------------------------------------------------------------------------
  const format = (options) => new Intl.NumberFormat("en", options).format;
  const whole = format({ maximumFractionDigits: 0 });
  const compact = format({ notation: "compact", minimumSignificantDigits: 3, maximumSignificantDigits: 3 });
  const fine = format({ maximumFractionDigits: 2, minimumFractionDigits: 2 });
  const tenths = format({ maximumFractionDigits: 1, minimumFractionDigits: 1 });
  // Adding 0 turns a rounded -0 into 0.
  const number = (value) => Math.abs(value) >= 100 || Number.isInteger(value) ? whole(Math.round(value) + 0) : Math.abs(value) >= 10 ? tenths(value) : fine(value);
  const big = (value) => (Math.abs(value) >= 1e6 ? compact(value) : number(value));
  const percent = (share) => {
    const digits = Math.abs(share) >= 0.1 || share === 0 ? 1 : 2;
    return `${format({ minimumFractionDigits: digits, maximumFractionDigits: digits })(100 * share)} %`;
  };
  const points = (share) => `${format({ maximumFractionDigits: 2, minimumFractionDigits: 2, signDisplay: "exceptZero" })(100 * share)} pts`;
  const between = (show, lower, upper) => `${level} interval ${show(lower)} to ${show(upper)}`;
  const clock = (seconds) =>
    seconds < 90 ? `${Math.round(seconds)} s` : seconds < 5400 ? `${fine(seconds / 60)} min` : `${fine(seconds / 3600)} h`;
  const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
  const stepName = (step) => ({ view: "View", addtocart: "Add to cart", transaction: "Purchase" })[step] ?? capital(step);
  const categoryName = (category) => category === null ? "All other categories" : category === "unknown" ? "No known category" : category;
  const pointName = (point) => ({ landing: "Landing (first event)", engaged: "Engaged (third event)", cart: "Cart (first addition)" })[point] ?? point;
  // Plotly reads a small part of HTML in texts.
  const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const shorten = (text, length = 60) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);

  const wilson = (hits, n) => {
    if (!n) return [NaN, NaN];
    const { z } = data, p = hits / n, scale = 1 + (z * z) / n;
    const centre = (p + (z * z) / (2 * n)) / scale;
    const half = (z * Math.sqrt((p * (1 - p)) / n + (z * z) / (4 * n * n))) / scale;
    return [Math.max(0, centre - half), Math.min(1, centre + half)];
  };
  // As the measures "Observed uplift lower" and "upper" say it: sessions taken as independent.
  const difference = ({ treated, boughtTreated, control, boughtControl }) => {
    const pt = boughtTreated / treated, pc = boughtControl / control;
    const half = data.z * Math.sqrt((pt * (1 - pt)) / treated + (pc * (1 - pc)) / control);
    return [pt - pc, pt - pc - half, pt - pc + half];
  };

  // ---- cubes ---------------------------------------------------------------------------------------------------
  // Adds up the rows that every test lets pass, by the values of one dimension. A test is a function of a value.
  const group = (cube, tests, by) => {
    const places = cube.dimensions.map((name) => [tests[name], cube.values[name]]);
    const passes = places.map(([test, values]) => (test ? values.map(test) : null));
    const at = by === undefined ? -1 : cube.dimensions.indexOf(by);
    const first = cube.dimensions.length, groups = new Map();
    for (const row of cube.rows) {
      if (passes.some((pass, place) => pass && !pass[row[place]])) continue;
      const key = at < 0 ? "all" : cube.values[by][row[at]];
      let total = groups.get(key);
      if (!total) groups.set(key, (total = Object.fromEntries(cube.measures.map((name) => [name, 0]))));
      cube.measures.forEach((name, place) => (total[name] += row[first + place]));
    }
    return groups;
  };
  const sum = (cube, tests) => group(cube, tests).get("all") ?? Object.fromEntries(cube.measures.map((name) => [name, 0]));

  // ---- elements ------------------------------------------------------------------------------------------------
  const el = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value !== undefined && value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children.filter((child) => child !== null && child !== undefined).flat());
    return node;
  };
  // `python -m x` in a note becomes code.
  const marked = (text) => text.split("`").map((part, place) => (place % 2 ? el("code", {}, part) : part));
  const table = (caption, heads, rows, strong = () => false) => {
    const numeric = heads.map((_, column) => column > 0 && rows.every((row) => /^([-+]?[\d.,]+([ %].*)?)?$/.test(row[column])));
    const cells = (row, tag) => row.map((text, column) =>
      el(tag === "td" && column === 0 ? "th" : tag, { class: numeric[column] && "number", scope: tag === "th" ? "col" : column === 0 ? "row" : null }, text));
    return el("table", {}, el("caption", {}, caption), el("thead", {}, el("tr", {}, ...cells(heads, "th"))),
      el("tbody", {}, ...rows.map((row, place) => el("tr", { class: strong(place) && "strong" }, ...cells(row.map(String), "td")))));
  };
  const tableBlock = (id, title, note, heads, rows, strong) =>
    byId(id).replaceChildren(el("h3", {}, title), el("p", {}, note), table("", heads, rows, strong));
  // A card says which measure of bi/measures.py it is, of which rows, and its number itself: whoever doubts can ask SQL.
  const definition = ({ measure, where = {}, parameters }) => {
    const { text, table: source, sql, where: fixed } = data.definitions[measure];
    const parts = [fixed, ...Object.entries(where).map(([column, allowed]) =>
      allowed.from ? `${column} between '${allowed.from}' and '${allowed.to}'` : `${column} in (${allowed.map((value) => (typeof value === "number" ? value : `'${value}'`)).join(", ")})`)].filter(Boolean);
    const asked = parameters ? ` with ${Object.entries(parameters).map(([name, value]) => `:${name} = ${value}`).join(", ")}` : "";
    return el("details", {}, el("summary", {}, "What is this?"), el("div", {}, el("p", {}, `${measure}: ${text}`),
      el("code", {}, `select ${sql} from funnelift.${source}${parts.length ? ` where ${parts.join(" and ")}` : ""}${asked}`)));
  };
  const cards = (page, entries) => {
    const open = [...byId(`${page}-cards`).querySelectorAll("details")].map((node) => node.open);
    byId(`${page}-cards`).replaceChildren(...entries.map((entry, place) => {
      const more = entry.source ? el("details", {}, el("summary", {}, "What is this?"), el("div", {}, el("p", {}, entry.meaning), el("code", {}, entry.source))) : definition(entry);
      more.open = open[place] ?? false;
      return el("div", { class: "card" }, el("dt", {}, entry.label),
        el("dd", { class: "big", "data-measure": entry.measure, "data-where": JSON.stringify(entry.where ?? {}), "data-parameters": entry.parameters && JSON.stringify(entry.parameters), "data-value": entry.raw ?? "" }, entry.text),
        ...(entry.lines ?? []).filter(Boolean).map((line) => el("dd", { class: "small" }, line)), el("dd", { class: "small" }, more));
    }));
  };
  const notes = (page, texts) => byId(`${page}-notes`).replaceChildren(...texts.filter(Boolean).map((text) =>
    typeof text === "string" ? el("p", {}, ...marked(text)) : el("p", { class: text.isBad ? "verdict bad" : "verdict" }, ...marked(text.verdict))));

  // A page's controls and their values; `change` redraws the page.
  const filters = (page, controls, change) => {
    const form = byId(`${page}-filters`), values = {};
    const start = Object.fromEntries(controls.map((control) => [control.name, String(control.value)]));
    const inputs = controls.map((control) => {
      const input = control.options
        ? el("select", { name: control.name }, ...control.options.map(([value, text]) => el("option", { value }, text)))
        : el("input", { type: control.type, name: control.name, min: control.min, max: control.max, step: control.step, disabled: control.disabled });
      input.value = start[control.name];
      const label = el("label", { class: control.type === "range" ? "slider" : null }, el("span", {}, control.label), input);
      input.addEventListener("input", () => { if (input.value !== "" && input.checkValidity()) update(); });
      return { control, input, label };
    });
    const reset = el("button", { type: "button" }, "Reset");
    reset.addEventListener("click", () => { inputs.forEach(({ control, input }) => (input.value = start[control.name])); update(); });
    form.addEventListener("submit", (event) => event.preventDefault());
    form.replaceChildren(...inputs.map(({ label }) => label), reset);
    const update = () => {
      for (const { control, input, label } of inputs) {
        values[control.name] = input.value;
        const text = control.options ? input.selectedOptions[0].textContent : input.value;
        if (control.type === "range") {
          label.firstChild.textContent = `${control.label}: ${text} %`;
          input.setAttribute("aria-valuetext", `${text} percent`);
        }
      }
      byId(`${page}-chosen`).textContent = `Shown: ${inputs.map(({ control, input }) =>
        `${control.label.toLowerCase()} ${control.options ? input.selectedOptions[0].textContent : input.value}${control.type === "range" ? " %" : ""}`).join(" · ")}`;
      change(values, inputs.every(({ control, input }) => input.value === start[control.name]));
    };
    update();
  };

  // ---- charts --------------------------------------------------------------------------------------------------
  // Okabe and Ito's palette: told apart with every kind of colour blindness. Blue gives way to sky blue on dark paper.
  const isDark = () => document.documentElement.dataset.theme === "dark";
  const colours = () => ({
    blue: isDark() ? "#56b4e9" : "#0072b2", orange: "#e69f00", green: isDark() ? "#2fc79a" : "#009e73", red: "#d55e00",
    grey: isDark() ? "#8896a3" : "#7f8b96", ink: isDark() ? "#eef2f5" : "#16202a", line: isDark() ? "#34414d" : "#e1e6eb",
    band: isDark() ? "rgba(86,180,233,.22)" : "rgba(0,114,178,.15)",
  });
  const drawn = new Map();
  const chart = (id, { title, note, label, traces, layout = {}, heads, rows, height = 320 }) => {
    const figure = byId(id);
    let plot = figure.querySelector(".plot");
    if (!plot) {
      plot = el("div", { class: "plot", role: "img" });
      figure.replaceChildren(el("figcaption", {}, el("h3"), el("p")), plot,
        el("details", {}, el("summary", {}, "Show as a table"), el("div", { tabindex: "0", role: "region" })));
    }
    figure.querySelector("h3").textContent = title;
    figure.querySelector("figcaption p").textContent = note;
    plot.setAttribute("aria-label", `${title}. ${label ?? note} The table below has the same numbers.`);
    const holder = figure.querySelector("details div");
    holder.setAttribute("aria-label", `Table: ${title}`);
    holder.replaceChildren(table(note, heads, rows));
    drawn.set(id, { plot, traces, layout, height });
    // With a height of its own before the drawing, the page does not jump.
    plot.style.minHeight = `${height}px`;
    if (plot.clientWidth) draw(id);
  };
  const axis = (own = {}) => {
    const { ink, line } = colours();
    return { color: ink, gridcolor: line, linecolor: line, zerolinecolor: line, automargin: true, fixedrange: true, ...own,
      title: own.title ? { text: own.title, font: { size: 12 }, standoff: 8 } : undefined };
  };
  const draw = (id, width, scale = 1) => {
    // The numbers do not wait for the library of the charts, which comes last in the file.
    if (!window.Plotly) return;
    const { plot, traces, layout, height } = drawn.get(id), palette = colours();
    const own = layout instanceof Function ? layout(palette) : layout;
    const axes = Object.fromEntries(["xaxis", "yaxis", "yaxis2"].filter((name) => name in own || name !== "yaxis2").map((name) => [name, axis(own[name])]));
    Plotly.react(plot, traces(palette), {
      ...own, ...axes, width: width ?? plot.clientWidth, height: height * scale, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: palette.ink, size: 12, family: "system-ui, 'Segoe UI', Roboto, Arial, sans-serif" },
      margin: { l: 10, r: 16, t: 10, b: 10, ...own.margin }, hovermode: own.hovermode ?? "closest",
      legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", ...own.legend },
    }, { displayModeBar: false });
  };
  // A page that is not shown has no width; it is drawn when it is.
  const redraw = () => drawn.forEach(({ plot }, id) => { if (plot.clientWidth) draw(id); });
  const bars = (lower, upper, values, colour) => ({
    type: "data", symmetric: false, array: upper.map((bound, i) => bound - values[i]), arrayminus: lower.map((bound, i) => values[i] - bound), color: colour, thickness: 1.5, width: 4,
  });

  // ---- page 1: funnel ------------------------------------------------------------------------------------------
  const byVisitor = [["all", "New and returning"], ["new", "New"], ["returning", "Returning"]];
  const categoriesOf = (cube) => [["all", "All categories"], ...cube.values.category_id
    .map((category, place) => [String(place), categoryName(category)]).sort((a, b) => a[1].localeCompare(b[1], "en", { numeric: true }))];
  // `cube` is the one to be tested; `listed` the one whose categories the filter lists.
  const testsOf = (listed, values) => {
    const chosen = listed.values.category_id[Number(values.category)];
    return {
      visitor_type: values.visitor === "all" ? null : (type) => type === values.visitor,
      category_id: values.category === "all" ? null : (category) => category === chosen,
      ...(values.from ? { period: (period) => period >= values.from && period <= values.to } : {}),
    };
  };
  // The same filters as conditions on a table's columns, for the definitions.
  const whereOf = (listed, values, day) => ({
    ...(values.visitor === "all" ? {} : { visitor_type: [values.visitor] }),
    ...(values.category === "all" ? {} : { category_id: [listed.values.category_id[Number(values.category)] ?? "all others"] }),
    ...(values.from && (values.from !== spanOf(listed)[0] || values.to !== spanOf(listed)[1]) ? { [day]: { from: values.from, to: values.to } } : {}),
  });
  const monday = (day) => {
    const date = new Date(`${day}T00:00:00Z`);
    date.setUTCDate(date.getUTCDate() - ((date.getUTCDay() + 6) % 7));
    return date.toISOString().slice(0, 10);
  };
  const spanOf = (cube) => { const periods = [...cube.values.period].sort(); return [periods[0], periods[periods.length - 1]]; };
  const dateControls = (cube) => {
    const [first, last] = spanOf(cube);
    return [{ name: "from", label: "From", type: "date", min: first, max: last, value: first }, { name: "to", label: "To", type: "date", min: first, max: last, value: last }];
  };

  const funnelPage = () => {
    const { cells: cube, step_cells: stepCube, steps, grain, times, time_bounds: bounds } = data.funnel, { status } = data;
    if (!cube.rows.length) {
      return notes("funnel", ["There are no sessions yet. Load events and build: `python -m ingest load --raw FOLDER`, then `dbt build`."]);
    }
    const transitions = steps.slice(1).map((after, place) => [steps[place], after]), hasPrices = Boolean(status.has_prices);
    const timeNames = [`${stepName("view")} → ${stepName("addtocart")}`, `${stepName("addtocart")} → ${stepName("transaction")}`];
    const bucketNames = [...bounds.map((bound, place) => place === 0 ? `under ${bound / 60} min` : `${bounds[place - 1] / 60} to ${bound / 60} min`), `over ${bounds[bounds.length - 1] / 60} min`];
    const [firstDay, lastDay] = spanOf(cube);
    filters("funnel", [...dateControls(cube), { name: "visitor", label: "Visitors", options: byVisitor, value: "all" },
      { name: "category", label: "Root category", options: categoriesOf(cube), value: "all" }], (values) => {
      const tests = testsOf(cube, values), total = sum(cube, tests), where = whereOf(cube, values, "started_date");
      const bought = total["Converting sessions"], sessions = total.Sessions, rate = bought / sessions;
      const atStep = (step, more = {}) => group(stepCube, { ...tests, ...more }, "step").get(step) ?? Object.fromEntries(stepCube.measures.map((name) => [name, 0]));
      const reached = new Map(steps.map((step) => [step, atStep(step)]));
      const dropOffs = transitions.filter(([step]) => reached.get(step)["Sessions at step"] > 0)
        .map(([step, after]) => ({ step, after, entered: reached.get(step)["Sessions at step"], left: reached.get(step)["Step drop-offs"] }))
        .map((entry) => ({ ...entry, rate: entry.left / entry.entered })).sort((a, b) => b.rate - a.rate);
      const worst = dropOffs[0];
      notes("funnel", [
        values.from > values.to ? "The first day is after the last day: choose other days." : null,
        firstDay === lastDay ? `The data hold one ${grain} only (${firstDay}): no trend can be shown yet. Load more days: \`python -m ingest load --raw FOLDER\`, then \`dbt build\`.` : null,
        sessions && !bought ? "No session here has a purchase. If the shop has sold, check that purchases are loaded as `transaction` events (docs/loading.md), then run `python -m ingest load --raw FOLDER` and `dbt build`." : null,
        hasPrices ? null : "No item has a known price, so no money is shown. Load prices (item properties, or a price column in the mapping file; docs/loading.md): `python -m ingest load --raw FOLDER`, then `dbt build`.",
      ]);
      // Medians do not add up: they are known for all days and categories; else the bucket is.
      const isWhole = values.from === firstDay && values.to === lastDay && values.category === "all";
      const times_ = times.map(({ cells, medians, measure }) => {
        const counts = group(cells, tests, "bucket"), n = [...counts.values()].reduce((all, cell) => all + cell.n, 0);
        const known = isWhole ? medians[values.visitor] : null;
        let bucket = 0;
        for (let below = 0; n && (below += counts.get(bucket)?.n ?? 0) * 2 < n; bucket += 1);
        return { measure, counts, n, known, text: !n ? "none" : known !== null && known !== undefined ? clock(known) : bucketNames[bucket] };
      });
      cards("funnel", [
        { measure: "Sessions", where, label: "Sessions", text: big(sessions), raw: sessions, lines: ["visits to the shop"] },
        { measure: "Conversion rate", where, label: "Sessions that buy", text: sessions ? percent(rate) : "none", raw: sessions ? rate : null,
          lines: [`${whole(bought)} of ${whole(sessions)}`, sessions ? between(percent, ...wilson(bought, sessions)) : ""] },
        { measure: "Step drop-off rate", where: { ...whereOf(cube, values, "funnel_date"), ...(worst ? { step: [worst.step] } : {}) }, label: worst ? `Biggest drop-off: ${stepName(worst.step)} → ${stepName(worst.after)}` : "Biggest drop-off", text: worst ? percent(worst.rate) : "none", raw: worst?.rate,
          lines: worst ? [`${whole(worst.left)} of ${whole(worst.entered)} go no further`, between(percent, ...wilson(worst.left, worst.entered))] : [] },
        ...(hasPrices ? [{ measure: "Revenue lost", where, label: "Value left in carts", text: big(total["Revenue lost"]), raw: total["Revenue lost"], lines: ["Not all of it can be won back.", `Revenue: ${big(total.Revenue)}`] }] : []),
        ...times_.map(({ measure, text, known, n }, place) => ({ measure, where, label: `${timeNames[place]}: median time`, text, raw: n ? known : null, lines: [`of ${whole(n)} sessions`, isWhole ? "" : "Exact for all days and categories."] })),
      ]);

      const stepCounts = steps.map((step) => reached.get(step)["Sessions at step"]);
      chart("funnel-steps", {
        title: "How far sessions get", note: `Sessions with each step, n = ${whole(sessions)} sessions.`,
        label: steps.map((step, i) => `${stepName(step)}: ${whole(stepCounts[i])}.`).join(" "),
        traces: ({ blue }) => [{ type: "bar", orientation: "h", y: steps.map(stepName), x: stepCounts, marker: { color: blue }, cliponaxis: false,
          text: stepCounts.map((count) => `${whole(count)} (${percent(sessions ? count / sessions : 0)})`), textposition: "outside", hoverinfo: "skip" }],
        layout: { yaxis: { autorange: "reversed", type: "category" }, xaxis: { title: "Sessions", range: [0, Math.max(...stepCounts, 1) * 1.3] } },
        heads: ["Step", "Sessions", "Share of sessions", "Go on to the next step", "Rate", `${level} interval`, "Skip it", "Go no further"],
        rows: steps.map((step, i) => {
          const { "Step conversions": on, "Step skips": past, "Step drop-offs": left } = reached.get(step);
          return [stepName(step), whole(stepCounts[i]), percent(sessions ? stepCounts[i] / sessions : 0),
            ...(i === steps.length - 1 || !stepCounts[i] ? ["", "", "", "", ""] : [whole(on), percent(on / stepCounts[i]), wilson(on, stepCounts[i]).map(percent).join(" to "), whole(past), whole(left)])];
        }),
      });

      const types = group(cube, tests, "visitor_type"), shownTypes = ["new", "returning"].filter((type) => types.has(type));
      const rates = (type) => transitions.map(([step]) => {
        const cell = atStep(step, { visitor_type: (own) => own === type }), entered = cell["Sessions at step"], on = cell["Step conversions"];
        return { rate: entered ? on / entered : NaN, interval: wilson(on, entered), entered, on };
      });
      const transitionNames = transitions.map(([step, after]) => `${stepName(step)} → ${stepName(after)}`);
      chart("funnel-visitors", {
        title: "New against returning visitors", note: `Share that goes on to the next step; bars show ${level} intervals (sessions taken as independent).`,
        traces: ({ blue, orange, ink }) => shownTypes.map((type) => ({ type: "bar", name: `${capital(type)} (n = ${whole(types.get(type).Sessions)})`, x: transitionNames, y: rates(type).map((r) => r.rate),
          error_y: bars(rates(type).map((r) => r.interval[0]), rates(type).map((r) => r.interval[1]), rates(type).map((r) => r.rate), ink),
          marker: { color: type === "new" ? blue : orange, pattern: { shape: type === "new" ? "" : "/", fgcolor: ink, bgcolor: orange, size: 6, solidity: 0.12 } },
          hovertemplate: "%{x}: %{y:.2%}<extra></extra>" })),
        layout: { yaxis: { tickformat: ".0%", rangemode: "tozero", title: "Goes on" }, xaxis: { type: "category" } },
        heads: ["Visitors", "Step", "Entered", "Went on", "Rate", `${level} interval`],
        rows: shownTypes.flatMap((type) => rates(type).map((r, i) => [capital(type), transitionNames[i], whole(r.entered), whole(r.on), r.entered ? percent(r.rate) : "", r.entered ? r.interval.map(percent).join(" to ") : ""])),
      });

      const periods = group(cube, tests, "period"), weekly = grain === "day" && periods.size > 45;
      const trend = new Map();
      [...periods].sort(([a], [b]) => (a < b ? -1 : 1)).forEach(([period, cell]) => {
        const key = weekly ? monday(period) : period, before = trend.get(key) ?? { sessions: 0, bought: 0 };
        trend.set(key, { sessions: before.sessions + cell.Sessions, bought: before.bought + cell["Converting sessions"] });
      });
      const dates = [...trend.keys()], held = [...trend.values()], shares = held.map((p) => p.bought / p.sessions);
      const limits = held.map((p) => wilson(p.bought, p.sessions));
      chart("funnel-trend", {
        title: `Trend by ${weekly ? "week" : grain}`, note: `Above: share of sessions that buy, with its ${level} interval (shaded). Below: sessions.${weekly || grain === "week" ? " Weeks start on Monday; the first and last may be incomplete." : ""}`,
        traces: ({ blue, orange, band }) => [
          { type: "scatter", mode: "lines", x: dates, y: limits.map((l) => l[1]), line: { width: 0 }, hoverinfo: "skip", showlegend: false, yaxis: "y2" },
          { type: "scatter", mode: "lines", x: dates, y: limits.map((l) => l[0]), line: { width: 0 }, fill: "tonexty", fillcolor: band, hoverinfo: "skip", showlegend: false, yaxis: "y2" },
          { type: "scatter", mode: "lines+markers", name: "Sessions that buy", x: dates, y: shares, line: { color: blue, width: 2 }, marker: { size: 5 }, yaxis: "y2", hovertemplate: "%{x}: %{y:.2%}<extra></extra>" },
          { type: "bar", name: "Sessions", x: dates, y: held.map((p) => p.sessions), marker: { color: orange }, hovertemplate: "%{x}: %{y:,} sessions<extra></extra>" }],
        layout: { xaxis: { type: "date", ...(dates.length < 8 ? { tickvals: dates, tickformat: "%-d %b %Y" } : {}) }, yaxis: { domain: [0, 0.34], title: "Sessions", rangemode: "tozero" }, yaxis2: { domain: [0.42, 1], tickformat: ".1%", rangemode: "tozero", title: "Buy" }, bargap: 0.15 },
        heads: [weekly ? "Week from" : capital(grain), "Sessions", "Buy", "Rate", `${level} interval`],
        rows: dates.map((date, i) => [date, whole(held[i].sessions), whole(held[i].bought), percent(shares[i]), limits[i].map(percent).join(" to ")]),
      });

      const found = [...group(cube, tests, "category_id")].map(([category, { Sessions: n, "Converting sessions": buy, "Revenue lost": lost }]) => ({ name: categoryName(category), n, bought: buy, rate: buy / n, lost, interval: wilson(buy, n) }));
      const busiest = [...found].sort((a, b) => b.n - a.n).slice(0, 12), costly = [...found].filter((c) => c.lost > 0).sort((a, b) => b.lost - a.lost).slice(0, 12);
      const asTable = { heads: ["Root category", "Sessions", "Buy", "Rate", `${level} interval`, "Value left in carts"],
        rows: [...found].sort((a, b) => b.n - a.n).map((c) => [c.name, whole(c.n), whole(c.bought), percent(c.rate), c.interval.map(percent).join(" to "), whole(c.lost)]) };
      chart("funnel-categories", {
        title: "Who buys, by category of the first item", note: `The ${busiest.length} busiest of ${found.length}; lines show ${level} intervals.`, ...asTable, height: 380,
        traces: ({ blue }) => [{ type: "scatter", mode: "markers", y: busiest.map((c) => plain(`${shorten(c.name, 24)} (n = ${whole(c.n)})`)), x: busiest.map((c) => c.rate), marker: { color: blue, size: 9 }, showlegend: false,
          error_x: bars(busiest.map((c) => c.interval[0]), busiest.map((c) => c.interval[1]), busiest.map((c) => c.rate), blue), hovertext: busiest.map((c) => `${plain(c.name)}: ${percent(c.rate)}, n = ${whole(c.n)}`), hoverinfo: "text" }],
        layout: { yaxis: { type: "category", autorange: "reversed" }, xaxis: { tickformat: ".1%", rangemode: "tozero", title: "Sessions that buy" } },
      });
      if (hasPrices) chart("funnel-lost", {
        title: "Value left in carts, by category of the first item", note: `The ${costly.length} highest. Sum of prices in carts of sessions that did not buy.`, ...asTable, height: 380,
        traces: ({ orange }) => [{ type: "bar", orientation: "h", y: costly.map((c) => plain(shorten(c.name, 28))), x: costly.map((c) => c.lost), marker: { color: orange }, text: costly.map((c) => big(c.lost)), textposition: "auto", hoverinfo: "skip" }],
        layout: { yaxis: { type: "category", autorange: "reversed" }, xaxis: { title: "Value left", rangemode: "tozero" } },
      });

      const shareOf = ({ counts, n }) => bucketNames.map((_, bucket) => (n ? (counts.get(bucket)?.n ?? 0) / n : 0));
      chart("funnel-times", {
        title: "Time to convert", note: "How long it takes the sessions that go on to the next step in order.",
        traces: ({ blue, orange, ink }) => times_.map((own, place) => ({ type: "bar", name: `${timeNames[place]} (n = ${whole(own.n)})`, x: bucketNames, y: shareOf(own), hovertemplate: "%{x}: %{y:.1%}<extra></extra>",
          marker: { color: [blue, orange][place], pattern: { shape: place ? "/" : "", fgcolor: ink, bgcolor: orange, size: 6, solidity: 0.12 } } })),
        layout: { yaxis: { tickformat: ".0%", title: "Share of sessions" }, xaxis: { type: "category" } }, height: 260,
        heads: ["Step", ...bucketNames], rows: times_.map(({ counts }, place) => [timeNames[place], ...bucketNames.map((_, bucket) => whole(counts.get(bucket)?.n ?? 0))]),
      });
    });
  };

  // ---- page 2: risk --------------------------------------------------------------------------------------------
  const riskPage = () => {
    const { risk } = data;
    if (!risk) return notes("risk", ["There are no predictions yet. Train first: `python -m ml.train`. It needs purchases: at least 20 sessions that buy in each part of the data (docs/modelling.md)."]);
    const cube = risk.cells, bands = ["high", "medium", "low"], { status } = data, hasMoney = Boolean(status.has_prices);
    if (!cube.rows.length) return notes("risk", ["No scored session is later than what the model learnt from. Train on more days: `python -m ml.train`."]);
    // It opens where most cart value is at risk; without prices, at the first decision point.
    const held = group(cube, { is_latest: (own) => own === 1 }, "decision_point"), valueAt = (point) => held.get(point)?.["Value at risk at the decision point"] ?? 0;
    const opening = risk.points.reduce((most, point) => (valueAt(point) > valueAt(most) ? point : most));
    filters("risk", [{ name: "point", label: "Decision point", options: risk.points.map((point) => [point, pointName(point)]), value: opening },
      ...dateControls(cube), { name: "visitor", label: "Visitors", options: byVisitor, value: "all" }, { name: "category", label: "Root category", options: categoriesOf(cube), value: "all" }], (values) => {
      const where = { decision_point: [values.point], ...whereOf(cube, values, "decided_date") };
      const base = testsOf(cube, values), tests = { ...base, decision_point: (point) => point === values.point };
      // Each session once, with what it holds at its latest decision. Rates are not shown so: which decision was the latest
      // is only known afterwards, and those who went on are not among the earlier ones.
      const latest = (point) => group(cube, { ...base, is_latest: (own) => own === 1, ...(point ? { decision_point: (own) => own === point } : {}) }, "risk_band");
      const atRisk = (band, point) => latest(point).get(band)?.["Value at risk at the decision point"] ?? 0;
      const allAtRisk = bands.reduce((all, band) => all + atRisk(band), 0);
      const value = (cell) => ({ n: cell["Scored decisions"], evaluated: cell["Evaluated decisions"], converted: Math.round(cell["Observed conversion"]), predicted: cell["Predicted conversion"] });
      const total = value(sum(cube, tests)), groups = group(cube, tests, "risk_band");
      const shown = bands.map((band) => ({ band, ...(groups.has(band) ? value(groups.get(band)) : { n: 0, evaluated: 0, converted: 0, predicted: 0 }) }));
      const [high] = shown, low = shown[shown.length - 1], slice = `decision_point=${values.point}`, place = values.point;
      const auc = risk.metrics.find((row) => row.metric === "auc_roc" && row.slice === slice), evaluatedOn = risk.rows.find((row) => row.slice === slice);
      const rateCard = (cell, label) => ({ measure: "Observed conversion", where: { ...where, risk_band: [cell.band] }, label, text: cell.evaluated ? percent(cell.converted / cell.evaluated) : "none", raw: cell.evaluated ? cell.converted / cell.evaluated : null,
        lines: cell.evaluated ? [`${whole(cell.converted)} of ${whole(cell.evaluated)}`, between(percent, ...wilson(cell.converted, cell.evaluated))] : [] });
      notes("risk", [total.n ? null : "No scored session is left with these filters.",
        status.is_model_behind_data ? "The predictions are older than the data: run `python -m ml.score`." : null,
        "Only sessions later than all that the model learnt from count. Risk is that of leaving without buying, against the other sessions at the decision point. High: the least likely to buy. Low: the most likely (shares of an earlier part of the data; settings: risk_bands)."]);
      cards("risk", [
        { measure: "Scored decisions", where: { ...where, risk_band: ["high"] }, label: "Sessions at high risk", text: big(high.n), raw: high.n, lines: [total.n ? `${percent(high.n / total.n)} of ${whole(total.n)} scored` : ""] },
        ...(hasMoney ? [{ measure: "Abandoned value at risk", where: whereOf(cube, values, "decided_date"), label: "Cart value at risk", text: big(allAtRisk), raw: allAtRisk, lines: ["cart value × chance of leaving, at each session's latest decision: an estimate"] }] : []),
        rateCard(high, "High-risk sessions that buy"), rateCard(low, "Low-risk sessions that buy"),
        ...(auc ? [{ measure: "Model metric", where: { slice: [slice], metric: ["auc_roc"] }, label: "How well buyers are told apart (AUC)", text: auc["Model metric"].toFixed(3), raw: auc["Model metric"], lines: [between((v) => v.toFixed(3), auc["Model metric lower"], auc["Model metric upper"]), `1 is perfect, 0.5 is chance; ${place}, n = ${whole(evaluatedOn?.n_rows ?? 0)}`] }] : []),
        { measure: "Open sessions", label: "Open sessions now", text: big(risk.open_count), raw: risk.open_count, lines: ["not over, nothing bought: listed below"] },
      ]);
      const names = shown.map(({ band }) => capital(band)), rows = shown.map((cell) => [capital(cell.band), whole(cell.n), total.n ? percent(cell.n / total.n) : "", cell.evaluated ? percent(cell.predicted / cell.evaluated) : "", whole(cell.converted), ...(cell.evaluated ? [percent(cell.converted / cell.evaluated), wilson(cell.converted, cell.evaluated).map(percent).join(" to ")] : ["", ""])]);
      const heads = ["Risk", "Sessions", "Share", "Predicted to buy", "Bought", "Rate", `${level} interval`];
      const filled = shown.filter((cell) => cell.evaluated), labels = filled.map((c) => `${capital(c.band)} (n = ${whole(c.evaluated)})`);
      chart("risk-bands", {
        title: "Do the bands tell buyers apart?", note: `Share of sessions that buy, in each band: predicted, and observed with its ${level} interval.`, heads, rows,
        traces: ({ blue, orange }) => [
          { type: "scatter", mode: "markers", name: "Observed", x: labels, y: filled.map((c) => c.converted / c.evaluated), marker: { color: blue, size: 13 }, error_y: bars(filled.map((c) => wilson(c.converted, c.evaluated)[0]), filled.map((c) => wilson(c.converted, c.evaluated)[1]), filled.map((c) => c.converted / c.evaluated), blue), hovertemplate: "observed %{y:.2%}<extra></extra>" },
          { type: "scatter", mode: "markers", name: "Predicted", x: labels, y: filled.map((c) => c.predicted / c.evaluated), marker: { color: orange, size: 12, symbol: "diamond-open", line: { width: 3 } }, hovertemplate: "predicted %{y:.2%}<extra></extra>" }],
        layout: { yaxis: { tickformat: ".1%", rangemode: "tozero", title: "Sessions that buy" }, xaxis: { type: "category", title: "Risk of leaving" } },
      });
      const held = bands.map((band) => risk.points.map((point) => (hasMoney ? atRisk(band, point) : latest(point).get(band)?.["Scored decisions"] ?? 0)));
      const what = hasMoney ? "Cart value at risk" : "Sessions";
      chart("risk-value", {
        title: hasMoney ? "What is at risk, and where" : "Sessions by risk, and where", note: `${hasMoney ? "Cart value times the chance of leaving without buying, an estimate" : "Sessions"}, at each session's latest decision.`,
        traces: ({ red, orange, green, ink }) => bands.map((band, i) => ({ type: "bar", name: `${capital(band)} risk`, x: risk.points.map(capital), y: held[i], marker: { color: [red, orange, green][i], pattern: { shape: ["", "/", "."][i], fgcolor: ink, bgcolor: [red, orange, green][i], size: 6, solidity: 0.12 } },
          text: held[i].map((own) => (own ? big(own) : "")), textposition: "outside", cliponaxis: false, hovertemplate: "%{x}: %{y:,.0f}<extra></extra>" })),
        layout: { yaxis: { title: what, rangemode: "tozero" }, xaxis: { type: "category", title: "Latest decision point" } },
        heads: ["Latest decision point", ...bands.map((band) => `${capital(band)} risk`)], rows: risk.points.map((point, i) => [capital(point), ...held.map((own) => whole(own[i]))]),
      });
      const logTicks = [0.0001, 0.001, 0.01, 0.1].flatMap((decade) => [decade, 2 * decade, 5 * decade]);
      const bins = risk.calibration.filter((row) => row.slice === slice).sort((a, b) => a.mean_predicted - b.mean_predicted);
      const seen = bins.filter((row) => row.observed_rate > 0), ends = bins.length ? [Math.min(...bins.map((b) => b.mean_predicted)), Math.max(...bins.map((b) => b.mean_predicted))] : [0.01, 1];
      chart("risk-calibration", {
        title: "Can the probabilities be trusted?", note: `Of sessions that are given 5 %, about 5 % should buy. Model ${status.champion}, ${place}, whole test split; lines show ${level} intervals; both scales logarithmic.`,
        traces: ({ blue, grey }) => [
          { type: "scatter", mode: "lines", name: "Perfect", x: ends, y: ends, line: { color: grey, dash: "dot" }, hoverinfo: "skip" },
          { type: "scatter", mode: "lines+markers", name: "Observed", x: seen.map((b) => b.mean_predicted), y: seen.map((b) => b.observed_rate), line: { color: blue }, marker: { size: 8 }, hovertemplate: "predicted %{x:.2%}, observed %{y:.2%}<extra></extra>", error_y: bars(seen.map((b) => b.ci_lower), seen.map((b) => b.ci_upper), seen.map((b) => b.observed_rate), blue) }],
        layout: { xaxis: { type: "log", tickformat: ".2~%", title: "Predicted to buy", tickvals: logTicks }, yaxis: { type: "log", tickformat: ".2~%", title: "Bought", tickvals: logTicks } },
        heads: ["Predicted", "Observed", `${level} interval`, "Sessions", "Bought"], rows: bins.map((b) => [percent(b.mean_predicted), percent(b.observed_rate), `${percent(b.ci_lower)} to ${percent(b.ci_upper)}`, whole(b.n_rows), whole(b.n_positives)]),
      });
      const reasons = risk.reasons.filter((row) => row.decision_point === values.point);
      chart("risk-reasons", {
        title: "What moves the prediction", note: `The ten strongest features, ${place}: mean absolute SHAP value (log-odds), n = ${whole(reasons[0]?.n_rows ?? 0)}. What the model used, not what causes a purchase.`, height: 380,
        traces: ({ blue }) => [{ type: "bar", orientation: "h", y: reasons.map((row) => plain(row.label)), x: reasons.map((row) => row.mean_abs_shap), marker: { color: blue },
          hovertext: reasons.map((row) => plain(`${row.description} ${row.direction}`)), hoverinfo: "text" }],
        layout: { yaxis: { type: "category", autorange: "reversed" }, xaxis: { title: "Strength", rangemode: "tozero" } },
        heads: ["Feature", "Meaning", "Strength", "Direction"], rows: reasons.map((row) => [row.label, `${row.description} (${row.feature})`, row.mean_abs_shap.toFixed(4), row.direction]),
      });
    });
    if (!risk.open_sessions.length) {
      byId("risk-open").replaceChildren(el("h3", {}, "Who to act on now"), el("p", {}, ...marked("No session is open: all have ended. Load newer events, `dbt build`, then `python -m ml.score` scores those that still run.")));
      return;
    }
    const isScored = risk.open_sessions.some((row) => row.uplift !== null);
    tableBlock("risk-open", "Who to act on now", `Open sessions, most value at risk first: ${risk.open_sessions.length} of ${whole(risk.open_count)}. Up to the end of the data, ${status.data_to} UTC. ${isScored ? "Uplift says whether acting would help; without an experiment it is simulated." : "None of them has an uplift score yet: whether acting would help is not known."}`,
      ["Session", "Decision point", "Decided (UTC)", "Chance of buying", "Risk", "In the cart", ...(isScored ? ["Uplift", "Kind"] : []), "Strongest reason"],
      risk.open_sessions.map((row) => [row.session_id, row.decision_point, row.decided_at, percent(row.probability), row.risk_band, number(row.carted_value), ...(isScored ? [row.uplift === null ? "not scored" : points(row.uplift), row.quadrant ?? "not scored"] : []), row.reason_1 ?? ""]));
  };

  // ---- page 3: intervention ------------------------------------------------------------------------------------
  const verdict = (lower, upper, above, below) => (lower > 0 ? above : upper < 0 ? below : "no difference shown");
  const simulatedWord = () => (data.status.is_simulated ? "simulated" : "measured");
  const noExperiment = "Effects are simulated because no experiment is loaded. Test an offer on some visitors, load who was in which arm (`treatment_assignments`, docs/loading.md): `python -m ingest load --raw FOLDER`, `dbt build`, `python -m ml.train`.";
  const upliftPage = () => {
    const { uplift, roi, policies } = data;
    if (!uplift) return notes("uplift", ["There are no uplift scores yet: nothing says whom an intervention changes. Run `python -m ml.train`. It uses your experiment if one is loaded (`treatment_assignments`, docs/loading.md) and simulates one if not."]);
    const { cells: cube } = uplift, { status } = data;
    const metric = (name, learner = "chosen", versus = "") => uplift.metrics.find((row) => row.metric === name && row.learner === learner && row.versus === versus);
    const average = metric("average_effect", "all"), top = metric("uplift_at_10"), qini = metric("qini"), kind = simulatedWord();
    const worth = metric("value_effect_all_slices", "all");
    const quadrants = Object.keys(data.titles.quadrants);
    const dimensions = [["segment", "Segment of the simulation"], ["quadrant", "Kind of shopper"], ["visitor_type", "New or returning"], ["category_id", "Root category"], ["decile", "Decile of the score"]]
      .filter(([name]) => name !== "segment" || cube.values.segment.some((segment) => segment !== null));
    // Both arms of a group, and all its sessions that the learner did not learn from.
    const arms = (tests, by) => {
      const both = new Map(), all = group(cube, tests, by);
      const treated = group(cube, { ...tests, treatment: (arm) => arm === 1 }, by), control = group(cube, { ...tests, treatment: (arm) => arm === 0 }, by);
      for (const [key, cell] of all) {
        const entry = { n: cell["Sessions with uplift"], uplift: cell["Predicted uplift"], treated: treated.get(key)?.["Experiment sessions"] ?? 0, control: control.get(key)?.["Experiment sessions"] ?? 0,
          boughtTreated: Math.round(treated.get(key)?.["Treated conversion"] ?? 0), boughtControl: Math.round(control.get(key)?.["Control conversion"] ?? 0) };
        both.set(key, { ...entry, isEvaluated: entry.treated > 0 && entry.control > 0 });
      }
      return both;
    };
    const nothing = { n: 0, uplift: 0, treated: 0, control: 0, boughtTreated: 0, boughtControl: 0, isEvaluated: false };
    filters("uplift", [{ name: "visitor", label: "Visitors", options: byVisitor, value: "all" }, { name: "category", label: "Root category", options: categoriesOf(cube), value: "all" }, { name: "by", label: "Compare groups by", options: dimensions, value: dimensions[0][0] }], (values) => {
      const tests = testsOf(cube, values), total = arms(tests).get("all") ?? nothing, kinds = arms(tests, "quadrant"), where = whereOf(cube, values);
      const [effect, lower, upper] = difference(total), isFiltered = values.visitor !== "all" || values.category !== "all", persuadable = kinds.get("persuadable")?.n ?? 0;
      const gain = roi?.gains.find((row) => row.versus === "response");
      notes("uplift", [status.is_simulated ? noExperiment : null, ...data.warnings,
        gain ? { verdict: `Highest uplift first against likeliest buyers first, each at its own best share: profit differs by ${number(gain.difference)} (${between(number, gain.ci_lower, gain.ci_upper)}): ${verdict(gain.ci_lower, gain.ci_upper, "choosing by uplift earns more", "choosing by uplift earns less")}. ${status.is_simulated ? "Simulated: nobody earned it." : ""}` } : null]);
      cards("uplift", [
        isFiltered || !average
          ? { measure: "Observed uplift", where, label: `Effect of treating (${kind})`, text: total.isEvaluated ? points(effect) : "none", raw: total.isEvaluated ? effect : null, lines: [total.isEvaluated ? between(points, lower, upper) : "", "percentage points of conversion, treated less control"] }
          : { measure: "Average uplift", label: `Effect of treating everybody (${kind})`, text: points(average.value), raw: average.value, lines: [between(points, average.ci_lower, average.ci_upper), "percentage points of conversion"] },
        ...(worth ? [{ measure: "Learner metric", where: { learner: ["all"], versus: [""], metric: ["value_effect_all_slices"] }, label: `Revenue that treating everybody adds (${kind})`, text: number(worth.value), raw: worth.value, lines: [between(number, worth.ci_lower, worth.ci_upper), "money per session, as the experiment was designed"] }] : []),
        ...(top ? [{ measure: "Learner metric", where: { learner: ["chosen"], versus: [""], metric: ["uplift_at_10"] }, label: `Effect among the top 10 % by score (${kind})`, text: points(top.value), raw: top.value, lines: [between(points, top.ci_lower, top.ci_upper), "all visitors and categories"] }] : []),
        { measure: "Persuadables", where, label: "Persuadable sessions", text: total.n ? percent(persuadable / total.n) : "none", raw: persuadable, lines: [`${whole(persuadable)} of ${whole(total.n)}`, "expected to bring more than they cost"] },
        ...(qini ? [{ measure: "Qini uplift", label: "How well the ranking works (Qini)", text: qini.value.toFixed(3), raw: qini.value, lines: [between((v) => v.toFixed(3), qini.ci_lower, qini.ci_upper), "0 is a random order"] }] : []),
        { measure: "Experiment sessions", where, label: "Sessions evaluated", text: big(total.treated + total.control), raw: total.treated + total.control, lines: [`${whole(total.treated)} treated, ${whole(total.control)} not`, uplift.test_span.first_at ? `${uplift.test_span.first_at.slice(0, 10)} to ${uplift.test_span.last_at.slice(0, 10)}` : ""] },
      ]);
      const deciles = uplift.deciles;
      chart("uplift-deciles", {
        title: `Effect by decile of the score (${kind})`, note: `Decile 1 has the highest predicted uplift. All visitors; lines show ${level} intervals.`,
        traces: ({ blue, orange }) => [
          { type: "bar", name: "Observed", x: deciles.map((d) => d.decile), y: deciles.map((d) => d.observed_uplift), marker: { color: blue }, error_y: bars(deciles.map((d) => d.ci_lower), deciles.map((d) => d.ci_upper), deciles.map((d) => d.observed_uplift), colours().ink), hovertemplate: "observed %{y:.2%}<extra></extra>" },
          { type: "scatter", mode: "markers", name: "Predicted", x: deciles.map((d) => d.decile), y: deciles.map((d) => d.predicted_uplift), marker: { color: orange, size: 10, symbol: "diamond", line: { color: colours().ink, width: 1 } }, hovertemplate: "predicted %{y:.2%}<extra></extra>" }],
        layout: { xaxis: { dtick: 1, title: "Decile of the score" }, yaxis: { tickformat: ".0%", title: "Added conversion" } },
        heads: ["Decile", "Predicted", "Observed", `${level} interval`, "Treated", "Control", ...(status.is_simulated ? ["True (known, as simulated)"] : [])],
        rows: deciles.map((d) => [d.decile, percent(d.predicted_uplift), percent(d.observed_uplift), `${percent(d.ci_lower)} to ${percent(d.ci_upper)}`, whole(d.n_treatment), whole(d.n_control), ...(status.is_simulated ? [d.true_uplift === null ? "" : percent(d.true_uplift)] : [])]),
      });
      if (roi) {
        const strategies = ["uplift", "response", "random"].map((name) => [name, roi.projections.filter((row) => row.strategy === name)]);
        const main = strategies[0][1];
        chart("uplift-strategies", {
          title: `Extra conversions: by uplift or by chance of buying? (${kind})`, note: `In ${status.horizon_days} days, if this share of sessions is treated. Shaded: ${level} interval of "highest uplift first".`,
          traces: ({ blue, orange, grey, band }) => [
            { type: "scatter", mode: "lines", x: main.map((r) => r.share_percent), y: main.map((r) => r.incremental_conversions_ci_upper), line: { width: 0 }, hoverinfo: "skip", showlegend: false },
            { type: "scatter", mode: "lines", x: main.map((r) => r.share_percent), y: main.map((r) => r.incremental_conversions_ci_lower), line: { width: 0 }, fill: "tonexty", fillcolor: band, hoverinfo: "skip", showlegend: false },
            ...strategies.map(([name, rows], i) => ({ type: "scatter", mode: "lines", name: capital(data.titles.rules[name]), x: rows.map((r) => r.share_percent), y: rows.map((r) => r.incremental_conversions), line: { color: [blue, orange, grey][i], dash: ["solid", "dash", "dot"][i], width: 2.5 }, hovertemplate: "%{x} %: %{y:,.1f}<extra></extra>" }))],
          layout: { xaxis: { title: "Share of sessions treated (%)" }, yaxis: { title: "Extra conversions" } },
          heads: ["Share treated (%)", ...strategies.flatMap(([name]) => [capital(data.titles.rules[name]), `${level} interval`])],
          rows: main.filter((row) => row.share_percent % 5 === 0).map((row) => [row.share_percent, ...strategies.flatMap(([, rows]) => { const r = rows.find((own) => own.share_percent === row.share_percent); return [number(r.incremental_conversions), `${number(r.incremental_conversions_ci_lower)} to ${number(r.incremental_conversions_ci_upper)}`]; })]),
        });
      }
      const shownKinds = quadrants.map((name) => ({ name, n: kinds.get(name)?.n ?? 0, uplift: kinds.get(name)?.uplift ?? 0 }));
      chart("uplift-quadrants", {
        title: "Four kinds of shopper", note: `${policies ? "As estimated: a persuadable brings more money than the offer costs" : `As estimated, at a cost of ${number(status.unit_cost)} per ${status.cost_per} and a revenue of ${number(status.revenue_per_conversion)}`}; n = ${whole(total.n)} sessions.`,
        traces: ({ green, blue, grey, red }) => [{ type: "bar", orientation: "h", y: shownKinds.map((k) => capital(k.name)), x: shownKinds.map((k) => k.n), marker: { color: [green, blue, grey, red] }, cliponaxis: false, text: shownKinds.map((k) => `${whole(k.n)} (${total.n ? percent(k.n / total.n) : "none"})`), textposition: "outside", hoverinfo: "skip" }],
        layout: { yaxis: { type: "category", autorange: "reversed" }, xaxis: { title: "Sessions", range: [0, Math.max(...shownKinds.map((k) => k.n), 1) * 1.3] } },
        heads: ["Kind", "Meaning", "Sessions", "Mean predicted uplift"], rows: shownKinds.map((k) => [capital(k.name), data.titles.quadrants[k.name], whole(k.n), k.n ? points(k.uplift / k.n) : ""]),
      });
      const dimension = dimensions.find(([name]) => name === values.by);
      const groups = [...arms(tests, values.by)].map(([name, cell]) => ({ name: values.by === "category_id" ? categoryName(name) : values.by === "decile" ? `Decile ${name}` : capital(String(name ?? "none")), order: values.by === "decile" ? name : -cell.n, cell, effect: difference(cell) }))
        .filter((entry) => entry.cell.n).sort((a, b) => a.order - b.order).slice(0, 12);
      const evaluated = groups.filter((entry) => entry.cell.isEvaluated);
      chart("uplift-groups", {
        title: `Effect by group: ${dimension[1].toLowerCase()} (${kind})`, note: `Treated less control, with ${level} intervals (sessions taken as independent), and predicted. Groups with one arm only are in the table.`, height: 340,
        traces: ({ blue, orange }) => [
          { type: "scatter", mode: "markers", name: "Observed", y: evaluated.map((g) => plain(`${shorten(g.name, 28)} (n = ${whole(g.cell.n)})`)), x: evaluated.map((g) => g.effect[0]), marker: { color: blue, size: 10 }, error_x: bars(evaluated.map((g) => g.effect[1]), evaluated.map((g) => g.effect[2]), evaluated.map((g) => g.effect[0]), blue), hovertemplate: "observed %{x:.2%}<extra></extra>" },
          { type: "scatter", mode: "markers", name: "Predicted", y: evaluated.map((g) => plain(`${shorten(g.name, 28)} (n = ${whole(g.cell.n)})`)), x: evaluated.map((g) => g.cell.uplift / g.cell.n), marker: { color: orange, size: 11, symbol: "diamond-open", line: { width: 2.5 } }, hovertemplate: "predicted %{x:.2%}<extra></extra>" }],
        layout: { yaxis: { type: "category", autorange: "reversed" }, xaxis: { tickformat: ".0%", title: "Added conversion", zeroline: true, zerolinewidth: 2 } },
        heads: ["Group", "Sessions", "Treated", "Control", "Predicted", "Observed", `${level} interval`], rows: groups.map((g) => [g.name, whole(g.cell.n), whole(g.cell.treated), whole(g.cell.control), points(g.cell.uplift / g.cell.n), ...(g.cell.isEvaluated ? [points(g.effect[0]), `${points(g.effect[1])} to ${points(g.effect[2])}`] : ["", ""])]),
      });
    });
    if (uplift.groups.length) {
      tableBlock("uplift-whom", `Who they are, in words (${kind})`, `Groups that a tree of a few questions tells apart. It was learnt on earlier sessions; the effect is that on the test split, in percentage points of conversion, with its ${level} interval.`, ["Sessions with", "Test sessions", "Share", "Effect", `${level} interval`, "With the costs of the run"],
        uplift.groups.map((row) => [row.rule, whole(row.n_rows), percent(row.row_share), ...(row.effect === null ? ["", ""] : [points(row.effect), `${points(row.ci_lower)} to ${points(row.ci_upper)}`]), row.treat ? "treat" : "do not treat"]));
    }
    if (uplift.profile.length) {
      const { n_top: inTop, n_rest: inRest, fidelity } = uplift.profile[0];
      tableBlock("uplift-profile", "The top tenth against the rest", `The ${whole(inTop)} test sessions with the highest uplift score against the other ${whole(inRest)}: the features that differ most, in standard deviations. Place says how far a feature moves the score: 1 is the strongest of all (SHAP values${fidelity === 1 ? "" : ` of a model that explains ${percent(fidelity)} of the score's variance`}).`, ["Feature", "In words", "Difference", "Place", "Direction"],
        uplift.profile.slice(0, 10).map((row) => [row.label, row.words, row.difference.toFixed(2), row.shap_rank ?? "", row.direction ?? ""]));
    }
    if (policies) {  // Offers and money have one way to learn: nothing to compare it with.
      const effects = uplift.metrics.filter((row) => row.metric === "average_effect_all_slices" && row.learner !== "all");
      if (effects.length) tableBlock("uplift-rankings", "What each offer does on average", `Offer less ${effects[0].versus}, as designed, with ${level} intervals. p is corrected for the number of offers (Holm).`, ["Offer", "Sessions", "Conversion", `${level} interval`, "Revenue per session", `${level} interval`, "p"],
        effects.map((row) => { const worth = metric("value_effect_all_slices", row.learner, row.versus); return [row.learner, whole(row.n_rows), points(row.value), between(points, row.ci_lower, row.ci_upper), ...(worth ? [number(worth.value), between(number, worth.ci_lower, worth.ci_upper)] : ["", ""]), metric("holm_p", row.learner, row.versus).value.toFixed(3)]; }));
      return;
    }
    const published = data.titles.learners[(uplift.candidates.find((row) => row.is_chosen) ?? { learner: "t_learner" }).learner];
    const learners = Object.keys(data.titles.learners).map((learner) => [learner, metric("qini", learner)]).filter(([, row]) => row);
    tableBlock("uplift-rankings", `Rankings compared (${kind})`, `Qini, ${level} intervals, n = ${whole(average?.n_rows ?? status.uplift_test_row_count)} sessions. The published scores come from this one: ${published}.`, ["Ranking", "Qini", `${level} interval`, "Published less this", `${level} interval`, "The published one is"],
      learners.map(([learner, row]) => {
        const own = metric("qini", "chosen", learner), other = metric("qini", learner, "chosen");
        const paired = own ?? (other && { value: -other.value, ci_lower: -other.ci_upper, ci_upper: -other.ci_lower });
        return [data.titles.learners[learner], row.value.toFixed(4), `${row.ci_lower.toFixed(4)} to ${row.ci_upper.toFixed(4)}`, ...(paired ? [paired.value.toFixed(4), `${paired.ci_lower.toFixed(4)} to ${paired.ci_upper.toFixed(4)}`, verdict(paired.ci_lower, paired.ci_upper, "better", "worse")] : ["", "", ""])];
      }));
    tableBlock("uplift-candidates", "Why this ranking", "Chosen on sessions before the test split, scored by models that did not see them: what has a part in their mean, or ranks alone, follows from how far it is behind the best. Explained is the squared error of the predicted effect that a ranking saves, in squared percentage points.", ["Candidate, the simplest first", "Explained", "Standard error", "Less than the best", "Standard error", "Why"],
      uplift.candidates.map((row) => [data.titles.learners[row.learner], row.gain.toFixed(2), row.gain_se.toFixed(2), row.behind_best.toFixed(2), row.behind_best_se.toFixed(2), (row.is_chosen ? "chosen: " : "") + row.reason]));
  };

  // ---- page 4: money -------------------------------------------------------------------------------------------
  // What a projection earns under other prices, and its normal interval: as the measures "What-if ..." say it.
  const whatIf = (row, cost, revenue) => {
    const worth = row.margin * revenue, gained = worth * row.incremental_conversions, paid = cost * row.cost_units, profit = gained - paid;
    const variance = worth ** 2 * row.incremental_conversions_se ** 2 + cost ** 2 * row.cost_units_se ** 2 - 2 * worth * cost * row.cost_units_covariance;
    const half = data.z * Math.sqrt(Math.abs(variance));
    const n = row.incremental_conversions, u = row.cost_units, hasRoi = paid > 0;
    const spread = row.incremental_conversions_se ** 2 / n ** 2 + row.cost_units_se ** 2 / u ** 2 - (2 * row.cost_units_covariance) / (n * u);
    const roiHalf = hasRoi && n !== 0 ? data.z * Math.abs(gained / paid) * Math.sqrt(Math.abs(spread)) : null;
    return { profit, lower: profit - half, upper: profit + half, cost: paid, revenue: revenue * n, roi: hasRoi ? profit / paid : null,
      roiLower: roiHalf === null ? null : profit / paid - roiHalf, roiUpper: roiHalf === null ? null : profit / paid + roiHalf };
  };
  const published = (row) => ({ profit: row.profit, lower: row.profit_ci_lower, upper: row.profit_ci_upper, cost: row.cost, revenue: row.incremental_revenue, roi: row.roi, roiLower: row.roi_ci_lower, roiUpper: row.roi_ci_upper });
  const policyTable = () => {
    const { policies, status } = data, kind = simulatedWord(), chosen = policies.rows.find((row) => row.is_chosen), offers = [...new Set(policies.given.map((row) => row.offer))];
    const given = (row, offer) => policies.given.find((own) => own.policy === row.policy && own.offer === offer)?.treated_sessions ?? 0;
    const interval = (row, name) => (row[name] === null ? "" : `${number(row[name])} [${number(row[`${name}_ci_lower`])} to ${number(row[`${name}_ci_upper`])}]`);
    notes("roi", [status.is_simulated ? noExperiment : null, ...data.warnings,
      { verdict: `Chosen: ${chosen.policy}. Profit in ${status.horizon_days} days, against making nobody an offer: ${interval(chosen, "profit")}: ${verdict(chosen.profit_ci_lower, chosen.profit_ci_upper, "it earns more than it costs", "it loses money")}. ${status.is_simulated ? "Simulated: nobody earned it." : ""}` }]);
    tableBlock("roi-challengers", `Policies beside each other (${kind})`, `Money in ${status.horizon_days} days of ${whole(Math.round(chosen.eligible_sessions))} sessions, against making nobody an offer, with ${level} intervals. The marked policy was chosen on sessions before those that value it.${policies.rows.some((row) => row.budget_reach < 1) ? " A policy that would break the budget makes its offers until it is used up." : ""}`,
      ["Policy", ...offers.map((offer) => `Sessions with ${offer}`), "Extra conversions", "Extra revenue", "Cost", "Profit", "Profit less the best single offer's", "Profit less the same by lot"],
      policies.rows.map((row) => [capital(row.policy), ...offers.map((offer) => whole(Math.round(given(row, offer)))), interval(row, "incremental_conversions"), interval(row, "incremental_revenue"), number(row.cost), interval(row, "profit"), interval(row, "profit_over_single"), interval(row, "profit_over_random")]), (place) => policies.rows[place] === chosen);
  };
  const roiPage = () => {
    const { roi, uplift, policies, status } = data;
    if (policies) return policyTable();
    if (!roi) return notes("roi", [uplift ? "The money has not been worked out for the last uplift scores. Run `python -m ml.train --only policy` (with `--cost` and `--revenue` for your prices)." : "There is no projection yet. Run `python -m ml.train` (with `--cost` and `--revenue` for your prices)."]);
    const fixed = status.value_column !== null, kind = simulatedWord(), strategies = ["uplift", "response", "random"];
    const chosen = roi.projections.find((row) => row.strategy === "uplift" && row.is_chosen);
    const tested = chosen && roi.plans.find((plan) => plan.share_percent === chosen.share_percent);
    const unit = status.cost_per === "contact" ? "each session treated" : "each conversion of the treated";
    filters("roi", [
      { name: "share", label: "Share of sessions treated", type: "range", min: 1, max: 100, step: 1, value: chosen?.share_percent ?? 100 },
      { name: "cost", label: `Cost of ${unit}`, type: "number", min: 0, step: "any", value: status.unit_cost, disabled: fixed },
      { name: "revenue", label: "Revenue of a conversion", type: "number", min: 0, step: "any", value: status.revenue_per_conversion, disabled: fixed }], (values) => {
      const share = Number(values.share), cost = Number(values.cost), revenue = Number(values.revenue);
      const isPublished = fixed || (cost === status.unit_cost && revenue === status.revenue_per_conversion);
      const value = (row) => (isPublished ? published(row) : whatIf(row, cost, revenue));
      const rows = roi.projections.filter((row) => row.strategy === "uplift");
      const at = rows.find((row) => row.share_percent === share), now = value(at), base = at.cost_units;
      const breakEven = fixed ? status.break_even_cost : base > 0 ? (at.margin * revenue * at.incremental_conversions) / base : null;
      const notLosing = rows.filter((row) => value(row).profit >= 0).map((row) => row.share_percent);
      const found = now.lower > 0 ? "the whole interval is above zero: it earns more than it costs" : now.upper < 0 ? "the whole interval is below zero: it loses money" : "the interval holds zero: it may earn or lose money. Do not spend on it; test it first";
      const size = tested && tested.sessions_per_arm !== null ? ` (${whole(tested.sessions_per_arm)} sessions in each arm, ${Math.ceil(tested.days_needed)} days)` : "";
      const advice = status.is_simulated || status.is_synthetic ? `Do not spend on these figures: run the experiment below first${size}.` : "";
      notes("roi", [status.is_simulated ? noExperiment : null, ...data.warnings,
        { verdict: `${status.is_simulated ? `If the simulated effects were real: ${found}` : capital(found)}. ${advice}` },
        chosen && chosen.share_percent > 0 ? null : "At the published costs the plan is to treat nobody; the slider shows what treating would do.",
        fixed ? `What a conversion is worth comes from each session (${status.value_column}), so prices cannot be changed here. Run \`python -m ml.train --only policy --cost AMOUNT\`.`
          : isPublished ? null : `Your own prices: the interval is a normal approximation from the published standard errors. For a resampled one, and the best share at these prices, run \`python -m ml.train --only policy --cost ${cost} --revenue ${revenue}\`.`]);
      const which = { strategy: ["uplift"], share_percent: [share] }, asked = { share, cost, revenue };
      const measured = (question, curve) => (isPublished ? { measure: curve, where: which } : { measure: question, parameters: asked });
      cards("roi", [
        { ...measured("What-if profit", "Curve profit"), label: `Profit in ${status.horizon_days} days (${kind})`, text: big(now.profit), raw: now.profit, lines: [between(big, now.lower, now.upper), "against treating nobody"] },
        { measure: "Curve incremental conversions", where: which, label: `Extra conversions (${kind})`, text: number(at.incremental_conversions), raw: at.incremental_conversions, lines: [between(number, at.incremental_conversions_ci_lower, at.incremental_conversions_ci_upper), `extra revenue ${big(now.revenue)}`] },
        { ...measured("What-if ROI", "Curve ROI"), label: `Return on investment (${kind})`, text: now.roi === null ? "not defined" : percent(now.roi), raw: now.roi, lines: now.roi === null ? ["there is no cost"] : now.roiLower === null ? [] : [between(percent, now.roiLower, now.roiUpper), `cost ${big(now.cost)}`] },
        { ...(fixed ? { measure: "Break-even cost" } : { measure: "What-if break-even cost", parameters: asked }), label: "Breaks even at a cost of", text: breakEven === null ? "none" : number(breakEven), raw: breakEven, lines: [`for ${unit}`, notLosing.length ? `no loss up to a share of ${Math.max(...notLosing)} %` : "a loss at every share"] },
        { measure: "Planned sessions per arm", where: { share_percent: [tested?.share_percent ?? 0] }, label: "Experiment to run first", text: tested?.sessions_per_arm ? whole(tested.sessions_per_arm) : "none", raw: tested?.sessions_per_arm, lines: tested?.sessions_per_arm ? [`sessions in each arm, ${Math.ceil(tested.days_needed)} days`, `on ${tested.share_percent} % of sessions, at today's traffic`] : ["no plan is small enough"] },
        { measure: "Sessions valued", label: "Sessions evaluated", text: big(at.n_rows), raw: at.n_rows, lines: [`that did not choose the share; ${whole(at.n_targeted)} are targeted: ${whole(at.n_targeted_treatment)} treated, ${whole(at.n_targeted_control)} not`, `${whole(Math.round(at.targeted_sessions))} of ${whole(Math.round(at.eligible_sessions))} in ${status.horizon_days} days`] },
      ]);
      const lines = strategies.map((name) => [name, roi.projections.filter((row) => row.strategy === name).map((row) => ({ share: row.share_percent, ...value(row) }))]);
      const own = lines.find(([name]) => name === "uplift")[1];
      chart("roi-curve", {
        title: `Profit by share of sessions treated (${kind})`, note: `In ${status.horizon_days} days, against treating nobody. Shaded: ${level} interval of "highest uplift first". The dot is your choice.`, height: 360,
        traces: ({ blue, orange, grey, band, red }) => [
          { type: "scatter", mode: "lines", x: own.map((p) => p.share), y: own.map((p) => p.upper), line: { width: 0 }, hoverinfo: "skip", showlegend: false },
          { type: "scatter", mode: "lines", x: own.map((p) => p.share), y: own.map((p) => p.lower), line: { width: 0 }, fill: "tonexty", fillcolor: band, hoverinfo: "skip", showlegend: false },
          ...lines.map(([name, line], i) => ({ type: "scatter", mode: "lines", name: capital(data.titles.rules[name]), x: line.map((p) => p.share), y: line.map((p) => p.profit), line: { color: [blue, orange, grey][i], dash: ["solid", "dash", "dot"][i], width: 2.5 }, hovertemplate: "%{x} %: %{y:,.0f}<extra></extra>" })),
          { type: "scatter", mode: "markers", name: "Your choice", x: [at.share_percent], y: [now.profit], marker: { color: red, size: 13 }, hovertemplate: "%{x} %: %{y:,.0f}<extra></extra>" }],
        layout: { xaxis: { title: "Share of sessions treated (%)" }, yaxis: { title: "Profit", zeroline: true, zerolinewidth: 2, tickformat: ",~s" } },
        heads: ["Share treated (%)", ...strategies.flatMap((name) => [`Profit: ${data.titles.rules[name]}`, `${level} interval`])],
        rows: own.filter((p) => p.share % 5 === 0 || p.share === share).map((p) => [p.share, ...lines.flatMap(([, line]) => { const q = line.find((other) => other.share === p.share); return [number(q.profit), `${number(q.lower)} to ${number(q.upper)}`]; })]),
      });
    });
    tableBlock("roi-challengers", `The plan against simpler rules (${kind})`, `Difference of profit in ${status.horizon_days} days, each rule at its own best share, with ${level} intervals; at the published prices.`, ["Rule", "The plan earns more by", `${level} interval`, "The plan"],
      roi.gains.map((row) => [capital(data.titles.rules[row.versus] ?? row.versus), number(row.difference), `${number(row.ci_lower)} to ${number(row.ci_upper)}`, verdict(row.ci_lower, row.ci_upper, "earns more", "earns less")]));
    const costs = [...new Set(roi.sensitivity.map((row) => row.cost))], revenues = [...new Set(roi.sensitivity.map((row) => row.revenue_per_conversion))];
    if (roi.sensitivity.length) tableBlock("roi-sensitivity", `If cost or revenue were different (${kind})`, `Profit with its ${level} interval, the share chosen anew each time. Rows: cost of ${unit}.`, ["Cost", ...revenues.map((revenue) => `Revenue ${number(revenue)}`)],
      costs.map((cost) => [number(cost), ...revenues.map((revenue) => { const r = roi.sensitivity.find((row) => row.cost === cost && row.revenue_per_conversion === revenue); return `${number(r.profit)} [${number(r.profit_ci_lower)} to ${number(r.profit_ci_upper)}] at ${r.share_percent} %`; })]));
    if (roi.plans.length) tableBlock("roi-plan", "The experiment to run next", `Sessions per arm and days that show the expected effect. ${tested && roi.tests["Simulated experiments"] ? `In ${whole(roi.tests["Simulated experiments"])} repeats of the marked one on the estimated effects, ${percent(roi.tests["Simulated experiments that find it"])} found a difference. ` : ""}Run whole weeks.`,
      ["Share tested (%)", "Buy untreated", "Expected effect", "Sessions per arm", "Days", `Smallest effect that ${roi.plans[0].days_short} days show`, `Smallest effect that ${roi.plans[0].days_long} days show`],
      roi.plans.map((plan) => [plan.share_percent, percent(plan.control_rate), points(plan.expected_lift), plan.sessions_per_arm === null ? "too many" : whole(plan.sessions_per_arm), plan.days_needed === null ? "too many" : whole(Math.ceil(plan.days_needed)), ...[plan.smallest_lift_short, plan.smallest_lift_long].map((lift) => (lift === null ? "none" : points(lift)))]), (place) => tested && roi.plans[place] === tested);
  };

  // ---- page 5: model health ------------------------------------------------------------------------------------
  // A sign and a word beside each colour.
  const SIGNS = { alarm: "✖ Alarm", watch: "◆ Watch", stable: "✔ Stable", "too few": "? Not enough to evaluate", "not counted": "Not counted" };
  const threes = (value) => (value === null ? "not known" : value.toFixed(3));
  const ranged = (value, lower, upper) => (value === null ? "not known" : `${threes(value)} [${threes(lower)} to ${threes(upper)}]`);
  const healthPage = () => {
    const { health, status } = data;
    if (!health) return notes("health", [status.has_predictions ? "Nothing has been monitored yet. After new days are loaded and built, score them with `python -m ml.score`, then run `python -m ml.monitor`."
      : "There is no model to monitor yet. Train first: `python -m ml.train`. Later, after `python -m ml.score`, run `python -m ml.monitor`."]);
    const { run, features, settings } = health, titles = health.metric_titles;
    const own = health.metrics.filter((row) => row.period === "window"), metric = (name) => own.find((row) => row.metric === name);
    const counted = features.filter((row) => row.status !== "not counted"), having = (wanted) => counted.filter((row) => row.status === wanted).length;
    const span = run.window_first_date ? `${run.window_first_date} to ${run.window_last_date}` : "no rows", tested = `${run.reference_first_date} to ${run.reference_last_date}`;
    const said = { alarm: `✖ Drift: ${whole(run.alarm_count)} ${run.alarm_count === 1 ? "alarm" : "alarms"}. Look at what changed; if the shop has changed for good, train anew: \`python -m ml.train\`.`,
      "too few": "? Not enough to evaluate yet. What could be evaluated raised no alarm; this is not an all-clear.",
      watch: "◆ No alarm. Some changes are more than chance, and small.", stable: "✔ No alarm: the shop looks as it did, and the model is as good as it was." }[run.verdict];
    notes("health", [{ verdict: said, isBad: run.verdict === "alarm" }, ...health.alarms.slice(0, 6).map((text) => `✖ ${text}`), health.alarms.length > 6 ? `${health.alarms.length - 6} more alarms are in the tables below.` : null,
      status.conversion_run_id && status.conversion_run_id !== run.champion_run_id ? "A newer model is in use than the one monitored here. Run `python -m ml.score`, then `python -m ml.monitor`." : null,
      run.performance_status === "too few" ? `Ranking and calibration are not evaluated: ${whole(run.n_positives)} sessions that bought are known since the training, ${whole(settings.min_positives)} are needed. Load more days, then \`dbt build\`, \`python -m ml.score\` and \`python -m ml.monitor\`.` : null,
      `An alarm needs a change that is larger than chance explains and large enough to matter. All alarms together are false in at most ${percent(1 - run.confidence)} of the times in which nothing has changed.`]);
    const card = (name, label, meaning) => {
      const row = metric(name);
      return { label, text: threes(row?.value ?? null), lines: row?.value === null || !row ? ["no outcome is known yet"] : [between(threes, row.ci_lower, row.ci_upper), `test split ${ranged(row.reference_value, row.reference_ci_lower, row.reference_ci_upper)}`, SIGNS[row.status]],
        meaning, source: `select * from funnelift.drift_performance where period = 'window' and metric = '${name}'` };
    };
    cards("health", [
      { label: "Features and scores that moved", text: `${having("alarm")} of ${counted.length}`, lines: [`${having("watch")} more to watch, ${having("too few")} not enough to evaluate`, SIGNS[run.population_status]], meaning: "Population stability index of each feature and of the probability against the test split.", source: "select * from funnelift.drift_features where period = 'window'" },
      card("auc_roc", "How well buyers are told apart (AUC)", "How often a buyer ranks above a session that does not buy: 1 is perfect, 0.5 is chance."),
      card("observed_to_expected", "Conversions, observed over predicted", "1: as many buy as predicted. Below 1: fewer."),
      card("normalised_log_loss", "Log loss, against the rate alone", "Below 1: the model knows more than the conversion rate."),
      { label: "Sessions looked at", text: big(run.n_rows), lines: [`decisions, ${span}`, `${whole(run.n_matured_rows)} with a known outcome, ${whole(run.n_positives)} bought`, `test split: ${whole(run.n_reference_rows)}, ${tested}`], meaning: "Decisions scored after the training, of the window.", source: "select * from funnelift.drift_runs order by started_at desc" },
    ]);
    const known = features.filter((row) => row.psi !== null), top = known.slice(0, health.n_shown), nameOf = (row) => `${row.feature}${row.status === "not counted" ? " (not counted)" : ""}`;
    const symbols = { alarm: "x", watch: "diamond", stable: "circle", "too few": "circle-open", "not counted": "circle-open" };
    if (top.length) chart("health-features", {
      title: "What has moved most", note: `Population stability index of the ${top.length} highest of ${known.length}, n = ${whole(run.n_rows)} against ${whole(run.n_reference_rows)}. Grey: what chance alone explains. Lines: watch from ${settings.psi_watch}, alarm from ${settings.psi_alarm}.`, height: 400,
      label: top.slice(0, 3).map((row) => `${row.feature} ${threes(row.psi)}, ${SIGNS[row.status]}.`).join(" "),
      traces: ({ blue, orange, red, grey }) => [
        { type: "bar", orientation: "h", name: "By chance", y: top.map(nameOf), x: top.map((row) => row.psi_limit), marker: { color: grey, opacity: 0.45 }, width: 0.55, hovertemplate: "by chance up to %{x:.3f}<extra></extra>" },
        ...Object.keys(symbols).map((kind) => [kind, top.filter((row) => row.status === kind)]).filter(([, rows]) => rows.length).map(([kind, rows]) => ({ type: "scatter", mode: "markers", name: SIGNS[kind], y: rows.map(nameOf), x: rows.map((row) => row.psi),
          marker: { symbol: symbols[kind], size: 11, color: { alarm: red, watch: orange, stable: blue }[kind] ?? blue }, hovertext: rows.map((row) => plain(`${row.feature}: ${threes(row.psi)}. ${row.most_changed ?? ""}`)), hoverinfo: "text" }))],
      layout: ({ orange, red }) => ({ xaxis: { title: "Population stability index", rangemode: "tozero", range: [0, 1.08 * Math.max(settings.psi_alarm, ...top.map((row) => Math.max(row.psi, Math.min(row.psi_limit ?? 0, 2 * settings.psi_alarm))))] }, yaxis: { type: "category", autorange: "reversed", categoryorder: "array", categoryarray: top.map(nameOf) }, barmode: "overlay", margin: { t: 34 },
        shapes: [[settings.psi_watch, orange, "dash"], [settings.psi_alarm, red, "dot"]].map(([at, color, dash]) => ({ type: "line", x0: at, x1: at, yref: "paper", y0: 0, y1: 1, line: { color, dash, width: 2 } })) }),
      heads: ["Feature", "PSI", "By chance up to", "Status", "Changed most", "New value"], rows: known.map((row) => [row.feature, threes(row.psi), threes(row.psi_limit), SIGNS[row.status], row.most_changed ?? "", row.new_value === null ? "" : `${row.new_value} (${percent(row.new_value_share)})`]),
    });
    const curves = [["test", "Test split", "circle-open", "dot"], ["window", "Now", "diamond", "solid"]].map(([sample, ...look]) => [health.calibration.filter((row) => row.sample === sample), sample, ...look]).filter(([rows]) => rows.length);
    const bought = (rows) => rows.filter((row) => row.observed_rate > 0), all = curves.flatMap(([rows]) => rows.map((row) => row.mean_predicted));
    const ticks = [0.0001, 0.001, 0.01, 0.1].flatMap((decade) => [decade, 2 * decade, 5 * decade]);
    if (curves.length) chart("health-calibration", {
      title: "Are the probabilities still right?", note: `Of sessions that are given 5 %, about 5 % should buy. n = ${whole(run.n_matured_rows)} now; lines show ${level} intervals; both scales logarithmic.`, height: 400,
      traces: ({ blue, orange, grey }) => [
        { type: "scatter", mode: "lines", name: "Perfect", x: [Math.min(...all), Math.max(...all)], y: [Math.min(...all), Math.max(...all)], line: { color: grey, dash: "dash" }, hoverinfo: "skip" },
        ...curves.map(([rows, sample, name, symbol, dash]) => ({ type: "scatter", mode: "lines+markers", name, x: bought(rows).map((b) => b.mean_predicted), y: bought(rows).map((b) => b.observed_rate), line: { color: sample === "test" ? orange : blue, dash, width: 2 }, marker: { size: 9, symbol }, hovertemplate: "predicted %{x:.2%}, observed %{y:.2%}<extra></extra>",
          error_y: bars(bought(rows).map((b) => b.ci_lower), bought(rows).map((b) => b.ci_upper), bought(rows).map((b) => b.observed_rate), sample === "test" ? orange : blue) }))],
      layout: { xaxis: { type: "log", tickformat: ".2~%", title: "Predicted to buy", tickvals: ticks }, yaxis: { type: "log", tickformat: ".2~%", title: "Bought", tickvals: ticks } },
      heads: ["Sample", "Predicted", "Observed", `${level} interval`, "Sessions", "Bought"], rows: curves.flatMap(([rows, , name]) => rows.map((b) => [name, percent(b.mean_predicted), percent(b.observed_rate), `${percent(b.ci_lower)} to ${percent(b.ci_upper)}`, whole(b.n_rows), whole(b.n_positives)])),
    });
    const over = (name) => health.metrics.filter((row) => row.period !== "window" && row.metric === name && row.value !== null && row.ci_lower !== null);
    const drawnMetrics = [["auc_roc", "AUC", "y2"], ["observed_to_expected", "Observed / predicted", "y"]].map(([name, title, at]) => [over(name), name, title, at]).filter(([rows]) => rows.length);
    const step = drawnMetrics.length && drawnMetrics[0][0].length > 1 && Date.parse(drawnMetrics[0][0][1].period) - Date.parse(drawnMetrics[0][0][0].period) < 6e8 ? "day" : "week", unit = settings.period === "auto" ? step : settings.period;
    if (drawnMetrics.length) chart("health-performance", {
      title: `Ranking and calibration by ${unit}`, note: `Above: AUC. Below: conversions observed over predicted. Points with ${level} intervals; shaded: the test split's interval; n is in the table. ${unit === "week" ? "Weeks start on Monday; the first and last may be incomplete." : ""}`, height: 400,
      traces: ({ blue, orange, band }) => drawnMetrics.flatMap(([rows, , title, at]) => {
        const dates = rows.map((row) => row.period), first = rows[0], ends = dates.length > 1 ? [dates[0], dates[dates.length - 1]] : [dates[0], dates[0]];
        return [
          { type: "scatter", mode: "lines", x: ends, y: ends.map(() => first.reference_ci_upper), line: { width: 0 }, hoverinfo: "skip", showlegend: false, yaxis: at },
          { type: "scatter", mode: "lines", x: ends, y: ends.map(() => first.reference_ci_lower), line: { width: 0 }, fill: "tonexty", fillcolor: band, hoverinfo: "skip", showlegend: false, yaxis: at },
          { type: "scatter", mode: "lines+markers", name: title, x: dates, y: rows.map((row) => row.value), line: { color: at === "y2" ? blue : orange, width: 2, dash: at === "y2" ? "solid" : "dash" }, marker: { size: 9, symbol: at === "y2" ? "circle" : "diamond" }, yaxis: at, error_y: bars(rows.map((row) => row.ci_lower), rows.map((row) => row.ci_upper), rows.map((row) => row.value), at === "y2" ? blue : orange), hovertemplate: "%{x}: %{y:.3f}<extra></extra>" }];
      }),
      layout: { xaxis: { type: "date" }, yaxis: { domain: [0, 0.46], title: "Observed / predicted", rangemode: "tozero" }, yaxis2: { domain: [0.56, 1], title: "AUC" } },
      heads: [capital(unit), "Metric", "Value", `${level} interval`, "Test split", "Sessions", "Bought"], rows: drawnMetrics.flatMap(([rows, name]) => rows.map((row) => [row.period, titles[name], threes(row.value), `${threes(row.ci_lower)} to ${threes(row.ci_upper)}`, threes(row.reference_value), whole(row.n_rows), whole(row.n_positives)])),
    });
    const lines = health.trend_of.map((name) => [name, health.trend.filter((row) => row.period !== "window" && row.feature === name && row.psi !== null)]).filter(([, rows]) => rows.length);
    if (lines.length) chart("health-drift", {
      title: `How far the population has moved, by ${unit}`, note: `Population stability index of the probability and of the ${lines.length - 1} features that moved most. A ${unit} has fewer sessions than the window, so chance alone moves it further (see the table).`, height: 320,
      traces: ({ blue, orange, green, red, grey }) => lines.map(([name, rows], i) => ({ type: "scatter", mode: "lines+markers", name: plain(name), x: rows.map((row) => row.period), y: rows.map((row) => row.psi), line: { color: [blue, orange, green, red, grey][i % 5], dash: ["solid", "dash", "dot", "dashdot"][i % 4], width: 2 }, marker: { size: 9, symbol: ["circle", "diamond", "square", "x"][i % 4] }, hovertemplate: "%{x}: %{y:.3f}<extra></extra>" })),
      layout: ({ orange, red }) => ({ xaxis: { type: "date" }, yaxis: { title: "PSI", rangemode: "tozero" }, shapes: [[settings.psi_watch, orange, "dash"], [settings.psi_alarm, red, "dot"]].map(([at, color, dash]) => ({ type: "line", xref: "paper", x0: 0, x1: 1, y0: at, y1: at, line: { color, dash, width: 1.5 } })) }),
      heads: [capital(unit), "Feature", "PSI", "By chance up to", "Sessions"], rows: lines.flatMap(([name, rows]) => rows.map((row) => [row.period, name, threes(row.psi), threes(row.psi_limit), whole(row.n_rows)])),
    });
    if (run.n_matured_rows) tableBlock("health-metrics", "Every metric, now and on the test split", `With ${level} intervals by visitor; n = ${whole(run.n_matured_rows)} decisions with a known outcome, ${whole(run.n_positives)} bought. The interval of the change is wider, so that all that count together are seldom wrong.`, ["Metric", "Now", "Test split", "Change", "Status"],
      own.map((row) => [capital(titles[row.metric]), ranged(row.value, row.ci_lower, row.ci_upper), ranged(row.reference_value, row.reference_ci_lower, row.reference_ci_upper), ranged(row.change, row.change_lower, row.change_upper), SIGNS[row.status]]));
    if (health.bins.length) tableBlock("health-bins", "Where they moved", `Share of decisions in each bin, of the ${health.bins_of.length} that moved most.`, ["Feature", "Bin", "Test split", "Now"],
      health.bins_of.flatMap((name) => health.bins.filter((row) => row.feature === name).map((row) => [row.feature, row.label, percent(row.reference_share), percent(row.share)])));
  };

  // ---- page 6: live, where the live service has decided --------------------------------------------------------
  const livePage = () => {
    const { live } = data, { looks, days, arms, offers } = live, several = offers.length > 1, held = "Held";
    const lastOf = (offer) => looks.filter((l) => l.offer === offer).pop(), told = offers.filter(lastOf), of = (offer) => (several ? `${offer}: ` : "");
    const visitors = arms.reduce((all, arm) => all + arm.visitors, 0), ofArm = (wanted) => arms.filter((row) => row.arm === wanted).reduce((all, row) => all + row.visitors, 0);
    const known = arms.reduce((all, arm) => all + arm.known, 0), shown = visitors - ofArm(held);
    const source = "select stratum, offer, treatment, propensity, count(*) from funnelift.stg_treatment_assignments where has_conflict = 0 and stratum like 'policy %' group by stratum, offer, treatment, propensity";
    const verdict = (offer) => {
      const last = lastOf(offer), subject = several ? offer : "The offer";
      return { verdict: last.lower > 0 ? `✔ ${subject} adds purchases: ${points(last.effect)}, at least ${points(last.lower)}.` : last.upper < 0 ? `✖ ${subject} costs purchases: ${points(last.effect)}, at most ${points(last.upper)}.`
        : `? ${several ? `${subject}: not` : "Not"} clear yet: the effect lies between ${points(last.lower)} and ${points(last.upper)}.`, isBad: last.upper < 0 };
    };
    notes("live", [
      ...(told.length ? told.map(verdict) : ["No effect can be told yet: two visitors whose sessions have ended are needed in each arm. Load the log, then run `dbt build` and `python -m ml.report`."]),
      told.length ? `These bounds hold at every look: whoever stops when they leave 0 errs no more often than they say.${several ? " They hold for each offer alone." : ""}` : null]);
    cards("live", [
      { label: "Visitors who could be shown something", text: big(visitors), lines: [`at decision point ${live.point}`, `${whole(known)} whose session has ended`], meaning: "Each visitor counts once, at the first decision. Nobody counts to whom the kill switch, the cap or the budget forbade it.", source },
      { label: several ? "Shown an offer" : "Shown the offer", text: visitors ? percent(shown / visitors) : "none", lines: [`${whole(shown)} of ${whole(visitors)}`, `${whole(visitors - shown)} held by chance`], meaning: "Visitors in an arm that is shown something.", source },
      ...told.flatMap((offer) => {
        const last = lastOf(offer);
        return [{ label: several ? `Effect of ${offer} so far` : "Effect so far", text: points(last.effect), lines: [`${level} confidence sequence ${points(last.lower)} to ${points(last.upper)}`, `looked at once only: ${points(last.fixed_lower)} to ${points(last.fixed_upper)}`], meaning: several ? "Share that buys after the decision, shown this offer minus held, among visitors of whom the policy said the same." : "Share that buys after the decision, shown minus held; each visitor weighs one over the chance of the own arm.", source: "select metric, slice, value, ci_lower, ci_upper from funnelift.uplift_metrics where metric like 'average_effect%'" },
          { label: several ? `Buy if shown ${offer}, and if held` : "Buy if shown, and if held", text: `${percent(last.shown_rate)} / ${percent(last.held_rate)}`, lines: [`${whole(last.n)} visitors, ${several ? "of both arms" : "weighted by their chances"}`], meaning: "The two shares whose difference is the effect.", source: "select offer, outcome, treatment from funnelift.uplift_scores where treatment is not null" }];
      }),
    ]);
    const own = (offer) => looks.filter((l) => l.offer === offer), dates = [...new Set(looks.map((l) => l.date))], late = looks.filter((l) => l.date >= dates[Math.floor(dates.length / 4)]);
    // The first looks are so wide that nobody would see the last ones.
    const range = [Math.min(0, ...late.map((l) => l.lower)) * 1.05, Math.max(0, ...late.map((l) => l.upper)) * 1.05];
    const lines = ["solid", "dash", "dot", "dashdot"], signs = ["circle", "square", "diamond", "cross"];
    if (told.length) chart("live-effect", {
      title: "Effect so far", note: `Shown minus held, share that buys, of all visitors until each day, ${told.map((offer) => `${of(offer)}n = ${whole(lastOf(offer).n)}`).join(", ")} at the end. ${several ? "Thin lines" : "Shaded"}: ${level} confidence sequence, narrowest at ${whole(live.tuned_for)} visitors.`, height: 360,
      label: told.map((offer) => `${of(offer)}at the end ${points(lastOf(offer).effect)}, between ${points(lastOf(offer).lower)} and ${points(lastOf(offer).upper)}.`).join(" "),
      traces: ({ blue, orange, green, red, band }) => told.flatMap((offer, place) => {
        const x = own(offer).map((l) => l.date), color = [blue, orange, green, red][place % 4], line = several ? { color, width: 1, dash: "dot" } : { width: 0 }, hidden = { hoverinfo: "skip", showlegend: false, legendgroup: offer };
        return [
          { type: "scatter", mode: "lines", x, y: own(offer).map((l) => l.upper), line, ...hidden },
          { type: "scatter", mode: "lines", x, y: own(offer).map((l) => l.lower), line, ...(several ? {} : { fill: "tonexty", fillcolor: band }), ...hidden },
          { type: "scatter", mode: "lines+markers", name: plain(offer), legendgroup: offer, x, y: own(offer).map((l) => l.effect), line: { color, width: 2, dash: lines[place % 4] }, marker: { size: 6, symbol: signs[place % 4] }, showlegend: several, hovertemplate: "%{x}: %{y:.2%}<extra></extra>" }];
      }),
      layout: ({ ink }) => ({ xaxis: { type: "date", title: "Assigned until (UTC)", ...(dates.length < 8 ? { tickvals: dates, tickformat: "%-d %b %Y" } : {}) }, yaxis: { tickformat: "+.1%", title: "Effect", range },
        shapes: [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: 0, y1: 0, line: { color: ink, dash: "dash", width: 1.5 } }] }),
      heads: [...(several ? ["Offer"] : []), "Until", "Visitors", "Effect", `${level} confidence sequence`, "Buy if shown", "Buy if held"],
      rows: looks.map((l) => [...(several ? [l.offer] : []), l.date, whole(l.n), points(l.effect), `${points(l.lower)} to ${points(l.upper)}`, percent(l.shown_rate), percent(l.held_rate)]),
    });
    const bands = [...offers, held], look = ({ blue, orange, green, red, grey, ink }, name) => {
      const place = bands.indexOf(name), color = name === held ? (several ? grey : orange) : [blue, orange, green, red][place % 4];
      return { color, pattern: { shape: name === held ? "/" : ["", "x", ".", "|"][place % 4], fgcolor: ink, bgcolor: color, size: 6, solidity: 0.12 } };
    };
    chart("live-days", {
      title: "Visitors by day and arm", note: `By the day of the first decision (UTC), n = ${whole(visitors)} visitors.`,
      traces: (paint) => bands.map((name) => ({ type: "bar", name: plain(name), x: days.map((d) => d.date), y: days.map((d) => d[name]), marker: look(paint, name), hovertemplate: "%{x}: %{y:,}<extra></extra>" })),
      layout: { barmode: "stack", legend: { traceorder: "normal" }, xaxis: { type: "date", ...(days.length < 8 ? { tickvals: days.map((d) => d.date), tickformat: "%-d %b %Y" } : {}) }, yaxis: { title: "Visitors", rangemode: "tozero" } },
      heads: ["Day", ...bands], rows: days.map((d) => [d.date, ...bands.map((name) => whole(d[name]))]),
    });
    const groups = [...new Set(arms.filter((row) => row.visitors).map((row) => row.stratum))], cells = (arm) => groups.map((name) => arms.find((row) => row.stratum === name && row.arm === arm));
    const rateOf = (row) => (row.known ? row.bought / row.known : NaN), limits = (row) => wilson(row.bought, row.known);
    const chanceOf = ({ chance }) => (!chance ? "as its share" : chance[0] === chance[1] ? percent(chance[0]) : `${percent(chance[0])} to ${percent(chance[1])}`);
    chart("live-arms", {
      title: "Who buys, by what the policy said", note: `Share of visitors that buy after the decision; bars show ${level} intervals.`,
      traces: (paint) => bands.map((arm) => ({ type: "bar", name: plain(arm), x: groups.map(plain), y: cells(arm).map(rateOf),
        error_y: bars(cells(arm).map((row) => limits(row)[0]), cells(arm).map((row) => limits(row)[1]), cells(arm).map(rateOf), paint.ink), marker: look(paint, arm), hovertemplate: "%{x}: %{y:.2%}<extra></extra>" })),
      layout: { yaxis: { tickformat: ".0%", rangemode: "tozero", title: "Buy" }, xaxis: { type: "category" } },
      heads: ["Policy", "Arm", "Visitors", "Chance of being shown", "Session ended", "Bought", "Rate", `${level} interval`],
      rows: groups.flatMap((name) => arms.filter((row) => row.stratum === name && row.visitors).map((row) => [name, row.arm, whole(row.visitors), chanceOf(row),
        whole(row.known), whole(row.bought), row.known ? percent(rateOf(row)) : "", row.known ? limits(row).map(percent).join(" to ") : ""])),
    });
  };

  // ---- the frame -----------------------------------------------------------------------------------------------
  const { status } = data;
  const trained = [status.conversion_run_id && `conversion model ${status.champion}, version ${status.conversion_model_version}, run ${status.conversion_run_id} of ${status.conversion_run_finished_at} UTC`,
    status.uplift_run_id && `uplift model ${status.uplift_model_version}, run ${status.uplift_run_id} of ${status.uplift_run_finished_at} UTC, arms from: ${status.experiment_source}, at decision point ${status.experiment_decision_point}`].filter(Boolean);
  byId("about").textContent = [
    `${status.is_synthetic ? "Synthetic" : "Real"} data`, status.session_count ? `${whole(status.session_count)} sessions, ${whole(status.visitor_count)} visitors, ${status.data_from} to ${status.data_to} UTC` : "no sessions yet",
    data.uplift ? (status.is_simulated ? "simulated effects" : "effects measured in an experiment") : "no effects yet", `written ${data.created} UTC`].join(" · ");
  byId("footer").textContent = `${trained.length ? `${capital(trained.join("; "))}.` : "No model has been trained yet: python -m ml.train."} Intervals are at ${level}; money has no currency of its own. Every filter works on sums inside this file; nothing is sent anywhere.`;

  const tabs = [...document.querySelectorAll('[role="tab"]')], pages = tabs.map((tab) => byId(tab.getAttribute("aria-controls")));
  const made = new Set();
  const make = (place) => { if (!made.has(place)) { made.add(place); [funnelPage, riskPage, upliftPage, roiPage, healthPage, livePage][place](); } };
  const show = (place, focus) => {
    tabs.forEach((tab, i) => {
      tab.setAttribute("aria-selected", String(i === place));
      tab.tabIndex = i === place ? 0 : -1;
      pages[i].classList.toggle("away", i !== place);
    });
    if (made.has(place)) redraw();
    else make(place);
    if (focus) tabs[place].focus();
    // Not the page's own id, to which the browser would scroll.
    history.replaceState(null, "", `#page=${pages[place].id}`);
  };
  tabs.forEach((tab, place) => {
    tab.addEventListener("click", () => show(place));
    tab.addEventListener("keydown", (event) => {
      const to = { ArrowRight: (place + 1) % tabs.length, ArrowLeft: (place + tabs.length - 1) % tabs.length, Home: 0, End: tabs.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      show(to, true);
    });
  });

  const wantsDark = matchMedia("(prefers-color-scheme: dark)");
  const setTheme = (theme) => {
    document.documentElement.dataset.theme = theme;
    byId("theme").textContent = theme === "dark" ? "Light colours" : "Dark colours";
    redraw();
  };
  byId("theme").addEventListener("click", () => setTheme(isDark() ? "light" : "dark"));
  wantsDark.addEventListener("change", (event) => setTheme(event.matches ? "dark" : "light"));
  setTheme(wantsDark.matches ? "dark" : "light");

  // Paper is white and has its own width.
  let before = "light";
  addEventListener("beforeprint", () => {
    before = document.documentElement.dataset.theme;
    document.documentElement.dataset.theme = "light";
    pages.forEach((_, place) => make(place));
    drawn.forEach((_, id) => {
      drawn.get(id).plot.style.minHeight = "0";
      draw(id, byId(id).classList.contains("wide") ? 1000 : 485, 0.7);
    });
  });
  addEventListener("afterprint", () => setTheme(before));
  byId("print").addEventListener("click", () => print());
  let waiting = 0;
  addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(redraw, 150); });

  show(Math.max(0, pages.findIndex((page) => `#page=${page.id}` === location.hash)));
  // One chart at a time: the first can be seen, and the page used, while the others are drawn.
  document.addEventListener("DOMContentLoaded", async () => {
    for (const [id, { plot }] of [...drawn]) {
      await new Promise((resolve) => setTimeout(resolve));
      if (plot.clientWidth) draw(id);
    }
    document.documentElement.dataset.ready = "yes";
  });
})();
