// Moments, each as a <time> that a program can read. What is told from now on ("3 minutes ago") goes on by itself.
import { h, setText } from "./dom.js";
import { ago, exact, moment } from "./format.js";

export const at = (iso, words = moment) => h("time", { datetime: iso }, words(iso));
export const since = (iso) => h("time.since", { datetime: iso, title: exact(iso) }, ago(iso));

function tick() {
  if (document.hidden) return;
  for (const element of document.querySelectorAll("time.since")) setText(element, ago(element.dateTime));
}

setInterval(tick, 1_000);
document.addEventListener("visibilitychange", tick);
