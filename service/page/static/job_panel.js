// One job: its progress, looked at again and again, and the buttons for what may be asked of it now.
import { button, h, setChildren } from "./dom.js";
import { get, post, start } from "./api.js";
import { t } from "./language.js";
import { isActive, isStale } from "./job_words.js";
import { ask, openLink } from "./parts.js";
import { Messages, trying } from "./messages.js";
import { Poller } from "./poll.js";
import { Progress } from "./progress.js";
import { go } from "./router.js";

const VERBS = ["resume", "pause", "cancel", "reset"];

export class JobPanel {
  #buttons = null;
  #poller;
  #wasActive = false;

  // `shown(job)` at each look; `ended(job)` when a job that was seen active has ended. `anew()` starts another one, where
  // that is done in this view; else a link leads to where it is done.
  constructor(job_id, { kinds, shown = () => {}, ended = () => {}, anew = null, link = true }) {
    Object.assign(this, { job_id, kinds, shown, ended, anew, link });
    this.messages = new Messages();
    this.element = h("div.panel", {});
    this.#poller = new Poller(`/api/jobs/${job_id}`, (job) => this.show(job), { refused: this.messages.error });
    setChildren(this.element, this.messages.element);
  }

  start() {
    this.#poller.start();
    return this;
  }

  stop() {
    this.#poller.stop();
  }

  // → false when there is nothing more to look for
  show(job) {
    if (!this.progress) {
      this.progress = new Progress({ done: this.kinds.get(job.job_type)?.done_label, link: this.link });
      this.element.prepend(this.progress.element);
    }
    this.job = job;
    this.progress.show(job);
    this.#offer(job);
    this.shown(job);
    const over = !isActive(job);
    if (over && this.#wasActive) this.ended(job);
    this.#wasActive = !over;
    return !over;
  }

  #offer(job) {
    const asked = JSON.stringify([job.links, job.status, job.requested]);
    if (asked === this.#buttons) return;
    this.#buttons = asked;
    const holds = this.progress.verbs.contains(document.activeElement);
    setChildren(this.progress.verbs, this.#verbs(job), this.#more(job));
    if (holds) (this.progress.verbs.querySelector("button") ?? this.progress.element.querySelector("a"))?.focus();
  }

  #verbs(job) {
    return VERBS.filter((verb) => job.links[verb]).map((verb) =>
      button(t(`verb.${verb}`), trying(this.messages, () => this.#ask(verb)),
        { kind: verb === "resume" ? "primary" : verb === "pause" ? "plain" : "quiet-danger" }));
  }

  async #ask(verb) {
    if (verb === "reset" && !(await ask(t("reset.title"), t("reset.text"), t("verb.reset")))) return;
    const requested = { pause: "pause", cancel: "cancel", resume: null }[verb];
    // At once, before the server has answered: somebody has pressed a button, and sees that.
    if (this.job.status === "running" && requested !== undefined) this.progress.show({ ...this.job, requested });
    try {
      this.show(await post(this.job.links[verb]));
    } catch (error) {
      this.progress.show(this.job);
      throw error;
    } finally {
      this.#poller.look();
    }
  }

  // What a job that is over leaves to do: its file, the rest of it, or to undo it.
  #more(job) {
    const buttons = [];
    if (job.links.result) {
      buttons.push(button(t("verb.result"), trying(this.messages, () => openLink(() => get(job.links.result))), { kind: "primary" }));
    }
    const kind = this.kinds.get(job.job_type);
    if (job.links.retry && kind) buttons.push(this.#another(job, t("verb.retry")));
    else if (isStale(job) && job.status === "failed" && kind?.may_start) buttons.push(this.#another(job, t("verb.anew")));
    if (job.links.restore) buttons.push(button(t("verb.restore"), trying(this.messages, () => this.#restore(job))));
    return buttons;
  }

  #another(job, label) {
    return this.anew ? button(label, this.anew) : h("a.button.plain", { href: startAddress(job.job_type) }, label);
  }

  async #restore(job) {
    const body = { job_type: "restore_receipts", params: { delete_job_id: job.job_id } };
    const { job_id } = await start(job.links.restore, body);
    if (this.element.isConnected) go(`jobs/${job_id}`);
  }
}

const PAGES = { delete_receipts: "#/receipts", sync_receipts: "#/mailbox" };

// Where a kind is started: a page of its own, or the form of its params.
export const startAddress = (job_type) => PAGES[job_type] ?? `#/start/${job_type}`;
