// Starting a job of any kind: one that the page does not know gets a form from the schema of its params.
import { h } from "./dom.js";
import { Refused, start as begin } from "./api.js";
import { has, t } from "./language.js";
import { duration } from "./format.js";
import { kindLabel, kindName } from "./job_words.js";
import { startAddress } from "./job_panel.js";
import { Messages, empty } from "./messages.js";
import { heading } from "./parts.js";
import { go } from "./router.js";
import { schemaForm } from "./schema_form.js";

const nothing = () => {};

function choice(kinds) {
  const offered = kinds.filter((kind) => kind.may_start);
  const list = h("ul.kinds", {}, offered.map((kind) => h("li", {}, h("a.card.kind", { href: startAddress(kind.job_type) },
    h("strong", {}, kindLabel(kind.job_type)),
    has(`kind_lead.${kind.job_type}`) ? h("span.quiet", {}, t(`kind_lead.${kind.job_type}`)) : null))));
  return h("div", {}, heading(t("start.title")), offered.length ? list : empty("jobs", t("start.none")));
}

function form(kind) {
  const messages = new Messages();
  const { element, read, refuse } = schemaForm(kind.params_schema, kind.confirm);
  const submit = h("button.primary", { type: "submit" }, t("start.go"));
  const box = h("form.card.stack", { "aria-label": kindName(kind.job_type) }, element,
    kind.cooldown_seconds ? h("p.quiet", {}, t("start.cooldown", { time: duration(kind.cooldown_seconds) })) : null,
    messages.element, h("div.actions", {}, submit));
  box.addEventListener("submit", async (event) => {
    event.preventDefault();
    const given = read();
    if (!given) return;
    messages.clear();
    submit.disabled = true;
    try {
      const { params, confirm } = given;
      const { job_id } = await begin("/api/jobs", { job_type: kind.job_type, params, ...(confirm ? { confirm } : {}) });
      if (box.isConnected) go(`jobs/${job_id}`);
    } catch (error) {
      if (!box.isConnected) return; // the reader has gone on
      if (error instanceof Refused && error.code === "job_active") go(`jobs/${error.body.job_id}`);
      else if (error instanceof Refused && refuse(error.body.fields ?? {})) messages.bad(t("error.invalid_input"));
      else messages.error(error);
    } finally {
      submit.disabled = false;
    }
  });
  return h("div", {}, h("p.crumb", {}, h("a", { href: "#/start" }, t("start.title"))),
    h("header.view-head", {}, h("h1", { tabindex: "-1" }, kindLabel(kind.job_type))), box);
}

export function start({ path, kinds }) {
  const kind = kinds.get(path[1]);
  if (!path[1]) return { title: t("start.title"), view: { element: choice([...kinds.values()]), stop: nothing } };
  if (!kind?.may_start) return { title: t("start.title"), view: { element: h("div", {}, heading(t("start.title")), empty("jobs", t("start.unknown"))), stop: nothing } };
  return { title: kindName(kind.job_type), view: { element: form(kind), stop: nothing } };
}
