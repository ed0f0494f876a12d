// A job's codes in words.
import { bdi, h, said } from "./dom.js";
import { has, label, rich, t, word } from "./language.js";
import { chip } from "./icons.js";
import { moment, number } from "./format.js";

const LOST = "Server restarted / job heartbeat lost";
export const ACTIVE = ["queued", "running", "paused"];
const STUCK = ["no_worker", "blocked", "silent_worker", "not_moving", "unknown_kind", "read_only", "bucket_refuses"];

export const isActive = (job) => ACTIVE.includes(job.status);

// Without a sign of life: still running so, or failed for that.
export const isStale = (job) => job.is_stale || (job.status === "failed" && (job.last_error ?? "").startsWith(LOST));

// Active, and somebody has to do something before it goes on.
export const isStuck = (job) => isActive(job) && (isStale(job) || STUCK.includes(job.why?.reason));

export const kindName = (job_type) => word("kind", job_type);

// One job among others of its kind.
export const jobName = ({ job_type, job_id }) => t("job.named", { kind: kindName(job_type), id: String(job_id) });

export const kindLabel = (job_type) => label("kind", job_type);

export function statusChip(job) {
  if (isStale(job)) return chip("stuck", t("stale.badge"));
  if (job.status === "running" && job.requested) return chip("paused", word("status", `asked_${job.requested}`));
  if (job.status === "queued" && job.wait_until) return chip("queued", t("status.snoozed"));
  if (job.with_failures) return chip("completed", t("status.with_failures"));
  return chip(job.status, word("status", job.status));
}

// What a reason's sentence with facts cannot do without.
const NEEDS = { no_worker: "queue", waiting_turn: "ahead", silent_worker: "worker" };

// Where the facts make it another case than the page's sentence tells, the server's own says it.
const isSpecial = ({ reason, evidence = {} }) =>
  (reason === "waiting_turn" && evidence.worker) || (reason === "no_message" && evidence.taken_by_a_stranger_at)
  || (reason === "not_moving" && (evidence.refusals >= 10 || !evidence.backend_pid));

// Why it is where it is: the page's sentence of the reason; with the facts where they were asked for.
export function whyWords(job, facts = null) {
  const { reason, sentence } = facts ?? job.why;
  if (facts && isSpecial(facts)) return said(sentence);
  const evidence = facts?.evidence ?? {};
  const until = job.wait_until ?? evidence.wait_until;
  const values = {
    queue: bdi(evidence.queue ?? job.queue ?? "…"), worker: String(evidence.worker ?? "…"),
    until: until ? moment(until) : "…", who: h("span", {}, actorWords(evidence.paused_by ?? evidence.by ?? "…")),
    error: said(evidence.waiting_for ?? evidence.last_error ?? job.waiting_for ?? job.last_error ?? "…"),
    n: reason === "waiting_turn" ? evidence.ahead : job.failed_count,
    ahead: evidence.ahead_is_more ? t("why.more_than", { n: evidence.ahead }) : number(evidence.ahead ?? 0), failed: number(job.failed_count),
  };
  const isKnown = facts && (!NEEDS[reason] || (evidence[NEEDS[reason]] ?? null) !== null);
  const key = isKnown && has(`why.${reason}.known`) ? `why.${reason}.known` : `why.${reason}`;
  return has(key) ? rich(key, values) : said(sentence);
}

// Who did it: "user:7", "worker:12", "sweep", or a name that somebody typed in psql.
export function actorWords(actor) {
  const [, kind, name] = /^(user|operator|worker|shell):(.+)$/.exec(actor) ?? [null, actor, ""];
  return has(`actor.${kind}`) ? rich(`actor.${kind}`, { name }) : bdi(actor);
}

export function remedyWords(facts) {
  if (isSpecial(facts)) return facts.remedy ? said(facts.remedy) : null;
  return has(`remedy.${facts.reason}`) ? t(`remedy.${facts.reason}`) : null;
}
