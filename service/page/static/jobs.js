// All jobs: filters that stay in the address, progress in the list, and for an operator first those that stand still.
import { code, field, h, select, setChildren, setText, update } from "./dom.js";
import { address } from "./api.js";
import { t, word } from "./language.js";
import { number, percent } from "./format.js";
import { isActive, isStuck, jobName, kindLabel, kindName, statusChip, whyWords } from "./job_words.js";
import { empty, failed, loading } from "./messages.js";
import { filterForm, heading, pages, row, table, tableBody } from "./parts.js";
import { Poller } from "./poll.js";
import { filter } from "./router.js";
import { since } from "./times.js";

const STATUSES = ["queued", "running", "paused", "completed", "cancelled", "failed"];

// One row, which is changed in its place: whoever stands on its link stays there.
class Row {
  constructor(columns, job, forOperator) {
    this.chip = h("span", {});
    this.bar = h("progress", { max: "100", "aria-label": t("progress.of", { kind: jobName(job) }) });
    this.done = h("span.numbers", {});
    this.why = h("span.clamp", {});
    const name = h("a.job-link", { href: `#/jobs/${job.job_id}` }, kindLabel(job.job_type), " ",
      h("span.number", {}, t("job.number", { id: String(job.job_id) })));
    this.element = row(columns, [name, ...(forOperator ? [code(job.business_id)] : []), this.chip,
      h("div.small-bar", {}, this.bar, this.done), this.why, since(job.created_at)]);
    this.show(job);
  }

  show(job) {
    const told = JSON.stringify([job.status, job.requested, job.processed, job.total, job.why, job.is_stale, job.wait_until]);
    if (told === this.told) return;
    this.told = told;
    update(this.chip, statusChip(job));
    if (job.total === null && isActive(job)) this.bar.removeAttribute("value");
    else this.bar.value = job.percent;
    setText(this.done, job.total === null ? number(job.processed)
      : `${percent(job.percent)} · ${t("figure.of", { done: job.processed, total: job.total })}`);
    update(this.why, job.why.reason === "ended" || job.why.reason === "running" ? [] : whyWords(job));
    this.element.classList.toggle("is-stuck", isStuck(job));
  }
}

// Whatever comes or goes around it, a row stays where it is, and the focus on it.
function place(body, rows) {
  for (const row of [...body.children]) if (!rows.includes(row)) row.remove();
  rows.forEach((row, index) => body.children[index] === row || body.insertBefore(row, body.children[index] ?? null));
}

class JobList {
  #rows = new Map();
  #stuckRows = new Map();

  constructor({ query, kinds, session }) {
    Object.assign(this, { query, kinds, forOperator: session.role === "operator" });
    this.columns = [[t("jobs.job"), "main"], ...(this.forOperator ? [[t("jobs.business"), "source"]] : []), [t("jobs.status"), "state"],
      [t("jobs.progress"), "bar"], [t("jobs.why"), "why"], [t("jobs.begun"), "date"]];
    this.stuck = h("section.stuck-jobs", { hidden: true, "aria-label": t("jobs.stuck") });
    this.list = h("div.list", {}, loading());
    const startable = [...kinds.values()].some((kind) => kind.may_start);
    this.element = h("div", {}, heading(t("jobs.title"), startable ? h("a.button.primary", { href: "#/start" }, t("jobs.start")) : null),
      this.#filter(), this.stuck, this.list, h("p.quiet.foot", {}, t("progress.refreshes")));
    const { status, kind, day, business, after } = query;
    const path = address("/api/jobs", { status, job_type: kind, from_date: day, to_date: day, business_id: business, after, limit: 50 });
    const often = { quick: 3_000, hidden: Infinity };
    this.pollers = [new Poller(path, (found) => this.#show(found), { ...often, refused: (error) => setChildren(this.list, failed(error)) })];
    if (this.forOperator) {
      const stuck = address("/api/jobs", { stuck: "true", business_id: business, limit: 50 });
      this.pollers.push(new Poller(stuck, (found) => this.#showStuck(found), often));
    }
    this.pollers.forEach((one) => one.start());
  }

  stop() {
    this.pollers.forEach((one) => one.stop());
  }

  #filter() {
    const { status, kind, day, business } = this.query;
    const kinds = [...this.kinds.keys()].map((name) => [name, kindName(name)]);
    return filterForm(t("jobs.filter"), [
      field(t("jobs.status"), select("status", [["", t("filter.all")], ...STATUSES.map((name) => [name, word("status", name)])], status)),
      field(t("jobs.kind"), select("kind", [["", t("filter.all")], ...kinds], kind)),
      field(t("jobs.day"), h("input", { type: "date", name: "day", value: day ?? "" })),
      this.forOperator ? field(t("jobs.business"), h("input", { type: "number", name: "business", min: "1", value: business ?? "", dir: "ltr" })) : null,
    ], (given) => filter(given));
  }

  #show({ jobs, next_after }) {
    if (!jobs.length) {
      const narrowed = Object.values(this.query).some(Boolean);
      update(this.list, empty("jobs", t(narrowed ? "jobs.none_so" : "jobs.none")), pages(next_after));
      return;
    }
    const rows = jobs.map((job) => this.#row(job));
    if (!this.body?.isConnected) {
      this.body = tableBody();
      this.pages = h("div", {});
      setChildren(this.list, table(t("jobs.title"), this.columns, this.body), this.pages);
    }
    update(this.pages, pages(next_after)); // another one for each job that has come
    place(this.body, rows);
  }

  #row(job, rows = this.#rows) {
    const known = rows.get(job.job_id);
    if (known) known.show(job);
    else rows.set(job.job_id, new Row(this.columns, job, this.forOperator));
    return rows.get(job.job_id).element;
  }

  #showStuck({ jobs }) {
    this.stuck.hidden = !jobs.length;
    const rows = jobs.map((job) => this.#row(job, this.#stuckRows));
    if (!this.stuckBody) {
      this.stuckBody = tableBody();
      setChildren(this.stuck, h("h2", {}, t("jobs.stuck")), table(t("jobs.stuck"), this.columns, this.stuckBody));
    }
    place(this.stuckBody, rows);
  }
}

export const jobs = (context) => ({ title: t("jobs.title"), view: new JobList(context) });
