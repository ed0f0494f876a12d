// Deleting all receipts: two steps in one dialog. `begun(job)` when it was started, or is active already.
import { field, h, setChildren } from "./dom.js";
import { Refused, get, start } from "./api.js";
import { rich, t } from "./language.js";
import { Messages, loading } from "./messages.js";
import { dialog } from "./parts.js";

const WORD = "DELETE";

export function deleteAll(begun) {
  const messages = new Messages();
  const panel = h("div", {}, loading());
  const box = dialog(t("delete.title"), panel, messages.element);
  const keep = () => h("button.plain", { type: "button", click: () => box.close() }, t("delete.keep"));
  const started = (job) => {
    box.close();
    begun(job);
  };
  get("/api/receipts/count").then((counts) => first(panel, counts, keep, () => second(panel, messages, keep, started)), (error) => {
    setChildren(panel, h("div.actions.end", {}, keep()));
    messages.error(error);
  });
}

function first(panel, counts, keep, next) {
  const known = counts.receipts !== null;
  setChildren(panel,
    h("p", {}, known ? t("delete.sure_of", { n: counts.receipts }) : t("delete.sure")),
    known ? h("p", {}, t("delete.attachments", { n: counts.attachments })) : null,
    h("p.quiet", {}, t("delete.later_stay")),
    h("div.actions.end", {}, keep(), h("button.danger", { type: "button", click: next }, t("delete.next"))));
}

function second(panel, messages, keep, started) {
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
      started(await start("/api/receipts/delete_all", { confirm: WORD }));
    } catch (error) {
      if (error instanceof Refused && error.code === "job_active") return started(error.body.progress);
      submit.disabled = false;
      messages.error(error);
    }
  });
  setChildren(panel, form);
  typed.focus();
}
