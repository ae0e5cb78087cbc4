// Keeps the list as the server has it, and moves in it by keys. Without this script, load the page again.

const PAUSE = 250; // milliseconds between two reads
const REFRESH = 30_000; // milliseconds, after which ages are read again

const ended = document.getElementById("ended");
let isReading = false;
let isStale = false;

// A document of XMLHttpRequest runs no script, and needs no exception from the policy on trusted types.
function read() {
  if (isReading) {
    isStale = true;
    return;
  }
  isReading = true;
  isStale = false;
  const request = new XMLHttpRequest();
  request.open("GET", location.href);
  request.responseType = "document";
  request.onload = () => show(request.response);
  request.onloadend = () => setTimeout(() => {
    isReading = false;
    if (isStale) read();
  }, PAUSE);
  request.send();
}

function show(received) {
  const board = received?.getElementById("board");
  if (!board) return;
  const key = document.activeElement?.dataset?.key;
  document.getElementById("board").replaceWith(document.adoptNode(board));
  document.title = received.title;
  if (key) links().find((link) => link.dataset.key === key)?.focus({ preventScroll: true });
}

function links() {
  return [...document.querySelectorAll("a.open")];
}

function move(step) {
  const all = links();
  const at = all.indexOf(document.activeElement);
  all[at < 0 ? (step > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, at + step))]?.focus();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches?.("input, select, textarea")) return;
  const actions = { j: () => move(1), k: () => move(-1), "/": () => document.getElementById("f-priority").focus() };
  if (!Object.hasOwn(actions, event.key)) return;
  event.preventDefault();
  actions[event.key]();
});

const source = new EventSource("changes");
source.addEventListener("change", read);
source.onopen = () => { ended.hidden = true; };
source.onerror = () => {
  if (!ended.hidden) return;
  const time = new Date().toISOString().slice(0, 19).replace("T", " ");
  ended.textContent = `kubernaut oncall does not answer since ${time} UTC; the list is as it was then.`;
  ended.hidden = false;
};
setInterval(read, REFRESH);
