// Calls to the server: an answer, or one of two errors.

// The server has answered, and refuses.
export class Refused extends Error {
  constructor(status, body, retryAfter) {
    super(body.error ?? `${status}`);
    this.status = status;
    this.code = body.code ?? "unknown";
    this.body = body;
    this.retryAfter = retryAfter ?? body.retry_after ?? null; // seconds
  }
}

// Nothing came back, or nothing that our server would say.
export class Unreachable extends Error {}

// The server has newer files than this page.
export class Outdated extends Error {}

export const session = new EventTarget(); // "ended" when the server does not know us any more, or takes us for another

let drawnFor = null; // the id of the token whose view this is: a cookie belongs to the browser, and may change hands

export function drawFor(token_id) {
  drawnFor = token_id;
}

const SECONDS = 30;

// → {status, body, etag}; body is null after a 304.
export async function call(method, path, { body, etag, key, signal, seconds = SECONDS } = {}) {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (etag) headers["If-None-Match"] = etag;
  if (key) headers["Idempotency-Key"] = key;
  const isSession = path.startsWith("/api/session");
  const asker = drawnFor;
  if (asker !== null && !isSession) headers["X-Longhaul-Token"] = String(asker);
  const limit = AbortSignal.timeout(seconds * 1000);
  let response, answer;
  try {
    response = await fetch(path, {
      method, headers, body: body === undefined ? undefined : JSON.stringify(body), cache: "no-store",
      credentials: "same-origin", redirect: "error", signal: signal ? AbortSignal.any([signal, limit]) : limit,
    });
    if (response.status === 304) return { status: 304, body: null, etag };
    answer = await response.json();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Unreachable(String(error));
  }
  if (response.ok) return { status: response.status, body: answer, etag: response.headers.get("ETag") };
  if (response.status === 401 && !isSession && asker === drawnFor) session.dispatchEvent(new Event("ended"));
  const wait = Number.parseInt(response.headers.get("Retry-After") ?? "", 10);
  throw new Refused(response.status, answer, Number.isNaN(wait) ? null : wait);
}

export const get = async (path, options) => (await call("GET", path, options)).body;
export const post = async (path, body, options) => (await call("POST", path, { body, ...options })).body;
export const remove = async (path) => (await call("DELETE", path)).body;

// An address with those of the values that are there.
export function address(path, values) {
  const query = new URLSearchParams(Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== ""));
  return query.size ? `${path}?${query}` : path;
}

function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", resolve, { once: true });
  });
}

// Starts a job. An answer that got lost is asked for again under the same key, which starts nothing twice. Once `signal`
// is aborted it is not asked again; the try in flight is waited for, since the server may have taken it.
export async function start(path, body, { signal } = {}) {
  const key = newKey();
  for (let tries = 1; ; tries += 1) {
    try {
      return await post(path, body, { key });
    } catch (error) {
      if (!(error instanceof Unreachable) || tries === 3) throw error;
      await pause(1000 * tries, signal);
      if (signal?.aborted) throw error;
    }
  }
}
