// The proof on the page of one event: fetches the receipt, verifies it here, and shows each step.

import { parseKey, verify } from "./receipt.js";

const STORED_KEY = "kubernaut.audit.vkey";
const WORDS = { good: "passed", bad: "failed", open: "not checked" };

const section = document.getElementById("proof");
const verdict = document.getElementById("verdict");
const list = document.getElementById("steps");
const ownKey = document.getElementById("own-key");
const keyProblem = document.getElementById("own-key-problem");
let runs = 0;

function show(state, text, steps = []) {
  section.dataset.state = state;
  verdict.textContent = text;
  list.replaceChildren(
    ...steps.map(({ title, state, detail }) => {
      const item = document.createElement("li");
      item.dataset.state = state;
      const head = document.createElement("strong");
      head.textContent = `${title}: ${WORDS[state]}`;
      const more = document.createElement("span");
      more.textContent = detail;
      item.append(head, more);
      return item;
    }),
  );
}

function conclude(steps, isOwnKey) {
  const has = (state) => steps.some((step) => step.state === state);
  const failed = steps.find((step) => step.state === "bad");
  if (failed) return ["bad", `Not proven. ${failed.detail}`, steps];
  if (has("open")) return ["open", "Proven, but not everything could be checked; see below.", steps];
  const trust = isOwnKey ? "your own key" : "the key that this server names";
  return ["good", `Proven: the event is unchanged in the signed ledger. Trusted: ${trust}.`, steps];
}

async function run() {
  const own = ownKey.value.trim();
  keyProblem.textContent = "";
  try {
    if (own) parseKey(own);
  } catch (error) {
    keyProblem.textContent = `That is no public key: ${error.message}`;
    return;
  }
  own ? localStorage.setItem(STORED_KEY, own) : localStorage.removeItem(STORED_KEY);
  show("wait", "Verifying …");
  const number = ++runs;
  const result = await proof(own);
  if (number === runs) show(...result); // another key may have been given meanwhile
}

async function proof(own) {
  const { receiptUrl, eventId, digest, keys, witnesses } = section.dataset;
  let response;
  try {
    response = await fetch(receiptUrl, { cache: "no-store" });
    const answer = await response.json();
    if (!response.ok) {
      const isTampering = answer.type?.endsWith("/ledger-inconsistent");
      return [isTampering ? "bad" : "open", `Not proven. ${answer.detail}`];
    }
    if (answer.detail) return ["open", `Not proven. ${answer.detail}`];
    const trusted = own ? [own] : keys.split(" ").filter(Boolean);
    const steps = await verify(answer, { eventId, digest }, trusted, witnesses.split(" ").filter(Boolean));
    return conclude(steps, Boolean(own));
  } catch (error) {
    return ["open", `Not proven: the receipt could not be read (${response?.status ?? "no answer"}). ${error.message}`];
  }
}

ownKey.value = localStorage.getItem(STORED_KEY) ?? "";
document.getElementById("verify-again").addEventListener("click", run);
run();
