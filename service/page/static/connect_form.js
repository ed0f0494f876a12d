// Connecting a mailbox over IMAP: the server logs in there before it answers.
import { field, h, select } from "./dom.js";
import { Refused, post } from "./api.js";
import { blameAll, fieldsOf, forgive } from "./field_errors.js";
import { t } from "./language.js";
import { Messages } from "./messages.js";
import { dialog } from "./parts.js";

const text = (name, more = {}) => h("input", { type: "text", name, dir: "ltr", spellcheck: "false", autocomplete: "off", autocapitalize: "none", ...more });
const ours = () => Intl.DateTimeFormat().resolvedOptions().timeZone ?? "UTC";

function fields() {
  return [
    field(t("connect.host"), text("host", { required: true, maxlength: "253", placeholder: "imap.example.com" }), { wide: true }),
    h("div.pair", {},
      field(t("connect.tls"), select("tls", [["tls", t("connect.tls.tls")], ["starttls", t("connect.tls.starttls")], ["none", t("connect.tls.none")]])),
      field(t("connect.port"), h("input", { type: "number", name: "port", required: true, min: "1", max: "65535", value: "993", dir: "ltr" }))),
    field(t("connect.user"), text("user", { required: true, maxlength: "320", autocomplete: "username" }), { wide: true }),
    field(t("connect.password"), h("input", { type: "password", name: "password", required: true, maxlength: "1000", dir: "ltr", autocomplete: "off" }), { wide: true, hint: t("connect.password_hint") }),
    h("details", {}, h("summary", {}, t("connect.more")), h("div.stack", {},
      field(t("connect.folder"), text("folder", { value: "INBOX", required: true, maxlength: "500" }), { wide: true }),
      h("div.pair", {},
        field(t("connect.currency"), text("currency", { maxlength: "3", placeholder: "ILS", pattern: "[A-Za-z]{3}" }), { hint: t("connect.currency_hint") }),
        field(t("connect.timezone"), text("timezone", { value: ours(), required: true }))),
      field(t("connect.dates"), select("dates", [["", t("connect.dates.near")], ["day-first", t("connect.dates.day_first")], ["month-first", t("connect.dates.month_first")]]), { wide: true }))),
  ];
}

export function connectForm(connected) {
  const messages = new Messages();
  const submit = h("button.primary", { type: "submit" }, t("connect.go"));
  const form = h("form.stack", {}, fields(), messages.element, h("div.actions.end", {},
    h("button.plain", { type: "button", click: () => box.close() }, t("ask.no")), submit));
  const box = dialog(t("connect.title"), h("p.quiet", {}, t("connect.lead")), form);
  form.elements.tls.addEventListener("change", ({ target }) => {
    form.elements.port.value = target.value === "tls" ? "993" : "143";
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const given = Object.fromEntries([...new FormData(form)].filter(([, value]) => value !== ""));
    if (given.currency) given.currency = given.currency.toUpperCase();
    fieldsOf(form).forEach(forgive);
    messages.clear();
    submit.disabled = true;
    submit.textContent = t("connect.trying");
    try {
      const made = await post("/api/connections", { provider: "imap", ...given, port: Number(given.port) });
      box.close();
      connected(made);
    } catch (error) {
      if (error instanceof Refused && blameAll(fieldsOf(form), form, error.body.fields ?? {})) messages.bad(t("error.invalid_input"));
      else messages.error(error);
    } finally {
      submit.disabled = false;
      submit.textContent = t("connect.go");
    }
  });
}
