// What is chosen, and what follows from it: the list with its filter, the panel, the keyboard.

const chosen = { question: 0, system: data.chosen, rotation: 0, mode: "full" };
const player = new Player(showState, showPlace);
let listed = []; // questions that the filter lets through

const question = () => data.questions[chosen.question];
const recording = () => data.recordings[question().recording];
const answer = () => answerOf(question(), chosen.system, chosen.rotation);

// --- the list

function passes(candidate) {
  const words = find("filter-text").value.trim().toLowerCase();
  const text = [candidate.id, candidate.question, ...candidate.choices].join("\n").toLowerCase();
  if (words && !text.includes(words)) return false;
  const mine = candidate.answers[Number(find("filter-system").value)];
  if (find("filter-wrong").checked && verdictOf(candidate, mine).kind === "right") return false;
  const other = find("filter-other").value;
  if (other === "") return true;
  const predictions = (answers) => JSON.stringify(answers.map((given) => [given.rotation, given.prediction]));
  return predictions(mine) !== predictions(candidate.answers[Number(other)]);
}

function showList() {
  listed = data.questions.map((_, place) => place).filter((place) => passes(data.questions[place]));
  const system = Number(find("filter-system").value);
  const items = listed.map((place) => {
    const shown = data.questions[place];
    const button = make("button", { type: "button", tabIndex: -1, title: shown.question });
    const mark = make("span", { className: "verdict" }, verdictMark(verdictOf(shown, shown.answers[system])));
    button.append(mark, make("span", { className: "text" }, shown.question), make("span", { className: "id" }, shown.id));
    button.addEventListener("click", () => chooseQuestion(place));
    return make("li", {}, button);
  });
  find("list").replaceChildren(...items);
  const all = data.questions.length;
  find("count").textContent = listed.length
    ? `${listed.length} of ${all} questions; ✓ and ✗ are ${data.systems[system].title}'s`
    : `None of the ${all} questions passes the filter`;
  markListed(false);
}

function markListed(focus) {
  const place = listed.indexOf(chosen.question);
  [...find("list").querySelectorAll("button")].forEach((button, i) => {
    button.tabIndex = i === Math.max(0, place) ? 0 : -1;
    if (i === place) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
    if (i !== place) return;
    if (focus) button.focus({ preventScroll: true });
    const list = find("list"); // only the list scrolls, never the page
    const [top, bottom] = [button.offsetTop, button.offsetTop + button.offsetHeight];
    list.scrollTop = clamp(list.scrollTop, bottom - list.clientHeight, top);
  });
}

function step(by, focus) {
  if (!listed.length) return;
  const place = listed.indexOf(chosen.question);
  const next = place < 0 ? 0 : clamp(place + by, 0, listed.length - 1);
  chooseQuestion(listed[next], focus);
}

function chooseQuestion(place, focus) {
  showQuestion(place, focus);
  writeAddress();
}

// --- the panel

function showQuestion(place, focus) {
  chosen.question = place;
  const rotations = [...new Set(question().answers.flat().map((given) => given.rotation))].sort((a, b) => a - b);
  chosen.rotation = rotations.includes(chosen.rotation) ? chosen.rotation : rotations[0] || 0;
  const first = (r) => shortened(question().choices[r], 40);
  const options = rotations.map((r) => new Option(`${r}: A is “${first(r)}”`, r, false, r === chosen.rotation));
  find("rotation").replaceChildren(...options);
  find("turn").hidden = rotations.length < 2;
  find("where").textContent = `${question().id} · ${clockText(recording().duration)} min`;
  find("question").textContent = question().question;
  showSentences(recording(), question(), go, tellSentence);
  tellSentence(-1);
  showTranscript(recording(), question(), go);
  showAsked();
  markListed(focus);
}

// What depends on the rotation of the choices, too.
function showAsked() {
  showAnswers(question(), chosen.system, chosen.rotation);
  showHeard(0);
}

// What depends on system and mode, too: what is heard, and the drawings.
function showHeard(time = player.state === "stopped" ? 0 : player.time) {
  showChoices(question(), chosen.system, chosen.rotation);
  markAnswer(chosen.system);
  find("lanes").querySelectorAll("input")[chosen.system].checked = true;
  find("heard").textContent = [heardText(), recording().note || ""].join(" ").trim();
  draw();
  player.load(question().recording, recording().note ? [] : spansHeard(), time);
}

