// Mouse and keyboard, and the start of it all.

const MODES = { 1: "full", 2: "kept", 3: "removed" };

function onListKey(event) {
  const by = { ArrowDown: 1, ArrowUp: -1, Home: -Infinity, End: Infinity }[event.key];
  if (by === undefined) return;
  event.preventDefault();
  step(by, true);
}

function onWaveKey(event) {
  const by = { ArrowRight: 1, ArrowLeft: -1, ArrowUp: 1, ArrowDown: -1 }[event.key];
  const end = { Home: 0, End: recording().duration }[event.key];
  if (by === undefined && end === undefined) return;
  event.preventDefault();
  go(end === undefined ? player.time + by * (event.shiftKey ? 5 : 1) : end);
}

function onSentenceKey(event) {
  const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (by === undefined) return;
  event.preventDefault();
  const boxes = [...find("sentences").children];
  const next = boxes[clamp(boxes.indexOf(document.activeElement) + by, 0, boxes.length - 1)];
  if (next) next.focus();
}

// Keys of the explorer as a whole. They stay the page's own where the focus is elsewhere, or in a field.
function onKey(event) {
  const { target } = event;
  const nowhere = target === document.body && inView(find("panel"));
  if (event.ctrlKey || event.metaKey || event.altKey || !(nowhere || find("explorer").contains(target))) return;
  if (target.matches("select, summary, input:not([type=radio])")) return;
  const inList = find("list").contains(target);
  if (event.key === "j" || event.key === "k") step(event.key === "j" ? 1 : -1, inList);
  else if (MODES[event.key]) chooseMode(MODES[event.key]);
  else if (event.key === " " && (inList || !target.matches("button"))) player.toggle();
  else return;
  event.preventDefault();
}

function inView(element) {
  const { top, bottom } = element.getBoundingClientRect();
  return top < window.innerHeight * 0.7 && bottom > window.innerHeight * 0.3;
}

function fillFilter() {
  const options = data.systems.map((system, place) => new Option(system.title, place));
  find("filter-other").append(new Option("(any)", ""), ...options.map((option) => option.cloneNode(true)));
  find("filter-system").append(...options);
  find("filter-system").value = data.chosen;
}

function listen() {
  find("filter").addEventListener("submit", (event) => event.preventDefault());
  for (const name of ["input", "change"]) find("filter").addEventListener(name, showList);
  find("filter-system").addEventListener("change", (event) => chooseSystem(Number(event.target.value)));
  find("rotation").addEventListener("change", (event) => {
    chosen.rotation = Number(event.target.value);
    showAsked();
  });
  find("list").addEventListener("keydown", onListKey);
  find("modes").addEventListener("change", (event) => chooseMode(event.target.value));
  find("play").addEventListener("click", () => player.toggle());
  find("stop").addEventListener("click", () => player.stop());
  const wave = find("wave");
  wave.addEventListener("keydown", onWaveKey);
  wave.addEventListener("pointerdown", (event) => {
    wave.setPointerCapture(event.pointerId);
    go(timeAt(wave, event));
  });
  wave.addEventListener("pointermove", (event) => {
    if (event.buttons & 1) go(timeAt(wave, event));
  });
  find("sentences").addEventListener("keydown", onSentenceKey);
  document.addEventListener("keydown", onKey);
  window.addEventListener("hashchange", followAddress);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  new ResizeObserver(draw).observe(wave);
}

find("explorer").hidden = false;
fillFilter();
buildLanes();
listen();
showList();
if (!followAddress()) showQuestion(data.opening);
