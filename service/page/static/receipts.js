// The receipts: the list by pages, what happens to all of them, and the job that does it.
import { bdi, button, code, field, h, setChildren } from "./dom.js";
import { address, get } from "./api.js";
import { t } from "./language.js";
import { day, money } from "./format.js";
import { isActive, isStale } from "./job_words.js";
import { Messages, empty, failed, loading, trying } from "./messages.js";
import { load } from "./modules.js";
import { filterForm, heading, openLink, pages, row, table, tableBody } from "./parts.js";
import { Poller } from "./poll.js";
import { filter } from "./router.js";
import { at } from "./times.js";

const LIMIT = 25;

class Receipts {
  messages = new Messages();

  constructor({ query, kinds }) {
    Object.assign(this, { query, kinds });
    this.count = h("p.count", {}, " ");
    this.job = h("div", {});
    this.list = h("div.list", {}, loading());
    this.may = (kind) => kinds.get(kind)?.may_start;
    this.element = h("div", {}, heading(t("receipts.title"), this.#actions()), this.count, this.messages.element, this.job,
      this.#filter(), this.list);
    this.#load();
    this.#findJob();
  }

  stop() {
    this.stopped = true;
    this.panel?.stop();
    this.looking?.stop();
  }

  #actions() {
    return [
      this.may("export_receipts") ? button(t("receipts.export"), this.#export) : null,
      this.may("delete_receipts") ? button(t("receipts.delete_all"), this.#delete, { kind: "quiet-danger" }) : null,
    ];
  }

  #filter() {
    const dated = (name) => h("input", { type: "date", name, value: this.query[name] ?? "" });
    const clear = this.query.from || this.query.to
      ? button(t("filter.clear"), () => filter({ from: "", to: "" }), { kind: "link" }) : null;
    return filterForm(t("receipts.filter"), [field(t("filter.from"), dated("from")), field(t("filter.to"), dated("to"))],
      ({ from, to }) => filter({ from, to }), clear);
  }

  #load = async () => {
    const days = { from_date: this.query.from, to_date: this.query.to };
    try {
      const [found, counts] = await Promise.all([
        get(address("/api/receipts", { ...days, limit: LIMIT, after: this.query.after })),
        get(address("/api/receipts/count", days)),
      ]);
      if (this.stopped) return;
      this.count.textContent = counts.receipts === null ? t("receipts.many") : t("receipts.count", { n: counts.receipts });
      setChildren(this.list, found.receipts.length ? this.#table(found.receipts) : this.#empty(), pages(found.next_after));
    } catch (error) {
      if (!this.stopped) setChildren(this.list, failed(error, this.#load));
    }
  };

  #empty() {
    if (this.query.from || this.query.to) return empty("receipt", t("receipts.none_then"));
    return empty("receipt", t("receipts.none"), h("p", {}, t("receipts.none_more")),
      h("p", {}, h("a.button.plain", { href: "#/mailbox" }, t("receipts.to_mailbox"))));
  }

  #table(receipts) {
    const columns = [[t("receipt.date"), "date"], [t("receipt.vendor"), "main"], [t("receipt.amount"), "amount"],
      [t("receipt.source"), "source"], [t("receipt.file"), "file"]];
    const rows = receipts.map((receipt) => row(columns, [
      at(receipt.received_at, day),
      h("span.clamp", {}, bdi(receipt.vendor)),
      h("bdi.money", {}, money(receipt.amount, receipt.currency)),
      h("span.clamp", {}, code(receipt.source)),
      receipt.has_file ? this.#file(receipt) : h("span.quiet", {}, t("receipt.no_file")),
    ]));
    return table(t("receipts.title"), columns, tableBody(rows), "table.compact");
  }

  #file(receipt) {
    const open = trying(this.messages, () => openLink(() => get(`/api/receipts/${receipt.id}/file`)));
    const name = t("receipt.open_of", { vendor: receipt.vendor.slice(0, 80) });
    return button(t("receipt.open"), open, { kind: "link", "aria-label": name });
  }

  // Dialogs and the panel of a job are fetched when they are needed: most who look at receipts need none of them.
  #export = trying(this.messages, async () => {
    const { exportDialog } = await load("export");
    if (!this.stopped) exportDialog(this.query);
  });

  #delete = trying(this.messages, async () => {
    const { deleteAll } = await load("delete_all");
    if (!this.stopped) deleteAll((job) => this.#follow(job), (settled) => this.#unsure(settled));
  });

  // It was sent, and then the dialog was closed: only the server knows whether it has begun.
  async #unsure(settled) {
    if (this.stopped) return;
    this.messages.bad(t("delete.unsure"));
    await settled;
    if (this.stopped) return;
    this.looking?.stop();
    this.looking = new Poller("/api/receipts/delete-job/status", () => {
      this.#findJob();
      this.#load();
      return false;
    }).start();
  }

  // The server knows what is going on; the browser remembers nothing of it.
  async #findJob() {
    const { job } = await get("/api/receipts/delete-job/status").catch(() => ({ job: null }));
    const last = job ?? (await get("/api/jobs?job_type=delete_receipts&limit=1").catch(() => ({ jobs: [] }))).jobs[0];
    if (last && !this.stopped && (isActive(last) || isStale(last))) this.#follow(last);
  }

  async #follow(job) {
    const { JobPanel } = await load("job_panel").catch((error) => {
      this.messages.error(error);
      return {};
    });
    if (this.stopped || !JobPanel) return;
    this.panel?.stop();
    let status = job.status;
    const shown = (now) => {
      if (now.status === "paused" && status !== "paused") this.#load(); // as far as it has come
      ({ status } = now);
    };
    this.panel = new JobPanel(job.job_id, { kinds: this.kinds, shown, ended: (ended) => this.#ended(ended), anew: this.#delete });
    setChildren(this.job, this.panel.element);
    this.panel.show(job);
    this.panel.start();
  }

  #ended(job) {
    const told = { n: job.succeeded };
    if (job.status === "completed" && !job.failed_count) this.messages.good(t("receipts.deleted", told));
    else if (job.status === "completed") this.messages.bad(t("receipts.deleted", told), " ", t("receipts.not_deleted", { n: job.failed_count }));
    else if (job.status === "cancelled") this.messages.good(t("receipts.delete_cancelled", told));
    this.#load();
  }
}

export const receipts = (context) => ({ title: t("receipts.title"), view: new Receipts(context) });
