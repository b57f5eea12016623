// Drawings along the time axis: seconds, waveform, and a lane for each system. All have one width.

const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200]; // seconds between labels
const LABEL_WIDTH = 56; // pixels that a label of the axis needs

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

// {context, width, height} in CSS pixels, cleared, sharp on any screen.
function blank(canvas) {
  const scale = window.devicePixelRatio || 1;
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  return { context, width, height };
}

function drawAxis(canvas, duration) {
  const { context, width, height } = blank(canvas);
  const step = STEPS.find((seconds) => (seconds / duration) * width >= LABEL_WIDTH) || duration;
  context.fillStyle = colour("faint-ink");
  context.font = `11px ${getComputedStyle(canvas).fontFamily}`;
  context.textBaseline = "middle";
  for (let second = 0; second <= duration; second += step) {
    const x = (second / duration) * width;
    context.fillRect(Math.min(x, width - 1), height - 4, 1, 4);
    context.textAlign = x < 12 ? "left" : x > width - 14 ? "right" : "center";
    context.fillText(clockText(second), x, height / 2 - 2);
  }
}

function drawSpans({ context, width, height }, question, duration) {
  for (const [name, spans] of [["distractor", question.distractors], ["evidence", question.evidence]]) {
    context.fillStyle = colour(`${name}-wash`);
    for (const [start, end] of spans) {
      const x = (start / duration) * width;
      context.fillRect(x, 0, Math.max(2, (end / duration) * width - x), height);
    }
  }
}

// A bar on top of each span: solid for evidence, dashed for distractors, so that colour is not all that tells.
function drawBrackets({ context, width }, question, duration) {
  for (const [name, spans, dash] of [["distractor", question.distractors, [4, 3]], ["evidence", question.evidence, []]]) {
    context.strokeStyle = colour(name);
    context.lineWidth = 4;
    context.setLineDash(dash);
    for (const [start, end] of spans) {
      const x = (start / duration) * width;
      context.beginPath();
      context.moveTo(x, 2);
      context.lineTo(Math.max(x + 3, (end / duration) * width), 2);
      context.stroke();
    }
  }
  context.setLineDash([]);
}

// The waveform, coloured as far as the mask keeps it: not at all where there is no mask.
function drawWave(canvas, recording, question, mask) {
  const drawing = blank(canvas);
  const { context, width, height } = drawing;
  drawSpans(drawing, question, recording.duration);
  const middle = height / 2 + 2;
  const [kept, removed] = [colour("kept"), colour("removed")];
  if (recording.peaks === null) {
    context.fillStyle = removed;
    context.fillRect(0, middle, width, 1);
  } else {
    const peaks = bytesOf(recording.peaks);
    const columns = Math.max(1, Math.floor(width / 2));
    for (let column = 0; column < columns; column++) {
      const [first, last] = part(column, columns, peaks.length);
      const peak = Math.max(...peaks.subarray(first, last)) / 255;
      const size = Math.max(1, peak * (height / 2 - 8));
      for (const [fill, alpha] of [[removed, 1], [kept, mask ? share(mask, column, columns) : 0]]) {
        context.fillStyle = fill;
        context.globalAlpha = alpha;
        context.fillRect((column * width) / columns, middle - size, 1.4, 2 * size);
      }
    }
  }
  context.globalAlpha = 1;
  drawBrackets(drawing, question, recording.duration);
}

// Kept tokens of one system; a column that stands for several is as dark as the share of them that was kept.
// Without a mask: a line, with `note` where there is one.
function drawLane(canvas, recording, question, mask, note) {
  const drawing = blank(canvas);
  const { context, width, height } = drawing;
  drawSpans(drawing, question, recording.duration);
  if (mask === null) {
    context.fillStyle = colour("line");
    context.fillRect(0, Math.floor(height / 2), width, 1);
    if (note) writeNote(drawing, canvas, note);
    return;
  }
  const inside = new Uint8Array(mask.length);
  for (const [start, end] of question.evidence) {
    inside.fill(1, Math.round((start / recording.duration) * mask.length), Math.round((end / recording.duration) * mask.length));
  }
  const [kept, evidence] = [colour("kept"), colour("evidence")];
  const columns = Math.min(mask.length, canvas.width);
  const edge = (column) => (Math.round((column * canvas.width) / columns) * width) / canvas.width; // a whole pixel
  for (let column = 0; column < columns; column++) {
    const density = share(mask, column, columns);
    if (!density) continue;
    context.globalAlpha = 0.3 + 0.7 * density;
    context.fillStyle = inside[part(column, columns, mask.length)[0]] ? evidence : kept;
    context.fillRect(edge(column), 2, edge(column + 1) - edge(column), height - 4);
  }
  context.globalAlpha = 1;
}

function writeNote({ context, height }, canvas, note) {
  context.font = `11px ${getComputedStyle(canvas).fontFamily}`;
  context.textBaseline = "middle";
  context.fillStyle = colour("paper");
  context.fillRect(4, 0, context.measureText(note).width + 8, height);
  context.fillStyle = colour("faint-ink");
  context.fillText(note, 8, height / 2);
}

// [first, last): which of `size` values column `column` of `columns` stands for; never none.
function part(column, columns, size) {
  const first = Math.min(size - 1, Math.floor((column * size) / columns));
  return [first, Math.max(first + 1, Math.floor(((column + 1) * size) / columns))];
}

function share(mask, column, columns) {
  const [first, last] = part(column, columns, mask.length);
  let sum = 0;
  for (let i = first; i < last; i++) sum += mask[i];
  return sum / (last - first);
}
