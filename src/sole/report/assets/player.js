"use strict";
// One player per section.player: pictures, slider, curve with a cursor, and the words of the moment.
(() => {
  const players = [];
  let active = null;

  function makePlayer(root) {
    const data = JSON.parse(root.querySelector("script.data").textContent);
    const slider = root.querySelector("input[type=range]");
    const button = root.querySelector("button");
    const clock = root.querySelector("output");
    const words = root.querySelector(".reasoning");
    const now = root.querySelector(".now");
    const chart = root.querySelector("svg.chart");
    const images = [...root.querySelectorAll("img[data-view]")];
    const last = data.steps.length - 1;
    let timer = null;

    function label(name, kind, value, unit) {
      const item = document.createElement("span");
      const number = document.createElement("b");
      number.className = kind;
      number.textContent = value + unit;
      item.append(name + " ", number);
      return item;
    }

    function place(step, t) {
      if (!chart) return;
      const d = chart.dataset, n = (k) => Number(d[k]);
      const x = n("left") + (last ? t / last : 0) * (n("right") - n("left"));
      const line = chart.querySelector("path.cursor"), dot = chart.querySelector("circle.cursor");
      line.setAttribute("d", `M${x} ${d.top}V${d.bottom}`);
      dot.setAttribute("visibility", step.p === null ? "hidden" : "visible");
      if (step.p === null) return;
      const share = (step.p - n("low")) / (n("high") - n("low"));
      dot.setAttribute("cx", x);
      dot.setAttribute("cy", n("bottom") + share * (n("top") - n("bottom")));
    }

    function show(t) {
      t = Math.max(0, Math.min(last, t));
      const step = data.steps[t];
      slider.value = t;
      for (const image of images) image.src = "data:image/jpeg;base64," + data.frames[image.dataset.view][t];
      clock.textContent = `${t + 1} / ${last + 1} · ${step.time.toFixed(1)} s`;
      now.replaceChildren(label("judged", "judged", step.p === null ? "–" : Math.round(step.p), "%"));
      if (step.true !== null) now.append(label("true", "true", Math.round(step.true), "%"));
      if (step.success !== null) now.append(label("success", "", Math.round(100 * step.success), "%"));
      if (step.spread !== null) now.append(label("spread", "", "±" + step.spread.toFixed(0), ""));
      words.textContent = step.error ? "No answer: " + step.error : step.text || "No words at this moment.";
      words.className = "reasoning" + (step.error ? " failed" : step.text ? "" : " none");
      place(step, t);
    }

    function stop() {
      clearInterval(timer);
      timer = null;
      button.textContent = "▶";
      button.setAttribute("aria-label", "Play");
    }

    function toggle() {
      active = player;
      if (timer) return stop();
      if (Number(slider.value) >= last) show(0);
      button.textContent = "❚❚";
      button.setAttribute("aria-label", "Pause");
      timer = setInterval(() => {
        show(Number(slider.value) + 1);
        if (Number(slider.value) >= last) stop();
      }, 1000 / Math.max(2, Math.min(30, data.fps)));
    }

    function scrub(event) {
      const box = chart.getBoundingClientRect(), d = chart.dataset;
      const x = (event.clientX - box.left) / box.width * chart.viewBox.baseVal.width;
      stop();
      show(Math.round((x - d.left) / (d.right - d.left) * last));
    }

    const player = { move: (by) => { stop(); show(Number(slider.value) + by); }, go: show, last, toggle };
    slider.addEventListener("input", () => { active = player; stop(); show(Number(slider.value)); });
    button.addEventListener("click", toggle);
    root.addEventListener("pointerdown", () => { active = player; });
    if (chart) {
      chart.addEventListener("pointerdown", scrub);
      chart.addEventListener("pointermove", (event) => { if (event.buttons) scrub(event); });
    }
    show(0);
    return player;
  }

  for (const root of document.querySelectorAll("section.player")) players.push(makePlayer(root));
  active = players[0] || null;

  document.addEventListener("keydown", (event) => {
    if (!active || event.ctrlKey || event.metaKey || event.altKey) return;
    const moves = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -1e9, End: 1e9 };
    const onSlider = event.target.type === "range";
    // Page keys scroll the page unless the slider has the focus.
    const ours = event.key.startsWith("Arrow") || onSlider;
    if (event.key in moves && ours) active.move(moves[event.key]);
    else if (event.key === " " && event.target.tagName !== "BUTTON") active.toggle();
    else return;
    event.preventDefault();
  });
})();
