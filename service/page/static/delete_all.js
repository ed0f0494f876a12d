// Deleting all receipts: two steps in one dialog. → the job, or null when somebody thought better of it.
import { field, h, setChildren } from "./dom.js";
import { Refused, get, start } from "./api.js";
import { rich, t } from "./language.js";
import { Messages } from "./messages.js";
import { dialog } from "./parts.js";

const WORD = "DELETE";

export async function deleteAll() {
  const counts = await get("/api/receipts/count");
  return new Promise((resolve) => {
    let job = null;
    const panel = h("div", {});
    const box = dialog(t("delete.title"), panel);
    box.addEventListener("close", () => resolve(job));
    const keep = () => h("button.plain", { type: "button", click: () => box.close() }, t("delete.keep"));
    const started = (made) => {
      job = made;
      box.close();
    };
    first(panel, counts, keep, () => second(panel, keep, started));
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

function second(panel, keep, started) {
  const messages = new Messages();
  const typed = h("input.mono", { type: "text", name: "confirm", dir: "ltr", autocomplete: "off", autocapitalize: "characters", spellcheck: "false" });
  const submit = h("button.danger", { type: "submit", disabled: true }, t("receipts.delete_all"));
  const form = h("form.stack", {}, h("p", {}, rich("delete.type", { word: h("bdi.code", { dir: "ltr" }, WORD) })),
    field(t("delete.label", { word: WORD }), typed), messages.element, h("div.actions.end", {}, keep(), submit));
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
