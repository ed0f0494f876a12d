// A job's way: its segments as a bar over time, and in a table with what each did and why it ended.
import { h, said, svg } from "./dom.js";
import { has, isRightToLeft, label, t } from "./language.js";
import { clock, duration, exact, number } from "./format.js";
import { at } from "./times.js";
import { actorWords } from "./job_words.js";
import { row, table, tableBody } from "./parts.js";

const WIDTH = 1000;

// From the events: each time that a worker had the job. Pure.
export function segmentsOf(events, job, now) {
  const segments = [];
  let processed = 0;
  let open = null;
  for (const event of events) {
    const moment = Date.parse(event.at);
    if (event.event === "claimed") {
      open = { attempt: event.attempt, worker: event.worker_id, from: moment, before: processed };
      segments.push(open);
    } else if (open && event.from_status === "running" && event.to_status !== "running") {
      processed = event.detail?.processed ?? processed;
      Object.assign(open, { to: moment, done: processed - open.before, end: event.event, reason: event.reason });
      open = null;
    }
  }
  if (open) Object.assign(open, { to: now, done: job.processed - open.before, end: null, reason: null });
  return segments;
}

// The runtime's own reasons, which stand in the events in English.
const REASONS = [[/^runtime cap/, "cap"], [/^others wait$/, "others"], [/^the worker is stopping$/, "stopping"], [/^worker \d+ died/, "died"],
  [/^the request was withdrawn$/, "withdrawn"], [/^Server restarted/, "stale"]];

function endWords({ end, reason }) {
  if (!end) return t("end.running");
  const known = REASONS.find(([pattern]) => pattern.test(reason ?? ""));
  if (known) return t(`end.${known[1]}`);
  const name = has(`end.${end}`) ? t(`end.${end}`) : label("event", end);
  return reason ? [name, " ", said(reason)] : name;
}

function drawn(segments, from, to) {
  const scale = WIDTH / Math.max(to - from, 1);
  const bars = segments.map((one) => {
    const width = Math.max((one.to - one.from) * scale - 2, 3);
    const x = Math.min((one.from - from) * scale, WIDTH - width);
    return svg("rect", { class: `segment is-${one.end ?? "running"}`, x: isRightToLeft() ? WIDTH - x - width : x, y: 0, width, height: 24, rx: 2 },
      svg("title", {}, t("way.segment", { number: one.attempt, worker: String(one.worker ?? "–"), time: duration((one.to - one.from) / 1000) })));
  });
  return h("div.strip", {},
    svg("svg", { class: "way-bar", viewBox: `0 0 ${WIDTH} 24`, preserveAspectRatio: "none", role: "img", "aria-label": t("way.drawn", { n: segments.length }) },
      svg("rect", { class: "way-ground", x: 0, y: 0, width: WIDTH, height: 24, rx: 2 }), bars),
    h("div.strip-ends", {}, at(new Date(from).toISOString(), clock), at(new Date(to).toISOString(), clock)));
}

export function timeline(events, job) {
  const now = Date.now();
  const segments = segmentsOf(events, job, now);
  const from = events.length ? Date.parse(events[0].at) : now;
  const to = job.finished_at ? Date.parse(job.finished_at) : Math.max(now, ...segments.map((one) => one.to));
  const columns = [[t("way.number"), "number-cell"], [t("way.worker"), "source"], [t("way.began"), "date"], [t("way.took"), "amount"],
    [t("way.items"), "amount"], [t("way.ended"), "main"]];
  const rows = segments.map((one) => row(columns, [number(one.attempt), one.worker === null ? "–" : String(one.worker), at(new Date(one.from).toISOString(), exact),
    duration((one.to - one.from) / 1000), number(Math.max(0, one.done)), h("span.clamp", {}, endWords(one))]));
  return [
    segments.length ? [drawn(segments, from, to), table(t("way.title"), columns, tableBody(rows))] : h("p.quiet", {}, t("way.none")),
    events.length ? h("details", {}, h("summary", {}, t("way.events", { n: events.length })),
      h("ol.events", { tabindex: "0", "aria-label": t("way.events", { n: events.length }) }, events.map(eventLine))) : null,
  ];
}

const eventLine = (event) => h("li", {}, at(event.at, exact), " ", h("strong", {}, label("event", event.event)), " ",
  h("span.quiet", {}, actorWords(event.actor)), event.reason ? h("span.clamp", {}, said(event.reason)) : null);
