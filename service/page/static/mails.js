// What became of each mail, and why. Nothing that a mail says is kept, so it is named by its day and its number.
import { code, field, h, select, setChildren } from "./dom.js";
import { address, get } from "./api.js";
import { label, t, word } from "./language.js";
import { number } from "./format.js";
import { chip } from "./icons.js";
import { empty, failed, loading } from "./messages.js";
import { filterForm, pages, row, table, tableBody } from "./parts.js";
import { filter } from "./router.js";
import { at } from "./times.js";

const STATES = ["receipt", "not_receipt", "duplicate", "unreadable", "pending"];
const SIGNS = { receipt: "completed", not_receipt: "cancelled", duplicate: "paused", unreadable: "failed", pending: "queued" };

export class Mails {
  constructor(query) {
    this.query = query;
    this.list = h("div.list", {}, loading());
    const states = select("state", [["", t("mails.all")], ...STATES.map((state) => [state, word("mail", state)])], query.state);
    this.element = h("section", { "aria-labelledby": "mails-title" }, h("h2", { id: "mails-title" }, t("mails.title")),
      h("p.quiet", {}, t("mails.lead")),
      filterForm(t("mails.filter"), [field(t("mails.state"), states)], ({ state }) => filter({ state })), this.list);
    this.load();
  }

  stop() {
    this.stopped = true;
  }

  load = async () => {
    try {
      const { state, after } = this.query;
      const found = await get(address("/api/receipts/sync/messages", { state, after, limit: 50 }));
      if (this.stopped) return;
      setChildren(this.list, found.messages.length ? this.#table(found.messages)
        : empty("mail", t(state || after ? "mails.none_so" : "mails.none")), pages(found.next_after));
    } catch (error) {
      if (!this.stopped) setChildren(this.list, failed(error, this.load));
    }
  };

  #table(mails) {
    const columns = [[t("mails.received"), "date"], [t("mails.taken_for"), "state"], [t("mails.why"), "main"],
      [t("mails.decided_by"), "source"], [t("mails.number"), "amount"]];
    return table(t("mails.title"), columns, tableBody(mails.map((mail) => row(columns, [
      at(mail.received_at),
      chip(SIGNS[mail.state] ?? "queued", word("mail", mail.state)),
      mail.reason ? label("reason", mail.reason) : "–",
      mail.rule ? label("rule", mail.rule) : "–",
      h("span", {}, mail.receipt_id ? h("span.quiet", {}, t("mails.receipt", { id: String(mail.receipt_id) }), " · ") : null, code(number(mail.uid))),
    ]))));
  }
}
