// Starts reading a mailbox: what is new, everything, or the mails of some days.
import { field, h, select } from "./dom.js";
import { Refused, start } from "./api.js";
import { t } from "./language.js";
import { trying } from "./messages.js";

export function syncForm({ connection_id, account }, messages, started) {
  const mode = select("mode", [["incremental", t("sync.incremental")], ["full", t("sync.full")], ["range", t("sync.range")]]);
  const dated = (name) => h("input", { type: "date", name });
  const days = h("div.pair", { hidden: true }, field(t("filter.from"), dated("from_date")), field(t("filter.to"), dated("to_date")));
  const form = h("form.filter", { "aria-label": t("sync.of", { account: account.slice(0, 120) }) },
    field(t("sync.mode"), mode, { wide: true }), days, h("div.actions", {}, h("button.primary", { type: "submit" }, t("sync.go"))));
  mode.addEventListener("change", () => {
    days.hidden = mode.value !== "range";
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    await trying(messages, () => begin(form, connection_id, started))();
  });
  return form;
}

async function begin(form, connection_id, started) {
  const given = Object.fromEntries([...new FormData(form)].filter(([, value]) => value !== ""));
  const days = given.mode === "range" ? { from_date: given.from_date, to_date: given.to_date } : {};
  try {
    started(await start("/api/receipts/sync", { connection_id, mode: given.mode, ...days }));
  } catch (error) {
    if (!(error instanceof Refused && error.code === "job_active")) throw error;
    started(error.body.progress); // somebody else has started it: that one is shown
  }
}
