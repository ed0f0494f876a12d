// What the page says after something was done, or refused.
import { h, said, scrollable, setChildren } from "./dom.js";
import { has, rich, t } from "./language.js";
import { Outdated, Refused, Unreachable } from "./api.js";
import { announce } from "./live.js";
import { duration } from "./format.js";
import { icon } from "./icons.js";

// The page's sentence of an error's code, and the server's own words beside it.
export function sentencesOf(error) {
  if (error instanceof Unreachable) return [t("error.unreachable")];
  if (error instanceof Outdated) return [t("error.outdated")];
  if (!(error instanceof Refused)) throw error;
  const known = `error.${error.code}`;
  const sentence = t(has(known) ? known : "error.other");
  const parts = [sentence];
  if (error.retryAfter && [429, 503].includes(error.status)) parts.push(" ", rich("error.again_in", { time: duration(error.retryAfter) }));
  if (!["unauthorized", "other_session", "rate_limited"].includes(error.code)) parts.push(" ", h("span.said", {}, t("error.said"), " ", said(error.message)));
  return parts.flat();
}

// A place for one message at a time.
export class Messages {
  element = h("div.messages", {});

  #put(kind, sign, children) {
    const close = h("button.close", { type: "button", "aria-label": t("message.close"), click: () => this.clear() }, "×");
    const text = scrollable(h("p", {}, ...children));
    setChildren(this.element, h(`div.message.is-${kind}`, {}, icon(sign), text, close));
    announce(text.textContent);
  }

  good = (...children) => this.#put("good", "completed", children);
  bad = (...children) => this.#put("bad", "stuck", children);
  error = (error) => this.bad(...sentencesOf(error));
  clear = () => {
    setChildren(this.element);
    announce(""); // or the same message, put again, would not be heard
  };
}

// Runs what a button does; what is refused is shown there.
export const trying = (messages, act) => async (...given) => {
  try {
    messages.clear();
    return await act(...given);
  } catch (error) {
    messages.error(error);
    return null;
  }
};

// Where a list would be.
export const empty = (sign, title, ...more) => h("div.empty", {}, icon(sign), h("p.empty-title", {}, title), ...more);
export const loading = () => h("p.loading", {}, t("loading"));
export const failed = (error, again) => h("div.empty.is-bad", {}, icon("stuck"), h("p.empty-title", {}, t("error.title")),
  h("p", {}, ...sentencesOf(error)), again ? h("button.plain", { type: "button", click: again }, t(error instanceof Outdated ? "error.reload" : "error.again")) : null);
