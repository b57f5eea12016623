// The parts of the panel that are text: choices, the table of answers, sentences, transcript.

const WHY_UNKNOWN = {
  error: "There is no answer, so no token was chosen.",
  unheard: "It hears nothing of the recording.",
  read: "It reads a transcript in place of the recording.",
  old: "Which tokens it kept is not known: its rows are of an earlier version. Decode into a new folder to see them.",
  damaged: "Which tokens it kept is not known: what its row says of them cannot be read.",
};

// What stands in an empty lane.
function laneNote(answer) {
  return answer && ["old", "damaged"].includes(answer.unknown) ? "not known" : "";
}

// The letter that a choice had under a rotation.
function letterOf(choice, rotation, count) {
  return LETTERS[(choice - rotation + count) % count];
}

// Places of the choices in the order in which they were shown.
function shownOrder(question, rotation) {
  return question.choices.map((_, place) => (place + rotation) % question.choices.length);
}

// The choices; the right one is marked, and the one that the system took instead.
function showChoices(question, system, rotation) {
  const answer = answerOf(question, system, rotation);
  const items = shownOrder(question, rotation).map((choice, place) => {
    const kind = choice === question.answer ? "right" : answer && choice === answer.prediction ? "wrong" : "";
    const badges = { right: "✓ right", wrong: `✗ ${data.systems[system].title}` };
    return make(
      "li",
      { className: kind },
      make("b", { className: "letter" }, LETTERS[place]),
      make("span", {}, question.choices[choice]),
      ...(kind ? [make("span", { className: `badge ${kind}` }, badges[kind])] : []),
    );
  });
  find("choices").replaceChildren(...items);
}

// A cell with a bar behind its number; `width` in [0, 1].
function barCell(text, width, kind) {
  const bar = make("span", { className: `bar ${kind}`, "aria-hidden": "true" });
  bar.style.width = `${clamp(100 * width, 0, 100)}%`;
  return make("td", { className: "barred" }, bar, make("span", { className: "number" }, text));
}

function choiceCells(question, answer, order) {
  if (answer.p !== null) {
    return order.map((choice) => {
      const cell = barCell(percentText(answer.p[choice]), answer.p[choice], choice === question.answer ? "right" : "other");
      if (choice === answer.prediction) cell.classList.add("predicted");
      return cell;
    });
  }
  const wrong = answer.open ? " – not the reference; it counts as wrong" : " – no choice can be read from it; it counts as wrong";
  const unparsed = answer.prediction === null ? wrong : "";
  const text = answer.reply === null ? "No probabilities" + unparsed : `Reply: “${answer.reply}”${unparsed}`;
  return [make("td", { className: "words", colSpan: order.length }, text)];
}

function answerRow(question, place, rotation, order) {
  const answer = answerOf(question, place, rotation);
  const verdict = verdictOf(question, answer ? [answer] : []);
  const name = make("th", { scope: "row" }, data.systems[place].title);
  if (answer === null || answer.error !== null) {
    const text = answer === null ? "No row: this system was not asked, or its row was lost." : `No answer: ${answer.error}`;
    return make("tr", {}, name, make("td", {}, verdictMark(verdict)), make("td", { className: "words", colSpan: order.length + 2 }, text));
  }
  const letter = answer.prediction === null ? "?" : letterOf(answer.prediction, rotation, order.length);
  const total = answer.total === null ? "" : ` of ${answer.total}`;
  return make(
    "tr",
    {},
    name,
    make("td", {}, verdictMark(verdict), " ", letter),
    ...choiceCells(question, answer, order),
    make("td", { className: "number" }, answer.tokens === null ? "–" : `${answer.tokens}${total}`),
    answer.recall === null ? make("td", { className: "number" }, "–") : barCell(percentText(answer.recall), answer.recall, "evidence"),
  );
}

function showAnswers(question, system, rotation) {
  const order = shownOrder(question, rotation);
  const heads = order.map((choice, place) => {
    const letter = make("b", {}, LETTERS[place] + (choice === question.answer ? " ✓" : ""));
    const name = make("span", { className: "choice", title: question.choices[choice] }, shortened(question.choices[choice], 24));
    return make("th", { scope: "col" }, letter, name);
  });
  const head = make(
    "tr",
    {},
    make("th", { scope: "col" }, "System"),
    make("th", { scope: "col" }, "Answer"),
    ...heads,
    make("th", { scope: "col" }, "Tokens read"),
    make("th", { scope: "col" }, "Evidence kept"),
  );
  const rows = data.systems.map((_, place) => answerRow(question, place, rotation, order));
  find("answers").replaceChildren(make("thead", {}, head), make("tbody", {}, ...rows));
  markAnswer(system);
}

function markAnswer(system) {
  [...find("answers").querySelectorAll("tbody tr")].forEach((row, place) => row.classList.toggle("chosen", place === system));
}

function within(sentence, spans) {
  const middle = (sentence.start + sentence.end) / 2;
  return spans.some(([start, end]) => start <= middle && middle < end);
}

function kindOf(sentence, question) {
  if (within(sentence, question.evidence)) return "evidence";
  return within(sentence, question.distractors) ? "distractor" : "";
}

function sentenceText(sentence) {
  return `${clockText(sentence.start)} ${sentence.speaker ? `${sentence.speaker}: ` : ""}${sentence.text}`;
}

// One box a sentence along the time axis; one of them takes the keyboard's focus, arrows step from there.
function showSentences(recording, question, go, tell) {
  const boxes = recording.sentences.map((sentence, place) => {
    const kind = kindOf(sentence, question);
    const box = make("button", { type: "button", className: kind, tabIndex: place ? -1 : 0 });
    box.setAttribute("aria-label", `${kind ? `${kind}, ` : ""}${sentenceText(sentence)}`);
    box.style.left = `${(100 * sentence.start) / recording.duration}%`;
    box.style.width = `${(100 * (sentence.end - sentence.start)) / recording.duration}%`;
    box.addEventListener("click", () => go(sentence.start));
    box.addEventListener("focus", () => tell(place));
    box.addEventListener("mouseenter", () => tell(place));
    return box;
  });
  find("sentences").replaceChildren(...boxes);
}

function showTranscript(recording, question, go) {
  const items = recording.sentences.map((sentence) => {
    const kind = kindOf(sentence, question);
    const time = make("button", { type: "button", className: "time", "aria-label": `Go to ${clockText(sentence.start)}` });
    time.append(clockText(sentence.start));
    time.addEventListener("click", () => go(sentence.start));
    const speaker = make("span", { className: "speaker" }, sentence.speaker);
    const badge = kind ? [make("span", { className: `badge ${kind}` }, kind)] : [];
    return make("li", { className: kind }, time, speaker, make("span", {}, sentence.text), ...badge);
  });
  find("transcript").replaceChildren(...items);
}
