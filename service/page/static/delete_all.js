// Deleting all receipts: two steps in one dialog. `begun(job)` when it was started, or is active already.
// `unsure(settled)` when it is closed before the server has answered: `settled` is fulfilled once nothing more is sent.
import { field, h, setChildren } from "./dom.js";
import { Refused, get, start } from "./api.js";
import { rich, t } from "./language.js";
import { Messages, loading } from "./messages.js";
import { dialog } from "./parts.js";

const WORD = "DELETE";

export function deleteAll(begun, unsure) {
  const closed = new AbortController();
  let asked = null; // what was sent, until it is answered
  const messages = new Messages();
  const panel = h("div", {}, loading());
  const box = dialog(t("delete.title"), panel, messages.element);
  const keep = () => h("button.plain", { type: "button", click: () => box.close() }, t("delete.keep"));
  box.addEventListener("close", () => {
    closed.abort();
    if (asked) unsure(asked);
  });
  const send = async () => {
    const sent = start("/api/receipts/delete_all", { confirm: WORD }, { signal: closed.signal }).catch(activeOne);
    asked = sent.catch(() => {});
    try {
      const job = await sent;
      if (closed.signal.aborted) return;
      asked = null;
      box.close();
      begun(job);
    } catch (error) {
      if (closed.signal.aborted) return;
      if (error instanceof Refused) asked = null;
      throw error;
    }
  };
  get("/api/receipts/count").then((counts) => first(panel, counts, keep, () => second(panel, messages, keep, send)), (error) => {
    setChildren(panel, h("div.actions.end", {}, keep()));
    messages.error(error);
  });
}

// One that is active already is as good as started.
function activeOne(error) {
  if (error instanceof Refused && error.code === "job_active") return error.body.progress;
  throw error;
}

function first(panel, counts, keep, next) {
  const known = counts.receipts !== null;
  setChildren(panel,
    h("p", {}, known ? t("delete.sure_of", { n: counts.receipts }) : t("delete.sure")),
    known ? h("p", {}, t("delete.attachments", { n: counts.attachments })) : null,
    h("p.quiet", {}, t("delete.later_stay")),
    h("div.actions.end", {}, keep(), h("button.danger", { type: "button", click: next }, t("delete.next"))));
}

function second(panel, messages, keep, send) {
  const typed = h("input.mono", { type: "text", name: "confirm", dir: "ltr", autocomplete: "off", autocapitalize: "characters", spellcheck: "false" });
  const submit = h("button.danger", { type: "submit", disabled: true }, t("receipts.delete_all"));
  const form = h("form.stack", {}, h("p", {}, rich("delete.type", { word: h("bdi.code", { dir: "ltr" }, WORD) })),
    field(t("delete.label", { word: WORD }), typed), h("div.actions.end", {}, keep(), submit));
  typed.addEventListener("input", () => {
    submit.disabled = typed.value.trim() !== WORD;
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (submit.disabled) return;
    submit.disabled = true;
    try {
      await send();
    } catch (error) {
      submit.disabled = false;
      messages.error(error);
    }
  });
  setChildren(panel, form);
  typed.focus();
}
