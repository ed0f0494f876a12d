// What a screen reader says by itself: changes of status and each tenth of the way, not every look at the server.
import { t, word } from "./language.js";
import { h, setText } from "./dom.js";
import { number } from "./format.js";

// One region for the whole page, which is there from the start, as screen readers want it; and one in each dialog, as
// what stands behind an open dialog is not heard.
export function announce(text) {
  setText(document.querySelector("dialog[open] .live") ?? document.getElementById("live"), text);
}

export const region = () => h("div.live.unseen", { role: "status", "aria-live": "polite", "aria-atomic": "true" });

// Follows one job, and speaks when there is something to say. The first look is silent: the view itself says it.
export class Speaker {
  #status = null;
  #tenth = 0;

  tell(job, name) {
    const status = job.status === "running" && job.requested ? `asked_${job.requested}` : job.status;
    const tenth = Math.floor(job.percent / 10);
    if (this.#status !== null && status !== this.#status) {
      announce(t("live.status", { kind: name, status: word("status", status) }));
    } else if (this.#status !== null && tenth > this.#tenth) {
      announce(t("live.percent", { kind: name, percent: number(tenth * 10) }));
    }
    this.#status = status;
    this.#tenth = Math.max(tenth, this.#tenth);
  }
}
