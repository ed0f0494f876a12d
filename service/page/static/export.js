// Starts an export; the job's own view has the link to its file.
import { field, h, select } from "./dom.js";
import { Refused, start } from "./api.js";
import { t } from "./language.js";
import { Messages } from "./messages.js";
import { dialog } from "./parts.js";
import { go } from "./router.js";

export function exportDialog({ from, to }) {
  const messages = new Messages();
  const dated = (name, value) => h("input", { type: "date", name, value: value ?? "" });
  const form = h("form.stack", {},
    field(t("export.format"), select("format", [["csv", t("export.csv")], ["jsonl", t("export.jsonl")]])),
    h("div.pair", {}, field(t("filter.from"), dated("from_date", from)), field(t("filter.to"), dated("to_date", to))),
    messages.element,
    h("div.actions.end", {}, h("button.plain", { type: "button", click: () => box.close() }, t("ask.no")),
      h("button.primary", { type: "submit" }, t("export.go"))));
  const box = dialog(t("export.title"), h("p.quiet", {}, t("export.lead")), form);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const params = Object.fromEntries([...new FormData(form)].filter(([, value]) => value));
    let job_id;
    try {
      ({ job_id } = await start("/api/jobs", { job_type: "export_receipts", params }));
    } catch (error) {
      if (!(error instanceof Refused && error.code === "job_active")) return messages.error(error);
      ({ job_id } = error.body);
    }
    if (!form.isConnected) return; // closed meanwhile
    box.close();
    go(`jobs/${job_id}`);
  });
}
