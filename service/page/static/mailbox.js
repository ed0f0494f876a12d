// The mailboxes: connecting one, reading it, and what became of each mail.
import { bdi, button, code, h, scrollable, setChildren } from "./dom.js";
import { get, post, remove } from "./api.js";
import { rich, t } from "./language.js";
import { chip, icon } from "./icons.js";
import { isActive, isStale } from "./job_words.js";
import { JobPanel } from "./job_panel.js";
import { connectForm } from "./connect_form.js";
import { syncForm } from "./sync_form.js";
import { Mails } from "./mails.js";
import { Messages, empty, failed, loading, trying } from "./messages.js";
import { ask, heading } from "./parts.js";
import { at } from "./times.js";

class Mailbox {
  constructor({ query, kinds, session }) {
    Object.assign(this, { query, kinds });
    this.mayWrite = ["owner", "admin"].includes(session.role);
    this.messages = new Messages();
    this.boxes = h("div.list", {}, loading());
    this.job = h("div", {});
    this.mails = new Mails(query);
    const connect = this.mayWrite ? button(t("mailbox.connect"), () => this.#connect(), { kind: "primary" }) : null;
    this.element = h("div", {}, heading(t("mailbox.title"), connect), this.messages.element, this.job, this.boxes, this.mails.element);
    if (this.mayWrite) this.#load();
    else setChildren(this.boxes, h("p.quiet", {}, t("mailbox.writers_only")));
    this.#findJob();
  }

  stop() {
    this.stopped = true;
    this.panel?.stop();
    this.mails.stop();
  }

  #load = async () => {
    try {
      const { connections } = await get("/api/connections");
      if (this.stopped) return;
      setChildren(this.boxes, connections.length ? connections.map((one) => this.#card(one))
        : empty("mail", t("mailbox.none"), h("p", {}, t("mailbox.none_more"))));
    } catch (error) {
      if (!this.stopped) setChildren(this.boxes, failed(error, this.#load));
    }
  };

  #card(one) {
    const works = one.status === "connected";
    const fact = (name, value) => h("div.fact", {}, h("dt", {}, t(`connection.${name}`)), h("dd", {}, value));
    const { host, port, folder, currency, timezone } = one.settings;
    return h("section.card.mailbox", { "aria-label": t("mailbox.of", { account: one.account.slice(0, 120) }) },
      h("div.card-head", {}, h("h2.card-title", {}, bdi(one.account)),
        chip(works ? "completed" : "failed", t(works ? "connection.connected" : "connection.needs_reconnect"))),
      h("dl.facts", {}, fact("server", code(`${host}:${port}`)), fact("folder", bdi(folder)), fact("timezone", code(timezone)),
        fact("currency", currency ? code(currency) : t("connection.no_currency")), fact("since", at(one.created_at))),
      one.last_error ? h("p.note.is-failed", {}, icon("failed"), scrollable(h("span", {}, t("connection.last_error"), " ", bdi(one.last_error)))) : null,
      works ? syncForm(one, this.messages, (job) => this.#follow(job)) : null,
      h("div.card-foot", {}, h("p.quiet", {}, t("connection.read_only")), h("div.actions", {},
        button(t("connection.test"), trying(this.messages, () => this.#test(one))),
        button(t("connection.delete"), trying(this.messages, () => this.#delete(one)), { kind: "quiet-danger" }))));
  }

  #connect() {
    connectForm(({ server_said }) => {
      this.messages.good(t("mailbox.connected"), " ", t("mailbox.server_said"), " ", bdi(server_said));
      this.#load();
    });
  }

  async #test(one) {
    try {
      const { server_said } = await post(`/api/connections/${one.connection_id}/test`);
      this.messages.good(t("mailbox.works"), " ", t("mailbox.server_said"), " ", bdi(server_said));
    } finally {
      this.#load();
    }
  }

  async #delete(one) {
    const text = h("span", {}, rich("mailbox.delete_text", { account: one.account }));
    if (!(await ask(t("mailbox.delete_title"), text, t("connection.delete")))) return;
    await remove(`/api/connections/${one.connection_id}`);
    this.messages.good(t("mailbox.deleted"));
    await this.#load();
    this.element.querySelector("h1").focus();
  }

  async #findJob() {
    const { job } = await get("/api/receipts/sync/status").catch(() => ({ job: null }));
    if (job && !this.stopped && (isActive(job) || isStale(job))) this.#follow(job);
  }

  #follow(job) {
    if (this.stopped) return;
    this.panel?.stop();
    this.panel = new JobPanel(job.job_id, { kinds: this.kinds, ended: (ended) => this.#ended(ended), anew: () => this.boxes.querySelector("select")?.focus() });
    setChildren(this.job, this.panel.element);
    this.panel.show(job);
    this.panel.start();
  }

  #ended(job) {
    if (job.status === "completed") this.messages.good(t("mailbox.synced", { n: job.stats.saved_receipts ?? 0 }));
    this.mails.load();
    if (this.mayWrite) this.#load();
  }
}

export const mailbox = (context) => ({ title: t("mailbox.title"), view: new Mailbox(context) });
