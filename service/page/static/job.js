// One job: how far it is, why it is where it is, and its way until now.
import { h, said, setChildren, update } from "./dom.js";
import { address, get } from "./api.js";
import { t } from "./language.js";
import { isActive, isStuck, jobName, kindLabel, remedyWords, whyWords } from "./job_words.js";
import { icon } from "./icons.js";
import { JobPanel } from "./job_panel.js";
import { failed } from "./messages.js";
import { timeline } from "./timeline.js";
import { at } from "./times.js";

const LOOK_AGAIN = 10_000; // at what stands beside the progress

class JobView {
  #asked = "";
  #askedAt = 0;
  #asking = Promise.resolve(); // one after the other: an older answer does not undo a newer one
  #events = [];

  constructor({ path, kinds, lastList }) {
    this.path = `/api/jobs/${Number(path[1]) || 0}`;
    this.heading = h("h1", { tabindex: "-1" }, t("job.title", { id: path[1] }));
    this.why = h("section.why", { "aria-label": t("why.title"), hidden: true });
    this.way = h("section.way", { "aria-labelledby": "way-title", hidden: true });
    this.facts = h("dl.facts", {});
    this.panel = new JobPanel(Number(path[1]) || 0, { kinds, link: false, shown: (job) => this.#show(job) });
    this.element = h("div", {}, h("p.crumb", {}, h("a", { href: lastList }, t("job.back"))),
      h("header.view-head", {}, this.heading), this.panel.element, this.why, this.way, this.facts);
    this.panel.start();
  }

  stop() {
    this.stopped = true;
    this.panel.stop();
  }

  #show(job) {
    const asked = [job.status, job.requested, job.attempt, job.why.reason, job.failed_count].join();
    if (asked === this.#asked && !(isActive(job) && Date.now() - this.#askedAt > LOOK_AGAIN)) return;
    if (!this.#asked) {
      setChildren(this.heading, kindLabel(job.job_type), " ", h("span.number", {}, t("job.number", { id: String(job.job_id) })));
      document.title = t("title", { view: jobName(job) });
    }
    this.#asked = asked;
    this.#askedAt = Date.now();
    const look = () => Promise.all([this.#explain(job), this.#tell(job)]);
    this.#asking = this.#asking.then(look, look);
    this.#list(job);
  }

  async #explain(job) {
    const told = await get(`${this.path}/why`).catch(() => null);
    const facts = told ?? job.why;
    if (this.stopped) return;
    const quiet = ["running", "ended"].includes(facts.reason);
    const remedy = told ? remedyWords(told) : null;
    this.why.hidden = facts.reason === "ended";
    this.why.classList.toggle("is-stuck", isStuck({ ...job, why: facts }));
    update(this.why, h("h2", {}, t("why.title")),
      h("p.why-words", {}, icon(isStuck({ ...job, why: facts }) ? "stuck" : job.status), h("span.clamp", {}, whyWords(job, told))),
      remedy && !quiet ? h("p", {}, h("strong", {}, t("why.remedy")), " ", remedy) : null,
      quiet || !facts.remedy ? null : h("details", {}, h("summary", {}, t("why.operators")), h("p", {}, said(facts.sentence)), h("p", {}, said(facts.remedy))));
  }

  async #tell(job) {
    try {
      for (let more = true; more && !this.stopped;) {
        const page = await get(address(`${this.path}/events`, { limit: 500, after: this.#events.at(-1)?.id }));
        this.#events.push(...page.events); // what is known stays: events are only ever added
        more = page.next_after !== null;
      }
      if (this.stopped) return;
      update(this.way, h("h2", { id: "way-title" }, t("way.title")), timeline(this.#events, job));
    } catch (error) {
      if (!this.stopped) update(this.way, h("h2", { id: "way-title" }, t("way.title")), failed(error));
    }
    this.way.hidden = false;
  }

  #list(job) {
    const moments = ["created", "started", "finished"].map((name) => [name, job[`${name}_at`] && at(job[`${name}_at`])]);
    const facts = [...moments,
      ["by", job.requested_by_user_id === null ? "" : t("job.user", { id: String(job.requested_by_user_id) })], ["business", String(job.business_id)]];
    update(this.facts, facts.filter(([, value]) => value).map(([name, value]) =>
      h("div.fact", {}, h("dt", {}, t(`job.${name}`)), h("dd", {}, value))));
  }
}

export const job = (context) => ({ title: t("job.title", { id: context.path[1] }), view: new JobView(context) });
