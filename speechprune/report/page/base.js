"use strict";
// What all parts of the explorer share. Text from corpora enters the page as text, never as markup.

const LETTERS = "ABCDEFGHIJ";
const data = JSON.parse(document.getElementById("data").textContent);

function find(id) {
  return document.getElementById(id);
}

// make("li", {className: "x", role: "note"}, "text", element): properties that exist are set, others are attributes.
function make(tag, settings, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(settings || {})) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

function clamp(value, low, high) {
  return Math.min(high, Math.max(low, value));
}

// 75.26 -> "1:15"; with tenths "1:15.3".
function clockText(seconds, tenths) {
  const units = tenths ? Math.round(seconds * 10) / 10 : Math.floor(seconds);
  const rest = units % 60;
  return `${Math.floor(units / 60)}:${rest < 10 ? "0" : ""}${tenths ? rest.toFixed(1) : rest}`;
}

function percentText(share) {
  return `${Math.round(100 * share)} %`;
}

// Whole words as far as `size` characters reach; of a first word that is longer, its start.
function shortened(text, size) {
  if (text.length <= size) return text;
  const start = text.slice(0, size);
  const end = start.search(/\s+\S*$/);
  return `${end > 0 ? start.slice(0, end) : start.slice(0, -1)}…`;
}

function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

// Uint8Array of 0 and 1, one a token; null where an answer does not say which tokens were kept.
const masks = new Map();
function maskOf(answer) {
  if (!answer || answer.kept === null) return null;
  const key = `${answer.kept}/${answer.total}`;
  if (!masks.has(key)) {
    const packed = bytesOf(data.masks[answer.kept]);
    masks.set(key, Uint8Array.from({ length: answer.total }, (_, i) => (packed[i >> 3] >> (7 - (i & 7))) & 1));
  }
  return masks.get(key);
}

// [[start, end], ...] in seconds: the runs of tokens whose mask is `value`.
function runs(mask, value, duration) {
  const found = [];
  const seconds = duration / mask.length;
  for (let i = 0; i < mask.length; i++) {
    if (mask[i] !== value) continue;
    const start = i;
    while (i < mask.length && mask[i] === value) i++;
    found.push([start * seconds, i * seconds]);
  }
  return found;
}

function lengthOf(spans) {
  return spans.reduce((sum, [start, end]) => sum + end - start, 0);
}

// The answer of a system under one rotation of the choices; null where it has none.
function answerOf(question, system, rotation) {
  const answers = question.answers[system];
  return answers.find((answer) => answer.rotation === rotation) || answers[0] || null;
}

// {mark, word, kind} of one answer, or of all rotations together.
function verdictOf(question, answers) {
  if (!answers.length || answers.some((answer) => answer.error !== null)) {
    return { mark: "–", word: answers.length ? "no answer" : "not asked", kind: "none" };
  }
  const right = answers.filter((answer) => answer.prediction === question.answer).length;
  if (right === answers.length) return { mark: "✓", word: "right", kind: "right" };
  if (right) return { mark: `${right}/${answers.length}`, word: `right in ${right} of ${answers.length}`, kind: "partly" };
  return { mark: "✗", word: "wrong", kind: "wrong" };
}

function verdictMark(verdict) {
  return make("b", { className: verdict.kind }, make("span", { "aria-hidden": "true" }, verdict.mark), unseen(verdict.word));
}

function unseen(text) {
  return make("span", { className: "unseen" }, ` ${text} `);
}
