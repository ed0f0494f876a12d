// How long a job will still take, as a range. Pure: what it knows is what it was told, so that a test can tell it anything.
//
// The rate is that of the recent past, with whatever lay between two batches: throttle, a turn in the queue, a snooze. Time
// in which the job was paused is cut out, for nobody knows how long the next pause will be; and a snooze that goes on now is
// added as it is. How wide the range is follows from how unevenly the job went until now, whether it gets slower or faster,
// and how far ahead it looks. How often the truth lies inside: tests/page/test_time_left.py.

const ENOUGH_SECONDS = 10; // of history, before anything is said
const ENOUGH_STEPS = 3;
const MOST_SAMPLES = 240;
const PIECES = 8; // in which the recent past is compared with itself
const SURE = 1.6; // standard deviations
const CLOSE = 0.06; // for what the past cannot tell: jobs end late
const FAR = 0.16; // more often than early
const WIDEST = 5; // times its lower end: a range wider than that says nothing
const SHORT_SECONDS = 15; // … but that it is nearly over
const SEEDED_SECONDS = 30; // what the server's own rate stands for

export class TimeLeft {
  #samples = []; // {at, processed}: each step forwards, on a clock that stands still during a pause
  #cut = 0; // seconds of pauses
  #seen = null;
  #job = null;

  // `job` as the API shows it, `now` in seconds.
  observe(job, now) {
    if (this.#job?.status === "paused" || this.#job?.status === "failed") this.#cut += now - this.#seen;
    this.#seen = now;
    this.#job = job;
    const at = now - this.#cut;
    const last = this.#samples.at(-1);
    if (!last && job.rate > 0) {
      const before = Math.min(job.processed, job.rate * SEEDED_SECONDS);
      this.#samples.push({ at: at - before / job.rate, processed: job.processed - before });
    }
    if (!last || job.processed !== last.processed) this.#samples.push({ at, processed: job.processed });
    if (this.#samples.length > MOST_SAMPLES) this.#samples = thinned(this.#samples);
  }

  // {low, high} in seconds, or null where nothing can be said honestly.
  range() {
    const job = this.#job;
    if (!job?.total || !["running", "queued"].includes(job.status) || job.requested) return null;
    const waits = job.wait_until ? Math.max(0, Date.parse(job.wait_until) / 1000 - this.#seen) : 0;
    const left = Math.max(0, job.total - job.processed);
    const past = recent(this.#samples, this.#seen - this.#cut, waits > 0, left);
    if (!past) return null;
    // Where it gets slower or faster, the time to come is rather like the later half, or goes on from there.
    const rates = [past.rate, past.late, Math.max(2 * past.late - past.rate, past.late / 2)];
    const wide = spread(past, left / past.rate);
    const ahead = Math.log1p(left / past.rate / past.span); // how much further than it looks back
    const low = left / Math.max(...rates) / (1 + wide + CLOSE * ahead);
    const high = (left / Math.min(...rates)) * (1 + wide + FAR * ahead);
    return high > WIDEST * low && high > SHORT_SECONDS ? null : { low: waits + low, high: waits + high };
  }
}

// The older half with every other sample left out.
function thinned(samples) {
  const half = samples.length / 2;
  return samples.filter((_, index) => index >= half || index % 2 === 0);
}

// The stretch of the past that tells of the stretch to come, which should be about as long.
function recent(samples, now, snoozes, left) {
  const last = samples.at(-1);
  if (samples.length < ENOUGH_STEPS) return null;
  const gap = usualGap(samples);
  if (!snoozes && now - last.at > Math.max(60, 4 * gap)) return null; // it stands still
  // In the middle of a batch nothing is known yet; a batch that takes much longer than the others is a slower rate.
  const until = snoozes || now - last.at < 2 * gap ? last.at : now;
  const shortest = Math.max(60, 3 * Math.max(...gapsOf(samples))); // a snooze that came will come again
  let from = samples[0].at;
  for (let round = 0; round < 2; round += 1) {
    const rate = (last.processed - processedAt(samples, from)) / (until - from);
    if (!(rate > 0)) return null;
    from = Math.max(samples[0].at, until - Math.min(1800, Math.max(shortest, left / rate)));
  }
  const span = until - from;
  const rateSince = (at) => (last.processed - processedAt(samples, at)) / (until - at);
  const [rate, late] = [rateSince(from), rateSince(until - span / 2)];
  return span >= ENOUGH_SECONDS && late > 0 ? { samples, from, span, rate, late } : null;
}

const gapsOf = (samples) => samples.slice(1).map((sample, index) => sample.at - samples[index].at);

function usualGap(samples) {
  const gaps = gapsOf(samples.slice(-12)).sort((a, b) => a - b);
  return gaps[Math.floor(gaps.length / 2)];
}

// Between two steps it is taken to move evenly: what is not yet known of a batch is no unevenness.
function processedAt(samples, at) {
  const after = samples.findIndex((sample) => sample.at >= at);
  if (after <= 0) return samples.at(after).processed;
  const [a, b] = [samples[after - 1], samples[after]];
  return b.at === a.at ? b.processed : a.processed + ((b.processed - a.processed) * (at - a.at)) / (b.at - a.at);
}

// How far off the middle may be for its unevenness, as a share of it.
function spread({ samples, from, span, rate }, middle) {
  const piece = span / PIECES;
  const edges = Array.from({ length: PIECES + 1 }, (_, index) => processedAt(samples, from + index * piece));
  const rates = edges.slice(1).map((edge, index) => (edge - edges[index]) / piece);
  const variance = rates.reduce((sum, one) => sum + (one - rate) ** 2, 0) / (PIECES - 1);
  const uneven = (variance / rate ** 2) * (1 / PIECES + piece / Math.max(middle, piece));
  return SURE * Math.sqrt(uneven) + 0.06;
}
