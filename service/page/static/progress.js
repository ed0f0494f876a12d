// How far a job is: one component for every kind, in every view.
import { bdi, h, said, scrollable, setText, update } from "./dom.js";
import { label, rich, t } from "./language.js";
import { duration, number, percent, range } from "./format.js";
import { isActive, isStale, kindLabel, kindName, statusChip } from "./job_words.js";
import { Speaker } from "./live.js";
import { TimeLeft } from "./time_left.js";
import { since } from "./times.js";
import { icon } from "./icons.js";

// A named figure; it keeps its place when it has nothing to say.
function figure(label) {
  const value = h("dd", {}, "–");
  const name = h("dt", {}, label);
  return { element: h("div.figure", {}, name, value), name, value };
}

const FIGURES = ["processed", "succeeded", "failed", "rate", "left", "segments"];

export class Progress {
  #speaker = new Speaker();
  #time = new TimeLeft();

  // `link` leads to the job's own view; `speaks`: for a screen reader.
  constructor({ done = "succeeded", link = false, speaks = true } = {}) {
    Object.assign(this, { done, link, speaks });
    this.title = h("h2.card-title", {});
    this.state = h("span.state", {});
    this.percent = h("span.percent", {});
    this.bar = h("progress", { max: "100" });
    this.figures = Object.fromEntries(FIGURES.map((name) => [name, figure(t(`figure.${name}`))]));
    this.stats = h("dl.figures.stats", { hidden: true });
    this.notes = h("div.notes", {});
    this.footer = h("p.quiet", {});
    this.verbs = h("div.actions", {});
    this.element = h("section.card.progress", { "aria-label": t("progress.label") },
      h("div.card-head", {}, this.title, this.state),
      h("div.bar", {}, this.bar, this.percent),
      h("dl.figures", {}, Object.values(this.figures).map((one) => one.element)),
      this.stats, this.notes, h("div.card-foot", {}, this.footer, this.verbs));
  }

  // `job` as the API shows it. Call it at each look: the time left moves though nothing else does.
  show(job, now = Date.now()) {
    this.job = job;
    this.#time.observe(job, now / 1000);
    this.#head(job);
    this.#numbers(job);
    update(this.notes, notesOf(job));
    update(this.footer, isActive(job) ? t("progress.refreshes") : rich("progress.over", { when: since(job.finished_at ?? job.updated_at) }));
    if (this.speaks) this.#speaker.tell(job, kindName(job.job_type));
  }

  #head(job) {
    update(this.state, statusChip(job));
    if (!this.bar.hasAttribute("aria-label")) {
      this.title.hidden = !this.link; // in the job's own view the name stands above
      this.title.append(h("a", { href: `#/jobs/${job.job_id}` }, kindLabel(job.job_type)), " ",
        h("span.number", {}, t("job.number", { id: String(job.job_id) })));
      this.element.setAttribute("aria-label", t("progress.of", { kind: kindName(job.job_type) }));
      this.bar.setAttribute("aria-label", t("progress.of", { kind: kindName(job.job_type) }));
    }
    const counts = job.total !== null || !isActive(job);
    if (counts) this.bar.value = job.percent;
    else this.bar.removeAttribute("value");
    setText(this.percent, counts ? percent(job.percent) : "");
    this.element.classList.toggle("is-over", !isActive(job));
    this.element.classList.toggle("is-stuck", isStale(job));
  }

  #numbers(job) {
    const { processed, succeeded, failed, rate, left, segments } = this.figures;
    setText(processed.value, job.total === null ? number(job.processed)
      : t("figure.of", { done: job.processed, total: job.total }));
    update(succeeded.name, label("done", this.done)); // in the kind's own word: deleted, read, exported
    setText(succeeded.value, number(job.succeeded));
    setText(failed.value, number(job.failed_count));
    failed.element.classList.toggle("is-bad", job.failed_count > 0);
    setText(rate.value, job.rate === null ? "–" : t("figure.per_second", { rate: number(job.rate, job.rate < 10 ? 1 : 0) }));
    rate.element.hidden = !isActive(job);
    setText(left.name, t(isActive(job) ? "figure.left" : "figure.took"));
    setText(left.value, this.#timeOf(job));
    setText(segments.value, number(job.attempt));
    this.#statistics(job.stats);
  }

  // Left, as far as that can be said; or taken, from the first claim on.
  #timeOf(job) {
    if (!isActive(job)) return job.started_at ? duration((Date.parse(job.finished_at) - Date.parse(job.started_at)) / 1000) : "–";
    const time = this.#time.range();
    return time ? range(time) : "–";
  }

  #statistics(stats) {
    const known = Object.entries(stats).filter(([name, value]) => typeof value === "number" && t(`stat.${name}`) !== `stat.${name}`);
    this.stats.hidden = known.length === 0;
    update(this.stats, known.map(([name, value]) =>
      h("div.figure", {}, h("dt", {}, t(`stat.${name}`)), h("dd", {}, number(value)))));
  }
}

// What else there is to know: it does not move, it waits, something was refused.
function notesOf(job) {
  const notes = [];
  const note = (kind, ...children) => notes.push(h(`p.note.is-${kind}`, {}, icon(kind), scrollable(h("span", {}, ...children))));
  if (isStale(job)) note("stuck", t("stale.sentence"));
  if (job.status === "running" && job.requested) note("paused", t(`asked.${job.requested}`));
  if (job.waiting_for) note("queued", t("progress.waits_for"), " ", said(job.waiting_for));
  if (job.last_error) note("failed", t("progress.last_error"), " ", bdi(job.last_error));
  if (job.stats?.attachments_error) note("failed", t("progress.attachments_error"), " ", bdi(job.stats.attachments_error));
  if (job.notice) note("stuck", said(job.notice));
  return notes;
}
