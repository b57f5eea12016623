// The address of what is shown, "#question/system", so that a link can lead there.

function writeAddress() {
  const names = [question().id, data.systems[chosen.system].label];
  try {
    history.replaceState(null, "", `#${names.map(encodeURIComponent).join("/")}`);
  } catch {
    // A text that has no UTF-8, or a browser that allows no more changes for now: the page does without the address.
  }
}

// {question, system}: places in the data; null for an address of something else, or of nothing.
function readAddress() {
  const parts = location.hash.slice(1).split("/");
  if (parts.length !== 2) return null;
  try {
    const [id, label] = parts.map(decodeURIComponent);
    const found = data.questions.findIndex((candidate) => candidate.id === id);
    const system = data.systems.findIndex((candidate) => candidate.label === label);
    return found < 0 || system < 0 ? null : { question: found, system };
  } catch {
    return null; // not what encodeURIComponent writes
  }
}

// Shows what the address names; false where it names nothing.
function followAddress() {
  const named = readAddress();
  if (named === null) return false;
  chosen.system = named.system;
  showQuestion(named.question);
  find("panel").scrollIntoView({ behavior: "instant" });
  return true;
}