function spansHeard() {
  const mask = maskOf(answer());
  if (chosen.mode === "full") return [[0, recording().duration]];
  return mask ? runs(mask, chosen.mode === "kept" ? 1 : 0, recording().duration) : [];
}

function heardText() {
  const name = data.systems[chosen.system].title;
  const mask = maskOf(answer());
  if (mask === null) return `${name}: ${answer() ? WHY_UNKNOWN[answer().unknown] : "it has no row for this question."}`;
  const pieces = runs(mask, 1, recording().duration);
  const seconds = lengthOf(pieces);
  const recall = answer().recall === null ? "" : `, with ${percentText(answer().recall)} of the evidence`;
  return (
    `${name} kept ${answer().tokens} of ${answer().total} tokens: ${seconds.toFixed(1)} of ` +
    `${recording().duration.toFixed(1)} s in ${pieces.length} ${pieces.length === 1 ? "piece" : "pieces"}${recall}.`
  );
}

function draw() {
  drawAxis(find("axis"), recording().duration);
  drawWave(find("wave"), recording(), question(), maskOf(answer()));
  [...find("lanes").querySelectorAll("label")].forEach((lane, system) => {
    const given = answerOf(question(), system, chosen.rotation);
    const verdict = verdictMark(verdictOf(question(), given ? [given] : []));
    lane.classList.toggle("chosen", system === chosen.system);
    lane.querySelector(".verdict").replaceChildren(verdict);
    drawLane(lane.querySelector("canvas"), recording(), question(), maskOf(given), laneNote(given));
  });
  showPlace();
}

function buildLanes() {
  data.systems.forEach((system, place) => {
    const radio = make("input", { type: "radio", name: "lane", value: place });
    const canvas = make("canvas", { "aria-hidden": "true" });
    const name = [make("span", { className: "name" }, system.name), make("span", {}, system.rate)];
    const label = make("span", { className: "label", title: system.title }, radio, make("span", { className: "verdict" }), ...name);
    radio.addEventListener("change", () => chooseSystem(place));
    canvas.addEventListener("click", (event) => go(timeAt(canvas, event)));
    find("lanes").append(make("label", { className: "row" }, label, canvas));
  });
}

function chooseSystem(place) {
  chosen.system = place;
  showHeard();
  writeAddress();
}

// --- the player

function showState() {
  const { state } = player;
  find("play").disabled = !player.total;
  find("stop").disabled = state === "stopped";
  find("play-text").textContent = { playing: "Pause", loading: "Decoding" }[state] || "Play";
  find("play-icon").className = state === "playing" ? "pause" : "";
  find("panel").dataset.state = state;
  if (player.error) find("heard").textContent = player.error;
}

function showPlace() {
  const { duration } = recording();
  const wave = find("wave");
  const time = player.time;
  find("playhead").style.transform = `translateX(${wave.offsetLeft + (time / duration) * wave.clientWidth}px)`;
  wave.setAttribute("aria-valuemin", 0);
  wave.setAttribute("aria-valuemax", duration.toFixed(1));
  wave.setAttribute("aria-valuenow", time.toFixed(1));
  wave.setAttribute("aria-valuetext", `${clockText(time)} of ${clockText(duration)}`);
  const inRecording = chosen.mode === "full" ? "" : ` · at ${clockText(time)}`;
  find("clock").textContent = `${clockText(player.heard, true)} / ${clockText(player.total, true)}${inRecording}`;
  if (player.state === "playing") tellSentence(recording().sentences.findLastIndex((sentence) => sentence.start <= time));
}

function tellSentence(place) {
  const sentence = recording().sentences[place];
  find("sentence").textContent = sentence ? sentenceText(sentence) : "Point at a sentence to read it.";
  [...find("sentences").children].forEach((box, i) => {
    box.tabIndex = i === Math.max(0, place) ? 0 : -1;
    box.classList.toggle("current", i === place);
  });
}

function go(time) {
  player.seek(clamp(time, 0, recording().duration - 0.01));
}

function timeAt(canvas, event) {
  const box = canvas.getBoundingClientRect();
  return ((event.clientX - box.left) / box.width) * recording().duration;
}

function chooseMode(mode) {
  chosen.mode = mode;
  find("modes").querySelector(`[value=${mode}]`).checked = true;
  showHeard();
}
