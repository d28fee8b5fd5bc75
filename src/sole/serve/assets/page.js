"use strict";
// Sends a film and a task to /v1/stream and draws each judged frame as it comes.
(() => {
  const by = (id) => document.getElementById(id);
  const TRIES = 30;                               // times to come back when the server is full
  const PLOT = { left: 48, right: 466, top: 12, bottom: 210 };
  const SVG = "http://www.w3.org/2000/svg";
  let card = null, film = null, run = null, abort = null;
  let layoutBefore = null;                        // what stood there before the example set it

  // ---- words for people -------------------------------------------------------------------------
  function say(text) { by("status").textContent = text; }
  function complain(text) { by("error").textContent = text; by("error").hidden = !text; }
  const percent = (p) => p === null ? "–" : `${Math.round(p)}%`;
  const clock = (step) => step.time_s === null ? "" : ` · ${step.time_s.toFixed(1)} s`;
  const when = (step) => `${step.index}${clock(step)}`;
  const size = (bytes) => bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
  const words = (step) => step.error ? `No answer: ${step.error}` : step.reasoning || "No words at this moment.";
  const kind = (step) => step.error ? "failed" : step.reasoning ? "" : "none";

  // ---- asking the server ------------------------------------------------------------------------
  class Refused extends Error {
    constructor(status, message) { super(message); this.status = status; }
  }

  function token() {
    try { return sessionStorage.getItem("sole-token") || ""; } catch { return by("token").value; }
  }

  function pause(seconds, signal) {
    return new Promise((done, stop) => {
      const timer = setTimeout(done, 1000 * seconds);
      signal?.addEventListener("abort", () => { clearTimeout(timer); stop(signal.reason); }, { once: true });
    });
  }

  async function ask(path, options = {}) {
    const headers = token() ? { Authorization: `Bearer ${token()}` } : {};
    for (let attempt = 1; ; attempt += 1) {
      let reply;
      try {
        reply = await fetch(path, { ...options, headers, cache: "no-store" });
      } catch (error) {
        if (error.name === "AbortError") throw error;
        throw new Refused(0, "The server cannot be reached. Is it still running?");
      }
      if (reply.ok) return reply;
      if (reply.status !== 429 || attempt > TRIES) throw await refusal(reply);
      const seconds = Number(reply.headers.get("Retry-After")) || 1;
      say(`The server is busy. Trying again in ${seconds} s (attempt ${attempt + 1} of ${TRIES + 1}).`);
      await pause(seconds, options.signal);
    }
  }

  async function refusal(reply) {
    let reason = "";
    try { reason = (await reply.json()).error || ""; } catch { reason = reply.statusText; }
    const before = {
      413: "Too large",
      415: "Not a film that can be read",
      422: "Cannot be judged",
      429: "The server is still busy. Try again later",
      503: "The server is stopping",
    }[reply.status] || `The server answered ${reply.status}`;
    return new Refused(reply.status, `${before}: ${reason}`);
  }

  function report(error) {
    if (error.name === "AbortError") { say("Stopped."); return; }
    const locked = error.status === 401;
    if (locked) by("locked").hidden = false;
    const wanted = token() ? "This is not the token of this server." : "This server wants a token. Type it above.";
    complain(locked ? wanted : error.message);
    say("");
    if (locked) by("token").focus();
  }

  async function meet() {
    try {
      card = await (await ask("/v1/model")).json();
    } catch (error) {
      by("model").textContent = "unknown";
      report(error);
      return;
    }
    by("locked").hidden = true;
    by("model").textContent = card.model_id;
    const ways = Object.keys(card.models);
    const box = by("think");
    box.disabled = ways.length < 2;
    box.checked = ways.includes("think");
    complain("");
    say("Ready.");
  }

  // ---- the film ---------------------------------------------------------------------------------
  function choose(file) {
    if (layoutBefore !== null) by("layout").value = layoutBefore;  // a film is not cut in two like the example
    layoutBefore = null;
    take(file, file.name);
  }

  function take(blob, name) {
    film = { blob, name };
    by("chosen").textContent = `${name}, ${size(blob.size)}`;
    complain("");
  }

  async function takeExample() {
    say("Fetching the example.");
    try {
      const reply = await ask("/v1/example");
      take(await reply.blob(), "the example");
      by("film").value = "";
      by("task").value = decodeURIComponent(reply.headers.get("Sole-Task"));
      layoutBefore ??= by("layout").value;
      by("layout").value = "both";
      say("The example is ready. Watch it.");
    } catch (error) { report(error); }
  }

  function body() {
    const part = by("layout").value;
    const asked = {
      task: by("task").value,
      layout: part === "both" ? "side-by-side" : "separate",
      every: Math.round(Number(by("every").value)),
      pictures: true,
    };
    if (card && Object.keys(card.models).length > 1) asked.think = by("think").checked;
    // What the browser calls other than MP4 may still be one (.mov): its first bytes decide.
    const declared = film.blob.type === "video/mp4" || film.blob.type === "video/webm" ? film.blob.type : "application/octet-stream";
    const form = new FormData();
    form.append("request", JSON.stringify(asked));
    form.append(part, new File([film.blob], "film", { type: declared }));
    return form;
  }

  function mistake() {
    if (!film) return ["film", "Choose a film first, or use the example."];
    if (!by("task").value.trim()) return ["task", "Say in one sentence what the robot shall do."];
    if (!(Number(by("every").value) >= 1)) return ["every", "Judge every how many frames? Expected 1 or more."];
    const most = card ? card.limits.max_body_bytes : Infinity;
    if (film.blob.size > 0.999 * most) return ["film", `Too large: the film has ${size(film.blob.size)}, this server takes ${size(most)} at most.`];
    return null;
  }

  // ---- one run ----------------------------------------------------------------------------------
  async function watch() {
    complain("");
    const wrong = mistake();
    if (wrong) { complain(wrong[1]); by(wrong[0]).focus(); return; }
    abort = new AbortController();
    busy(true);
    say("Sending the film.");
    try {
      const reply = await ask("/v1/stream", { method: "POST", body: body(), signal: abort.signal });
      await read(reply.body.getReader());
    } catch (error) {
      report(error instanceof TypeError ? new Refused(0, "The connection broke before the end.") : error);
    } finally { busy(false); }
  }

  function busy(yes) {
    const had = document.activeElement;  // a control that goes away takes the focus along
    by("watch").disabled = by("example").disabled = yes;
    by("stop").hidden = !yes;
    if (had === by("watch")) by("stop").focus();
    else if (had === by("stop")) by("watch").focus();
    by("result").setAttribute("aria-busy", String(yes));
  }

  async function read(reader) {
    const decoder = new TextDecoder();
    let text = "", ended = false;
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      text += decoder.decode(value, { stream: true });
      const events = text.split("\n\n");
      text = events.pop();
      for (const event of events) ended = handle(event) || ended;
    }
    if (!ended) throw new Refused(0, "The connection broke before the end.");
  }

  function handle(event) {
    const field = (name) => event.split("\n").find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
    const data = JSON.parse(field("data"));
    if (field("event") === "start") begin(data);
    else if (field("event") === "step") add(data);
    else if (field("event") === "error") throw new Refused(500, data.error);
    else if (field("event") === "end") { finish(data); return true; }
    return false;
  }

  function begin(start) {
    run = { start, steps: [], follow: true };
    by("model").textContent = start.model_id;
    by("views").replaceChildren(...start.views.map(figure));
    by("log").replaceChildren();
    by("now").replaceChildren();
    by("reasoning").textContent = "";
    by("at").max = by("at").value = 0;
    by("result").hidden = by("steps").hidden = false;
    say(`Judging ${start.scored_frames.length} of ${start.n_frames} frames.`);
  }

  function figure(view) {
    const box = document.createElement("figure"), image = new Image(), under = document.createElement("figcaption");
    image.dataset.view = view;
    image.alt = `${view} camera`;
    under.textContent = view;
    box.append(image, under);
    return box;
  }

  function add(step) {
    run.steps.push(step);
    by("at").max = run.steps.length - 1;
    note(step);
    if (run.follow) show(run.steps.length - 1);
    else draw(Number(by("at").value));
  }

  function note(step) {
    const log = by("log"), atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    const item = document.createElement("li");
    for (const [name, text] of [["when", when(step)], ["far", percent(step.progress)], [kind(step), words(step)]]) {
      const cell = document.createElement("span");
      cell.className = name;
      cell.textContent = text;
      item.append(cell);
    }
    log.append(item);
    if (atEnd) log.scrollTop = log.scrollHeight;
  }

  function finish(end) {
    const last = run.steps.at(-1);
    say(`Done: ${end.n_steps} frames were judged. It ends at ${percent(last.progress)}.`);
    by("chart").setAttribute("aria-label", `progress over time; it ends at ${percent(last.progress)}`);
  }

  // ---- one moment -------------------------------------------------------------------------------
  function label(name, className, value) {
    const item = document.createElement("span"), number = document.createElement("b");
    number.className = className;
    number.textContent = value;
    item.append(`${name} `, number);
    return item;
  }

  function show(k) {
    const step = run.steps[k];
    by("at").value = k;
    by("at").setAttribute("aria-valuetext", `frame ${when(step)}, ${percent(step.progress)}`);
    for (const image of by("views").querySelectorAll("img")) image.src = step.pictures[image.dataset.view];
    by("clock").textContent = `frame ${step.index} of ${run.start.n_frames - 1}${clock(step)}`;
    by("now").replaceChildren(label("progress", "judged", percent(step.progress)));
    if (step.success_probability !== null) by("now").append(label("success", "", percent(100 * step.success_probability)));
    if (step.uncertainty !== null) by("now").append(label("spread", "", `±${step.uncertainty.toFixed(0)}`));
    by("reasoning").textContent = words(step);
    by("reasoning").className = `reasoning ${kind(step)}`;
    draw(k);
  }

  // ---- the curve --------------------------------------------------------------------------------
  function shape(name, attributes, text) {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    return element;
  }

  function places() {
    const known = run.steps.filter((step) => step.progress !== null);
    const lowest = Math.min(0, ...known.map((step) => step.progress));
    const low = lowest < -1 ? 25 * Math.floor(lowest / 25) : 0;
    const last = Math.max(1, run.start.n_frames - 1);
    return {
      low, last, known,
      x: (index) => PLOT.left + index / last * (PLOT.right - PLOT.left),
      y: (p) => PLOT.bottom + (Math.max(low, Math.min(100, p)) - low) / (100 - low) * (PLOT.top - PLOT.bottom),
    };
  }

  // Round numbers from 0 to an end, about five of them; whole ones with least = 1.
  function ticks(end, least) {
    const power = 10 ** Math.floor(Math.log10(end / 5)), rough = 0.9 * end / 5;
    const step = Math.max(least, [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= rough && (!least || s % 1 === 0)) ?? 1);
    return Array.from({ length: Math.floor(end / step + 1e-9) + 1 }, (_, k) => Number((k * step).toPrecision(6)));
  }

  function grid(at) {
    const parts = [];
    for (let p = at.low; p <= 100; p += 25) {
      const y = at.y(p).toFixed(1);
      parts.push(shape("path", { class: p === 0 ? "zero" : "grid", d: `M${PLOT.left} ${y}H${PLOT.right}` }));
      parts.push(shape("text", { x: PLOT.left - 6, y, dy: 4, "text-anchor": "end" }, `${p}%`));
    }
    const { fps } = run.start;
    for (const value of ticks(at.last / (fps ?? 1), fps === null ? 1 : 0)) {
      const x = at.x(value * (fps ?? 1)).toFixed(1);
      parts.push(shape("text", { x, y: PLOT.bottom + 16, "text-anchor": "middle" }, String(value)));
    }
    parts.push(shape("text", { x: (PLOT.left + PLOT.right) / 2, y: PLOT.bottom + 34, "text-anchor": "middle" }, fps === null ? "frame" : "time (s)"));
    const half = (PLOT.top + PLOT.bottom) / 2;
    parts.push(shape("text", { transform: `translate(10 ${half}) rotate(-90)`, "text-anchor": "middle" }, "progress"));
    return parts;
  }

  function line(steps, at) {
    let path = "", down = false;
    for (const step of steps) {
      if (step.progress === null) { down = false; continue; }
      path += `${down ? "L" : "M"}${at.x(step.index).toFixed(1)},${at.y(step.progress).toFixed(1)}`;
      down = true;
    }
    return path;
  }

  function band(known, at) {
    const edge = (sign) => known.map((s) => `${at.x(s.index).toFixed(1)},${at.y(s.progress + sign * s.uncertainty).toFixed(1)}`);
    return [...edge(1), ...edge(-1).reverse()].join(" ");
  }

  function draw(k) {
    const at = places(), step = run.steps[k], parts = grid(at);
    const spread = at.known.filter((s) => s.uncertainty !== null);
    if (spread.length > 1) parts.push(shape("polygon", { class: "band", points: band(spread, at) }));
    parts.push(shape("path", { class: "line", d: line(run.steps, at) }));
    const x = at.x(step.index).toFixed(1);
    parts.push(shape("path", { class: "cursor", d: `M${x} ${PLOT.top}V${PLOT.bottom}` }));
    if (step.progress !== null) parts.push(shape("circle", { cx: x, cy: at.y(step.progress).toFixed(1), r: 4.5 }));
    by("chart").replaceChildren(...parts);
  }

  function scrub(event) {
    if (!run?.steps.length) return;
    const chart = by("chart"), box = chart.getBoundingClientRect(), at = places();
    const x = (event.clientX - box.left) / box.width * chart.viewBox.baseVal.width;
    const index = (x - PLOT.left) / (PLOT.right - PLOT.left) * at.last;
    const apart = run.steps.map((step) => Math.abs(step.index - index));
    move(apart.indexOf(Math.min(...apart)));
  }

  function move(k) {
    if (!run?.steps.length) return;
    run.follow = k >= run.steps.length - 1;      // at the newest frame, keep to the newest
    show(k);
  }

  // ---- controls ---------------------------------------------------------------------------------
  by("ask").addEventListener("submit", (event) => { event.preventDefault(); if (!by("watch").disabled) watch(); });
  by("stop").addEventListener("click", () => abort?.abort());
  by("example").addEventListener("click", takeExample);
  by("film").addEventListener("change", () => { const file = by("film").files[0]; if (file) choose(file); });
  by("layout").addEventListener("change", () => { layoutBefore = null; });
  by("at").addEventListener("input", () => move(Number(by("at").value)));
  by("chart").addEventListener("pointerdown", scrub);
  by("chart").addEventListener("pointermove", (event) => { if (event.buttons) scrub(event); });

  async function unlock() {
    try { sessionStorage.setItem("sole-token", by("token").value.trim()); } catch { /* kept in the field */ }
    await meet();
  }
  by("unlock").addEventListener("click", unlock);
  by("token").addEventListener("keydown", (event) => { if (event.key === "Enter") { event.preventDefault(); unlock(); } });

  const drop = by("drop");
  for (const name of ["dragenter", "dragover"]) {
    document.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
  }
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) drop.classList.remove("over"); });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    const file = event.dataTransfer.files[0];
    if (file) { by("film").value = ""; choose(file); }
  });

  meet();
})();
