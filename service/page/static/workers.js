// For an operator: the workers that live, and the queues that they really listen to.
import { code, h, setChildren, update } from "./dom.js";
import { t } from "./language.js";
import { duration, number } from "./format.js";
import { chip, icon } from "./icons.js";
import { empty, failed, loading } from "./messages.js";
import { heading, row, table, tableBody } from "./parts.js";
import { Poller } from "./poll.js";

const EACH = 5_000;

const note = (sign, text) => h(`p.note.is-${sign}`, {}, icon(sign), h("span", {}, text));

class Workers {
  constructor() {
    this.state = h("div", {});
    this.list = h("div.list", {}, loading());
    this.element = h("div", {}, heading(t("workers.title")), this.state, this.list, h("p.quiet.foot", {}, t("progress.refreshes")));
    this.poller = new Poller("/api/jobs/health", (health) => this.#show(health), {
      quick: EACH, hidden: Infinity, tells: (error) => error.body.queues, // a 503 says what is wrong, and has all the figures
      refused: (error) => setChildren(this.list, failed(error)),
    }).start();
  }

  stop() {
    this.poller.stop();
  }

  #show(health) {
    const { queues, workers, sweep_age_seconds: sweep, stale_jobs: stale, code: wrong } = health;
    update(this.state, wrong ? note("stuck", t(`health.${wrong}`)) : note("completed", t("health.well")),
      h("dl.facts", {}, [["sweep", sweep === null ? t("workers.never") : duration(sweep)], ["stale", number(stale)]].map(([name, value]) =>
        h("div.fact", {}, h("dt", {}, t(`workers.${name}`)), h("dd", {}, value)))));
    update(this.list, h("h2", {}, t("workers.live")), workers.length ? this.#workers(workers) : empty("jobs", t("workers.none")),
      h("h2", {}, t("workers.queues")), this.#queues(queues));
  }

  #workers(workers) {
    const columns = [[t("workers.worker"), "number-cell"], [t("workers.state"), "state"], [t("workers.host"), "source"], [t("workers.listens"), "main"]];
    return table(t("workers.live"), columns, tableBody(workers.map((worker) => row(columns, [
      number(worker.worker_id), chip(worker.is_alive ? "completed" : "stuck", t(worker.is_alive ? "workers.alive" : "workers.silent")),
      worker.host ? code(`${worker.host} · ${worker.pid}`) : "–", worker.queues.map((queue) => [code(queue), " "]),
    ]))));
  }

  #queues(queues) {
    const names = ["waiting", "running", "snoozed", "oldest", "taken_by"];
    const columns = [[t("workers.queue"), "main"], ...names.map((name) => [t(`workers.${name}`), "amount"])];
    return table(t("workers.queues"), columns, tableBody(Object.entries(queues).map(([name, queue]) => row(columns, [
      code(name), number(queue.waiting), number(queue.running), number(queue.snoozed),
      queue.oldest_age_seconds === null ? "–" : duration(queue.oldest_age_seconds), number(queue.workers),
    ]))));
  }
}

export const workers = () => ({ title: t("workers.title"), view: new Workers() });
