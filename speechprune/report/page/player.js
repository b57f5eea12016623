// Plays spans of one recording joined together. Times are seconds in the recording; "heard" is seconds of what plays.

const FADE = 0.004; // seconds at both ends of a span, against clicks
const DECODED = 2; // recordings that are held decoded

class Player {
  // changed() is called when playing starts or ends, moved() while the place moves.
  constructor(changed, moved) {
    this.changed = changed;
    this.moved = moved;
    this.context = null;
    this.decoded = new Map(); // recording: Promise of an AudioBuffer
    this.source = null; // what plays now
    this.state = "stopped"; // loading, playing, paused
    this.place = 0; // heard so far; while it plays, when it began
    this.spans = [];
    this.total = 0;
  }

  // Choose what plays, and keep the place. `spans`: ascending [[start, end], ...].
  load(recording, spans, time = 0) {
    const going = this.state === "playing" || this.state === "loading";
    this.silence();
    this.recording = recording;
    this.spans = spans;
    this.joined = null;
    this.starts = [];
    this.total = 0;
    for (const [start, end] of spans) {
      this.starts.push(this.total);
      this.total += end - start;
    }
    this.place = this.heardAt(time);
    this.state = this.place > 0 ? "paused" : "stopped";
    if (going && this.total) this.play();
    else this.tell();
  }

  heardAt(time) {
    const next = this.spans.findIndex(([, end]) => end > time);
    if (next < 0) return 0;
    return this.starts[next] + Math.max(0, time - this.spans[next][0]);
  }

  get heard() {
    if (this.state !== "playing") return this.place;
    return Math.min(this.total, this.place + this.context.currentTime - this.since);
  }

  get time() {
    if (!this.spans.length) return 0;
    let span = this.starts.findIndex((start) => start > this.heard);
    span = span < 0 ? this.spans.length - 1 : span - 1;
    return Math.min(this.spans[span][1], this.spans[span][0] + this.heard - this.starts[span]);
  }

  async play() {
    if (!this.total || this.state === "playing" || this.state === "loading") return;
    this.state = "loading";
    this.error = null;
    this.tell();
    const { recording, spans } = this;
    try {
      this.context = this.context || new AudioContext();
      const [sound] = await Promise.all([this.decode(recording), this.context.resume()]);
      if (this.state !== "loading" || this.spans !== spans) return; // something else was chosen meanwhile
      this.joined = this.joined || this.join(sound, spans);
      this.start();
    } catch (error) {
      if (this.spans !== spans) return;
      this.state = "stopped";
      this.error = `This browser cannot play the recording: ${error.message || error}`;
      this.tell();
    }
  }

  start() {
    const source = this.context.createBufferSource();
    source.buffer = this.joined;
    source.connect(this.context.destination);
    source.onended = () => {
      if (this.source === source) this.stop();
    };
    source.start(0, this.place);
    this.source = source;
    this.since = this.context.currentTime;
    this.state = "playing";
    this.tell();
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const follow = () => {
      if (this.source !== source) return;
      this.moved();
      if (still) setTimeout(follow, 250);
      else requestAnimationFrame(follow);
    };
    follow();
  }

  silence() {
    const source = this.source;
    this.source = null;
    if (source) source.stop();
  }

  pause() {
    this.place = this.heard;
    this.silence();
    this.state = "paused";
    this.tell();
  }

  stop() {
    this.place = 0;
    this.silence();
    this.state = "stopped";
    this.tell();
  }

  toggle() {
    if (this.state === "playing" || this.state === "loading") this.pause();
    else this.play();
  }

  seek(time) {
    const going = this.state === "playing";
    this.silence();
    this.place = this.heardAt(time);
    if (going) this.start();
    else if (this.state !== "loading") {
      this.state = this.place > 0 ? "paused" : "stopped";
      this.tell();
    }
  }

  tell() {
    this.changed();
    this.moved();
  }

  decode(recording) {
    if (!this.decoded.has(recording)) {
      const bytes = bytesOf(find(`sound-${recording}`).textContent);
      this.decoded.set(recording, this.context.decodeAudioData(bytes.buffer));
      const oldest = [...this.decoded.keys()].slice(0, -DECODED);
      oldest.forEach((key) => this.decoded.delete(key));
    }
    return this.decoded.get(recording);
  }

  join(sound, spans) {
    const rate = sound.sampleRate;
    const length = Math.max(1, Math.round(this.total * rate));
    const joined = this.context.createBuffer(1, length, rate);
    const [from, to] = [sound.getChannelData(0), joined.getChannelData(0)];
    spans.forEach(([start, end], i) => {
      const at = Math.round(this.starts[i] * rate);
      const first = Math.round(start * rate);
      const piece = from.subarray(first, Math.min(Math.round(end * rate), first + length - at));
      to.set(piece, at);
      const fade = Math.min(Math.round(FADE * rate), piece.length >> 1);
      for (let k = 0; k < fade; k++) {
        to[at + k] *= k / fade;
        to[at + piece.length - 1 - k] *= k / fade;
      }
    });
    return joined;
  }
}
