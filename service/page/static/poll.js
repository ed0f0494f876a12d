// Looks at the server again and again: quickly while something moves and somebody watches, rarely or not at all otherwise.
import { said } from "./dom.js";
import { Refused, Unreachable, call } from "./api.js";
import { t } from "./language.js";
import { reached, trouble } from "./reach.js";

const QUICK = 1_500;
const HIDDEN = 15_000;
const SECONDS = 10; // for an answer

// Milliseconds until the next look. `still`: how many looks in a row have brought nothing new.
function delay({ failures, still, retryAfter = null, quick }) {
  if (failures) return Math.max((retryAfter ?? 0) * 1000, Math.min(QUICK * 2 ** failures, 30_000));
  return still < 20 ? quick : still < 60 ? quick * 3 : quick * 10;
}

export class Poller {
  #timer = null;
  #stop = new AbortController();
  #etag = null;
  #last = null;
  #state = { failures: 0, still: 0 };
  #asking = null; // of the newest look; an older one's answer is out of date, and dropped

  // `show(body)` gets what is new and returns false when that was the last; `refused(error)` what will not change.
  // `hidden`: milliseconds between two looks while nobody watches; Infinity: none until somebody does.
  // `tells(error)`: whether a refusal has, beside what is wrong, all that there is to show.
  constructor(path, show, { refused = () => {}, quick = QUICK, hidden = HIDDEN, tells = () => false } = {}) {
    Object.assign(this, { path, show, refused, quick, hidden, tells });
    document.addEventListener("visibilitychange", this.#seen, { signal: this.#stop.signal });
    addEventListener("online", this.#seen, { signal: this.#stop.signal });
  }

  start() {
    this.look();
    return this;
  }

  stop() {
    clearTimeout(this.#timer);
    this.#stop.abort();
  }

  // Something was done: look at once, and closely for a while. What was asked before that is not waited for.
  look = async () => {
    this.#state.still = 0;
    await this.#round();
  };

  #seen = () => {
    if (!document.hidden) this.look();
    else if (this.#timer !== null) this.#wait();
  };

  async #round() {
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#asking?.abort();
    const asking = (this.#asking = new AbortController());
    const signal = AbortSignal.any([asking.signal, this.#stop.signal]);
    if (signal.aborted) return;
    let goesOn = true; // after an error in show(), too
    try {
      goesOn = await this.#ask(signal);
    } finally {
      if (goesOn && !signal.aborted) this.#wait();
    }
  }

  #wait() {
    clearTimeout(this.#timer);
    const wait = Math.max(delay({ ...this.#state, quick: this.quick }), document.hidden ? this.hidden : 0);
    if (wait < Infinity) this.#timer = setTimeout(() => this.#round(), wait);
  }

  async #ask(signal) {
    try {
      const { body, etag } = await call("GET", this.path, { etag: this.#etag, signal, seconds: SECONDS }).catch(this.#told);
      if (signal.aborted) return false;
      reached();
      this.#etag = etag;
      // A 304 says that nothing has changed but the time; what is shown of that moves on all the same.
      const told = body ?? this.#last;
      this.#state = { failures: 0, still: body === null ? this.#state.still + 1 : 0 };
      this.#last = told;
      return this.show(told, body !== null) !== false;
    } catch (error) {
      if (signal.aborted) return false;
      return this.#failed(error);
    }
  }

  #told = (error) => {
    if (error instanceof Refused && this.tells(error)) return { body: error.body, etag: null };
    throw error;
  };

  #failed(error) {
    if (error instanceof Refused && error.status < 500 && error.status !== 429) {
      this.refused(error);
      return false;
    }
    if (!(error instanceof Refused || error instanceof Unreachable)) throw error;
    this.#state = { ...this.#state, failures: Math.min(this.#state.failures + 1, 5), retryAfter: error.retryAfter };
    if (error instanceof Unreachable) trouble(t("reach.gone"));
    else trouble(error.status === 503 ? said(error.message) : t("reach.error"));
    return true;
  }
}
