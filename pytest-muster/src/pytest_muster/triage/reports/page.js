"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const [NAME, LANE, WORKER, START, SETUP, CALL, TEARDOWN, OUTCOME, FINDING, TEXT, OUTPUT, ORDER, SERIAL] =
    Array.from({ length: 13 }, (_, index) => index);
  const tests = data.tests;
  const root = document.documentElement;
  const element = (id) => document.getElementById(id);
  const canvas = element("canvas"), context = canvas.getContext("2d"), tip = element("tip");
  const state = { from: data.from, to: data.to, selected: -1, hovered: -1, finding: -1, moment: null, lane: 0 };
  const GUTTER = 118, AXIS = 24, ROW = 30, BAR = 22, SMALL = 20, GAP = 10;
  root.classList.add("js");

  // What cannot be seen, or makes text look like another one, is an escape; tabs and lines stay.
  const INVISIBLE = /[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\p{Surrogate}]/gu;
  const visible = (text) => text.replace(INVISIBLE, (one) => {
    const code = one.codePointAt(0).toString(16);
    return code.length > 2 ? `\\u${code.padStart(4, "0")}` : `\\x${code.padStart(2, "0")}`;
  });

  // ---- geometry -------------------------------------------------------------------------------
  let width = 0, height = 0;
  const lanesTop = () => AXIS + data.resources.length * SMALL + (data.resources.length ? GAP : 0);
  const laneTop = (lane) => lanesTop() + lane * ROW + (ROW - BAR) / 2;
  const x = (at) => GUTTER + ((at - state.from) / (state.to - state.from)) * (width - GUTTER - 8);
  const when = (pixel) => state.from + ((pixel - GUTTER) / (width - GUTTER - 8)) * (state.to - state.from);
  const stop = (test) => test[START] + test[SETUP] + test[CALL] + test[TEARDOWN];
  const byLane = data.lanes.map(() => []);
  tests.forEach((test, index) => byLane[test[LANE]].push(index));
  byLane.forEach((lane) => lane.sort((a, b) => tests[a][START] - tests[b][START]));
  const isBad = (test) => data.outcomes[test[OUTCOME]] === "failed" || data.outcomes[test[OUTCOME]] === "infrastructure";
  const inFinding = data.findings.map((finding) => new Set(finding.tests));

  // ---- drawing --------------------------------------------------------------------------------
  let colours = {};
  function readColours() {
    const style = getComputedStyle(root);
    for (const name of ["passed", "failed", "skipped", "pending", "infrastructure", "ink", "soft", "line", "grid", "card",
      "accent", "resource", "pin"]) colours[name] = style.getPropertyValue(`--${name}`).trim();
  }

  function seconds(value, step) {
    const digits = step >= 1 ? 0 : step >= 0.1 ? 1 : step >= 0.01 ? 2 : 3;
    return `${value.toFixed(digits)} s`;
  }

  function axis() {
    const span = state.to - state.from;
    const rough = span / Math.max(2, (width - GUTTER) / 110);
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough);
    context.font = "12px system-ui, sans-serif";
    context.textBaseline = "middle";
    context.textAlign = "center";
    for (let tick = Math.ceil(state.from / step) * step; tick <= state.to; tick += step) {
      const at = Math.round(x(tick)) + 0.5;
      context.fillStyle = colours.grid;
      context.fillRect(at, AXIS, 1, height - AXIS);
      context.fillStyle = colours.soft;
      context.fillText(seconds(tick + 0, step), at, 12);
    }
  }

  function label(text, top, tall) {
    context.textAlign = "right";
    context.fillStyle = colours.soft;
    let shown = visible(text);
    while (shown.length > 3 && context.measureText(shown).width > GUTTER - 14) shown = `${shown.slice(0, -2)}…`;
    context.fillText(shown, GUTTER - 8, top + tall / 2);
  }

  function bar(test, index) {
    const left = x(test[START]), right = x(stop(test));
    if (right < GUTTER || left > width) return;
    const outcome = data.outcomes[test[OUTCOME]], top = laneTop(test[LANE]);
    const dimmed = state.finding >= 0 && !inFinding[state.finding].has(index);
    const full = dimmed ? 0.16 : 1;
    context.fillStyle = colours[outcome];
    let at = test[START];
    for (const [phase, strength] of [[SETUP, 0.42], [CALL, 1], [TEARDOWN, 0.68]]) {
      const from = Math.max(GUTTER, x(at)), until = x(at + test[phase]);
      context.globalAlpha = full * strength;
      if (until - from > 0.25) context.fillRect(from, top, until - from, BAR);
      at += test[phase];
    }
    context.globalAlpha = full;
    const from = Math.max(GUTTER, left), wide = Math.max(1.6, right - from);
    if (right - left < 1.6) context.fillRect(from, top, wide, BAR);
    if (isBad(test)) context.fillRect(from, top + BAR + 1, wide, 3);
    if (wide > 3.5) {
      context.fillStyle = colours.card;
      context.fillRect(from + wide - 1, top, 1, BAR);
    }
    if (isBad(test) && wide > 17) {
      context.fillStyle = colours.card;
      context.textAlign = "left";
      context.font = "bold 12px system-ui, sans-serif";
      context.fillText(test[FINDING] >= 0 ? String(test[FINDING] + 1) : "?", from + 5, top + BAR / 2);
      context.font = "12px system-ui, sans-serif";
    }
    context.globalAlpha = 1;
    if (index === state.selected || index === state.hovered) {
      context.strokeStyle = index === state.selected ? colours.accent : colours.ink;
      context.lineWidth = 2;
      context.strokeRect(from - 1, top - 1, wide + 2, BAR + 2);
    }
  }

  function resource(row, index) {
    const top = AXIS + index * SMALL + 3, tall = SMALL - 7;
    label(row.name, top, tall);
    for (const life of row.lives) {
      const from = Math.max(GUTTER, x(life.from)), ready = Math.max(from, x(life.ready ?? life.to)), to = x(life.to);
      if (to < GUTTER) continue;
      context.fillStyle = colours.resource;
      context.globalAlpha = 0.4;
      context.fillRect(from, top, Math.max(1, ready - from), tall);
      context.globalAlpha = 0.9;
      if (life.ready !== null) context.fillRect(ready, top, Math.max(1, to - ready), tall);
      context.globalAlpha = 1;
    }
    for (const mark of row.marks) cross(mark, top + tall / 2);
  }

  function cross(mark, middle) {
    const at = x(mark.at);
    if (at < GUTTER - 1) return;
    const bad = mark.kind !== "finished" && mark.kind !== "stopped";
    context.strokeStyle = bad ? colours.failed : colours.soft;
    context.lineWidth = bad ? 2.5 : 1.5;
    context.beginPath();
    if (bad) {
      context.moveTo(at - 5, middle - 5); context.lineTo(at + 5, middle + 5);
      context.moveTo(at + 5, middle - 5); context.lineTo(at - 5, middle + 5);
    } else {
      context.moveTo(at, middle - 8); context.lineTo(at, middle + 8);
    }
    context.stroke();
  }

  function draw() {
    const ratio = window.devicePixelRatio || 1;
    width = canvas.clientWidth;
    height = lanesTop() + data.lanes.length * ROW + 12;
    canvas.style.height = `${height}px`;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    axis();
    data.resources.forEach(resource);
    data.lanes.forEach((lane, index) => {
      if (index === state.lane && document.activeElement === canvas) {
        context.fillStyle = colours.grid;
        context.fillRect(0, laneTop(index) - 4, width, BAR + 9);
      }
      label(lane.label, laneTop(index), BAR);
    });
    for (const bad of [false, true]) {  // what failed stays visible where bars are narrower than a pixel
      for (const lane of byLane) for (const index of lane) if (isBad(tests[index]) === bad) bar(tests[index], index);
    }
    for (const mark of data.marks) cross(mark, laneTop(mark.lane) + BAR / 2);
    pins();
  }

  function pins() {
    const shown = state.finding >= 0 ? data.findings[state.finding].pins : [];
    for (const pin of shown) {
      const at = x(pin.at), top = pin.lane < 0 ? AXIS : laneTop(pin.lane) - 6;
      if (at < GUTTER) continue;
      context.fillStyle = colours.pin;
      context.beginPath();
      context.moveTo(at - 6, top - 3); context.lineTo(at + 6, top - 3); context.lineTo(at, top + 7);
      context.fill();
    }
    if (state.moment !== null && x(state.moment) >= GUTTER) {
      context.fillStyle = colours.pin;
      context.fillRect(x(state.moment) - 0.75, AXIS - 4, 1.5, height - AXIS);
    }
  }

  let asked = false;
  function redraw() {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; draw(); });
  }

  // ---- looking closer -------------------------------------------------------------------------
  function look(from, to) {
    const whole = data.to - data.from, span = Math.min(whole, Math.max(whole / 20000, to - from));
    state.from = Math.min(Math.max(data.from, from), data.to - span);
    state.to = state.from + span;
    redraw();
  }
  function zoom(factor, at) {
    const middle = at ?? (state.from + state.to) / 2;
    look(middle - (middle - state.from) * factor, middle + (state.to - middle) * factor);
  }
  function reveal(from, to) {
    if (from >= state.from && to <= state.to) return redraw();
    const span = Math.max(state.to - state.from, (to - from) * 1.2);
    return look((from + to) / 2 - span / 2, (from + to) / 2 + span / 2);
  }

  function hit(pixel, line) {
    const lane = Math.floor((line - lanesTop()) / ROW);
    if (pixel < GUTTER || !byLane[lane]) return -1;
    let best = -1, nearest = 5;
    for (const index of byLane[lane]) {
      const left = x(tests[index][START]), right = Math.max(left + 1.6, x(stop(tests[index])));
      const away = pixel < left ? left - pixel : pixel > right ? pixel - right : 0;
      if (away < nearest || (away === 0 && nearest === 0 && isBad(tests[index]))) { nearest = away; best = index; }
    }
    return best;
  }

  // ---- the details of a test -----------------------------------------------------------------
  const milliseconds = (value) => (value >= 1 ? `${value.toFixed(2)} s` : `${(value * 1000).toFixed(value < 0.01 ? 1 : 0)} ms`);
  function make(tag, className, text) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = visible(String(text));
    return made;
  }
  function output(text) {
    const made = make("pre", "", text);
    made.tabIndex = 0;  // it may have to be scrolled
    return made;
  }
  function sentence(test) {
    return `${test[NAME]}, ${data.outcomes[test[OUTCOME]]}, on ${test[WORKER]}, from ${test[START].toFixed(2)} s, `
      + `took ${milliseconds(stop(test) - test[START])}`;
  }

  function details() {
    const box = element("details");
    box.replaceChildren();
    const test = tests[state.selected];
    if (!test) return box.append(make("p", "none", "Choose a bar or a row to see what is known of a test."));
    const outcome = data.outcomes[test[OUTCOME]];
    const head = make("div", "verdict");
    const pill = make("span", `pill ${outcome}`);
    pill.append(make("span", "dot"), outcome);
    head.append(pill, make("span", "pill", test[WORKER]), make("span", "pill", `number ${test[ORDER] + 1} of its worker`));
    if (test[SERIAL]) head.append(make("span", "pill", "serial"));
    if (test[FINDING] >= 0) {
      const jump = make("button", "", `explained by finding ${test[FINDING] + 1}`);
      jump.addEventListener("click", () => { choose(test[FINDING]); element(`finding-${test[FINDING]}`).focus(); });
      head.append(jump);
    }
    box.append(make("h3", "mono", test[NAME]), head);
    box.append(make("p", "none", `Began at ${test[START].toFixed(3)} s: set-up ${milliseconds(test[SETUP])}, `
      + `body ${milliseconds(test[CALL])}, teardown ${milliseconds(test[TEARDOWN])}.`));
    if (test[TEXT] >= 0) box.append(output(data.texts[test[TEXT]]));
    if (test[OUTPUT] >= 0) {
      const folded = make("details");
      folded.append(make("summary", "", "Captured output"), output(data.texts[test[OUTPUT]]));
      box.append(folded);
    }
    return box;
  }

  function select(index, quietly) {
    state.selected = index;
    const test = tests[index];
    if (test) {
      state.lane = test[LANE];
      if (!quietly) element("status").textContent = visible(sentence(test));
      reveal(test[START], stop(test));
    }
    for (const row of document.querySelectorAll("#rows tr")) row.classList.toggle("selected", Number(row.dataset.test) === index);
    details();
    redraw();
  }

  function choose(finding) {
    state.finding = state.finding === finding ? -1 : finding;
    state.moment = null;
    data.findings.forEach((_, number) => {
      const on = number === state.finding;
      element(`finding-${number}`).classList.toggle("active", on);
      element(`show-${number}`).setAttribute("aria-pressed", String(on));
    });
    if (state.finding >= 0) {
      const finds = data.findings[state.finding];
      element(`finding-${state.finding}`).scrollIntoView({ block: "nearest" });
      element("status").textContent = `Finding ${state.finding + 1}: ${finds.tests.length} failed tests are shown`;
    }
    list();
    redraw();
  }

  // ---- the table of tests ---------------------------------------------------------------------
  const gravity = ["failed", "infrastructure", "pending", "skipped", "passed"];
  const ordered = tests.map((_, index) => index).sort((a, b) =>
    gravity.indexOf(data.outcomes[tests[a][OUTCOME]]) - gravity.indexOf(data.outcomes[tests[b][OUTCOME]])
    || tests[a][START] - tests[b][START]);
  let most = 100;

  function list() {
    const wanted = element("search").value.toLowerCase(), only = element("only").value;
    const found = ordered.filter((index) => {
      const test = tests[index];
      if (state.finding >= 0 && !inFinding[state.finding].has(index)) return false;
      if (only && data.outcomes[test[OUTCOME]] !== only) return false;
      return !wanted || test[NAME].toLowerCase().includes(wanted) || test[WORKER] === wanted;
    });
    const rows = element("rows");
    rows.replaceChildren(...found.slice(0, most).map((index) => {
      const test = tests[index], outcome = data.outcomes[test[OUTCOME]], row = make("tr", outcome);
      row.tabIndex = 0;
      row.dataset.test = index;
      const cell = make("td");
      cell.append(make("span", "dot"), outcome);
      const name = make("td");
      name.append(make("span", "name mono", test[NAME]));
      row.append(cell, name, make("td", "", test[WORKER]), make("td", "n", test[START].toFixed(2)),
        make("td", "n", milliseconds(stop(test) - test[START])), make("td", "n", test[FINDING] >= 0 ? test[FINDING] + 1 : ""));
      row.classList.toggle("selected", index === state.selected);
      return row;
    }));
    element("more").hidden = found.length <= most;
    element("count").textContent = `${found.length} of ${tests.length} tests`;
  }

  // ---- events ---------------------------------------------------------------------------------
  function place(event) {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }
  let dragged = null, moved = false;
  canvas.addEventListener("pointermove", (event) => {
    const [pixel, line] = place(event);
    if (dragged) {
      moved = moved || Math.abs(pixel - dragged.pixel) > 4;
      const by = (pixel - dragged.pixel) / (width - GUTTER - 8) * (dragged.to - dragged.from);
      if (moved) look(dragged.from - by, dragged.to - by);
      return;
    }
    state.hovered = hit(pixel, line);
    const test = tests[state.hovered];
    tip.hidden = !test;
    canvas.style.cursor = test ? "pointer" : "default";
    if (test) {
      tip.replaceChildren(make("div", "mono", test[NAME]), make("div", "", `${data.outcomes[test[OUTCOME]]} on ${test[WORKER]}, `
        + `${test[START].toFixed(2)} s + ${milliseconds(stop(test) - test[START])}`));
      tip.style.left = `${Math.min(pixel + 14, Math.max(10, width - 330))}px`;
      tip.style.top = `${line + 20}px`;
    }
    redraw();
  });
  canvas.addEventListener("pointerleave", () => { state.hovered = -1; tip.hidden = true; redraw(); });
  canvas.addEventListener("pointerdown", (event) => {
    const [pixel] = place(event);
    dragged = { pixel, from: state.from, to: state.to };
    moved = false;
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointerup", (event) => {
    dragged = null;
    const [pixel, line] = place(event);
    if (!moved) select(hit(pixel, line));
  });
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey && !event.shiftKey) return;  // the page scrolls
    event.preventDefault();
    if (event.shiftKey) {
      const by = (event.deltaY || event.deltaX) / width * (state.to - state.from);
      look(state.from + by, state.to + by);
    } else zoom(event.deltaY > 0 ? 1.25 : 0.8, when(place(event)[0]));
  }, { passive: false });
  canvas.addEventListener("focus", redraw);
  canvas.addEventListener("blur", redraw);
  canvas.addEventListener("keydown", (event) => {
    const lane = byLane[state.lane] ?? [], at = lane.indexOf(state.selected);
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key], jump = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && lane.length) select(lane[Math.min(lane.length - 1, Math.max(0, at < 0 ? 0 : at + step))]);
    else if (jump) {
      const next = Math.min(data.lanes.length - 1, Math.max(0, state.lane + jump));
      const now = tests[state.selected]?.[START] ?? state.from;
      const nearest = byLane[next].reduce((best, index) =>
        Math.abs(tests[index][START] - now) < Math.abs((tests[best]?.[START] ?? Infinity) - now) ? index : best, byLane[next][0]);
      state.lane = next;
      if (nearest !== undefined) select(nearest);
    } else if (event.key === "Home" && lane.length) select(lane[0]);
    else if (event.key === "End" && lane.length) select(lane.at(-1));
    else if (event.key === "n" || event.key === "N") {
      const bad = ordered.filter((index) => isBad(tests[index]));
      const from = bad.indexOf(state.selected);
      if (bad.length) select(bad[(from + (event.key === "n" ? 1 : bad.length - 1) + bad.length) % bad.length]);
    } else if (event.key === "+" || event.key === "=") zoom(0.6, tests[state.selected]?.[START]);
    else if (event.key === "-") zoom(1 / 0.6, tests[state.selected]?.[START]);
    else if (event.key === "0") look(data.from, data.to);
    else if (event.key === "Escape") { select(-1); if (state.finding >= 0) choose(state.finding); }
    else return;
    event.preventDefault();
  });
  element("closer").addEventListener("click", () => zoom(0.6, tests[state.selected]?.[START]));
  element("wider").addEventListener("click", () => zoom(1 / 0.6, tests[state.selected]?.[START]));
  element("fit").addEventListener("click", () => look(data.from, data.to));
  element("theme").addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    readColours();
    redraw();
  });
  element("search").addEventListener("input", () => { most = 100; list(); });
  element("only").addEventListener("change", () => { most = 100; list(); });
  element("more").addEventListener("click", () => { most += 400; list(); });
  const chosen = (event) => event.target.closest("tr")?.dataset.test;
  element("rows").addEventListener("click", (event) => { if (chosen(event)) select(Number(chosen(event))); });
  element("rows").addEventListener("keydown", (event) => {
    if ((event.key === "Enter" || event.key === " ") && chosen(event)) { event.preventDefault(); select(Number(chosen(event))); }
  });
  for (const button of document.querySelectorAll("[data-finding]")) {
    button.addEventListener("click", () => choose(Number(button.dataset.finding)));
  }
  for (const button of document.querySelectorAll("[data-at]")) {
    button.addEventListener("click", () => {
      if (state.finding !== Number(button.dataset.of)) choose(Number(button.dataset.of));
      state.moment = Number(button.dataset.at);
      reveal(state.moment, state.moment);
      canvas.scrollIntoView({ block: "nearest" });
    });
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readColours(); redraw(); });
  new ResizeObserver(redraw).observe(canvas.parentElement);
  readColours();
  details();
  list();
  draw();
})();
